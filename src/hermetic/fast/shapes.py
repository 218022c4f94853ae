"""Shapes of small queries: the SQL, and where each of its parameters has its value from."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select
from sqlalchemy.sql.annotation import Annotated
from sqlalchemy.sql.elements import BindParameter

from .found import unique
from .plans import Entity, Processor
from .private import SimpleResultMetaData
from .side import Side


class Shape:
    """The statements of one shape on one dialect."""

    __slots__ = (
        "compiled", "constants", "construct", "entity", "held", "many", "metadata", "named",
        "slots", "sql",
    )  # fmt: skip

    def __init__(
        self, entity: Entity, compiled: Any, sql: str, slots: Slots, held: tuple[Any, ...]
    ) -> None:
        self.entity = entity
        self.sql = sql
        self.compiled = compiled
        self.construct = compiled.statement
        # of each parameter: its name, which of the statement's values it has, its processor
        self.slots = slots.found
        # what the compiler has put after the statement's own values
        self.constants = slots.constants
        self.named = not compiled.positional
        # how often it is left to ``loading``, because it had many rows
        self.many = 0
        # what the shape's key goes by has to live as long as the shape
        self.held = held
        lead = compiled.compile_state._entities[0]
        self.metadata = SimpleResultMetaData(
            [lead._label_name], [lead._extra_entities], _create_unique_filters=unique
        )

    def parameters(self, values: list[Any]) -> Any:
        if self.constants:
            values = values + self.constants
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


def shape_of(
    side: Side, statement: Select[Any], elements: list[Any], binds: list[Any], width: int
) -> Shape | None:
    """The shape of a statement; ``None`` where it is SQLAlchemy's.

    :param elements: the columns that it is made of.
    :param binds: its parameters.
    :param width: how many values they have, those of lists counted one by one.
    """
    mapper: Any = statement._propagate_attrs.get("plugin_subject")
    if not getattr(mapper, "is_mapper", False):
        return None
    entity = side.entity(mapper.class_)
    if entity is None or not _is_whole(statement._raw_columns[0], entity.table):
        return None
    if not all(_is_own(element, mapper) for element in elements):
        return None
    compiled: Any = statement.compile(dialect=side.dialect)
    if compiled.literal_execute_params or not entity.fits(compiled):
        return None
    expanded = compiled.construct_expanded_state() if compiled.post_compile_params else None
    slots = Slots()
    if not slots.fill(compiled, expanded, binds, width):
        return None
    sql = compiled.string if expanded is None else expanded.statement
    return Shape(entity, compiled, sql, slots, (statement, *elements))


def _is_whole(column: Any, table: Any) -> bool:
    """Whether it stands for the whole class; a statement from before mappers were configured has
    another object for it.
    """
    if column is table:
        return True
    if not isinstance(column, Annotated) or column._annotations != table._annotations:
        return False
    found: Any = column
    return found._Annotated__element is table._Annotated__element


def _is_own(element: Any, mapper: Any) -> bool:
    """Whether it is a column of this class, and no alias's or another's."""
    annotations = element._annotations
    if annotations.get("parententity") is not mapper or "adapt_column" in annotations:
        return False
    return element._Annotated__element in mapper._columntoproperty


class Slots:
    """Where each parameter of the SQL has its value from."""

    def __init__(self) -> None:
        self.found: list[tuple[str, int, Processor | None]] = []
        self.constants: list[Any] = []

    def fill(self, compiled: Any, expanded: Any, binds: list[Any], width: int) -> bool:
        """Whether all of them are known.

        :param expanded: where the statement has lists, SQLAlchemy's statement without.
        :param width: how many values the statement has.
        """
        places = self._placed(compiled, expanded, binds)
        if places is None or len(places) != width or not self._settle(compiled, binds, places):
            return False
        wanted = list(places)
        processors = dict(compiled._bind_processors)
        if expanded is not None:
            processors.update(expanded.processors)
        if compiled.positional:
            wanted = compiled.positiontup if expanded is None else expanded.positiontup
        if set(wanted) != set(places):
            return False
        self.found = [(name, places[name], processors.get(name)) for name in wanted]
        return True

    @staticmethod
    def _placed(compiled: Any, expanded: Any, binds: list[Any]) -> dict[str, int] | None:
        """The places of the statement's own values, by the names of the parameters."""
        places: dict[str, int] = {}
        for bind in binds:
            name = compiled.bind_names.get(bind)
            if name is None:
                return None
            for each in expanded.parameter_expansion[name] if bind.expanding else (name,):
                places[each] = len(places)
        return places

    def _settle(self, compiled: Any, binds: list[Any], places: dict[str, int]) -> bool:
        """Give places to the values that the compiler has added, such as SQLite's OFFSET 0."""
        own = set(binds)
        for bind, name in compiled.bind_names.items():
            if bind in own:
                continue
            if type(bind) is not BindParameter or bind.callable or bind.required or bind.expanding:
                return False
            places[name] = len(places)
            self.constants.append(bind.value)
        return True
