"""Rows into plain objects of the user's own class, in a compiled loop.

Where the class has an ``__init__`` that was written for it by ``dataclass`` and does no more than
to set the fields, they are set without calling it. Everything else is called.
"""

from __future__ import annotations

from typing import Any

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from . import shadow as cython

_NOTHING = ()

# the compiled form has these from shaping.pxd
if not cython.compiled:

    def make(cls: Any) -> Any:
        return cls.__new__(cls)

    def new_tuple(cls: Any, values: tuple[Any, ...]) -> Any:
        return tuple.__new__(cls, values)

    def fill(instance: Any, descriptor: Any, value: Any) -> None:
        descriptor.__set__(instance, value)

    def put(instance: Any, name: str, value: Any) -> None:
        object.__setattr__(instance, name, value)

    def pause() -> bool:
        return False

    def resume(paused: bool) -> None:
        return


class Shaper:
    """Makes objects of one class of the rows of one result."""

    def __init__(
        self,
        cls: Any,
        kind: str,
        members: tuple[Any, ...],
        order: tuple[int, ...],
        booleans: frozenset[int],
    ) -> None:
        """:param kind: how: ``tuple``, ``slots``, ``names`` or ``call``.
        :param members: the slots or names to set, or none.
        :param order: the column of each field.
        :param booleans: the columns of 0 and 1 that stand for ``bool``.
        """
        self.cls = cls
        self.kind = kind
        self.members = members
        self.order = order
        self.width = len(order)
        self.straight = order == tuple(range(len(order))) and not booleans
        self.flags = tuple([column in booleans for column in order])

    def shape(self, rows: list[Any]) -> list[Any]:
        # somebody else's code is called with the garbage collector as it was
        if self.kind == "call":
            return self._called(rows)
        paused = pause()
        try:
            if self.kind == "tuple":
                return self._tuples(rows)
            return self._slotted(rows) if self.kind == "slots" else self._named(rows)
        finally:
            resume(paused)

    def arranged(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """A row's values in the order of the fields."""
        if self.straight and len(row) == self.width:
            return row
        return tuple([self.value(row, position) for position in range(self.width)])

    def value(self, row: tuple[Any, ...], position: int) -> Any:
        """What a row has for a field."""
        value = row[self.order[position]]
        if self.flags[position] and value is not None:
            return bool(value)
        return value

    def _tuples(self, rows: list[Any]) -> list[Any]:
        found = []
        for row in rows:
            found.append(new_tuple(self.cls, self.arranged(row)))  # noqa: PERF401
        return found

    def _slotted(self, rows: list[Any]) -> list[Any]:
        found = []
        for row in rows:
            instance = make(self.cls)
            for position in range(self.width):
                fill(instance, self.members[position], self.value(row, position))
            found.append(instance)
        return found

    def _named(self, rows: list[Any]) -> list[Any]:
        found = []
        for row in rows:
            instance = make(self.cls)
            for position in range(self.width):
                put(instance, self.members[position], self.value(row, position))
            found.append(instance)
        return found

    def _called(self, rows: list[Any]) -> list[Any]:
        cls = self.cls
        if self.members:
            # by name: keyword-only fields, and those with a default that have no column
            names = self.members
            return [cls(**dict(zip(names, self.arranged(row), strict=True))) for row in rows]
        return [cls(*self.arranged(row)) for row in rows]
