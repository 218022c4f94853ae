"""Fixtures of the mission's tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from hermetic import Database, DatabaseOptions, Finding, Watch
from tests.dropin.conftest import engine, ground
from tests.dropin.ground import Ground

__all__ = ["db", "engine", "ground"]


@pytest.fixture
def db(ground: Ground) -> Database:
    return ground.database()


@pytest.fixture(autouse=True)
def nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every Database is watched, and what the mission shows is no misuse.

    Times are left out: a busy machine is slow by itself.
    """
    watch = Watch(every=3600.0, slow=60.0, held=60.0, idle=60.0)
    made: list[Database] = []
    build, start = DatabaseOptions.build.__func__, Database._start  # type: ignore[attr-defined]

    def watched(cls: Any, given: Mapping[str, Any], *, place: str) -> Any:
        return build(cls, {"watch": watch, **given}, place=place)

    def noted(self: Database, *args: Any) -> None:
        start(self, *args)
        made.append(self)

    monkeypatch.setattr(DatabaseOptions, "build", classmethod(watched))
    monkeypatch.setattr(Database, "_start", noted)
    yield
    found: list[Finding] = []
    for each in made:
        if each.options.watch is watch:
            each.watch.look()
            found += each.watch.findings()
    assert found == []
