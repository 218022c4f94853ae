"""The columns that are sent for rows of one shape, and how their values are made the driver's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from operator import itemgetter
from typing import Any

from sqlalchemy import Column, types
from sqlalchemy.engine.processors import to_float

from ..dialects.writing import wants_alike
from ..fast.arrays import literal
from ..fast.defaults import CALLED, NO_DEFAULT, default_of
from ..row_errors import InvalidRow
from .given import Run


class Columns:
    """Columns with values of the rows, followed by those with values that the client makes.

    :ivar aside: why SQLAlchemy has to send such rows; ``None`` where it need not.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        named: Mapping[str, Column[Any]],
        made: Iterable[tuple[Column[Any], int, Any]],
        dialect: Any,
    ) -> None:
        self._made = [(kind, argument) for _, kind, argument in made]
        self.given = tuple(named[name] for name in names)
        self.columns = (*self.given, *(column for column, _, _ in made))
        self.names = tuple(column.name for column in self.columns)
        self.aside = _why_aside(self.columns)
        self._processes = [
            (at, process, _plain_kinds(column, process))
            for at, column in enumerate(self.columns)
            if self.aside is None and (process := processor_of(column, dialect)) is not None
        ]

    def made(self, count: int) -> list[list[Any]]:
        """The values that the client makes, a list for each column."""
        return [
            [argument(None) for _ in range(count)] if kind == CALLED else [argument] * count
            for kind, argument in self._made
        ]

    def across(self, run: Run) -> list[Any]:
        """The values of a run as they are given or made, a sequence for each column."""
        return [*run.columns, *self.made(len(run))]

    def processed(self, columns: list[Any], run: Run) -> list[Any]:
        """The same as the driver takes them."""
        for at, process, plain in self._processes:
            if plain.issuperset(map(type, columns[at])):
                continue
            try:
                columns[at] = [process(value) for value in columns[at]]
            except Exception as error:
                raise self._refusal(at, process, columns[at], run, error) from error
        return columns

    def rows(self, run: Run) -> tuple[list[Any], list[Any]]:
        """The driver's rows, and the values by columns where they were needed for that."""
        if not self._made and all(
            plain.issuperset(map(type, run.values(at))) for at, _, plain in self._processes
        ):
            return run.rows, []
        raw = self.across(run)
        columns = self.processed(list(raw), run)
        return list(zip(*columns, strict=True)) if columns else run.rows, raw

    def _refusal(
        self, at: int, process: Callable[[Any], Any], values: Any, run: Run, error: Exception
    ) -> InvalidRow:
        name = self.columns[at].name
        number = 0
        for number, value in enumerate(values):  # noqa: B007 - it is where the loop has ended
            try:
                process(value)
            except Exception:
                break
        return InvalidRow(
            f"Row {run.position(number)} has a value for {name!r} that cannot be made one of its "
            f"column: {type(error).__name__}.",
            row=run.position(number),
            field=name,
            hint="The error before this one says why.",
        )


def is_straight(order: list[int]) -> bool:
    """Whether values stay in the order that they are in."""
    return order == list(range(len(order)))


def in_order(rows: list[Any], order: list[int]) -> list[Any]:
    """Rows with their values in another order."""
    if is_straight(order):
        return rows
    # of more than one value, since one is always in order
    return list(map(itemgetter(*order), rows))


def _why_aside(columns: tuple[Column[Any], ...]) -> str | None:
    for column in columns:
        if column.type._has_bind_expression:
            return "an expression around a value"
    return None


def processor_of(column: Column[Any], dialect: Any) -> Callable[[Any], Any] | None:
    """How SQLAlchemy makes a value one of the driver's; ``None`` where it is one."""
    process: Callable[[Any], Any] | None = column.type.dialect_impl(dialect).bind_processor(dialect)
    return process


