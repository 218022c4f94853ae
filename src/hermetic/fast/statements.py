"""Small queries of one mapped class, recognised by their shape.

``select(User).where(User.id == x)`` is built anew each time, and SQLAlchemy finds its compiled form
by a key of the whole expression. Most such statements are made of a few objects that are always the
same (a mapped class's table, its columns) and some values. Their identities tell the shape; SQL,
parameters and the way of a row into an object are looked up by it.

A statement with anything in it that is not known here is SQLAlchemy's.
"""

from __future__ import annotations

import operator
from typing import Any

from sqlalchemy.sql import operators
from sqlalchemy.sql.annotation import Annotated
from sqlalchemy.sql.elements import (
    AsBoolean,
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ExpressionClauseList,
    False_,
    Grouping,
    Null,
    True_,
    UnaryExpression,
)

from .counts import count
from .found import executed
from .found import scalars as scalars_of
from .lean import ASIDE, prepared, rows_of
from .private import COMPILE_OPTIONS, LABELS, OffsetLimit
from .shapes import Shape, shape_of
from .side import Side

# From so many rows on it is worth more to make objects of some while the others are not yet fetched
# than to do without SQLAlchemy's way to the first; the next times a shape goes there at once, and
# after those it is looked at again.
MANY = 2000
_TIMES = 20
# how many shapes an engine remembers
_REMEMBERED = 500
# what a statement may have in it
_KNOWN = frozenset(
    {
        "_propagate_attrs", "_raw_columns", "_label_style", "_where_criteria", "_order_by_clauses",
        "_limit_clause", "_offset_clause", "_fetch_clause", "_fetch_clause_options",
    }
)  # fmt: skip
_COMPARISONS = frozenset(
    {
        *(operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge),
        *(operators.like_op, operators.not_like_op),
        *(operators.ilike_op, operators.not_ilike_op),
        *(operators.startswith_op, operators.not_startswith_op),
        *(operators.endswith_op, operators.not_endswith_op),
        *(operators.contains_op, operators.not_contains_op),
        *(operators.is_, operators.is_not),
    }
)
_MEMBERSHIPS = frozenset({operators.in_op, operators.not_in_op})
_RANGES = frozenset({operators.between_op, operators.not_between_op})
_CONNECTIVES = frozenset({operator.and_, operator.or_})
_CONSTANTS = frozenset({Null, True_, False_})
# a list of each length is a shape of its own
_LONGEST = 32
_DIRECTIONS = frozenset({operators.asc_op, operators.desc_op})


def execute(session: Any, statement: Any) -> Any:
    """``session.execute(statement)``, or ``ASIDE``."""
    return _read(session, statement, executed)


def scalars(session: Any, statement: Any) -> Any:
    """``session.scalars(statement)``, or ``ASIDE``."""
    return _read(session, statement, scalars_of)


def scalar(session: Any, statement: Any) -> Any:
    """``session.scalar(statement)``, or ``ASIDE``."""
    result = _read(session, statement, executed)
    return ASIDE if result is ASIDE else result.scalar()


def _read(session: Any, statement: Any, result_of: Any) -> Any:
    side: Side | None = prepared(session)
    if side is None:
        return ASIDE
    found = sought(side, statement)
    if found is ASIDE:
        return ASIDE
    shape: Shape = found[0]
    if shape.many:
        shape.many -= 1
        count("select:aside:many rows")
        return ASIDE
    rows = rows_of(session, side, shape.entity, shape, found[1])
    if rows is ASIDE:
        return ASIDE
    if len(rows) > MANY:
        shape.many = _TIMES
    return result_of(session, shape.entity, shape.metadata, rows)


def sought(side: Side, statement: Any) -> Any:
    """A statement's shape with its parameters, or ``ASIDE``."""
    walk = Walk()
    key = _key(statement, walk)
    if key is None:
        count("select:aside:shape")
        return ASIDE
    shape = side.shapes.get(key)
    if shape is None:
        shape = _shape(side, statement, walk, key)
    if shape is False or not shape.entity.current():
        count("select:aside:entity")
        return ASIDE
    try:
        return (shape, shape.parameters(walk.values))
    except Exception:
        return ASIDE  # a value that its type refuses: SQLAlchemy says so


class Walk:
    """What is found on the way through a statement."""

    __slots__ = ("binds", "elements", "key", "values")

    def __init__(self) -> None:
        # what tells the shape
        self.key: list[Any] = []
        # the columns that it is made of, its parameters, and their values: of a list, each
        self.elements: list[Any] = []
        self.binds: list[Any] = []
        self.values: list[Any] = []


