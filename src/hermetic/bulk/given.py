"""The rows of a call as they are given: of which kind, with which columns, in batches.

A batch is taken from the caller's iterable before anything of it is sent: what a generator does
with the same session is between two statements.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import inspect

from ..errors import InvalidOption
from ..row_errors import InvalidRow
from .target import Target

_MISSING = object()


class Run:
    """Rows that follow each other and have values for the same columns.

    Their values are kept as they were taken, by rows or by columns, and are turned about when they
    are asked for the other way.

    :ivar names: those columns, in the table's order.
    :ivar first: the position of the first one among all rows of the call.
    :ivar given: what the caller gave for them.
    """

    __slots__ = ("_columns", "_numbers", "_rows", "first", "given", "names")

    def __init__(
        self,
        names: tuple[str, ...],
        rows: list[tuple[Any, ...]] | None,
        first: int,
        given: list[Any],
        columns: list[list[Any]] | None = None,
    ) -> None:
        """:param rows: the values, a tuple for each row; ``None`` where there are columns.
        :param columns: the values, a list for each column, which nobody changes.
        """
        self.names = names
        self.first = first
        self.given = given
        self._rows = rows
        self._columns = columns
        self._numbers: list[int] | None = None

    def __len__(self) -> int:
        return len(self.given)

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        if self._rows is None:
            assert self._columns is not None
            self._rows = list(zip(*self._columns, strict=True))
        return self._rows

    @property
    def columns(self) -> list[list[Any]]:
        if self._columns is None:
            # one after the other: rows taken apart by zip() are an iterator for each of them
            width = range(len(self.names))
            self._columns = [list(map(itemgetter(at), self.rows)) for at in width]
        return self._columns

    def values(self, at: int) -> Iterable[Any]:
        """Those of one column."""
        return map(itemgetter(at), self.rows) if self._columns is None else self._columns[at]

    def position(self, number: int) -> int:
        """That of one row among all rows of the call."""
        return self.first + (number if self._numbers is None else self._numbers[number])

    def part(self, start: int, end: int) -> Run:
        if self._numbers is not None:
            return self._of(lambda values: values[start:end], self.first, self._numbers[start:end])
        return self._of(lambda values: values[start:end], self.first + start)

    def those(self, numbers: list[int]) -> Run:
        """Some of the rows, of one that has them all."""
        return self._of(lambda values: [values[n] for n in numbers], self.first, numbers)

    def _of(
        self,
        take: Callable[[list[Any]], list[Any]],
        first: int,
        numbers: list[int] | None = None,
    ) -> Run:
        if self._columns is None:
            taken = Run(self.names, take(self.rows), first, take(self.given))
        else:
            columns = [take(column) for column in self._columns]
            taken = Run(self.names, None, first, take(self.given), columns)
        taken._numbers = numbers
        return taken

    def only(self, places: list[int]) -> Run:
        """Some of the columns."""
        names = tuple([self.names[at] for at in places])
        if not places:
            left = Run(names, [()] * len(self), self.first, self.given)
        elif self._columns is None:
            rows = _each(itemgetter(*places), self.rows, len(places))
            left = Run(names, rows, self.first, self.given)
        else:
            columns = [self._columns[at] for at in places]
            left = Run(names, None, self.first, self.given, columns)
        left._numbers = self._numbers
        return left


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

    :param by_columns: whether a database and its driver take values best by columns, given the
        names of both.
    :param scalars: the names of a key, where a row may be its value alone, or a tuple of its
        values; fields of other names do not matter then.
    :ivar across: whether values are taken by columns.
    """

    across = False

    def __init__(
        self,
        target: Target,
        check: Callable[[tuple[str, ...], int], None],
        by_columns: Callable[[str, str], bool],
        *,
        scalars: tuple[str, ...] = (),
    ) -> None:
        self.target = target
        self._check = check
        self._by_columns = by_columns
        self._scalars: tuple[str, ...] = scalars
        self._checked: dict[tuple[Any, ...], tuple[str, ...]] = {}

    def prepare(self, dialect: Any) -> None:
        """:param dialect: SQLAlchemy's, of the engine that the rows go to."""
        self.across = self._by_columns(dialect.name, dialect.driver)

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
                return [self._taken(itemgetter, names, names, rows, first, given)]
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
            if names == fields and not self.across:
                # plain ones: SQLite's driver takes half as long again for others
                return Run(names, list(map(tuple, batch)), first, batch)
            places = [fields.index(name) for name in names]
            return self._taken(itemgetter, names, places, batch, first, batch)
        return self._taken(attrgetter, names, names, batch, first, batch)

    def _taken(
        self,
        getter: Any,
        names: tuple[str, ...],
        keys: Sequence[Any],
        rows: list[Any],
        first: int,
        given: list[Any],
    ) -> Run:
        """:param getter: makes what takes one or several values out of a row, by their keys."""
        if not names:
            return Run(names, [()] * len(rows), first, given)
        if self.across:
            columns = [list(map(getter(key), rows)) for key in keys]
            return Run(names, None, first, given, columns)
        return Run(names, _each(getter(*keys), rows, len(names)), first, given)

    def _entities(self, batch: list[Any], first: int) -> list[Run]:
        values = [vars(row) for row in batch]
        if self._scalars == self.target.keys:
            values = [self._identity(row) for row in batch]
        named = self.target.named
        names = tuple([name for name in named if name in values[0]])
        if len(names) + 1 == len(values[0]) and len(set(map(len, values))) == 1:
            try:
                return [self._taken(itemgetter, names, names, values, first, batch)]
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
            return Run(names, None, first, batch, [batch])
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
            empty = [at for at in doubtful if None in run.values(at)]
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
            yield self._without(run.part(start, len(run)), kept)

    def _without(self, run: Run, kept: tuple[int, ...]) -> Run:
        if len(kept) == len(run.names):
            return run
        left = run.only(list(kept))
        self._known(left.names, run.first)
        return left


def _kept(row: tuple[Any, ...], empty: list[int]) -> tuple[int, ...]:
    return tuple([at for at in range(len(row)) if at not in empty or row[at] is not None])


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
