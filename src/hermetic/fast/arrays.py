"""Columns of values as PostgreSQL's array literals, for an INSERT that takes them apart again.

Only for types whose literals are plain, and for values of exactly the Python type that belongs to
the column: whatever else there is, SQLAlchemy and the driver know.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import types

from .private_flush import array_parts
from .write_plan import Statement

INTEGER, TEXT, TRUTH, FLOAT = 0, 1, 2, 3

_NULL = "NULL"


def text(statement: Statement, dialect: Any) -> str | None:
    """The INSERT, with an array for each parameter; ``None`` where that will not do."""
    parts = array_parts(statement.compiled, dialect)
    if parts is None or len(statement.returned) != 1:
        return None
    table, columns, key = parts
    kinds: list[int] = []
    limits: list[int] = []
    arrays: list[str] = []
    for name, processor in zip(statement.names, statement.processors, strict=True):
        found = _kind(columns[name][1])
        # a truth value's only refuses what is none
        if found is None or (processor is not None and found[0] != TRUTH):
            return None
        kind, limit, sql_type = found
        kinds.append(kind)
        limits.append(limit)
        arrays.append(f"%(a{len(arrays)})s::{sql_type}[]")
    if not arrays:
        return None
    statement.array_kinds, statement.array_limits = tuple(kinds), tuple(limits)
    given = ", ".join(columns[name][0] for name in statement.names)
    taken = ", ".join(f"p{number}" for number in range(len(arrays)))
    return (
        f"INSERT INTO {table} ({given}) SELECT {taken} FROM unnest({', '.join(arrays)}) "
        f"WITH ORDINALITY AS imp_sen({taken}, sen_counter) ORDER BY sen_counter RETURNING {key}"
    )


def _kind(sql_type: Any) -> tuple[int, int, str] | None:
    """What values a column takes, up to which, and what PostgreSQL calls it."""
    kind = type(sql_type)
    if kind is types.Integer:
        return INTEGER, 2**31 - 1, "INTEGER"
    if kind is types.BigInteger:
        return INTEGER, 2**63 - 1, "BIGINT"
    if kind is types.SmallInteger:
        return INTEGER, 2**15 - 1, "SMALLINT"
    if kind in (types.String, types.Text, types.Unicode, types.UnicodeText, types.VARCHAR):
        return TEXT, 0, "VARCHAR"
    if kind is types.Boolean:
        return TRUTH, 0, "BOOLEAN"
    if kind is types.Double or (kind is types.Float and sql_type.precision is None):
        return FLOAT, 0, "FLOAT"
    return None


def encoded(
    statement: Statement, states: list[Any], defaults: Any, size: int
) -> list[dict[str, str]] | None:
    """A literal for each column, batch by batch; ``None`` if a value is not what it should be."""
    batches: list[dict[str, str]] = []
    kinds, limits, sources = statement.array_kinds, statement.array_limits, statement.sources
    for start in range(0, len(states), size):
        batch: dict[str, str] = {}
        some = [state.obj().__dict__ for state in states[start : start + size]]
        for index, prop in enumerate(statement.props):
            source = sources[index]
            if source < 0:
                column = [values.get(prop) for values in some]
            else:
                column = [made[source] for made in defaults[start : start + size]]
            literal = _literal(column, kinds[index], limits[index])
            if literal is None:
                return None
            batch[f"a{index}"] = literal
        batches.append(batch)
    return batches


_ELEMENTS: dict[str, tuple[int, int]] = {
    "INTEGER": (INTEGER, 2**31 - 1),
    "BIGINT": (INTEGER, 2**63 - 1),
    "SMALLINT": (INTEGER, 2**15 - 1),
    "TEXT": (TEXT, 0),
    "BOOLEAN": (TRUTH, 0),
    "FLOAT": (FLOAT, 0),
    "DOUBLE PRECISION": (FLOAT, 0),
}


def literal(column: list[Any], element: str) -> str | None:
    """Values as one literal; ``None`` if one is not what it should be, or the type another.

    :param element: what the server calls their type.
    """
    found = _ELEMENTS.get(element)
    return None if found is None else _literal(column, *found)


def _literal(column: list[Any], kind: int, limit: int) -> str | None:
    parts: list[str] = []
    for value in column:
        if value is None:
            parts.append(_NULL)
        elif kind == TEXT:
            if type(value) is not str:
                return None
            parts.append(_quoted(value))
        elif kind == INTEGER:
            if type(value) is not int or value > limit or value < -limit:
                return None
            parts.append(str(value))
        elif kind == TRUTH:
            if type(value) is not bool:
                return None
            parts.append("t" if value else "f")
        else:
            if type(value) is not float:
                return None
            parts.append(repr(value))
    return "{" + ",".join(parts) + "}"


def _quoted(value: str) -> str:
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    if '"' in value:
        value = value.replace('"', '\\"')
    return '"' + value + '"'
