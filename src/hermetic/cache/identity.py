"""Which database it is, and as whom it is read: the same in every process, without secrets."""

from __future__ import annotations

import getpass
import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from ..dialects.whereabouts import asked_of_environment, port_of
from ..options import DatabaseOptions
from .values import Unkeyable, digest

_numbers = itertools.count(1)

# each by all its names: in a URL, of a driver's argument, in the environment of libpq
_HOST = ("host", "hostaddr", "unix_socket", "PGHOST", "PGHOSTADDR")
_PORT = ("port", "PGPORT")
_DATABASE = ("dbname", "database", "db", "PGDATABASE")
_USER = ("user", "PGUSER")
# these stand for all of the others
_ELSEWHERE = ("service", "read_default_file", "read_default_group", "PGSERVICE")
_THIS_HOST = frozenset({"", "localhost", "localhost.localdomain", "ip6-localhost", "::1"})
_SECRET = re.compile(r"pass|pwd|secret|token|key|dsn|ssl|cert", re.IGNORECASE)


def database_of(
    url: URL, options: DatabaseOptions, namespace: str, family: Any, *, alone: bool
) -> str:
    """The database, whoever reads it and however its sessions are set up: those who change it tell
    each other of that.
    """
    if alone:
        # a database of this process, and of nobody else
        return digest(namespace, f"{id(url)} {next(_numbers)}")[:20]
    if family.embedded:
        path = str(Path(url.database or "").absolute())
        return digest(namespace, family.name, path)[:20]
    told = _told_of(url, options, family)
    host = _place_of(_one(told, _HOST, url.host))
    port = _one(told, _PORT, url.port) or port_of(family.name)
    database = _one(told, _DATABASE, url.database) or _user(url, told, family)
    elsewhere = tuple(told.get(name) for name in _ELSEWHERE)
    return digest(namespace, family.name, host, str(port), database, *elsewhere)[:20]


def reader_of(url: URL, options: DatabaseOptions, family: Any) -> str:
    """As whom, and with which settings, a database is read."""
    told = _told_of(url, options, family)
    parts = [f"{name}={_stable(value)}" for name, value in sorted(told.items())]
    # one of several names of this host may be another server's: their rows stay apart
    host = _one(told, _HOST, url.host)
    return digest(_user(url, told, family), host, *parts)[:20]


def _told_of(url: URL, options: DatabaseOptions, family: Any) -> dict[str, Any]:
    given: dict[str, Any] = {**url.query, **options.connect_args}
    for name in asked_of_environment(family.name):
        if name in os.environ:
            given.setdefault(name, os.environ[name])
    return {name: value for name, value in given.items() if not _SECRET.search(name)}


def _one(told: Mapping[str, Any], names: tuple[str, ...], of_url: Any) -> str:
    """What was said first: to the driver, in the URL's query, in the URL, in the environment."""
    said = [name for name in names if name in told and not name.startswith("PG")]
    if said:
        return "|".join(_stable(told[name]) for name in said)
    if of_url is not None:
        return _stable(of_url)
    return "|".join(_stable(told[name]) for name in names if name in told)


def _user(url: URL, told: Mapping[str, Any], family: Any) -> str:
    found = _one(told, _USER, url.username)
    if found or family.embedded:
        return found
    try:
        return getpass.getuser()  # as libpq and MySQL's clients do
    except (OSError, KeyError, ImportError):
        return ""


def _place_of(host: str) -> str:
    """The host, by one name where it is this one: who changes a database through a socket or one
    name of the host tells those who read it through another.
    """
    name = host.lower().rstrip(".").strip("[]")
    here = name in _THIS_HOST or name.startswith(("/", "@", "127."))
    return "localhost" if here else host


def _stable(value: Any) -> str:
    if isinstance(value, (str, int)):
        return str(value)
    try:
        return digest(value)
    except Unkeyable:
        return type(value).__name__
