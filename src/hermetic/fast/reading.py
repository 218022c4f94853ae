"""Rows of any result as plain objects, straight from the driver's rows where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .counts import count
from .fields import Fields, slots_of
from .seam import source_of
from .shaping import Shaper

# each field that has a column, with the number of the column
Order = tuple[tuple[str, int], ...]


def read(
    result: Any, cls: Any, fields: Fields, order_of: Callable[[list[str]], Order]
) -> list[Any]:
    """All rows of a result as objects of a class."""
    order = order_of(list(result.keys()))
    source = source_of(result)
    if source is None:
        count("rows:aside:result")
        shaper = _shaper(cls, fields, order)
        return shaper.shape([tuple(row) for row in result.all()])
    count("rows:fast")
    positions = tuple((name, source.columns[at]) for name, at in order)
    shaper = _shaper(cls, fields, positions, source.booleans)
    found: list[Any] = []
    while rows := source.next():
        found += shaper.shape(rows)
    return found


def shaped(
    names: list[str], cls: Any, fields: Fields, order_of: Callable[[list[str]], Order]
) -> Callable[[list[Any]], list[Any]]:
    """What makes objects of a class of some rows, which are tuples of all columns."""
    return _shaper(cls, fields, order_of(names)).shape


def _shaper(
    cls: Any, fields: Fields, order: Order, booleans: frozenset[int] = frozenset()
) -> Shaper:
    names = tuple(name for name, _ in order)
    positions = tuple(at for _, at in order)
    members: tuple[Any, ...] = ()
    kind = fields.kind
    if names != fields.names or kind == "keywords":
        kind, members = "call", names
    elif kind == "slots":
        members = slots_of(cls, names)
    elif kind == "names":
        members = names
    return Shaper(cls, kind, members, positions, booleans)
