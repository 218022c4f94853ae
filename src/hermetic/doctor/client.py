"""This side: drivers, versions, what the process may open, and how hermetic itself runs."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from ..dialects.drivers import mysqldb_is_pymysql, numbers
from ..dialects.family import Driver
from ..engine import Server
from ..fast import switch
from ..fast.modules import COMPILED, uncompiled
from .about import About
from .look import taken as drivers_of

# psycopg[binary]>=3.3.8; extra == "postgresql"
_REQUIRED = re.compile(r"(?P<name>[\w.-]+)(\[[\w,-]+\])?\s*>=\s*(?P<least>[\d.]+)")

# what psycopg needs to send statements together
PIPELINES = 140_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A driver that is there.

    :param least: the version that hermetic's extra asks for.
    """

    driver: Driver
    version: str
    asynchronous: bool
    least: tuple[int, ...] = ()


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
    worlds = zip(("threads", "asyncio"), drivers_of(server), strict=True)
    taken = {world: name for world, name in worlds if name is not None}
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
    family, wanted = server.family, _wanted()
    for asynchronous, drivers in ((False, family.sync_drivers), (True, family.async_drivers)):
        for driver in drivers:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                name = "mysqlclient" if driver.module == "MySQLdb" else driver.module
                version = importlib.metadata.version(name)
                yield Installed(
                    driver=driver,
                    version=version,
                    asynchronous=asynchronous,
                    least=max(driver.minimum, wanted.get(name.lower(), ())),
                )


def _wanted() -> dict[str, tuple[int, ...]]:
    """The least versions in hermetic's own extras, by the names of their packages."""
    found = {}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for line in importlib.metadata.requires("hermetic") or ():
            match = _REQUIRED.match(line)
            if match is not None:
                found[match["name"].lower()] = numbers(match["least"])
    return found


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
