"""Fixtures for every test: backends, servers, empty databases, async tests.

A run starts each server once. The process that was called owns them; xdist's workers get their
addresses, and each keeps databases of its own inside.
"""

from __future__ import annotations

import gc
import inspect
import os
import signal
import sqlite3
from collections.abc import Generator, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import pymysql
import pytest

from tests.backends import ASYNC_BACKENDS, BACKENDS, FAMILY_SCHEMES, SYNC_BACKENDS, Backend
from tests.databases import FamilyUrl, FreshUrl, TestDatabases, WorkerDatabases
from tests.garbage import spare_what_stays
from tests.loop import run_async
from tests.missing import OPTIONAL, missing
from tests.reasons import note_reasons
from tests.servers import (
    ServerAccess,
    ServerFailed,
    ServerSet,
    ServerUnavailable,
    galera,
    installed,
)
from tests.worlds import World, drive

_SERVERS: Final = pytest.StashKey[ServerSet]()
_DATABASES: Final = pytest.StashKey[WorkerDatabases]()
_MISSING: Final = pytest.StashKey[list[str]]()
_FAILED: Final = pytest.StashKey[bool]()

_EXPORTED: Final = "hermetic_servers"
_PACKAGES: Final = ("sqlalchemy", "psycopg", "asyncpg", "PyMySQL", "asyncmy", "aiosqlite")


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"}


# The run


def _have_contexts_shared() -> None:
    """PyMySQL has the system's authorities read, 20 ms of work, for every connection, though it
    verifies nothing by them: of all that plain SQLAlchemy connects here that would be the most.
    """
    Connection: Any = pymysql.connections.Connection  # noqa: N806
    made = Connection._create_ssl_ctx
    shared: list[Any] = []

    def create(self: Any, given: Any) -> Any:
        if given:
            return made(self, given)
        if not shared:
            shared.append(made(self, given))
        return shared[0]

    Connection._create_ssl_ctx = create


def pytest_configure(config: pytest.Config) -> None:
    _have_contexts_shared()
    # the tests of it have folders of their own
    os.environ["HERMETIC_NEARBY"] = "off"
    # as pytest is told by pyproject.toml, for the programs that tests start
    os.environ["PYTHONWARNINGS"] = "ignore:This process:DeprecationWarning"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # a shell starts what it puts into the background so, and the tests send it to themselves
        signal.signal(signal.SIGINT, signal.default_int_handler)
    given: dict[str, str] = getattr(config, "workerinput", {})
    config.stash[_SERVERS] = ServerSet(given.get(_EXPORTED))
    config.stash[_DATABASES] = WorkerDatabases(given.get("workerid", "alone"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Called in the owning process before each of xdist's workers starts."""
    node.workerinput[_EXPORTED] = node.config.stash[_SERVERS].export()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_SERVERS].stop()


def pytest_report_header(config: pytest.Config) -> list[str]:
    found = {**installed(), "galera": _galera(), **_libraries(config)}
    missing = config.stash[_MISSING] = [name for name, found_at in found.items() if not found_at]
    servers = {"sqlite": sqlite3.sqlite_version, **found}
    return [
        "servers: " + ", ".join(f"{name} {found or 'MISSING'}" for name, found in servers.items()),
        "packages: " + ", ".join(f"{name} {_installed_version(name)}" for name in _PACKAGES),
        *(f"MISSING: {name}; its tests {'fail' if in_ci() else 'are skipped'}" for name in missing),
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    note_reasons(terminalreporter)
    for name in terminalreporter.config.stash.get(_MISSING, []):
        terminalreporter.write_line(f"NOT TESTED: {name} is not installed", red=True, bold=True)


def pytest_collection_finish() -> None:
    spare_what_stays()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    if call.excinfo is None or call.excinfo.errisinstance(pytest.skip.Exception):
        report = yield
    else:
        # CPython 3.11 has a SystemError for who parses source, as pytest does here, while the
        # collector has a finaliser show a traceback, which parses too: it would end the whole run
        gc.collect()
        gc.disable()
        try:
            report = yield
        finally:
            gc.enable()
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    world = next((value for value in arguments.values() if isinstance(value, World)), None)
    if world is None:
        run_async(pyfuncitem.obj, **arguments)
    elif world.is_async:
        run_async(_closing, world=world, test=pyfuncitem.obj, arguments=arguments)
    else:
        drive(pyfuncitem.obj(**arguments))
    return True


async def _closing(world: World, test: Any, arguments: dict[str, Any]) -> None:
    try:
        await test(**arguments)
    finally:
        await world.aclose()


# What a test is run on


def _params(backends: tuple[Backend, ...]) -> list[Any]:
    return [
        pytest.param(backend, id=backend.name, marks=getattr(pytest.mark, backend.family))
        for backend in backends
    ]


@pytest.fixture(params=_params(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen


@pytest.fixture(params=_params(SYNC_BACKENDS))
def sync_backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen


@pytest.fixture(params=_params(ASYNC_BACKENDS))
def async_backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen


@pytest.fixture(
    params=[pytest.param(name, marks=getattr(pytest.mark, name)) for name in FAMILY_SCHEMES]
)
def family(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


# Servers and databases


def shared_server(config: pytest.Config, family: str) -> ServerAccess:
    try:
        return config.stash[_SERVERS].get(family)
    except ServerUnavailable as error:
        reason = f"{family} is MISSING: {error}"
        if in_ci():
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    except ServerFailed as error:
        pytest.fail(f"{family} is installed, but failed: {error}", pytrace=False)


@pytest.fixture
def postgresql(pytestconfig: pytest.Config) -> ServerAccess:
    """The run's PostgreSQL. Other tests use it at the same time: start your own to break it."""
    return shared_server(pytestconfig, "postgresql")


@pytest.fixture
def mariadb(pytestconfig: pytest.Config) -> ServerAccess:
    """The run's MariaDB. Other tests use it at the same time: start your own to break it."""
    return shared_server(pytestconfig, "mariadb")


@pytest.fixture
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestDatabases]:
    mine = TestDatabases(
        request.config.stash[_DATABASES],
        lambda family: shared_server(request.config, family),
        tmp_path,
    )
    yield mine
    left = mine.finish()
    # A test that failed has had no chance to close, and has its own message.
    if left and not request.node.stash.get(_FAILED, False):
        pytest.fail("left open at the end of the test:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def fresh_url(databases: TestDatabases) -> FreshUrl:
    return databases.url


@pytest.fixture
def family_url(databases: TestDatabases) -> FamilyUrl:
    return databases.family_url


@pytest.fixture
def world(backend: Backend, fresh_url: FreshUrl, family_url: FamilyUrl) -> Iterator[World]:
    """One driver in its world, on an empty database with the tables of tests.models."""
    made = World(backend, fresh_url(backend), family_url(backend.family))
    yield made
    if made.is_async:
        made.close_observer()
    else:
        made.close()


def _galera() -> str | None:
    """Where Galera's library is; ``None`` where something is missing of it."""
    try:
        return str(galera.provider())
    except ServerUnavailable:
        return None


def _libraries(config: pytest.Config) -> dict[str, str | None]:
    """Those of the optional libraries that are missing, unless some tests were chosen."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return {}
    return {name: None for of in OPTIONAL for name in missing(of)}


def _installed_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "MISSING"
