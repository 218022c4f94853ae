"""What the inspector is tested on: the servers of both worlds, and a browser."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hermetic import Database, Watch
from hermetic.inspector import asgi, wsgi
from tests.inspector.browser import Browser, missing
from tests.inspector.quiet import QUIET
from tests.inspector.serving import on_uvicorn, on_wsgiref
from tests.worlds import PATIENCE

# makes an application of Databases and serves it: serve(db, mount="/inspector", token=…)
Serve = Callable[..., AbstractContextManager[str]]


def _serve(make: Any, on: Any, *databases: Database, mount: str = "", **options: Any) -> Any:
    return on(make(*databases, **options), mount)


@pytest.fixture(params=["asgi", "wsgi"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """By the servers of both worlds."""
    return served(request.param)


def served(kind: str) -> Serve:
    """By the servers of one."""
    if kind == "asgi":
        return partial(_serve, asgi, on_uvicorn)
    return partial(_serve, wsgi, on_wsgiref)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A watched Database whose findings are made by hand."""
    with Database(
        f"sqlite:///{tmp_path}/shop.db",
        name="shop",
        reader_pool_size=2,
        # a busy machine is slow, and somebody stays in line
        pool_timeout=4 * PATIENCE,
        watch=Watch(**QUIET, repeats=3),
    ) as made:
        yield made


@pytest.fixture(scope="module")
def started_browser() -> Iterator[Browser]:
    """A browser for a module's tests."""
    problem = missing()
    if problem is not None:
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(problem, pytrace=False)
        pytest.skip(problem)
    browser = Browser()
    yield browser
    browser.quit()


@pytest.fixture
def browser(started_browser: Browser) -> Iterator[Browser]:
    """The browser, as if nobody had used it; at the end it has nothing to complain of."""
    started_browser.start_anew()
    yield started_browser
    assert started_browser.complaints() == []
