"""What there is to know for writing the objects of one mapper: columns, and statements, once.

A statement is made for a set of columns and a dialect, and says for every parameter where its value
comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import MANYTOONE, ONETOMANY

from . import private_flush as private
from .defaults import default_of

# where the key of an inserted row comes from
GIVEN, LASTROWID, RETURNED = 0, 1, 2

INSERT_ONE, INSERT_MANY, INSERT_KEYS, UPDATE_ONE, UPDATE_MANY = range(5)

# how many sets of columns of one mapper are remembered with their statements
_REMEMBERED = 500
# and for how many engines
_DIALECTS = 16


class Statement:
    """One compiled INSERT or UPDATE."""

    __slots__ = (
        "array_kinds", "array_limits", "aside", "batch_size", "batch_sql", "batches", "compiled",
        "construct", "expire", "insert", "key", "key_prop", "many", "names",
        "positional", "prefetch", "prefetch_args", "prefetch_kinds", "prefetch_props", "processes",
        "processors", "props", "result_processors", "returned", "returned_columns", "sources",
        "sql",
    )  # fmt: skip

    def __init__(self, construct: Any, compiled: Any, *, insert: bool, many: bool) -> None:
        self.construct = construct
        self.compiled = compiled
        self.sql: str = compiled.string
        self.insert = insert
        self.many = many
        self.positional: bool = compiled.positional
        self.aside: str | None = private.why_not_compiled(compiled)
        self.names: tuple[str, ...] = tuple(private.parameter_names(compiled))
        # for each parameter: the attribute, and the index of its default or -1
        self.props: tuple[str, ...] = ()
        self.sources: tuple[int, ...] = ()
        self.processors: tuple[Callable[[Any], Any] | None, ...] = ()
        self.processes = False
        self.prefetch_props: tuple[str, ...] = ()
        self.prefetch_kinds: tuple[int, ...] = ()
        self.prefetch_args: tuple[Any, ...] = ()
        self.prefetch = 0
        self.expire: tuple[str, ...] = ()
        self.key = GIVEN
        # what an INSERT returns: (attribute, whether of the primary key)
        self.returned: tuple[tuple[str, bool], ...] = ()
        self.result_processors: list[Callable[[Any], Any] | None] | None = None
        self.returned_columns: list[Any] = []
        # how many rows at once are inserted, see bulk_insert
        self.batches: int | None = None
        self.batch_size = 0
        self.batch_sql: str | None = None
        self.array_kinds: tuple[int, ...] = ()
        self.array_limits: tuple[int, ...] = ()
        # the attribute that the cursor's lastrowid is for
        self.key_prop = ""

    def processors_of(self, dialect: Any, described: Any) -> list[Callable[[Any], Any] | None]:
        """How the values that come back are made into Python's."""
        if self.result_processors is None:
            self.result_processors = [
                private.result_processor(column, dialect, each[1])
                for column, each in zip(self.returned_columns, described, strict=False)
            ]
        return self.result_processors

    def take(self, values: Any, row: Any, processors: list[Any]) -> None:
        """Put a row that came back into an object."""
        for index, (prop, is_key) in enumerate(self.returned):
            value = row[index]
            processor = processors[index]
            if processor is not None:
                value = processor(value)
            if not is_key or values.get(prop) is None:
                values[prop] = value


