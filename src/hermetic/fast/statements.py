"""Small queries of one mapped class, recognised by their shape.

``select(User).where(User.id == x)`` is built anew each time, and SQLAlchemy finds its compiled form
by a key of the whole expression. Most such statements are made of a few objects that are always the
same (a mapped class's table, its columns) and some values. Their identities tell the shape; SQL,
parameters and the way of a row into an object are looked up by it.

A statement with anything in it that is not known here is SQLAlchemy's.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from functools import partial
from typing import Any

from sqlalchemy import Select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.sql import operators
from sqlalchemy.sql.annotation import Annotated
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, UnaryExpression

from .counts import count
from .instances import EntityLoader
from .lean import ASIDE, instance_of, prepared, rows_of
from .plans import Entity, Processor
from .private import (
    LABELS,
    ChunkedIteratorResult,
    OffsetLimit,
    SimpleResultMetaData,
    immutable,
    new_runid,
)
from .side import Side

# up to so many rows, preparing the loop costs more than it saves
FEW = 4
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
    {operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge}
)
_DIRECTIONS = frozenset({operators.asc_op, operators.desc_op})


class Shape:
    """The statements of one shape on one dialect."""

    __slots__ = (
        "compiled", "construct", "entity", "held", "many", "metadata", "named", "slots", "sql",
    )  # fmt: skip

    def __init__(
        self,
        entity: Entity,
        compiled: Any,
        slots: list[tuple[str, int, Processor | None]],
        held: tuple[Any, ...],
    ) -> None:
        self.entity = entity
        self.sql: str = compiled.string
        self.compiled = compiled
        self.construct = compiled.statement
        # of each parameter: its name, which of the statement's values it has, its processor
        self.slots = slots
        self.named = not compiled.positional
        # how often it is left to ``loading``, because it had many rows
        self.many = 0
        # what the shape's key goes by has to live as long as the shape
        self.held = held
        lead = compiled.compile_state._entities[0]
        self.metadata = SimpleResultMetaData(
            [lead._label_name], [lead._extra_entities], _create_unique_filters=_unique
        )

    def parameters(self, values: list[Any]) -> Any:
        if self.named:
            return {
                name: values[at] if process is None else process(values[at])
                for name, at, process in self.slots
            }
        return tuple(
            [
                values[at] if process is None else process(values[at])
                for _, at, process in self.slots
            ]
        )


class Rows:
    """The rows of a result, made into objects when somebody wants them."""

    __slots__ = ("entity", "identity_map", "rows", "session", "uniquing")

    def __init__(self, session: Any, entity: Entity, rows: Any) -> None:
        self.session = session
        self.entity = entity
        self.rows = rows
        self.identity_map = session.identity_map
        self.uniquing = False

    def chunks(self, size: int | None) -> Iterator[list[Any]]:
        rows = list(self.rows)
        step = size or len(rows) or 1
        runid = new_runid()
        for start in range(0, len(rows), step):
            if size and self.uniquing:
                raise InvalidRequestError(_NOT_BOTH)
            yield self.made(rows[start : start + step], runid)

    def made(self, rows: list[Any], runid: int) -> list[Any]:
        if self.session.identity_map is not self.identity_map:
            # SQLAlchemy's words for a session that was closed, or emptied, meanwhile
            self.identity_map._kill()
        if len(rows) > FEW and self.entity.raw is not None and type(rows[0]) is tuple:
            return self.loader(runid).load(rows)
        count("load:few")
        return [instance_of(self.identity_map, self.session, self.entity, r, runid) for r in rows]

    def loader(self, runid: int) -> EntityLoader:
        """The loop for many rows, with the little that this query asks of it."""
        count("load:fast")
        entity = self.entity
        loader = EntityLoader(
            entity.many,
            {
                "identity_class": entity.identity_class,
                "identity_token": None,
                "session_id": self.session.hash_key,
                "runid": runid,
                "propagated_loader_options": (),
                "load_path": entity.load_path,
                "session_identity_map": self.identity_map,
                "populators": _NO_POPULATORS,
                "post_load": None,
            },
            partial(_one, self, runid),
        )
        if entity.raw:
            loader.take_raw(entity.raw, _as_they_are)
        return loader


_NO_POPULATORS: dict[str, list[Any]] = {"new": []}


def _as_they_are(rows: list[Any]) -> list[Any]:
    return rows


def _one(made: Rows, runid: int, row: Any) -> Any:
    """A row of an object that is there already, or of none."""
    return instance_of(made.identity_map, made.session, made.entity, row, runid)


_NOT_BOTH = "Can't use the ORM yield_per feature in conjunction with unique()"


def _unique(result: Any) -> list[Any]:
    if result._yield_per:
        raise InvalidRequestError(_NOT_BOTH)
    rows = getattr(result.chunks, "__self__", None)
    if rows is not None:  # a closed result has lost them
        rows.uniquing = True
    return [id]


def execute(session: Any, statement: Any) -> Any:
    """``session.execute(statement)``, or ``ASIDE``."""
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
    return result_of(session, shape, rows)


def sought(side: Side, statement: Any) -> Any:
    """A statement's shape with its parameters, or ``ASIDE``."""
    values: list[Any] = []
    key = _key(statement, values)
    if key is None:
        count("select:aside:shape")
        return ASIDE
    shape = side.shapes.get(key)
    if shape is None:
        shape = _shape(side, statement, key)
    if shape is False or not shape.entity.current():
        count("select:aside:entity")
        return ASIDE
    return (shape, shape.parameters(values))


