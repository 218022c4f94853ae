"""The pytest plugin of hermetic: ``hermetic_sandbox`` and ``async_hermetic_sandbox``.

It is loaded by every run of pytest where hermetic is installed, so it imports nothing of hermetic
before a test asks for a fixture of its.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from hermetic import Database
    from hermetic.testing import Sandbox

_SANDBOXES = pytest.StashKey["list[Sandbox]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "hermetic_url",
        "The database of the fixture hermetic_database. Default: the environment's HERMETIC_URL.",
        default="",
    )
    parser.addini(
        "hermetic_isolation",
        "The isolation level of every sandbox. Default: the server's.",
        default="",
    )


@pytest.fixture(scope="session")
def hermetic_database(pytestconfig: pytest.Config) -> Iterator[Database]:
    """The Database whose scopes are sandboxed. Override it with your application's own."""
    url = str(pytestconfig.getini("hermetic_url") or os.environ.get("HERMETIC_URL", ""))
    if not url:
        raise pytest.UsageError(
            "hermetic does not know which Database to sandbox: define a fixture "
            "'hermetic_database' that returns your application's, or set the ini option "
            "'hermetic_url', or the environment variable HERMETIC_URL."
        )
    from hermetic import Database

    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def hermetic_sandbox(
    request: pytest.FixtureRequest, hermetic_database: Database
) -> Iterator[Sandbox]:
    """A sandbox around the test, for scopes of threads."""
    box = _made(request, hermetic_database)
    with box:
        yield box


async def _async_hermetic_sandbox(
    request: pytest.FixtureRequest, hermetic_database: Database
) -> AsyncIterator[Sandbox]:
    """A sandbox around the test, for scopes of asyncio: with pytest-asyncio, or anyio's plugin."""
    box = _made(request, hermetic_database)
    async with box:
        yield box


# what pytest-asyncio looks for in its strict mode; anyio's plugin takes every async fixture
_async_hermetic_sandbox._force_asyncio_fixture = True  # type: ignore[attr-defined]
async_hermetic_sandbox = pytest.fixture(name="async_hermetic_sandbox")(_async_hermetic_sandbox)


def _made(request: pytest.FixtureRequest, database: Database) -> Sandbox:
    from hermetic.testing import sandbox

    level = str(request.config.getini("hermetic_isolation")) or None
    box = sandbox(database, name=request.node.nodeid, isolation=level)
    request.node.stash.setdefault(_SANDBOXES, []).append(box)
    return box


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test that left something open, or ended its sandbox's transaction, has failed itself."""
    # what its fixtures have open ends after it
    before = [(box, box.left()) for box in item.stash.get(_SANDBOXES, ())]
    try:
        result = yield
    except BaseException as error:
        for box, left in before:
            box.note(error, but=left)
        raise
    for box, left in before:
        box.check(but=left)
    return result