def _key(statement: Any, walk: Walk) -> Any:
    """What tells the statement's shape, or ``None``."""
    parts = statement.__dict__
    known = 0
    for name in parts:
        if name in _KNOWN:
            known += 1
        elif not _is_left(name, parts):
            return None
    columns = parts.get("_raw_columns")
    if columns is None or len(columns) != 1 or parts.get("_label_style") is not LABELS:
        return None
    walk.key.append(id(columns[0]))
    criteria = parts.get("_where_criteria", ())
    for criterion in criteria:
        if not _criterion(criterion, walk):
            return None
    # the table, how a statement's columns are labelled, and whose it is, are in every one
    if known > 3 + bool(criteria) and not _ordering(parts, walk):
        return None
    return tuple(walk.key)


def _is_left(name: str, parts: dict[str, Any]) -> bool:
    """Whether this part says nothing: SQLAlchemy has left it in a statement that was executed, or
    in one that this one was made of.
    """
    if name == "_compile_options":
        options = parts[name]
        return type(options) is COMPILE_OPTIONS and not options.__dict__
    if name == "dialect_options":
        return not parts[name]
    memoized = parts.get("_memoized_keys")
    return name == "_memoized_keys" or (memoized is not None and name in memoized)


def _criterion(criterion: Any, walk: Walk) -> bool:
    kind = type(criterion)
    if kind is BinaryExpression:
        return _comparison(criterion, walk)
    if kind is BooleanClauseList:
        if criterion.operator not in _CONNECTIVES:
            return False
        clauses: Any = criterion.clauses
        walk.key.append(criterion.operator)
        walk.key.append(len(clauses))
        for clause in clauses:  # noqa: SIM110 - a compiled function has no closures
            if not _criterion(clause, walk):
                return False
        return True
    if kind is Grouping:
        walk.key.append(Grouping)
        return _criterion(criterion.element, walk)
    if kind is AsBoolean:
        walk.key.append(criterion.operator)
        criterion = criterion.element
    return _column(criterion, walk)


def _column(element: Any, walk: Walk) -> bool:
    if not isinstance(element, Annotated):
        return False
    walk.key.append(id(element))
    walk.elements.append(element)
    return True


def _comparison(criterion: Any, walk: Walk) -> bool:
    left: Any = criterion.left
    right: Any = criterion.right
    if not _column(left, walk):
        return False
    for modifier in criterion.modifiers.values():
        if modifier:
            return False
    walk.key.append(criterion.operator)
    if criterion.operator in _COMPARISONS:
        if type(right) is BindParameter:
            return _value(left, right, walk)
        walk.key.append(type(right))
        return type(right) in _CONSTANTS or _column(right, walk)
    if criterion.operator in _MEMBERSHIPS:
        return type(right) is BindParameter and _list(left, right, walk)
    if criterion.operator in _RANGES and type(right) is ExpressionClauseList:
        for bound in right.clauses:
            if type(bound) is not BindParameter or not _value(left, bound, walk):
                return False
        return True
    return False


def _value(left: Any, bind: Any, walk: Walk) -> bool:
    if bind.expanding or not _is_plain(left, bind):
        return False
    walk.binds.append(bind)
    walk.values.append(bind.value)
    return True


def _list(left: Any, bind: Any, walk: Walk) -> bool:
    if not bind.expanding or not _is_plain(left, bind) or type(bind.value) is not list:
        return False
    length = len(bind.value)
    if not 0 < length <= _LONGEST:
        return False
    walk.key.append(length)
    walk.binds.append(bind)
    walk.values += bind.value
    return True


def _is_plain(left: Any, bind: Any) -> bool:
    """Whether all that there is to a parameter is its value, of the column's type."""
    return not (
        bind.type is not left.type
        or not bind.unique
        or bind.callable
        or bind.literal_execute
        or bind.required
        or bind.isoutparam
    )


def _ordering(parts: dict[str, Any], walk: Walk) -> bool:
    walk.key.append("order")
    for element in parts.get("_order_by_clauses", ()):
        inner = element
        if type(element) is UnaryExpression:
            if element.operator is not None or element.modifier not in _DIRECTIONS:
                return False
            inner = element.element
            walk.key.append(element.modifier)
        if not _column(inner, walk):
            return False
    if parts.get("_fetch_clause") is not None:
        return False
    for name in ("_limit_clause", "_offset_clause"):
        limit = parts.get(name)
        if limit is None:
            continue
        if type(limit) is not OffsetLimit or type(limit.value) is not int:
            return False
        walk.key.append(name)
        walk.binds.append(limit)
        walk.values.append(limit.value)
    return True


# ---------------------------------------------------------------- a new shape


def _shape(side: Side, statement: Any, walk: Walk, key: Any) -> Any:
    if not side.met():
        return False
    if len(side.shapes) >= _REMEMBERED:
        side.shapes.clear()
    found = side.shapes[key] = (
        shape_of(side, statement, walk.elements, walk.binds, len(walk.values)) or False
    )
    return found
