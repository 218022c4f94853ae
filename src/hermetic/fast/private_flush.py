"""The private parts of SQLAlchemy that the fast flush stands on, read in one place.

``why_off`` says what a release has changed; the flush is then SQLAlchemy's own, after one warning.
``flush`` and its neighbours touch, without asking here again, the attributes that are listed in
``TOUCHED``.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Column, Table, orm, sql
from sqlalchemy.engine import Connection
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.orm import MANYTOONE, ClassManager, Mapper, SessionTransaction, unitofwork
from sqlalchemy.orm.identity import IdentityMap
from sqlalchemy.orm.session import SessionTransactionState
from sqlalchemy.orm.state import InstanceState

from .defaults import default_of

ACTIVE = SessionTransactionState.ACTIVE
# as errors name a statement of many rows: a string that is shortened where it is shown
shortened: Callable[[str], str] = getattr(sql.util, "_long_statement", str)

# what is read or called where it is needed: (owner, name, parameters of a function or None)
TOUCHED: tuple[tuple[Any, str, Sequence[str] | None], ...] = (
    (orm.Session, "_flush", ("self", "objects")),
    (orm.Session, "_autobegin_t", ("self", "begin")),
    (orm.Session, "_is_clean", ("self",)),
    (orm.Session, "_register_persistent", ("self", "states")),
    (orm.Session, "_register_altered", ("self", "states")),
    (orm.Session, "_remove_newly_deleted", ("self", "states")),
    (orm.Session, "connection_callable", None),
    (SessionTransaction, "_begin", ("self", "nested")),
    (SessionTransaction, "_connection_for_bind", ("self", "bind", "execution_options")),
    (SessionTransaction, "rollback", ("self", "_capture_exception", "_to_root")),
    (InstanceState, "_commit_all_states", ("iter_", "instance_dict")),
    (InstanceState, "_expire_attributes", ("self", "dict_", "attribute_names", "no_loader")),
    (InstanceState, "_strong_obj", None),
    (InstanceState, "_orphaned_outside_of_session", None),
    (InstanceState, "insert_order", None),
    (InstanceState, "committed_state", None),
    (InstanceState, "expired_attributes", None),
    (IdentityMap, "_manage_incoming_state", ("self", "state")),
    (
        Connection,
        "_handle_dbapi_exception",
        ("self", "e", "statement", "parameters", "cursor", "context", "is_sub_exec"),
    ),
    (Connection, "_safe_close_cursor", ("self", "cursor")),
    (DefaultDialect, "do_execute", ("self", "cursor", "statement", "parameters", "context")),
    (DefaultDialect, "do_executemany", ("self", "cursor", "statement", "parameters", "context")),
    (Mapper, "_is_orphan", ("self", "state")),
    (Mapper, "_identity_key_from_state", ("self", "state", "passive")),
    (Mapper, "_prefer_eager_defaults", ("self", "dialect", "table")),
    (Mapper, "_memo", ("self", "key", "callable_")),
    (unitofwork.UOWTransaction, "finalize_flush_changes", ("self",)),
    (
        sql.ClauseElement,
        "_compile_w_cache",
        (
            *("self", "dialect", "compiled_cache", "column_keys", "for_executemany"),
            *("schema_translate_map", "kw"),
        ),
    ),
)


def why_off() -> str | None:
    """What is not as it was read; ``None`` when everything is."""
    for owner, name, parameters in TOUCHED:
        found = inspect.getattr_static(owner, name, None)
        if found is None and not hasattr(owner, name):
            return f"{owner.__name__}.{name} is gone"
        if parameters is not None:
            function = getattr(owner, name)
            taken = [p for p in inspect.signature(function).parameters if p != "cls"]
            if taken != [p for p in parameters if p in taken or p != "self"]:
                return f"{owner.__name__}.{name} takes {', '.join(taken)}"
    return _session_differs() or _weak_keys_differ()


def _session_differs() -> str | None:
    with orm.Session() as session:
        for name in ("_new", "_deleted", "_flushing", "_warn_on_events", "_trans_context_manager"):
            if not hasattr(session, name):
                return f"a session has no {name}"
        transaction = session._autobegin_t()
        for name in ("_new", "_dirty", "_deleted"):
            if type(getattr(transaction, name, None)) is not weakref.WeakKeyDictionary:
                return f"a transaction's {name} is another thing"
        for name in ("_dict", "_modified", "_wr"):
            if not hasattr(session.identity_map, name):
                return f"an identity map has no {name}"
    return None


def _weak_keys_differ() -> str | None:
    """A WeakKeyDictionary is filled as its own ``__setitem__`` fills it, without the call."""

    class Key:
        pass

    known: Any = weakref.WeakKeyDictionary()
    key = Key()
    known.data[weakref.ref(key, known._remove)] = True
    if list(known) != [key]:
        return "WeakKeyDictionary works otherwise"
    del key
    return "WeakKeyDictionary does not forget" if known else None


# ---------------------------------------------------------------- mappers


def shape(mapper: Any) -> tuple[int, int, int]:
    """What grows when a property, a reference from elsewhere or a subclass comes to a mapper."""
    return (
        len(mapper._props),
        len(mapper._dependency_processors),
        len(mapper._inheriting_mappers),
    )


def mapped_columns(mapper: Any) -> dict[str, Any]:
    """Attribute key → column."""
    columns: dict[str, Any] = mapper._propkey_to_col[mapper.local_table]
    return columns


def why_not_mapper(mapper: Any) -> str | None:
    """What of a mapper the fast flush does not know."""
    table = mapper.local_table
    if type(mapper.class_manager) is not ClassManager:
        return "instrumentation"
    if mapper.inherits is not None or mapper.polymorphic_on is not None or mapper.concrete:
        return "inheritance"
    if len(list(mapper.self_and_descendants)) > 1:
        return "inheritance"
    if type(table) is not Table or mapper.persist_selectable is not table:
        return "selectable"
    if len(mapper._sorted_tables) != 1 or mapper._table_to_equated[table]:
        return "selectable"
    if mapper.version_id_col is not None:
        return "version"
    if not mapper.batch or not table.implicit_returning:
        return "mapper option"
    if mapper._readonly_props or mapper._insert_orm_defaults[table]:
        return "expression"
    if set(table.c) != set(mapper._propkey_to_col[table].values()):
        return "columns left out"
    if mapper.eager_defaults is True and mapper._server_default_plus_onupdate_propkeys:
        return "eager_defaults"
    return _why_not_columns(mapper, table)


def _why_not_columns(mapper: Any, table: Any) -> str | None:
    for column in table.c:
        prop = mapper._columntoproperty[column]
        if len(prop.columns) != 1 or prop.key not in mapper.class_manager:
            return "columns"
        if default_of(column.default) is None or default_of(column.onupdate) is None:
            return "default"
        if getattr(column, "_insert_sentinel", False):
            return "sentinel"
    return None


def referred_columns(mapper: Any) -> set[Any]:
    """The columns of a mapper that others take for their foreign keys."""
    found = {
        source
        for relation in mapper.relationships
        if not relation.viewonly and relation.direction is not MANYTOONE
        for source, _ in relation.synchronize_pairs
    }
    for processor in mapper._dependency_processors:
        found.update(source for source, _ in processor.prop.synchronize_pairs)
    return found


def identity_class(mapper: Any) -> Any:
    return mapper._identity_class


def persistent_sort_key(mapper: Any) -> Callable[[Any], Any]:
    function: Callable[[Any], Any] = mapper._persistent_sortkey_fn
    return function


def flush_order(mapper: Any) -> str:
    key: str = mapper._sort_key
    return key


def delete_orphans(mapper: Any) -> bool:
    return bool(mapper._delete_orphans)


def counts_up(column: Any) -> bool:
    return column.table._autoincrement_column is column


# ---------------------------------------------------------------- statements


def insert_statement(mapper: Any, dialect: Any, keys: set[str], *, keys_back: bool) -> Any:
    """As the unit of work makes it for rows that have values for these columns."""
    table = mapper.local_table
    statement = mapper._memo(("insert", table), table.insert)
    eager = mapper._prefer_eager_defaults(dialect, table)
    if eager and not mapper._server_default_col_keys[table].issubset(keys):
        statement = statement.return_defaults(
            *mapper._server_default_cols[table], sort_by_parameter_order=True
        )
    if keys_back:
        statement = statement.return_defaults(*table.primary_key, sort_by_parameter_order=True)
    return statement


def update_statement(mapper: Any) -> Any:
    table = mapper.local_table

    def make() -> Any:
        return table.update().where(
            sql.and_(*(c == sql.bindparam(c._label, type_=c.type) for c in table.primary_key))
        )

    return mapper._memo(("hermetic update", table), make)


def label(column: Column[Any]) -> str:
    """The name of the parameter that finds the row in an UPDATE."""
    name = column._label
    assert name is not None
    return name


def compile_once(statement: Any, dialect: Any, keys: Sequence[str], *, many: bool) -> Any:
    return statement._compile_w_cache(
        dialect,
        compiled_cache=None,
        column_keys=sorted(keys),
        for_executemany=many,
        schema_translate_map=None,
    )[0]


def bind_processors(compiled: Any) -> dict[str, Callable[[Any], Any]]:
    processors: dict[str, Callable[[Any], Any]] = compiled._bind_processors
    return processors


def why_not_compiled(compiled: Any) -> str | None:
    """What of a compiled statement is more than its text and one value for every name."""
    if compiled.literal_execute_params or compiled.post_compile_params:
        return "literal parameters"
    if compiled.escaped_bind_names or compiled.schema_translate_map:
        return "escaped names"
    return None


def parameter_names(compiled: Any) -> list[str]:
    """The names of a statement's parameters, in the order of a positional driver."""
    if compiled.positional:
        return list(compiled.positiontup)
    return list(compiled.bind_names.values())


