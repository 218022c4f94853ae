"""Many rows inserted: which way the rows of each shape go, and their keys back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import BindParameter, Column, cast, func, select
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import attributes
from sqlalchemy.types import NullType

from ..conflicts import Conflict, insert_into
from ..dialects.writing import (
    copies,
    knows_last_row,
    returns_of_lists,
    takes_many,
    unnests,
)
from ..errors import ConfigurationError
from ..fast.private_flush import compile_once, rowid_text
from .columns import ArrayOf, Columns, Defaults, arrays_of, defaults_of, element_of, in_order
from .copying import Copying
from .given import Run
from .returning import Lists
from .sending import Said, Sender, positional
from .target import Target

# fewer rows than these are one statement with arrays: a COPY is two round trips, and has to know
# first whether it may
_FEW = 100


class Inserting:
    """One call of ``insert_many``.

    :param returning: the columns that come back, or none.
    :param keys: whether they are those of the primary key.
    """

    def __init__(
        self,
        sender: Sender,
        target: Target,
        conflict: Conflict | None,
        returning: Sequence[Column[Any]],
        *,
        keys: bool,
    ) -> None:
        self.sender = sender
        self.target = target
        self.conflict = conflict
        self.returning = tuple(returning)
        self.keys = keys
        self.returned: list[Any] = []
        self._shapes: dict[tuple[str, ...], Shape] = {}
        self._may_copy: bool | None = None

    def send(self, run: Run) -> None:
        """Insert the rows of a run."""
        shape = self._shapes.get(run.names)
        if shape is None:
            if len(self._shapes) >= 500:
                self._shapes.clear()
            shape = self._shapes[run.names] = Shape(self, run.names)
        found = shape.send(run)
        if self.returning:
            self._take(run, found)

    def may_copy(self) -> bool:
        """Whether the server takes a COPY into the table: not where policies hold for its rows.

        PostgreSQL refuses it there (documentation of COPY; SQLSTATE 0A000).
        """
        if self._may_copy is None:
            name = self.sender.dialect.identifier_preparer.format_table(self.target.table)
            asked = select(func.row_security_active(name))
            self._may_copy = not self.sender.connection.scalar(asked)
        return self._may_copy

    def _take(self, run: Run, rows: list[Any]) -> None:
        single = self.keys and len(self.returning) == 1
        self.returned += [row[0] for row in rows] if single else [tuple(row) for row in rows]
        mapper = self.target.mapper
        if mapper is None or not isinstance(run.given[0], mapper.class_):
            return
        props = [mapper.get_property_by_column(column).key for column in self.returning]
        for instance, row in zip(run.given, rows, strict=True):
            for prop, value in zip(props, row, strict=True):
                attributes.set_committed_value(instance, prop, value)


class Shape:
    """The rows with values for the same columns: one way for all of them."""

    def __init__(self, call: Inserting, names: tuple[str, ...]) -> None:
        self.call = call
        self.sender = sender = call.sender
        self.target = target = call.target
        given = target.columns(names)
        fills = {target.named[name]: value for name, value in target.fills.items()}
        others = [column for column in target.table.c if column not in given]
        self.defaults: Defaults = defaults_of(others, fills, "default")
        self.columns = Columns(names, target.named, self.defaults.made, sender.dialect)
        self.construct = insert_into(target.table, sender.dialect, call.conflict, [*given, *fills])
        self.known_keys = self._known_keys()
        self._said: Said | None = None
        self._order: list[int] = []
        self._arrays: Any = None
        self._copying: Any = None
        self._asks: str | None = None
        self._lists: Lists | None = None
        self._send = self._way()

    def send(self, run: Run) -> list[Any]:
        """:return: what comes back for each row, where something was asked for."""
        return self._send(run)

    def _known_keys(self) -> list[int] | None:
        """Where in a row's values is what shall come back, if it is known before."""
        call, columns = self.call, self.columns.columns
        if not call.returning or any(column not in columns for column in call.returning):
            return None
        if not call.keys:
            return None  # the server may have made something else of a value
        if call.conflict is not None and set(call.conflict.key) != set(call.returning):
            return None
        return [columns.index(column) for column in call.returning]

    def _way(self) -> Callable[[Run], list[Any]]:
        sender, call = self.sender, self.call
        wants = bool(call.returning) and self.known_keys is None
        if wants and call.conflict is not None:
            raise ConfigurationError(
                "The keys of rows in conflict are not known before they are looked up.",
                hint="Ask for them without on_conflict, give the rows their primary key and let "
                "that be the key of the conflict, or select them by the key afterwards.",
            )
        special = self.columns.aside or self.defaults.aside
        aside = sender.aside or special
        if special is None and unnests(sender.database, sender.driver) and self._elements():
            # SQLAlchemy sends arrays, whoever listens
            if not wants:
                return self._by_copy if aside is None and self._copies() else self._by_arrays
            if call.keys and self._counts():
                return self._by_arrays
        if aside is None and takes_many(sender.driver):
            if not wants and self._compile():
                return self._by_many
            if wants and call.keys and self._counts():
                if self._compile_one():
                    return self._by_rows
                if self._compile_returning():
                    return self._by_lists
        elif aside is None and not wants and self._copies():
            return self._by_copy
        return self._by_sqlalchemy

    def _copies(self) -> bool:
        return (
            copies(self.sender.database, self.sender.driver)
            and self.call.conflict is None
            and not self.defaults.by_server
            and bool(self.columns.columns)
        )

    def _counts(self) -> bool:
        """Whether the key that shall come back is a number which grows from row to row."""
        returning = self.call.returning
        return len(returning) == 1 and returning[0] is self.target.table.autoincrement_column

    # ------------------------------------------------------------ COPY, and arrays

    def _by_copy(self, run: Run) -> list[Any]:
        if len(run) < _FEW and self._elements():
            return self._by_arrays(run)
        if not self.call.may_copy():
            return self._by_arrays(run) if self._elements() else self._by_sqlalchemy(run)
        if self._said is None:
            self._copying = Copying(self.target.table, self.columns.columns, self.sender.dialect)
            self._said = Said(self._copying.sql)
        rows, raw = self.columns.rows(run)
        self.sender.copy(self._said, rows, run, self.columns.names, self._copying)
        return self._keys_of(run, raw)

    def _elements(self) -> list[str]:
        """What the server calls the types of the columns; none where it cannot take arrays."""
        found = [element_of(column, self.sender.dialect) for column in self.columns.columns]
        return [] if None in found else [element for element in found if element]

    def _by_arrays(self, run: Run) -> list[Any]:
        raw = self.columns.across(run)
        columns = self.columns.processed(list(raw), run)
        parameters = arrays_of(columns, self._elements(), self.sender.driver)
        if parameters is None:
            return self._by_sqlalchemy(run)
        statement = self._arrays_statement()
        result = self.sender.core(statement, parameters, run, self.columns.names)
        if not self.call.returning or self.known_keys is not None:
            return self._keys_of(run, raw)
        # a key that counts up does so in the order of the SELECT
        return [(key,) for key in sorted(result.scalars().all())]

    def _arrays_statement(self) -> Any:
        """``INSERT … SELECT … FROM unnest(…)``: an array for each column."""
        if self._arrays is not None:
            return self._arrays
        given = rows_from(self._elements())
        chosen = [given.c[f"c{at}"] for at in range(len(self.columns.columns))]
        rows = select(*chosen).order_by(given.c.n)
        keys = [column.key for column in self.columns.columns]
        statement = self.construct.from_select(keys, rows, include_defaults=True)
        if self.call.returning and self.known_keys is None:
            statement = statement.returning(*self.call.returning)
        self._arrays = statement
        return statement

    # ------------------------------------------------------------ executemany

    def _compile(self) -> bool:
        """Make the statement for a row; whether it is nothing but its text and one value each."""
        dialect = self.sender.dialect
        keys = [column.key for column in self.columns.columns]
        compiled = compile_once(self.construct, dialect, keys, many=True)
        found = positional(compiled)
        if found is None or sorted(found[1]) != sorted(keys):
            return False
        sql, names = found
        self._said = Said(sql, compiled, self.construct)
        self._order = [keys.index(name) for name in names]
        return True

    def _by_many(self, run: Run) -> list[Any]:
        assert self._said is not None
        rows, raw = self.columns.rows(run)
        self.sender.many(self._said, rows, self._order, run)
        return self._keys_of(run, raw)

    def _compile_one(self) -> bool:
        """The same for a row at a time, on a cursor that knows the last one's number."""
        if not knows_last_row(self.sender.driver) or not self._compile():
            return False
        assert self._said is not None
        self._asks = rowid_text(self._said.compiled)
        return self._asks is not None

    def _by_rows(self, run: Run) -> list[Any]:
        assert self._said is not None
        rows, _ = self.columns.rows(run)
        keys = self.sender.one_by_one(self._said, in_order(rows, self._order), run, self._asks)
        return self._by_sqlalchemy(run) if keys is None else keys

    def _compile_returning(self) -> bool:
        """The same for many rows of one statement, whose keys count up in the order of the rows."""
        dialect = self.sender.dialect
        if not returns_of_lists(self.sender.driver, dialect.insert_returning):
            return False
        if not self._compile():
            return False
        assert self._said is not None
        key = dialect.identifier_preparer.format_column(self.call.returning[0])
        self._lists = Lists(self._said.sql, len(self.columns.columns), key)
        return self._lists.is_known

    def _by_lists(self, run: Run) -> list[Any]:
        assert self._lists is not None
        rows = in_order(self.columns.rows(run)[0], self._order)
        return [(key,) for key in self._lists.send(self.sender, rows, run)]

    # ------------------------------------------------------------ SQLAlchemy

    def _by_sqlalchemy(self, run: Run) -> list[Any]:
        target = self.target
        fixed = {target.named[name].key: value for name, value in target.fills.items()}
        keys = [target.named[name].key for name in run.names]
        parameters = [fixed | dict(zip(keys, row, strict=True)) for row in run.rows]
        names = [target.named[name].name for name in run.names]
        construct = self.construct
        places = self.known_keys or ()
        told = self.known_keys is not None and max(places, default=0) < len(run.names)
        if self.call.returning and not told:
            construct = construct.returning(*self.call.returning, sort_by_parameter_order=True)
        try:
            result = self.sender.core(construct, parameters, run, names)
        except StatementError as error:
            if type(error) is StatementError:
                # nothing was sent: a value could not be converted
                self.columns.processed(self.columns.across(run), run)
            raise
        if told:
            return self._keys_of(run, [])
        return list(result.all()) if self.call.returning else []

    def _keys_of(self, run: Run, raw: list[Any]) -> list[Any]:
        """What comes back of values that were known before."""
        places = self.known_keys
        if places is None:
            return []
        if raw:
            return list(zip(*[raw[at] for at in places], strict=True))
        return run.only(places).rows


def rows_from(elements: list[str]) -> Any:
    """Arrays as rows, with columns ``c0``, ``c1``, … and their number as ``n``."""
    arrays = [
        cast(BindParameter(f"c{at}", type_=NullType()), ArrayOf(element))
        for at, element in enumerate(elements)
    ]
    names = [f"c{at}" for at in range(len(elements))]
    unnested = func.unnest(*arrays).table_valued(*names, with_ordinality="n", name="given")
    return unnested.render_derived()
