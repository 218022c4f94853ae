"""What can be wrong on this side, whatever the server is."""

from __future__ import annotations

from collections.abc import Iterator

from ..dialects.drivers import UNSOUND, numbers, oldest_sound
from ..fast.switch import OFF
from .checks import Checks, Sign, option
from .client import PIPELINES, ClientFacts, variables
from .findings import Severity
from .versions import shown

HINT, WARNING, ERROR = Severity.HINT, Severity.WARNING, Severity.ERROR
CLIENT: Checks[ClientFacts] = Checks("This side", place="client")

# what an interpreter, its libraries and a web server have open besides
_OTHER_FILES = 64
# a file, its log and its shared memory
_SQLITE_FILES = 3
_JUMP_SECONDS = 1.0


@CLIENT.add(
    "driver-old",
    WARNING,
    "a driver with known bugs",
    why="hermetic cannot make good what it does.",
    source="dialects/: the least version of each driver, with the reason",
)
def _old(seen: ClientFacts) -> Iterator[Sign]:
    for each in seen.installed:
        driver = each.driver
        if driver.name in seen.taken.values() and numbers(each.version) < each.least:
            why = f": {driver.why}" if driver.why else ""
            wanted = shown(each.least)
            told = f"{driver.module} {each.version} is older than {wanted}{why}"
            yield Sign(told, f"pip install '{driver.module}>={wanted}'")


@CLIENT.add(
    "driver-unsound",
    ERROR,
    "a driver that no release has mended",
    why="It can hand rows of one statement to another.",
    source="dialects/drivers.py",
)
def _unsound(seen: ClientFacts) -> Iterator[Sign]:
    for name in seen.taken.values():
        if name in UNSOUND:
            yield Sign(f"{name}: {UNSOUND[name]}", "another driver in the URL")


@CLIENT.add(
    "driver-chosen",
    HINT,
    "several drivers, and a URL that names none",
    why="Which one is used depends on what is installed on each machine.",
)
def _chosen(seen: ClientFacts) -> Iterator[Sign]:
    if "+" in seen.about.url.drivername:
        return
    for world, asynchronous in (("threads", False), ("asyncio", True)):
        names = [each.driver.name for each in seen.installed if each.asynchronous is asynchronous]
        if len(names) > 1 and world in seen.taken:
            told = f"for {world}, {' and '.join(names)} are there; {seen.taken[world]} is taken"
            scheme = f"{seen.about.url.drivername}+{seen.taken[world]}://…"
            yield Sign(told, f'Database("{scheme}")')


@CLIENT.add(
    "driver-disguised",
    HINT,
    "PyMySQL under the name of mysqlclient",
    why="SQLAlchemy's dialect for mysqlclient asks it for what it lacks; hermetic uses PyMySQL's.",
)
def _disguised(seen: ClientFacts) -> Iterator[Sign]:
    if seen.disguised and seen.taken.get("threads") == "pymysql":
        yield Sign("pymysql.install_as_MySQLdb() was called", 'Database("mysql+pymysql://…")')


@CLIENT.add(
    "libpq-old",
    HINT,
    "a libpq that cannot send statements together",
    why="BEGIN and limits take round trips of their own.",
    source="libpq's pipeline mode, PostgreSQL 14 docs",
)
def _libpq(seen: ClientFacts) -> Iterator[Sign]:
    if seen.libpq is not None and seen.libpq < PIPELINES:
        yield Sign(f"libpq {seen.libpq // 10000}", "pip install 'psycopg[binary]', or libpq 14")


@CLIENT.add(
    "sqlalchemy-old",
    WARNING,
    "a SQLAlchemy with a known bug",
    why="A task that is cancelled while the pool resets its connection loses the place (#13699).",
    source="SQLAlchemy 2.0.56, 2.1.7",
)
def _sqlalchemy(seen: ClientFacts) -> Iterator[Sign]:
    found = numbers(seen.sqlalchemy)
    if found < oldest_sound(found):
        wanted = shown(oldest_sound(found))
        yield Sign(f"SQLAlchemy {seen.sqlalchemy}", f"pip install 'sqlalchemy>={wanted}'")


@CLIENT.add(
    "fast-paths-off",
    HINT,
    "hermetic at SQLAlchemy's own speed",
    why="Everything works, and takes several times as long.",
)
def _fast(seen: ClientFacts) -> Iterator[Sign]:
    if not seen.fast:
        changed = "the SQLAlchemy installed is not what they were made for"
        told = " and ".join(variables()) or OFF or changed
        yield Sign(told, "the environment without HERMETIC_DISABLE_FAST, or another SQLAlchemy")


@CLIENT.add(
    "not-compiled",
    HINT,
    "hermetic's compiled parts run as Python",
    why="Everything works, and takes longer.",
)
def _compiled(seen: ClientFacts) -> Iterator[Sign]:
    count, whole = seen.interpreted
    if count:
        change = "a wheel, or a C compiler when it is installed; no HERMETIC_DISABLE_COMPILED"
        yield Sign(f"{count} of {whole} modules are not compiled", change)


@CLIENT.add(
    "files-few",
    WARNING,
    "pools that are larger than what the process may have open",
    why="Connects fail (EMFILE), and so does everything else that opens a file.",
    source="RLIMIT_NOFILE, getrlimit(2)",
)
def _files(seen: ClientFacts) -> Iterator[Sign]:
    options = seen.about.options
    readers = options.reader_pool_size or options.pool_size
    writers = 1 if seen.embedded else options.pool_size
    wanted = writers + readers * max(1, seen.servers - 1) + _OTHER_FILES
    if seen.embedded:
        wanted = (writers + readers) * _SQLITE_FILES + _OTHER_FILES
    if seen.files is not None and wanted > seen.files:
        told = f"{wanted} files may be wanted, and {seen.files} may be open"
        yield Sign(told, "ulimit -n (LimitNOFILE= of systemd), or a smaller pool_size")


@CLIENT.add(
    "clock-jumped",
    WARNING,
    "a system clock that is set while programs run",
    why="hermetic's own times do not mind; those of the application, tokens and logs do.",
)
def _jumped(seen: ClientFacts) -> Iterator[Sign]:
    if abs(seen.jumped) > _JUMP_SECONDS:
        yield Sign(
            f"it went {seen.jumped:+.1f} s in a moment", "a time service that slews (chrony)"
        )


@CLIENT.add(
    "password-twice",
    HINT,
    "a password in the URL, and credentials besides",
    why="The one in the URL is not used, and may be old, and lies about.",
)
def _twice(seen: ClientFacts) -> Iterator[Sign]:
    if seen.about.options.credentials is not None and seen.about.url.password:
        yield Sign("credentials, and a URL with a password", "the URL without its password")


@CLIENT.add(
    "password-in-argument",
    WARNING,
    "a password among what the driver is told",
    why="It is a part of the URL's query, which proxies, shells and logs show.",
)
def _query(seen: ClientFacts) -> Iterator[Sign]:
    for name in seen.about.url.query:
        if "password" in name.lower() or "passwd" in name.lower():
            yield Sign(f"{name} in the query of the URL", option("credentials", "…"))
