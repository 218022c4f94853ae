"""The rows of a call as they are given: of which kind, with which columns, in batches.

A batch is taken from the caller's iterable before anything of it is sent: what a generator does
with the same session is between two statements.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import inspect

from ..errors import InvalidOption
from ..row_errors import InvalidRow
from .target import Target

_MISSING = object()


@dataclass(slots=True)
class Run:
    """Rows that follow each other and have values for the same columns.

    :ivar names: those columns, in the table's order.
    :ivar rows: the values, a tuple for each row.
    :ivar first: the position of the first one among all rows of the call.
    :ivar given: what the caller gave for them.
    """

    names: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    first: int
    given: list[Any]

    def part(self, start: int, end: int) -> Run:
        return Run(self.names, self.rows[start:end], self.first + start, self.given[start:end])


def batches_of(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """The rows, so many at a time."""
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        yield batch


def check_size(size: object) -> None:
    """:raises InvalidOption: it is no number of rows."""
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 1_000_000:
        problem = "must be a whole number from 1 to 1000000"
        raise InvalidOption("batch", size, problem, place="batch")


class Reading:
    """Reads batches into runs.

    :param scalars: the names of a key, where a row may be its value alone, or a tuple of its
        values; fields of other names do not matter then.
    """

    def __init__(
        self,
        target: Target,
        check: Callable[[tuple[str, ...], int], None],
        *,
        scalars: tuple[str, ...] = (),
    ) -> None:
        self.target = target
        self._check = check
        self._scalars: tuple[str, ...] = scalars
        self._checked: dict[tuple[Any, ...], tuple[str, ...]] = {}

    def runs(self, batch: list[Any], first: int) -> Iterator[Run]:
        """:raises InvalidRow: a row is none, or has a column that the table has not."""
        start = 0
        kind = type(batch[0])
        if len(set(map(type, batch))) > 1:
            for number, row in enumerate(batch):
                if type(row) is not kind:
                    yield from self._of_kind(kind, batch[start:number], first + start)
                    start, kind = number, type(row)
        rest = batch[start:] if start else batch
        yield from self._of_kind(kind, rest, first + start)

    def _of_kind(self, kind: Any, batch: list[Any], first: int) -> Iterator[Run]:
        target = self.target
        if issubclass(kind, Mapping):
            rows = batch if kind is dict else [dict(row) for row in batch]
            yield from self._split(self._mappings(rows, batch, first), self._counted)
        elif hasattr(kind, "_mapping"):  # SQLAlchemy's rows
            rows = [dict(row._mapping) for row in batch]
            yield from self._split(self._mappings(rows, batch, first), self._counted)
        elif target.mapper is not None and issubclass(kind, target.mapper.class_):
            yield from self._split(self._entities(batch, first), self._left_out)
        elif (names := fields_of(kind)) is not None:
            yield from self._split([self._objects(kind, names, batch, first)], self._counted)
        elif self._scalars:
            yield self._keys(kind, batch, first)
        else:
            raise InvalidRow(
                f"Row {first} is of {kind.__name__!r}.",
                row=first,
                hint="A row is a dict, a dataclass, a NamedTuple, a msgspec Struct or an object of "
                f"{target.what}.",
            )

    # ------------------------------------------------------------ kinds

    def _mappings(self, rows: list[dict[Any, Any]], given: list[Any], first: int) -> list[Run]:
        if len(set(map(len, rows))) == 1:
            names = self._known(tuple(rows[0]), first)
            try:
                return [Run(names, _items(names, rows, len(names)), first, given)]
            except KeyError:
                pass  # as many others
        return self._uneven(rows, given, first)

    def _uneven(self, rows: list[dict[Any, Any]], given: list[Any], first: int) -> list[Run]:
        """Rows of several shapes: what may be NULL where it lacks is, to keep runs long."""
        everything = dict.fromkeys(name for row in rows for name in row)
        if self._scalars:
            everything = dict.fromkeys(self._scalars)
        else:
            for number, row in enumerate(rows):
                self.target.refuse_unknown(row, first + number)
        every = sorted(everything, key=self.target.order.__getitem__)
        loose = {name for name in every if self.fills and self.target.may_be_none(name)}
        found: list[Run] = []
        for number, row in enumerate(rows):
            names = tuple([name for name in every if name in row or name in loose])
            if not found or found[-1].names != names:
                self._known(names, first + number)
                found.append(Run(names, [], first + number, []))
            found[-1].rows.append(tuple([row.get(name) for name in names]))
            found[-1].given.append(given[number])
        return found

    # whether a column that lacks in some rows of a batch may be NULL there
    fills = True

    def _objects(self, kind: Any, fields: tuple[str, ...], batch: list[Any], first: int) -> Run:
        names = self._known(fields, first)
        if issubclass(kind, tuple):
            if names == fields:
                # plain ones: SQLite's driver takes half as long again for others
                return Run(names, list(map(tuple, batch)), first, batch)
            places = [fields.index(name) for name in names]
            return Run(names, _each(itemgetter(*places), batch, len(names)), first, batch)
        rows = _each(attrgetter(*names), batch, len(names)) if names else [()] * len(batch)
        return Run(names, rows, first, batch)

    def _entities(self, batch: list[Any], first: int) -> list[Run]:
        values = [vars(row) for row in batch]
        if self._scalars == self.target.keys:
            values = [self._identity(row) for row in batch]
        named = self.target.named
        names = tuple([name for name in named if name in values[0]])
        if len(names) + 1 == len(values[0]) and len(set(map(len, values))) == 1:
            try:
                return [Run(names, _items(names, values, len(names)), first, batch)]
            except KeyError:
                pass
        for number, each in enumerate(values):
            for relation in self.target.relations & each.keys():
                if each[relation]:
                    raise InvalidRow(
                        f"Row {first + number} has other objects as its {relation!r}, which would "
                        "not be written.",
                        row=first + number,
                        field=relation,
                        hint="Set the columns of the foreign key, or use session.add_all().",
                    )
        plain = [{name: each[name] for name in named if name in each} for each in values]
        return self._mappings(plain, batch, first)

    def _identity(self, row: Any) -> dict[str, Any]:
        """The key of an object, which it may have although its attributes are expired."""
        identity = inspect(row).identity
        return vars(row) if identity is None else dict(zip(self._scalars, identity, strict=True))

    def _keys(self, kind: Any, batch: list[Any], first: int) -> Run:
        names = self._scalars
        if len(names) == 1:
            return Run(names, list(zip(batch, strict=True)), first, batch)
        for number, row in enumerate(batch):
            if not isinstance(row, (tuple, list)) or len(row) != len(names):
                raise InvalidRow(
                    f"Row {first + number} is no key of {self.target.what}.",
                    row=first + number,
                    hint=f"A key is a tuple of {', '.join(names)}.",
                )
        return Run(names, [tuple(row) for row in batch], first, batch)

    # ------------------------------------------------------------ columns

    def _known(self, given: tuple[Any, ...], row: int) -> tuple[str, ...]:
        """The names in the table's order; each shape is checked once."""
        names = self._checked.get(given)
        if names is None:
            shape = given
            if self._scalars:
                given = tuple(name for name in given if name in self._scalars)
            else:
                self.target.refuse_unknown(given, row)
            names = tuple(sorted(given, key=self.target.order.__getitem__))
            self._check(names, row)
            if len(self._checked) < 1000:
                self._checked[shape] = names
        return names

    def _counted(self, name: str) -> bool:
        """A NULL in a key that the server counts up is no value."""
        return name == self.target.counting

    def _left_out(self, name: str) -> bool:
        """As in a flush: of an object, ``None`` leaves a column to its default."""
        return not (self.target.may_be_none(name) or self._evaluates(name))

    def _evaluates(self, name: str) -> bool:
        return bool(self.target.named[name].type.should_evaluate_none)

    def _split(self, runs: Iterable[Run], absent: Callable[[str], bool]) -> Iterator[Run]:
        """The same, where ``None`` in some columns means that there is no value."""
        for run in runs:
            doubtful = [at for at, name in enumerate(run.names) if absent(name)]
            empty = [at for at in doubtful if None in map(itemgetter(at), run.rows)]
            if not empty:
                yield run
                continue
            start = 0
            kept = _kept(run.rows[0], empty)
            for number, row in enumerate(run.rows):
                now = _kept(row, empty)
                if now != kept:
                    yield self._without(run.part(start, number), kept)
                    start, kept = number, now
            yield self._without(run.part(start, len(run.rows)), kept)

    def _without(self, run: Run, kept: tuple[int, ...]) -> Run:
        if len(kept) == len(run.names):
            return run
        names = tuple([run.names[at] for at in kept])
        self._known(names, run.first)
        rows = [()] * len(run.rows) if not kept else _each(itemgetter(*kept), run.rows, len(kept))
        return Run(names, rows, run.first, run.given)


def _kept(row: tuple[Any, ...], empty: list[int]) -> tuple[int, ...]:
    return tuple([at for at in range(len(row)) if at not in empty or row[at] is not None])


def _items(names: tuple[str, ...], rows: list[Any], width: int) -> list[tuple[Any, ...]]:
    if not names:
        return [()] * len(rows)
    return _each(itemgetter(*names), rows, width)


def _each(take: Callable[[Any], Any], rows: list[Any], width: int) -> list[tuple[Any, ...]]:
    if width == 1:
        return list(zip(map(take, rows), strict=True))
    return list(map(take, rows))


def fields_of(kind: Any) -> tuple[str, ...] | None:
    """The names of the fields of a dataclass, a NamedTuple or a Struct; ``None`` of others."""
    if dataclasses.is_dataclass(kind):
        return tuple(each.name for each in dataclasses.fields(kind))
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return tuple(kind._fields)
    if hasattr(kind, "__struct_fields__"):
        return tuple(kind.__struct_fields__)
    return None
