"""What the tests of faults share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.backends import Backend
from tests.databases import FreshUrl
from tests.faults.clients import Bench

_PARENT: Final = (
    "CREATE TABLE parent (id INTEGER PRIMARY KEY, name VARCHAR(9) NOT NULL, n INTEGER,"
    " CONSTRAINT parent_name UNIQUE (name), CONSTRAINT parent_n CHECK (n > 0))"
)
_CHILD: Final = (
    "CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER,"
    " CONSTRAINT child_parent FOREIGN KEY (parent_id) REFERENCES parent (id))"
)
_ROWS: Final = "INSERT INTO parent VALUES (1, 'ann', 1), (2, 'bob', 1)"


@pytest.fixture
def bench(backend: Backend, fresh_url: FreshUrl) -> Iterator[Bench]:
    bench = Bench(backend, fresh_url(backend))
    try:
        wal = ["PRAGMA journal_mode = WAL"] if backend.family == "sqlite" else []
        bench.once(*wal, _PARENT, _CHILD, _ROWS)
        yield bench
    finally:
        bench.close()
