"""This side: drivers, versions, what the process may open, and how hermetic itself runs."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from ..dialects.drivers import driver_of, mysqldb_is_pymysql, url_for
from ..dialects.family import Driver
from ..engine import Server
from ..errors import HermeticError
from ..fast import switch
from ..fast.modules import COMPILED, uncompiled
from .about import About

# what psycopg needs to send statements together
PIPELINES = 140_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A driver that is there."""

    driver: Driver
    version: str
    asynchronous: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFacts:
    """What was seen of this side.

    :param taken: the driver of each world, by ``"threads"`` and ``"asyncio"``.
    :param files: how many files the process may have open.
    :param jumped: seconds by which the system's clock was set, while it was looked.
    :param servers: how many servers the Database has.
    :param fast: whether the fast paths are on.
    :param interpreted: modules that could be compiled, and are not, of how many.
    """

    about: About
    installed: tuple[Installed, ...]
    taken: dict[str, str]
    sqlalchemy: str
    servers: int = 1
    embedded: bool = False
    libpq: int | None = None
    files: int | None = None
    jumped: float = 0.0
    disguised: bool = False
    fast: bool = True
    interpreted: tuple[int, int] = (0, 0)


def read(server: Server, about: About, servers: int, jumped: float) -> ClientFacts:
    """The facts of this process, for one Database."""
    taken = {}
    for world, asynchronous in (("threads", False), ("asyncio", True)):
        with contextlib.suppress(HermeticError):
            taken[world] = driver_of(url_for(server.url, asynchronous=asynchronous))
    return ClientFacts(
        about=about,
        installed=tuple(_installed(server)),
        taken=taken,
        sqlalchemy=importlib.metadata.version("sqlalchemy"),
        servers=servers,
        embedded=server.family.embedded,
        libpq=_libpq(taken),
        files=_files(),
        jumped=jumped,
        disguised=mysqldb_is_pymysql(),
        fast=switch.ON,
        interpreted=(len(uncompiled()), len(COMPILED)),
    )


def _installed(server: Server) -> Iterator[Installed]:
    family = server.family
    for asynchronous, drivers in ((False, family.sync_drivers), (True, family.async_drivers)):
        for driver in drivers:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                name = "mysqlclient" if driver.module == "MySQLdb" else driver.module
                version = importlib.metadata.version(name)
                yield Installed(driver=driver, version=version, asynchronous=asynchronous)


def _libpq(taken: dict[str, str]) -> int | None:
    if "psycopg" not in taken.values():
        return None
    import psycopg

    return int(psycopg.pq.version())


def _files() -> int | None:
    if sys.platform == "win32" or importlib.util.find_spec("resource") is None:
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def variables() -> tuple[str, ...]:
    """hermetic's own environment variables that are set, and are no options."""
    names = ("HERMETIC_DISABLE_FAST", "HERMETIC_DISABLE_COMPILED", "HERMETIC_REQUIRE_COMPILED")
    return tuple(name for name in names if os.environ.get(name, "") not in ("", "0"))
