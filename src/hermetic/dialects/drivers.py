"""Which driver a URL uses in which world, and which family it belongs to."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import sys
import warnings
from functools import lru_cache

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from ..errors import ConfigurationError, InvalidURL, MissingDriver
from .cockroachdb import CockroachDB
from .family import Driver, Family
from .mysql import MySQL
from .postgresql import PostgreSQL
from .sqlite import SQLite, is_memory, shared_memory

FAMILIES: tuple[Family, ...] = (SQLite(), PostgreSQL(), MySQL(), CockroachDB())
# as SQLAlchemy's dialects call themselves
KNOWN_DRIVERS = frozenset(
    name
    for family in FAMILIES
    for driver in (*family.sync_drivers, *family.async_drivers)
    for name in (driver.name, f"{driver.name}_async")
)
# drivers that SQLAlchemy knows, and hermetic would not use
UNSOUND = {
    "aiomysql": "it can hand the rows of a statement that was cancelled to the next one "
    "(aiomysql #88, #783); use asyncmy"
}
_BY_SCHEME: dict[str, Family] = {scheme: f for f in FAMILIES for scheme in f.schemes}


def parse_url(given: str | URL) -> URL:
    """A checked URL. An in-memory SQLite database becomes one that both worlds share.

    :raises InvalidURL: it cannot be parsed, or names no database that SQLAlchemy knows. Its text is
        never repeated: it may hold a password in a place nobody expected.
    """
    if not isinstance(given, (str, URL)):
        raise InvalidURL(
            f"A database URL must be a string or a sqlalchemy.URL, not {type(given)}.",
            hint="Write 'sqlite:///app.db', or sqlalchemy.URL.create(…).",
        )
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        raise InvalidURL(
            "The database URL cannot be parsed.",
            hint="Its form is scheme://user:password@host:port/database; characters such as @ : / "
            "in a user or password are percent-encoded.",
        ) from None
    if url.port is not None and not 0 < url.port < 65536:
        raise InvalidURL(
            f"The port {url.port} of the database URL is not from 1 to 65535.",
            hint="Leave it out for the server's usual one.",
        )
    backend = url.get_backend_name()
    if backend == "postgres":
        url = url.set(drivername=url.drivername.replace("postgres", "postgresql", 1))
    family = family_of(url)
    if family.name == "generic":
        _check_known(url)
    if family.name == "sqlite" and (url.host or url.username or url.password):
        raise InvalidURL(
            "A SQLite URL has no host and no user.",
            hint="sqlite:///relative.db has three slashes, sqlite:////absolute/path.db four.",
        )
    _check_driver(family, url)
    if isinstance(family, SQLite) and is_memory(url):
        url = shared_memory(url)
    return url


def family_of(url: URL) -> Family:
    """The family of a URL; a plain Family for a database that hermetic knows nothing special of."""
    return _BY_SCHEME.get(url.get_backend_name()) or Family()


def url_for(url: URL, *, asynchronous: bool) -> URL:
    """The URL with a driver for one world: the named one where it fits, else the best installed.

    :raises MissingDriver: none is installed; it names the extra.
    """
    family = family_of(url)
    backend, _, named = url.drivername.partition("+")
    candidates = family.async_drivers if asynchronous else family.sync_drivers
    if not candidates:
        return _generic(url, asynchronous=asynchronous)
    chosen = _named(candidates, named) or _unlisted(family, url, named, asynchronous=asynchronous)
    if chosen is None:
        chosen = next((driver for driver in candidates if _installed(driver.module)), None)
    if chosen is None or not _installed(chosen.module):
        world = "asyncio" if asynchronous else "threads"
        wanted = chosen or candidates[-1 if candidates[-1].extra else 0]
        raise MissingDriver(
            f"No driver for {backend} in the world of {world} is installed"
            + (f" ({wanted.module} was asked for)." if chosen else "."),
            extra=wanted.extra,
            module=wanted.module,
        )
    _check_version(chosen)
    name = chosen.name
    _check_soundness(name, asynchronous=asynchronous)
    if name == "mysqldb" and mysqldb_is_pymysql():
        # PyMySQL under mysqlclient's name lacks what SQLAlchemy's mysqldb dialect reads from it
        name = "pymysql"
    return url.set(drivername=f"{backend}+{name}")


def driver_of(url: URL) -> str:
    """The driver's name of a URL that ``url_for`` made."""
    return url.drivername.partition("+")[2] or url.get_driver_name()


