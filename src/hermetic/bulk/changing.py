"""Many rows updated or deleted by their keys: which way the rows of each shape go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import BindParameter, Column, and_, any_, cast, select, types

from ..dialects.writing import joins_rows, lists_values, takes_many, unnests
from ..fast.private_flush import compile_once
from .columns import ArrayOf, Columns, arrays_of, defaults_of, element_of
from .given import Run
from .inserting import rows_from
from .listed import Numbers, Values, numbers_of
from .sending import Said, Sender, positional
from .target import Target

_KEY = "hermetic_key_"


class Changing:
    """One call of ``update_many`` or ``delete_many``.

    :ivar matched: how many rows of the table were found, as far as the driver tells.
    """

    def __init__(self, sender: Sender, target: Target, keys: tuple[str, ...]) -> None:
        self.sender = sender
        self.target = target
        self.keys = keys
        self.matched = 0
        self.changed: set[tuple[Any, ...]] = set()
        self._shapes: dict[tuple[str, ...], Any] = {}

    def send(self, run: Run) -> None:
        shape = self._shapes.get(run.names)
        if shape is None:
            if len(self._shapes) >= 500:
                self._shapes.clear()
            shape = self._shapes[run.names] = self._shape(run.names)
        self.matched += max(0, shape.send(run))
        if self.sender.session.identity_map:
            places = [run.names.index(key) for key in self.keys]
            self.changed.update(run.only(places).rows)

    def _shape(self, names: tuple[str, ...]) -> Any:
        raise NotImplementedError


class Updating(Changing):
    def _shape(self, names: tuple[str, ...]) -> Any:
        return UpdateShape(self, names)


class Deleting(Changing):
    def _shape(self, names: tuple[str, ...]) -> Any:
        return DeleteShape(self, names)


class _Shape:
    """What updating and deleting have in common."""

    def __init__(self, call: Changing, names: tuple[str, ...]) -> None:
        self.sender = sender = call.sender
        self.target = target = call.target
        self.keys = target.columns(call.keys)
        self.key_places = [names.index(key) for key in call.keys]
        self.dialect = sender.dialect
        self.criteria: list[Any] = []
        if target.mapper is not None and target.mapper.single:
            self.criteria.append(target.mapper._single_table_criterion)
        self._said: Said | None = None
        self._order: list[int] = []
        self._statement: Any = None
        self._elements: list[str] = []

    def found(self, values: Sequence[Any]) -> Any:
        """A condition: the row has this key."""
        pairs = zip(self.keys, values, strict=True)
        return and_(*(column == value for column, value in pairs), *self.criteria)

    def named_keys(self) -> list[Any]:
        return [
            BindParameter(f"{_KEY}{at}", type_=column.type) for at, column in enumerate(self.keys)
        ]

    def compiled(self, statement: Any, values: list[str]) -> bool:
        """Make a statement for one row of values; whether it is nothing but its text and these.

        :param values: the names of the parameters.
        """
        compiled = compile_once(statement, self.dialect, values, many=True)
        found = positional(compiled)
        if found is None or sorted(found[1]) != sorted(values):
            return False
        sql, names = found
        self._said = Said(sql, compiled, statement)
        self._order = [values.index(name) for name in names]
        return True

    def by_many(self, run: Run, columns: Columns) -> int:
        """By the driver's ``executemany``."""
        assert self._said is not None
        rows, _ = columns.rows(run)
        return self.sender.many(self._said, rows, self._order, run)

    def counted(self, statement: Any, parameters: list[Any], run: Run, names: Sequence[str]) -> int:
        """By SQLAlchemy; one by one where the driver does not count for many rows at once."""
        core = self.sender.core
        if self.dialect.supports_sane_multi_rowcount or len(parameters) == 1:
            matched: int = core(statement, parameters, run, names).rowcount
            return matched
        return sum(
            core(statement, [each], run.part(number, number + 1), names).rowcount
            for number, each in enumerate(parameters)
        )

    def with_arrays(self, columns: Sequence[Column[Any]]) -> bool:
        """Whether an array can be sent for each column."""
        elements = [element_of(column, self.dialect) for column in columns]
        self._elements = [element for element in elements if element]
        return None not in elements

    def by_arrays(self, run: Run, columns: list[Any], names: Sequence[str]) -> int | None:
        """With an array for each column; ``None`` where the values make none."""
        parameters = arrays_of(columns, self._elements, self.sender.driver)
        if parameters is None:
            return None
        matched: int = self.sender.core(self._statement, parameters, run, names).rowcount
        return matched