def result_of(session: Any, shape: Shape, rows: Any) -> Any:
    """What ``session.execute`` returns."""
    made = Rows(session, shape.entity, rows)
    result: Any = ChunkedIteratorResult(shape.metadata, made.chunks, source_supports_scalars=True)
    result._attributes = _ATTRIBUTES
    return result


# as SQLAlchemy's results of one mapped class have them
_ATTRIBUTES = immutable({"filtered": True, "is_single_entity": True})


def _key(statement: Any, values: list[Any]) -> Any:
    """What tells the statement's shape; its values go into ``values``."""
    parts = statement.__dict__
    for name in parts:
        if name not in _KNOWN:
            return None
    columns = parts.get("_raw_columns")
    if columns is None or len(columns) != 1 or parts.get("_label_style") is not LABELS:
        return None
    key: list[Any] = [id(columns[0])]
    criteria = parts.get("_where_criteria", ())
    for criterion in criteria:
        if not _criterion(criterion, key, values):
            return None
    # the table, how a statement's columns are labelled, and whose it is, are in every one
    if len(parts) > 3 + bool(criteria) and not _ordering(parts, key, values):
        return None
    return tuple(key)


def _criterion(criterion: Any, key: list[Any], values: list[Any]) -> bool:
    if type(criterion) is not BinaryExpression or criterion.operator not in _COMPARISONS:
        return False
    left: Any = criterion.left
    right: Any = criterion.right
    if type(right) is not BindParameter or right.type is not left.type or criterion.modifiers:
        return False
    if not right.unique or right.expanding or right.callable or right.literal_execute:
        return False
    if right.required or right.isoutparam or not isinstance(left, Annotated):
        return False
    key.append(id(left))
    key.append(criterion.operator)
    values.append(right.value)
    return True


def _ordering(parts: dict[str, Any], key: list[Any], values: list[Any]) -> bool:
    key.append("order")
    for element in parts.get("_order_by_clauses", ()):
        inner = element
        if type(element) is UnaryExpression:
            if element.operator is not None or element.modifier not in _DIRECTIONS:
                return False
            inner = element.element
            key.append(element.modifier)
        if not isinstance(inner, Annotated):
            return False
        key.append(id(inner))
    if parts.get("_fetch_clause") is not None:
        return False
    for name in ("_limit_clause", "_offset_clause"):
        limit = parts.get(name)
        if limit is None:
            continue
        if type(limit) is not OffsetLimit or type(limit.value) is not int:
            return False
        key.append(name)
        values.append(limit.value)
    return True


# ---------------------------------------------------------------- a new shape


def _shape(side: Side, statement: Any, key: Any) -> Any:
    if len(side.shapes) >= _REMEMBERED:
        side.shapes.clear()
    found = side.shapes[key] = _compiled(side, statement) or False
    return found


def _compiled(side: Side, statement: Select[Any]) -> Shape | None:
    mapper: Any = statement._propagate_attrs.get("plugin_subject")
    if not getattr(mapper, "is_mapper", False):
        return None
    entity = side.entity(mapper.class_)
    if entity is None or statement._raw_columns[0] is not entity.table:
        return None
    parts: Any = statement.__dict__
    elements, binds = _elements(parts)
    if not all(_is_column(element, mapper) for element in elements):
        return None
    compiled: Any = statement.compile(dialect=side.dialect)
    if compiled.post_compile_params or compiled.literal_execute_params:
        return None
    if not entity.fits(compiled):
        return None
    slots = _slots(compiled, binds)
    return None if slots is None else Shape(entity, compiled, slots, (statement, *elements))


def _elements(parts: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """The columns that a statement is made of, and its parameters in the order of ``_key``."""
    criteria = parts.get("_where_criteria", ())
    elements = [criterion.left for criterion in criteria]
    elements += [
        element.element if type(element) is UnaryExpression else element
        for element in parts.get("_order_by_clauses", ())
    ]
    binds = [criterion.right for criterion in criteria]
    limits = (parts.get("_limit_clause"), parts.get("_offset_clause"))
    return elements, binds + [limit for limit in limits if limit is not None]


def _is_column(element: Any, mapper: Any) -> bool:
    """Whether it is a column of this class, and no alias's or another's."""
    annotations = element._annotations
    if annotations.get("parententity") is not mapper or "adapt_column" in annotations:
        return False
    return element._Annotated__element in mapper._columntoproperty


def _slots(compiled: Any, binds: list[Any]) -> list[tuple[str, int, Processor | None]] | None:
    names = {compiled.bind_names[bind]: at for at, bind in enumerate(binds)}
    wanted = compiled.positiontup if compiled.positional else list(names)
    if set(wanted) != set(names) or len(names) != len(compiled.bind_names):
        return None
    processors = compiled._bind_processors
    return [(name, names[name], processors.get(name)) for name in wanted]