def _plain_kinds(column: Column[Any], process: Callable[[Any], Any]) -> frozenset[type]:
    """Types whose values every driver takes as they are, which SQLAlchemy only looks at."""
    if type(column.type) is types.Boolean:
        return _TRUTH
    if process is to_float:
        return _FLOAT
    return _NONE


_TRUTH: frozenset[type] = frozenset({bool, type(None)})
_FLOAT: frozenset[type] = frozenset({float, type(None)})
_NONE: frozenset[type] = frozenset()


@dataclass(frozen=True, slots=True)
class Defaults:
    """What becomes of the columns that rows have no values for.

    :ivar made: those whose values the client makes: with a kind and what makes them.
    :ivar by_server: whether some are expressions, which a statement has to say.
    :ivar aside: why SQLAlchemy has to make them.
    """

    made: tuple[tuple[Column[Any], int, Any], ...]
    by_server: bool
    aside: str | None


def defaults_of(columns: Iterable[Column[Any]], fills: Mapping[Any, Any], kind: str) -> Defaults:
    """:param columns: those without values.
    :param fills: values that are the same for all rows, by columns.
    :param kind: ``default``, or ``onupdate``.
    """
    made: list[tuple[Column[Any], int, Any]] = []
    by_server, aside = False, None
    for column in columns:
        if column in fills:
            made.append((column, NO_DEFAULT, fills[column]))
            continue
        default = getattr(column, kind)
        if default is None:
            continue
        found = default_of(default)
        if found is not None:
            made.append((column, *found))
        elif default.is_clause_element or default.is_sequence:
            by_server = True
        else:
            aside = "a default that looks at the row"
    return Defaults(tuple(made), by_server, aside)


# ---------------------------------------------------------------- arrays


class ArrayOf(types.UserDefinedType[Any]):
    """An array of a type that is said in SQL; its values are the driver's already."""

    cache_ok = True

    def __init__(self, element: str) -> None:
        self.element = element

    def get_col_spec(self, **more: Any) -> str:
        return f"{self.element}[]"


def element_of(column: Column[Any], dialect: Any) -> str | None:
    """What the server calls a column's type, without a length, to which a cast would cut off what
    an assignment refuses; ``None`` where an array of it cannot be taken apart again.
    """
    kind: Any = column.type
    while isinstance(kind, types.TypeDecorator):
        kind = kind.load_dialect_impl(dialect)
    if isinstance(kind, types.Enum):
        return str(dialect.type_compiler_instance.process(kind)) if kind.native_enum else "TEXT"
    if isinstance(kind, types.String):
        return "TEXT"
    if isinstance(kind, types.Numeric) and not isinstance(kind, types.Float):
        return "NUMERIC"
    plain = (
        *(types.Integer, types.Boolean, types.Float, types.Date, types.DateTime, types.Time),
        *(types.Interval, types.LargeBinary, types.Uuid, types.JSON),
    )
    if isinstance(kind, plain):
        return str(dialect.type_compiler_instance.process(kind.dialect_impl(dialect)))
    return None


def arrays_of(columns: list[Any], elements: list[str], driver: str) -> dict[str, Any] | None:
    """An array for each column, as the parameters ``c0``, ``c1``, …; ``None`` where there is none.

    :param elements: what the server calls the types of the columns.
    """
    if not wants_alike(driver):
        return {f"c{at}": column for at, column in enumerate(columns)}
    arrays: dict[str, Any] = {}
    for at, (column, element) in enumerate(zip(columns, elements, strict=True)):
        # psycopg makes the text of a list in Python, value by value
        array = literal(column, element)
        if array is None:
            array = alike(column)
        if array is None:
            return None
        arrays[f"c{at}"] = array
    return arrays


def alike(values: Any) -> Any:
    """Values of which an array can be made, where all have to be of one Python type; ``None`` if
    they are of several that cannot be told apart.
    """
    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) < 2:
        return values
    if kinds <= {int, float, Decimal}:
        return [None if value is None else str(value) for value in values]
    return None