class UpdateShape(_Shape):
    """Rows that have new values for the same columns."""

    def __init__(self, call: Updating, names: tuple[str, ...]) -> None:
        super().__init__(call, names)
        others = [c for c in self.target.table.c if c not in self.target.columns(names)]
        self.defaults = defaults_of(others, {}, "onupdate")
        self.columns = Columns(names, self.target.named, self.defaults.made, self.dialect)
        self.send = self._way()

    def _way(self) -> Callable[[Run], int]:
        sender = self.sender
        self._made = [at for at in range(len(self.columns.columns)) if at not in self.key_places]
        if self.columns.aside or self.defaults.aside:
            return self._by_sqlalchemy
        if unnests(sender.database, sender.driver):
            if self.with_arrays(self.columns.columns):
                self._statement = self._joined(rows_from(self._elements))
                return self._by_arrays
        elif sender.aside:
            return self._by_sqlalchemy
        elif joins_rows(sender.database) and self._joins_plainly():
            return self._by_join
        elif takes_many(sender.driver) and self._compile():
            if lists_values(sender.driver) and self._joins_plainly():
                return self._by_values
            return lambda run: self.by_many(run, self.columns)
        return self._by_sqlalchemy

    def _joins_plainly(self) -> bool:
        """Make the statement with a table of one row; whether more rows can be put into it.

        Strings as keys would be compared by the collation of the connection, which need not be
        the column's.
        """
        if any(isinstance(_plain(column.type), types.String) for column in self.keys):
            return False
        names = [f"c{at}" for at in range(len(self.columns.columns))]
        row = select(
            *(
                BindParameter(f"r{name}", type_=column.type).label(name)
                for name, column in zip(names, self.columns.columns, strict=True)
            )
        )
        statement = self._joined(row.subquery("given"))
        found = positional(compile_once(statement, self.dialect, [], many=False))
        mark = "?" if self.dialect.paramstyle == "qmark" else "%s"
        chosen = ", ".join(f"{mark} AS {name}" for name in names)
        if found is None or found[1] != [f"r{name}" for name in names]:
            return False
        self._around = found[0].partition(f"SELECT {chosen}")
        self._values = Values(self._around, len(names))
        return bool(self._around[1])

    def _columns(self, run: Run) -> list[Any]:
        return self.columns.processed(self.columns.across(run), run)

    def _set(self) -> list[Column[Any]]:
        return [self.columns.columns[at] for at in self._made]

    def _compile(self) -> bool:
        statement = self.target.table.update().where(self.found(self.named_keys()))
        names = [column.key for column in self.columns.columns]
        for number, at in enumerate(self.key_places):
            names[at] = f"{_KEY}{number}"
        return self.compiled(statement, names)

    def _joined(self, given: Any) -> Any:
        """``UPDATE … FROM`` what is given, as columns ``c0``, ``c1``, …"""
        keys = [given.c[f"c{at}"] for at in self.key_places]
        values = {self.columns.columns[at].key: given.c[f"c{at}"] for at in self._made}
        return self.target.table.update().where(self.found(keys)).values(values)

    def _by_arrays(self, run: Run) -> int:
        run = self._last_of_each(run)
        matched = self.by_arrays(run, self._columns(run), self.columns.names)
        return self._by_sqlalchemy(run) if matched is None else matched

    def _by_join(self, run: Run) -> int:
        """The rows as a derived table, some at a time: a statement for each would be a round trip
        for each.
        """
        run = self._last_of_each(run)
        columns = self._columns(run)

        def send(start: int, end: int) -> int:
            matched = 0
            for first in range(start, end, _JOINED):
                last = min(end, first + _JOINED)
                said = self._join_of(last - first)
                values = [column[first:last] for column in columns]
                flat = tuple(chain.from_iterable(zip(*values, strict=True)))
                matched += self.sender.one(said, flat)
            return matched

        found: int = self.sender.parts(send, run)
        return found

    def _by_values(self, run: Run) -> int:
        """The rows as lists of VALUES; one by one, as they would have come, where the database
        refuses one: it takes them in another order.
        """
        alone = self._last_of_each(run)
        matched = self._values.send(self.sender, self.columns.rows(alone)[0])
        return self.by_many(run, self.columns) if matched is None else matched

    def _join_of(self, count: int) -> Said:
        """The statement for so many rows, whose parameters are the values in their order."""
        before, first, after = self._around
        marks = ", ".join(["%s"] * len(self.columns.columns))
        if self.dialect.is_mariadb:
            # MySQL has no VALUES without ROW; this is half of the time of the other
            more = " UNION ALL VALUES " + ", ".join([f"({marks})"] * (count - 1))
        else:
            more = f" UNION ALL SELECT {marks}" * (count - 1)
        return Said(before + first + (more if count > 1 else "") + after)

    def _last_of_each(self, run: Run) -> Run:
        """Of several rows with one key the last one counts, as it would one after the other."""
        places = self.key_places
        keys: Any = run.values(places[0])
        if len(places) > 1:
            keys = run.only(places).rows
        last = {key: number for number, key in enumerate(keys)}
        return run if len(last) == len(run) else run.those(sorted(last.values()))

    def _by_sqlalchemy(self, run: Run) -> int:
        statement = self.target.table.update().where(self.found(self.named_keys()))
        given = len(run.names)
        keys = [column.key for column in self.columns.columns[:given]]
        for number, at in enumerate(self.key_places):
            keys[at] = f"{_KEY}{number}"
        parameters = [dict(zip(keys, row, strict=True)) for row in run.rows]
        names = self.columns.names[:given]
        return self.counted(statement, parameters, run, names)