class Plan:
    """What is known of one mapper."""

    __slots__ = (
        "_dialect", "_last", "as_none", "aside", "by_prop", "columns", "defaulted",
        "equal", "fetches", "has_collections", "identity_class", "made", "manager", "mapper",
        "none_counts", "order", "orphans", "own_relations", "pk_bits", "pk_props", "props",
        "referred", "related", "relations", "shape", "sort_key", "statements",
    )  # fmt: skip

    def __init__(self, mapper: Any) -> None:
        self.mapper = mapper
        self.manager = mapper.class_manager
        self.shape: Any = None
        self.aside: str | None = private.why_not_mapper(mapper)
        # by dialect, of which there are as many as engines
        self.statements: dict[Any, dict[Any, Statement]] = {}
        self._dialect: Any = None
        self._last: dict[Any, Statement] = {}
        if self.aside is None:
            self._read(mapper)

    def _read(self, mapper: Any) -> None:
        columns = private.mapped_columns(mapper)
        self.columns: tuple[Any, ...] = tuple(columns.values())
        self.props: tuple[str, ...] = tuple(columns)
        self.by_prop = {key: index for index, key in enumerate(columns)}
        # an attribute without a value is an explicit NULL, or no parameter at all
        self.none_counts = tuple(column.type.should_evaluate_none for column in self.columns)
        self.as_none = tuple(
            not (c.primary_key or c.server_default or c.default or c.type.should_evaluate_none)
            for c in self.columns
        )
        keys = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
        self.pk_props: tuple[str, ...] = tuple(keys)
        self.pk_bits = sum(1 << self.by_prop[key] for key in keys)
        self.defaulted = sum(1 << i for i, column in enumerate(self.columns) if column.default)
        # columns of the key that need no value: a key that nobody makes is SQLAlchemy's to refuse
        self.made = sum(
            1 << i
            for i, column in enumerate(self.columns)
            if column.default or column.server_default or private.counts_up(column)
        )
        # whether the server makes values that are fetched with the key
        self.fetches = any(
            c.server_default is not None and c.identity is None for c in self.columns
        )
        self.equal = tuple(self.manager[key].impl.is_equal for key in self.props)
        self.identity_class = private.identity_class(mapper)
        self.sort_key = private.persistent_sort_key(mapper)
        self.order = private.flush_order(mapper)
        self.orphans = private.delete_orphans(mapper)
        self._read_relations(mapper)

    def _read_relations(self, mapper: Any) -> None:
        written = [relation for relation in mapper.relationships if not relation.viewonly]
        if any(relation.post_update for relation in written):
            self.aside = "post_update"
        referred = private.referred_columns(mapper)
        self.referred = sum(1 << i for i, column in enumerate(self.columns) if column in referred)
        self.relations: tuple[str, ...] = tuple(relation.key for relation in written)
        self.own_relations: tuple[str, ...] = tuple(
            relation.key for relation in written if relation.mapper is mapper
        )
        self.has_collections = any(relation.uselist for relation in written)
        # (other mapper, whether it is written before this one; None where neither has to wait)
        self.related: tuple[tuple[Any, bool | None], ...] = tuple(
            (relation.mapper.base_mapper, _first(relation.direction)) for relation in written
        )

    # ------------------------------------------------------------ statements

    def insert(self, dialect: Any, mask: int, many: bool) -> Statement:
        """The INSERT for rows with these optional columns; one row at a time where it says so."""
        if many:
            if self._has_key(mask):
                return self.statement(dialect, INSERT_MANY, mask)
            if dialect.insert_executemany_returning_sort_by_parameter_order:
                return self.statement(dialect, INSERT_KEYS, mask)
        return self.statement(dialect, INSERT_ONE, mask)

    def update(self, dialect: Any, mask: int, many: bool) -> Statement:
        return self.statement(dialect, UPDATE_MANY if many else UPDATE_ONE, mask)

    def _has_key(self, mask: int) -> bool:
        """Whether the key is known before the row is written, and nothing else is asked for."""
        if self.fetches:
            return False
        return mask & self.pk_bits == self.pk_bits or self.pk_bits & ~(mask | self.defaulted) == 0

    def statement(self, dialect: Any, kind: int, mask: int) -> Statement:
        """:param kind: see ``INSERT_ONE`` and its like."""
        if self._dialect is not dialect:
            if dialect not in self.statements and len(self.statements) >= _DIALECTS:
                del self.statements[next(iter(self.statements))]
            self._last = self.statements.setdefault(dialect, {})
            self._dialect = dialect
        found = self._last.get((kind, mask))
        if found is None:
            found = self._last[kind, mask] = self._compile(dialect, kind, mask)
            if len(self._last) > _REMEMBERED:
                self._last.clear()
        return found

    def _compile(self, dialect: Any, kind: int, mask: int) -> Statement:
        if kind in (UPDATE_ONE, UPDATE_MANY):
            return self._update(dialect, mask, many=kind == UPDATE_MANY)
        many = kind != INSERT_ONE
        given = [
            index
            for index in range(len(self.columns))
            if self.as_none[index] or mask & (1 << index)
        ]
        keys = {self.columns[index].key for index in given}
        construct = private.insert_statement(
            self.mapper, dialect, keys, keys_back=kind == INSERT_KEYS
        )
        compiled = private.compile_once(construct, dialect, list(keys), many=many)
        statement = Statement(construct, compiled, insert=True, many=many)
        sources = {self.columns[index].key: self.props[index] for index in given}
        self._fill(statement, dialect, sources, compiled.insert_prefetch)
        self._find_key(statement, dialect, mask)
        return statement

    def _update(self, dialect: Any, mask: int, *, many: bool) -> Statement:
        construct = private.update_statement(self.mapper)
        changed = [i for i in range(len(self.columns)) if mask & (1 << i)]
        sources = {self.columns[index].key: self.props[index] for index in changed}
        for column, prop in zip(self.mapper.primary_key, self.pk_props, strict=True):
            sources[private.label(column)] = prop
        compiled = private.compile_once(construct, dialect, list(sources), many=many)
        statement = Statement(construct, compiled, insert=False, many=many)
        self._fill(statement, dialect, sources, compiled.update_prefetch)
        if private.returns(compiled):
            statement.aside = "returning"
        return statement

    def _fill(
        self, statement: Statement, dialect: Any, sources: dict[str, str], prefetch: Any
    ) -> None:
        """Say of every parameter where its value comes from."""
        compiled = statement.compiled
        props = dict(zip(self.columns, self.props, strict=True))
        defaults = {column.key: index for index, column in enumerate(prefetch)}
        found = [
            default_of(column.default if statement.insert else column.onupdate)
            for column in prefetch
        ]
        unknown = set(statement.names) - set(sources) - set(defaults)
        if unknown or None in found or set(defaults) & set(sources):
            statement.aside = statement.aside or "parameters"
            return
        statement.prefetch = len(prefetch)
        statement.prefetch_props = tuple(props[column] for column in prefetch)
        statement.prefetch_kinds = tuple(kind for kind, _ in filter(None, found))
        statement.prefetch_args = tuple(argument for _, argument in filter(None, found))
        statement.props = tuple(sources.get(name, "") for name in statement.names)
        statement.sources = tuple(defaults.get(name, -1) for name in statement.names)
        processors = private.bind_processors(compiled)
        statement.processors = tuple(processors.get(name) for name in statement.names)
        statement.processes = any(statement.processors)
        statement.expire = tuple(props[column] for column in compiled.postfetch)

    def _find_key(self, statement: Statement, dialect: Any, mask: int) -> None:
        """Where the key of the new row comes from."""
        defaulted = set(statement.prefetch_props)
        missing = [
            prop
            for prop in self.pk_props
            if not mask & (1 << self.by_prop[prop]) and prop not in defaulted
        ]
        returned = statement.returned_columns = private.returned_columns(statement.compiled)
        props = dict(zip(self.columns, self.props, strict=True))
        if any(column not in props for column in returned):
            statement.aside = statement.aside or "returning"
            return
        statement.returned = tuple((props[column], column.primary_key) for column in returned)
        if returned:
            statement.key = RETURNED
            if missing and not {column for column in returned if column.primary_key}:
                statement.aside = statement.aside or "key"
        elif missing:
            plain = private.lastrowid_column(statement.compiled, dialect)
            if plain is None or missing != [props[plain]]:
                statement.aside = statement.aside or "key"
            statement.key, statement.key_prop = LASTROWID, missing[0]


def _first(direction: Any) -> bool | None:
    if direction is MANYTOONE:
        return True
    return False if direction is ONETOMANY else None


def plan_of(mapper: Any) -> Plan:
    """The plan of a mapper, kept on the mapper itself; made anew when something came to that."""
    found: Plan | None = mapper.__dict__.get("_hermetic_plan")
    shape = _shape(mapper)
    if found is not None and found.shape == shape:
        return found
    plan = mapper._hermetic_plan = Plan(mapper)
    plan.shape = shape
    return plan


_shape = private.shape
