"""Plans: what SQLAlchemy's compiler and mapper say of a mapped class, kept for reuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import ColumnProperty, Mapper, RelationshipProperty, SynonymProperty
from sqlalchemy.orm.instrumentation import ClassManager
from sqlalchemy.orm.state import InstanceState

from .listening import Ear
from .plan import EntityPlan
from .private import (
    BindTyping,
    ColumnLoader,
    DeferredColumnLoader,
    LazyLoader,
    int_to_boolean,
)

Processor = Callable[[Any], Any]


class Entity:
    """How rows of a mapped class become its objects, and how one is asked for by its key."""

    __slots__ = (
        "_loading",
        "as_they_are",
        "binds",
        "class_",
        "compiled",
        "construct",
        "identity_class",
        "key_at",
        "keys",
        "load_path",
        "manager",
        "many",
        "mapper",
        "named",
        "processors",
        "raw",
        "sql",
        "table",
        "types",
        "width",
    )

    def __init__(self, mapper: Mapper[Any], compiled: Any, keys: list[str], key_at: list[int]):
        self.mapper = mapper
        self.class_ = mapper.class_
        self.manager = mapper.class_manager
        self._loading = Ear(self.manager.dispatch, {"load": 0, "refresh": 0})
        self.identity_class = mapper._identity_class
        self.load_path = mapper._path_registry
        self.width = len(mapper._props)
        # what a statement has for it: always the same object
        self.table = select(mapper)._raw_columns[0]
        self.sql: str = compiled.string
        self.compiled = compiled
        self.construct = compiled.statement
        # the name and processor of each parameter, in the order of the primary key's columns
        binds = mapper._get_clause[1]
        self.binds: list[tuple[str, Processor | None]] = [
            (name := compiled.bind_names[binds[column]], compiled._bind_processors.get(name))
            for column in mapper.primary_key
        ]
        self.named = not compiled.positional
        self.as_they_are = all(process is None for _, process in self.binds)
        self.keys = tuple(keys)
        self.key_at = tuple(key_at)
        self.types = [column.type for column in compiled._result_columns]
        # the same, as the loop for many rows wants it
        self.many = EntityPlan(self.manager, self.keys, tuple(range(len(keys))), (), self.key_at)
        # of the result's columns, known once a driver has described them
        self.processors: list[Processor | None] | None = None
        # the columns that are 0 and 1 for False and True, where nothing else has a processor
        self.raw: frozenset[int] | None = None

    def current(self) -> bool:
        """Whether the class is still mapped as it was."""
        manager = getattr(self.class_, "_sa_class_manager", None)
        return manager is self.manager and len(self.mapper._props) == self.width

    def heard(self) -> bool:
        """Whether somebody listens to the loading of its objects."""
        return self._loading.hears()

    def parameters(self, key: tuple[Any, ...]) -> Any:
        """Those of its statement, for a key."""
        if self.named:
            return {
                name: value if process is None else process(value)
                for (name, process), value in zip(self.binds, key, strict=True)
            }
        if self.as_they_are:
            return key
        return tuple(
            [
                value if process is None else process(value)
                for (_, process), value in zip(self.binds, key, strict=True)
            ]
        )

    def fits(self, compiled: Any) -> bool:
        """Whether the rows of another statement are like those of its own."""
        return _keys(self.mapper, compiled) == list(self.keys)

    def describe(self, dialect: Any, description: Any) -> None:
        """Find the result processors, which may depend on what the driver says of a column."""
        found = [
            type_._cached_result_processor(dialect, column[1])
            for type_, column in zip(self.types, description, strict=True)
        ]
        self.processors = found if any(found) else []
        others = {process for process in found if process is not None} - {int_to_boolean}
        if not others:
            self.raw = frozenset(at for at, process in enumerate(found) if process is not None)


def entity_plan(entity: Any, dialect: Any) -> Entity | None:
    """The plan of a mapped class, or ``None`` where SQLAlchemy has to load it."""
    if not isinstance(entity, type):
        return None
    try:
        mapper: Any = inspect(entity)
    except NoInspectionAvailable:
        return None
    if not getattr(mapper, "is_mapper", False):
        return None
    # the first that is asked for may be the first that anybody uses
    mapper._check_configure()
    if not _is_plain(mapper):
        return None
    if dialect.bind_typing is BindTyping.SETINPUTSIZES:
        return None
    statement: Any = select(mapper)
    statement._where_criteria = (mapper._get_clause[0],)
    compiled: Any = statement.compile(dialect=dialect)
    if (
        compiled.post_compile_params
        or compiled.literal_execute_params
        or compiled._render_postcompile
    ):
        return None
    keys = _keys(mapper, compiled)
    if keys is None:
        return None
    at = {key: index for index, key in enumerate(keys)}
    names = [mapper._columntoproperty[column].key for column in mapper.primary_key]
    if any(name not in at for name in names):
        return None
    return Entity(mapper, compiled, keys, [at[name] for name in names])


def _is_plain(mapper: Any) -> bool:
    """Whether every row is one object of this class, made of nothing but its own columns."""
    manager = mapper.class_manager
    return (
        mapper.inherits is None
        and not mapper.polymorphic_map
        and mapper.polymorphic_on is None
        and not mapper.always_refresh
        and type(manager) is ClassManager
        and manager._state_constructor is InstanceState
        and mapper.single is False
        and all(_is_plain_property(prop) for prop in mapper._props.values())
    )


def _is_plain_property(prop: Any) -> bool:
    if isinstance(prop, ColumnProperty):
        loader: Any = prop.strategy
        strategy = type(loader)
        if strategy is DeferredColumnLoader:
            return not loader.raiseload
        return strategy is ColumnLoader and len(prop.columns) == 1
    if isinstance(prop, RelationshipProperty):
        return type(prop.strategy) is LazyLoader and prop.strategy.is_class_level
    return isinstance(prop, SynonymProperty)


def _keys(mapper: Any, compiled: Any) -> list[str] | None:
    """The attribute of each column of the result."""
    keys = []
    for entry in compiled._result_columns:
        found = [
            prop.key
            for column in entry.objects
            if (prop := mapper._columntoproperty.get(column)) is not None
        ]
        if len(found) != 1:
            return None
        keys.append(found[0])
    return keys if len(set(keys)) == len(keys) else None
