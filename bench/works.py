"""The works: what every contender is asked to do, and how its time is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from bench.entity import Sizes


class Kind(Enum):
    """How a work is measured."""

    SMALL = "one unit of work: many to a turn"
    BULK = "many rows: one unit to a turn"
    CROWD = "one unit of work, by many workers at once"
    COUNT = "something that is counted, once"


@dataclass(frozen=True, slots=True)
class Work:
    """``rows`` is what a time is divided by; ``needs`` says what a hermetic lacks that cannot."""

    name: str
    text: str
    kind: Kind = Kind.SMALL
    rows: Callable[[Sizes], int] = lambda _: 1
    unit: str = "µs"
    needs: str = "hermetic cannot do this"


# ---------------------------------------------------------------- one object

GET, SELECT, READONLY = "get", "select", "readonly"
INSERT, CHANGE = "insert", "change"
EMPTY, NESTED = "empty", "nested"

_SMALL = (
    Work(GET, "get by key, commit"),
    Work(SELECT, "select().where(), commit"),
    Work(READONLY, "read-only, get by key"),
    Work(INSERT, "insert one, commit"),
    Work(CHANGE, "get, change one, commit"),
    Work(EMPTY, "empty scope"),
    Work(NESTED, "nested scope with one get"),
)

# ---------------------------------------------------------------- many

LOAD = "load"
ROWS_DATACLASS, ROWS_NAMEDTUPLE, ROWS_STRUCT = "rows_dataclass", "rows_namedtuple", "rows_struct"
ADD_ALL, CONSTRUCT, CHANGE_MANY = "add_all", "construct", "change_many"
LAZY_ONE, LAZY_MANY, SELECTIN = "lazy_one", "lazy_many", "selectin"


def _bulk(
    name: str, text: str, rows: Callable[[Sizes], int], needs: str = "hermetic cannot do this"
) -> Work:
    return Work(name, text, Kind.BULK, rows, "µs/row", needs)


def _rows(sizes: Sizes) -> int:
    return sizes.rows


def _changed(sizes: Sizes) -> int:
    return sizes.changed


def _parents(sizes: Sizes) -> int:
    return sizes.parents


_ROWS_NEEDS = "this hermetic has no session.rows(statement, into=...)"
_BULK = (
    _bulk(LOAD, "load entities", _rows),
    _bulk(ROWS_DATACLASS, "rows into a dataclass", _rows, _ROWS_NEEDS),
    _bulk(ROWS_NAMEDTUPLE, "rows into a NamedTuple", _rows, _ROWS_NEEDS),
    _bulk(ROWS_STRUCT, "rows into a msgspec Struct", _rows, f"{_ROWS_NEEDS}, or no msgspec here"),
    _bulk(ADD_ALL, "add_all, commit", _rows),
    _bulk(CONSTRUCT, "construct entities", _rows),
    _bulk(CHANGE_MANY, "load, change each, commit", _changed),
    _bulk(LAZY_ONE, "lazy many-to-one", _parents),
    _bulk(LAZY_MANY, "lazy collection", _parents),
    _bulk(SELECTIN, "selectinload of a collection", _parents),
)

# ---------------------------------------------------------------- crowds, and what is counted

THREADS, TASKS = "threads", "tasks"
MEMORY, MEMORY_AFTER = "memory", "memory_after"
TRIPS_READ, TRIPS_WRITE = "trips_read", "trips_write"

_CROWDS = (
    Work(THREADS, "32 threads, pool of 10: get", Kind.CROWD),
    Work(TASKS, "500 tasks, pool of 10: get", Kind.CROWD),
)
_MEMORY = (
    Work(MEMORY, "memory of a loaded entity", Kind.COUNT, unit="bytes"),
    Work(MEMORY_AFTER, "the same when the scope has ended", Kind.COUNT, unit="bytes"),
)
_TRIPS = (
    Work(TRIPS_READ, "round trips: read-only, one get", Kind.COUNT, unit="trips"),
    Work(TRIPS_WRITE, "round trips: one insert", Kind.COUNT, unit="trips"),
)

WORKS: dict[str, Work] = {
    work.name: work for work in (*_SMALL, *_BULK, *_CROWDS, *_MEMORY, *_TRIPS)
}


def _names(works: tuple[Work, ...]) -> tuple[str, ...]:
    return tuple(work.name for work in works)


# What a stage may offer.
ONE, MANY = _names(_SMALL), _names(_BULK)
COUNTED_MEMORY, COUNTED_TRIPS = _names(_MEMORY), _names(_TRIPS)