def mysqldb_is_pymysql() -> bool:
    """Whether the module MySQLdb is PyMySQL in disguise (``pymysql.install_as_MySQLdb()``)."""
    module = sys.modules.get("MySQLdb")
    return module is not None and module.__name__ == "pymysql"


def _named(candidates: tuple[Driver, ...], named: str) -> Driver | None:
    # SQLAlchemy also takes psycopg_async, for psycopg in its asyncio form
    plain = named.removesuffix("_async")
    return next((driver for driver in candidates if named and driver.name == plain), None)


def _unlisted(family: Family, url: URL, named: str, *, asynchronous: bool) -> Driver | None:
    """A driver that SQLAlchemy knows and the family does not list, if it is of this world."""
    known = {driver.name for driver in (*family.sync_drivers, *family.async_drivers)}
    if not named or named.removesuffix("_async") in known:
        return None
    try:
        dialect = url.get_dialect()
    except Exception as error:
        raise InvalidURL(
            f"SQLAlchemy has no driver {named!r} for {url.get_backend_name()}.",
            hint="Install the package that brings it, or name another: scheme+driver://…",
        ) from error
    if bool(dialect.is_async) is not asynchronous:
        return None
    return Driver(named, named, family.name)


def _generic(url: URL, *, asynchronous: bool) -> URL:
    if asynchronous and not url.get_dialect().is_async:
        raise ConfigurationError(
            f"{url.drivername} has no asyncio driver that hermetic knows.",
            hint="Name one in the URL, as in scheme+driver://…",
        )
    return url


def _check_driver(family: Family, url: URL) -> None:
    """A driver that is named and unknown is refused where it is given."""
    backend, _, named = url.drivername.partition("+")
    listed = [driver.name for driver in (*family.sync_drivers, *family.async_drivers)]
    if not named or not listed or named.removesuffix("_async") in listed:
        return
    try:
        url.get_dialect()
    except ImportError:
        return  # known to SQLAlchemy, and not installed: url_for says so
    except Exception as error:
        raise InvalidURL(
            f"SQLAlchemy has no driver {named!r} for {backend}.",
            hint=f"hermetic knows {', '.join(dict.fromkeys(listed))}, and takes the best of them "
            "that is installed where the URL names none.",
        ) from error


def _check_known(url: URL) -> None:
    try:
        url.get_dialect()
    except Exception as error:
        raise InvalidURL(
            f"SQLAlchemy knows no database {url.drivername!r}.",
            hint="Known without further packages: postgresql, mysql, mariadb, sqlite, cockroachdb.",
        ) from error


def _installed(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


@lru_cache
def _check_soundness(name: str, *, asynchronous: bool) -> None:
    """Warn, once, of what no version of a driver, or an old SQLAlchemy, has mended."""
    if name in UNSOUND:
        warnings.warn(f"{name}: {UNSOUND[name]}.", RuntimeWarning, stacklevel=4)
    text = importlib.metadata.version("sqlalchemy")
    if asynchronous and numbers(text) < oldest_sound(numbers(text)):
        wanted = ".".join(map(str, oldest_sound(numbers(text))))
        warnings.warn(
            f"SQLAlchemy {text} is older than {wanted}: a task that is cancelled while the pool "
            "resets its connection loses the place (#13699). Upgrade it.",
            RuntimeWarning,
            stacklevel=4,
        )


def oldest_sound(release: tuple[int, ...]) -> tuple[int, int, int]:
    """The first release of a series that keeps the place of a cancelled task (#13699)."""
    return (2, 0, 56) if release[:2] == (2, 0) else (2, 1, 7)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


@lru_cache
def _check_version(driver: Driver) -> None:
    """Warn, once, of a driver version with a known bug that hermetic cannot make good."""
    if not driver.minimum:
        return
    try:
        text = importlib.metadata.version(driver.module)
    except importlib.metadata.PackageNotFoundError:
        return
    if numbers(text) < driver.minimum:
        wanted = ".".join(map(str, driver.minimum))
        why = f": {driver.why}" if driver.why else ""
        warnings.warn(
            f"{driver.module} {text} is older than {wanted}{why}. Upgrade it.",
            RuntimeWarning,
            stacklevel=4,
        )


def database_name(url: URL) -> str:
    """What a Database is called that nobody has given a name."""
    database = url.database or url.get_backend_name()
    return database.rpartition("/")[2][-63:] or url.get_backend_name()