def returned_columns(compiled: Any) -> list[Any]:
    return list(compiled.effective_returning or ())


def returns(compiled: Any) -> bool:
    return bool(compiled.effective_returning)


def lastrowid_column(compiled: Any, dialect: Any) -> Any:
    """The column whose value the cursor's ``lastrowid`` is, as it is."""
    if not compiled.postfetch_lastrowid:
        return None
    column = compiled.compile_state.statement.table._autoincrement_column
    if column is None or column.type._cached_result_processor(dialect, None) is not None:
        return None
    return column


def result_processor(column: Any, dialect: Any, kind: Any) -> Callable[[Any], Any] | None:
    processor: Callable[[Any], Any] | None = column.type._cached_result_processor(dialect, kind)
    return processor


# ---------------------------------------------------------------- many rows at once


def _counting(compiled: Any) -> Any:
    """What SQLAlchemy knows of a many-row INSERT whose new keys count up with its rows."""
    values = compiled._insertmanyvalues
    if values is None or not values.implicit_sentinel or values.num_sentinel_columns != 1:
        return None
    if values.is_default_expr or values.includes_upsert_behaviors:
        return None
    return values


def rowid_text(compiled: Any) -> str | None:
    """A question for the key of the row with a number, on SQLite."""
    table = compiled.compile_state.statement.table
    if "rowid" in {column.name.lower() for column in table.c}:
        return None
    quoted = compiled.preparer
    key = quoted.format_column(table._autoincrement_column)
    return f"SELECT {key} FROM {quoted.format_table(table)} WHERE rowid = ?"


def array_parts(compiled: Any, dialect: Any) -> tuple[str, dict[str, tuple[str, Any]], str] | None:
    """The table, for each parameter its column and type, and the key, as they are written."""
    values = _counting(compiled)
    if values is None or not values.embed_values_counter:
        return None
    table = compiled.compile_state.statement.table
    key = table._autoincrement_column
    if list(compiled.effective_returning) != [key]:
        return None
    quoted = compiled.preparer
    columns = {
        column.key: (quoted.format_column(column), column.type)
        for column in table.c
        if not (column.type._has_bind_expression or column.computed is not None)
    }
    if not columns.keys() >= set(compiled.bind_names.values()):
        return None
    if len(values.insert_crud_params) != len(compiled.bind_names):
        return None  # an expression is among the values
    name = quoted.format_table(table)
    return name, columns, f"{name}.{quoted.format_column(key)}"
