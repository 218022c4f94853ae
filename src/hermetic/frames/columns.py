"""What is known of a result's columns, by the driver or by SQLAlchemy's types."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from sqlalchemy import types

from ..dialects.framing import COLUMNS, PARSES_JSON, UNTYPED
from .fields import TEXT, kind_of
from .mysql_columns import arrow_of_field
from .rows import Column, arrow_of

# SQLAlchemy's types that say more than the database does
# those that not every driver has values of
_MADE = (types.Time, types.Interval)
_TELLING = (types.Boolean, types.Uuid, types.JSON, types.Time, types.Interval)


def columns_of(result: Any) -> list[Column]:
    """The columns of a result of SQLAlchemy's whose rows the driver has."""
    dialect = result.dialect
    described = result.cursor.description
    hints = _hints(result.context, len(described))
    finder = globals()[COLUMNS.get(dialect.name, "by_hint")]
    fields = getattr(_innermost(result.cursor), "_result", None)
    found = []
    for number, column in enumerate(described):
        hint = hints[number]
        arrow = finder(column, hint, None if fields is None else fields.fields[number])
        found.append(_column(column[0], arrow, hint, dialect))
    return found


def _hints(context: Any, count: int) -> list[Any]:
    compiled = getattr(context, "compiled", None)
    entries = getattr(compiled, "_result_columns", None) or ()
    if len(entries) != count:
        return [None] * count
    return [entry.type for entry in entries]


def _innermost(cursor: Any) -> Any:
    return getattr(cursor, "_cursor", cursor)


def by_hint(column: Any, hint: Any, field: Any) -> Any:
    return None if hint is None else arrow_of(hint)


def by_oid(column: Any, hint: Any, field: Any) -> Any:
    precision, scale = column[4], column[5]
    modifier = -1 if precision is None else (precision << 16 | (scale or 0) & 0x7FF) + 4
    kind = kind_of(column[1], modifier)
    if kind is not None:
        return kind.arrow
    return TEXT.arrow if hint is None else arrow_of(hint)


def by_field(column: Any, hint: Any, field: Any) -> Any:
    if isinstance(hint, _TELLING):
        return arrow_of(hint)
    return by_hint(column, hint, None) if field is None else arrow_of_field(field)


def _column(name: str, arrow: Any, hint: Any, dialect: Any) -> Column:
    """With what SQLAlchemy makes of the driver's values, where it makes anything of them."""
    if hint is None:
        return Column(name, arrow)
    if decorated(hint):
        process = _processor(hint, dialect)
        return Column(name, None, process and (lambda values: [process(v) for v in values]))
    if isinstance(hint, types.Boolean):
        return Column(name, arrow, _truths)
    if isinstance(hint, types.JSON) and dialect.driver in PARSES_JSON:
        return Column(name, arrow, _dumped)
    if isinstance(hint, (types.JSON, types.Enum)):
        return Column(name, arrow)
    if dialect.name not in UNTYPED and not isinstance(hint, _MADE):
        return Column(name, arrow)
    process = _processor(hint, dialect)
    if process is None:
        return Column(name, arrow)
    return Column(name, arrow, lambda values: [process(value) for value in values])


def telling(hint: Any) -> bool:
    """Whether SQLAlchemy's type says more than the database does."""
    return isinstance(hint, _TELLING)


def decorated(hint: Any) -> bool:
    """Whether an application makes something of the values itself."""
    return isinstance(hint, types.TypeDecorator) and not isinstance(hint, types.Interval)


def _processor(hint: Any, dialect: Any) -> Any:
    return hint.dialect_impl(dialect).result_processor(dialect, None)


def _dumped(values: list[Any]) -> list[Any]:
    return [None if value is None else json.dumps(value) for value in values]


def _truths(values: list[Any]) -> Any:
    if any(value.__class__ is not bool and value is not None for value in values):
        return pa.array(values, pa.int64()).cast(pa.bool_())
    return pa.array(values, pa.bool_())
