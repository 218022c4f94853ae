"""Has SQLAlchemy's own tests make hermetic's sessions: a plugin of the pytest that runs them.

`make compat` runs them; `tools/compat.py` calls pytest with this.
"""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pytest
import sqlalchemy
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_asyncio
from sqlalchemy.util import has_compiled_ext

import hermetic
from tests.compat.differences import intended

# Where the tests, and what they call to make a session, look for the names. `orm.session.Session`
# is not among them: a test reads in that class's own namespace which methods there are.
_PLACES: Final = {
    "sqlalchemy.orm": ("Session", "sessionmaker", "scoped_session"),
    "sqlalchemy.orm._orm_constructors": ("Session",),  # for create_session
    "sqlalchemy.ext.asyncio": ("AsyncSession", "async_sessionmaker", "async_scoped_session"),
}
# what has a subclass of Session, made at its import
_SUBCLASSES: Final = "sqlalchemy.ext.horizontal_shard"

_OUTCOMES: Final = ("failed", "passed", "skipped", "xfailed", "error")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", type=Path, help="the file for the counts, as JSON")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # the source package holds a lib/sqlalchemy too, which is neither installed nor compiled
    if config.rootpath in Path(sqlalchemy.__file__).parents:
        raise pytest.UsageError("this is not the SQLAlchemy that is installed")
    if not has_compiled_ext():  # type: ignore[no-untyped-call]
        raise pytest.UsageError("SQLAlchemy is installed without its compiled parts")
    put_in_place()


def put_in_place() -> None:
    """Have hermetic's classes in the place of SQLAlchemy's, and none of SQLAlchemy's made."""
    _refuse_others(orm.Session, hermetic.Session)
    _refuse_others(sa_asyncio.AsyncSession, hermetic.AsyncSession)
    with mock.patch("sqlalchemy.orm.session.Session", hermetic.Session):
        importlib.import_module(_SUBCLASSES)
    for place, names in _PLACES.items():
        module = importlib.import_module(place)
        for name in names:
            setattr(module, name, getattr(hermetic, name))


def _refuse_others(theirs: Any, ours: type) -> None:
    """A session that escaped the replacement fails its test, instead of passing for hermetic's."""
    init = theirs.__init__

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        if not isinstance(self, ours):
            raise TypeError(f"{type(self)} is not a {ours}")
        init(self, *args, **kwargs)

    theirs.__init__ = checked


def pytest_report_header() -> str:
    return f"sessions: {hermetic.Session.__module__}, from {Path(hermetic.__file__).parent}"


# last: SQLAlchemy's own hook makes other items of those that depend on the database
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = intended()
    for item in items:
        name = _name(item)
        if name in reasons:
            item.add_marker(pytest.mark.xfail(reason=reasons[name], strict=True))
            item.user_properties.append(("differs", name))


def _name(item: Any) -> str:
    """The test's id without the version of the database, which SQLAlchemy adds to the class."""
    file, _, _ = item.nodeid.partition("::")
    group = getattr(item.cls, "_sa_orig_cls_name", item.cls.__name__)
    return f"{file}::{group}::{item.name}"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    file: Path | None = config.getoption("--results")
    if file is not None:
        stats: dict[str, list[Any]] = terminalreporter.stats
        counts = {outcome: len(stats.get(outcome, ())) for outcome in _OUTCOMES}
        differed = sorted(_differed(stats.get("xfailed", [])))
        file.write_text(json.dumps({"counts": counts, "differed": differed}), encoding="utf-8")


def _differed(reports: list[Any]) -> Iterator[str]:
    for report in reports:
        for word, name in report.user_properties:
            if word == "differs":
                yield name