# rows of one derived table
_JOINED = 1000


def _plain(kind: Any) -> Any:
    while isinstance(kind, types.TypeDecorator):
        kind = kind.impl_instance
    return kind


class DeleteShape(_Shape):
    """Keys of rows that are deleted."""

    def __init__(self, call: Deleting, names: tuple[str, ...]) -> None:
        super().__init__(call, names)
        self.columns = Columns(call.keys, self.target.named, (), self.dialect)
        self._numbers: Numbers | None = None
        self.send = self._way()

    def _way(self) -> Callable[[Run], int]:
        sender = self.sender
        if self.columns.aside:
            return self._by_sqlalchemy
        if unnests(sender.database, sender.driver):
            if self.with_arrays(self.keys):
                if len(self.keys) == 1:
                    # which the server looks up by the index; a join may read the whole table
                    array = BindParameter("c0", type_=types.NullType())
                    found = self.found([any_(cast(array, ArrayOf(self._elements[0])))])
                else:
                    given = rows_from(self._elements)
                    found = self.found([given.c[f"c{at}"] for at in range(len(self.keys))])
                self._statement = self.target.table.delete().where(found)
                return self._by_arrays
        elif sender.aside:
            return self._by_sqlalchemy
        elif joins_rows(sender.database) and not self.criteria:
            return self._by_list
        elif takes_many(sender.driver) and self._compile():
            if not self.criteria:
                self._numbers = numbers_of(sender, self.target.table, self.keys)
            return self._by_many if self._numbers is None else self._by_numbers
        return self._by_sqlalchemy

    def _by_many(self, run: Run) -> int:
        return self.by_many(self._keys(run), self.columns)

    def _by_numbers(self, run: Run) -> int:
        assert self._numbers is not None
        keys = self._keys(run)
        matched = self._numbers.send(keys)
        return self.by_many(keys, self.columns) if matched is None else matched

    def _keys(self, run: Run) -> Run:
        """The keys of a run alone."""
        places = self.key_places
        return run if places == list(range(len(run.names))) else run.only(places)

    def _values(self, run: Run) -> list[Any]:
        return self.columns.processed(self.columns.across(run), run)

    def _compile(self) -> bool:
        statement = self.target.table.delete().where(self.found(self.named_keys()))
        return self.compiled(statement, [f"{_KEY}{at}" for at in range(len(self.keys))])

    def _by_arrays(self, run: Run) -> int:
        keys = self._keys(run)
        matched = self.by_arrays(keys, self._values(keys), self.columns.names)
        return self._by_sqlalchemy(run) if matched is None else matched

    def _by_list(self, run: Run) -> int:
        """``DELETE … WHERE key IN (…)``."""
        keys = self._keys(run)
        columns = self._values(keys)

        def send(start: int, end: int) -> int:
            rows = zip(*[column[start:end] for column in columns], strict=True)
            return self.sender.one(self._listed(end - start), tuple(chain.from_iterable(rows)))

        matched: int = self.sender.parts(send, keys, whole=True)
        return matched

    def _listed(self, count: int) -> Said:
        quoted = self.dialect.identifier_preparer
        names = ", ".join(quoted.format_column(column) for column in self.keys)
        marks = ", ".join(["%s"] * len(self.keys))
        if len(self.keys) > 1:
            names, marks = f"({names})", f"({marks})"
        listed = ", ".join([marks] * count)
        return Said(
            f"DELETE FROM {quoted.format_table(self.target.table)} WHERE {names} IN ({listed})"
        )

    def _by_sqlalchemy(self, run: Run) -> int:
        keys = self._keys(run)
        statement = self.target.table.delete().where(self.found(self.named_keys()))
        parameters = [{f"{_KEY}{at}": value for at, value in enumerate(row)} for row in keys.rows]
        return self.counted(statement, parameters, keys, self.columns.names)
