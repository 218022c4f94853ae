"""The private parts of SQLAlchemy that the fast paths stand on. They are imported here alone.

Which releases were read for them is in ``unread``. ``problem`` looks for their shapes when hermetic
is imported; where one is missing, the fast paths stay off, and everything is SQLAlchemy's own.
"""

from __future__ import annotations

import itertools
import operator
import sysconfig
from collections.abc import Iterator
from types import CellType, CodeType, MemberDescriptorType
from typing import Any, cast
from weakref import KeyedRef

from sqlalchemy import Connection, event, orm
from sqlalchemy.engine.cursor import (
    _DEFAULT_FETCH,
    CursorFetchStrategy,
    CursorResult,
    CursorResultMetaData,
)
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.engine.interfaces import BindTyping
from sqlalchemy.engine.processors import int_to_boolean
from sqlalchemy.engine.result import ChunkedIteratorResult, SimpleResultMetaData
from sqlalchemy.event.attr import _EmptyListener as EmptyListener
from sqlalchemy.event.attr import _ListenerCollection as ListenerCollection
from sqlalchemy.ext.asyncio.base import ReversibleProxy
from sqlalchemy.orm import InstanceState, attributes, base, loading
from sqlalchemy.orm.attributes import _CollectionAttributeImpl as CollectionImpl
from sqlalchemy.orm.base import PASSIVE_OFF
from sqlalchemy.orm.collections import CollectionAdapter, InstrumentedList
from sqlalchemy.orm.context import QueryContext
from sqlalchemy.orm.context import _ORMCompileState as ORMCompileState
from sqlalchemy.orm.identity import _killed as killed
from sqlalchemy.orm.identity import _WeakInstanceDict as WeakInstanceDict
from sqlalchemy.orm.instrumentation import ClassManager
from sqlalchemy.orm.loading import _new_runid as new_runid
from sqlalchemy.orm.session import _new_sessionid as new_sessionid
from sqlalchemy.orm.session import _sessions
from sqlalchemy.orm.strategies import _ColumnLoader as ColumnLoader
from sqlalchemy.orm.strategies import _DeferredColumnLoader as DeferredColumnLoader
from sqlalchemy.orm.strategies import _LazyLoader as LazyLoader
from sqlalchemy.orm.strategies import _SelectInLoader as SelectInLoader
from sqlalchemy.sql.selectable import LABEL_STYLE_DEFAULT as LABELS
from sqlalchemy.sql.selectable import _OffsetLimitParam as OffsetLimit
from sqlalchemy.util import EMPTY_DICT
from sqlalchemy.util import immutabledict as immutable

__all__ = [
    "CHUNKS_CELLS",
    "COMPILE_OPTIONS",
    "EMPTY_DICT",
    "INSTANCE_CELLS",
    "LABELS",
    "PASSIVE_OFF",
    "STATE_ATTR",
    "BindTyping",
    "ChunkedIteratorResult",
    "ClassManager",
    "CollectionAdapter",
    "CollectionImpl",
    "ColumnLoader",
    "CursorFetchStrategy",
    "CursorResult",
    "DeferredColumnLoader",
    "EmptyListener",
    "InstanceState",
    "InstrumentedList",
    "KeyedRef",
    "LazyLoader",
    "ListenerCollection",
    "OffsetLimit",
    "QueryContext",
    "SelectInLoader",
    "SimpleResultMetaData",
    "WeakInstanceDict",
    "booleans_of",
    "cells_of",
    "chunks_code",
    "forget_proxy",
    "immutable",
    "index_of",
    "indexes_of",
    "instance_code",
    "int_to_boolean",
    "is_default_instrumentation",
    "killed",
    "load_for_state",
    "new_runid",
    "problem",
    "proxies",
    "runids",
    "session_numbers",
    "sessions",
]


def _numbers_of(function: Any) -> Iterator[int]:
    """The numbers that one of SQLAlchemy's counters gives.

    It has a lock besides, which is for interpreters without one.
    """
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        for cell in function.__closure__ or ():
            if type(cell.cell_contents) is itertools.count:
                return cast(Iterator[int], cell.cell_contents)
    return iter(function, None)


# a WeakValueDictionary, whose insides are used too
sessions: Any = _sessions
session_numbers: Iterator[int] = _numbers_of(new_sessionid)
runids: Iterator[int] = _numbers_of(new_runid)
# by which the AsyncSession of a session is found, and what strikes one out that has gone
proxies: Any = ReversibleProxy._proxy_objects
forget_proxy: Any = ReversibleProxy._target_gced

load_for_state: Any = LazyLoader._load_for_state

# what a statement that was executed has of options by which it was compiled
COMPILE_OPTIONS: Any = ORMCompileState.default_compile_options
STATE_ATTR: str = base.DEFAULT_STATE_ATTR

# what is read from the closure that turns rows into instances
INSTANCE_CELLS = frozenset(
    {
        *("context", "identity_class", "identity_token", "load_evt", "load_path", "mapper"),
        *("persistent_evt", "populate_existing", "populators", "post_load", "primary_key_getter"),
        *(
            "propagated_loader_options",
            "refresh_evt",
            "refresh_identity_key",
            "runid",
            "session_id",
        ),
        "session_identity_map",
    }
)
# and from the one that makes lists of them
CHUNKS_CELLS = frozenset(
    {"_uniquing_is_active", "context", "cursor", "is_top_level", "process", "single_entity"}
)
# the slots that are filled one by one
_STATE_SLOTS = ("class_", "manager", "obj", "committed_state", "expired_attributes")


def _inner_code(function: Any, name: str, cells: frozenset[str]) -> CodeType | None:
    """The code of a function inside another, by its name and what it closes over."""
    for constant in function.__code__.co_consts:
        if (
            isinstance(constant, CodeType)
            and constant.co_name == name
            and cells <= set(constant.co_freevars)
        ):
            return constant
    return None


instance_code = _inner_code(loading._instance_processor, "_instance", INSTANCE_CELLS)
chunks_code = _inner_code(loading.instances, "chunks", CHUNKS_CELLS)


def cells_of(function: Any, names: frozenset[str]) -> dict[str, Any]:
    """Some of what a function closes over, by name; ``None`` for what was never set."""
    closure = function.__closure__
    free = function.__code__.co_freevars
    return {name: _content(closure[free.index(name)]) for name in names}


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def index_of(getter: Any) -> int | None:
    """Which column a getter of SQLAlchemy's takes from a row."""
    if type(getter) is not operator.itemgetter:
        return None
    items = getter.__reduce__()[1]
    return items[0] if len(items) == 1 and type(items[0]) is int else None


def indexes_of(getter: Any) -> tuple[int, ...] | None:
    """Which columns a getter of SQLAlchemy's takes from a row, as a tuple."""
    if type(getter) is not operator.itemgetter:
        return None
    items = getter.__reduce__()[1]
    if len(items) == 1 and type(items[0]) is slice:
        part = items[0]
        return tuple(range(part.start, part.stop)) if part.step is None else None
    if len(items) > 1 and all(type(item) is int for item in items):
        return tuple(items)
    return None


def booleans_of(metadata: Any) -> frozenset[int]:
    """The columns whose values are ``bool`` of what the driver gives, if no others differ."""
    processors = metadata._effective_processors
    if type(metadata) is not CursorResultMetaData or processors is None or metadata._tuplefilter:
        return frozenset()
    changed = {index for index, processor in enumerate(processors) if processor is not None}
    simple = all(processors[index] is int_to_boolean for index in changed)
    return frozenset(changed) if simple else frozenset()


def is_default_instrumentation() -> bool:
    """Whether nobody replaced how SQLAlchemy finds states and attributes of instances."""
    return attributes.instance_dict is base.instance_dict


# whose parameters, by name and in this order, are relied on
_PARAMETERS: tuple[tuple[Any, str], ...] = (
    (load_for_state, "self state passive"),
    (SelectInLoader._load_for_path, "self context path states load_only"),
    (
        SelectInLoader._load_via_parent,
        "self our_states query_info q context execution_options chunksize",
    ),
    (CollectionImpl.set_committed_value, "self state dict_ value"),
    (CollectionAdapter.__init__, "self attr owner_state data"),
    (Connection._execute_context, "self dialect constructor statement parameters"),
    (
        DefaultExecutionContext._init_compiled,
        "cls dialect connection dbapi_connection execution_options compiled parameters",
    ),
    (
        QueryContext.__init__,
        "self compile_state statement user_passed_query params session load_options",
    ),
)
# all that an adapter of a collection is made of
_ADAPTER_SLOTS = frozenset({"attr", "_key", "_data", "owner_state", "invalidated", "empty"})
# what a loader of lazy relationships has
_LAZY_SLOTS = frozenset(
    {
        *("_equated_columns", "_raise_always", "_raise_on_sql", "_simple_lazy_clause"),
        *("is_aliased_class", "use_get"),
    }
)


def _changed_parameters() -> str | None:
    for function, expected in _PARAMETERS:
        code = getattr(function, "__func__", function).__code__
        names = " ".join(code.co_varnames[: code.co_argcount])
        if not f"{names} ".startswith(f"{expected} "):
            return str(function.__qualname__)
    return None


def _is_known(session: Any, registry: Any) -> bool:
    """Whether a session is made of what it was, and SQLAlchemy finds it where it did."""
    own = {"identity_map", "_new", "_deleted", "hash_key", "_transaction", "_nested_transaction"}
    listed = registry.data.get(session.hash_key)
    return (
        own <= set(session.__dict__)
        and listed is not None
        and listed() is session
        and callable(registry._remove)
        and hasattr(getattr(orm.Session.dispatch, "before_commit", None), "_clslevel")
    )


def _keeps_its_lists(class_: Any) -> bool:
    """Whether listeners come and go in the same lists."""

    def listener(session: Any) -> None:
        return

    target = class_()
    event.listen(target, "after_commit", listener)
    of_class = class_.dispatch.after_commit._clslevel
    own = target.dispatch.after_commit
    event.listen(class_, "after_commit", listener)
    listed = of_class[class_], own.listeners, own.parent_listeners
    heard = [len(each) for each in listed]
    event.remove(class_, "after_commit", listener)
    event.remove(target, "after_commit", listener)
    return (
        type(own) is ListenerCollection
        and listed[0] is listed[2]
        and all(
            now is before and heard[0] == heard[1] == 1 and not now
            for now, before in zip((of_class[class_], own.listeners), listed, strict=False)
        )
    )


def problem() -> str | None:
    """What is not as it was read; ``None`` where everything is."""
    if instance_code is None or chunks_code is None:
        return "loading.instances, loading._instance_processor"
    for slot in _STATE_SLOTS:
        if type(InstanceState.__dict__.get(slot)) is not MemberDescriptorType:
            return f"InstanceState.{slot}"
    if InstanceState.__new__ is not object.__new__ or "__dict__" not in InstanceState.__slots__:
        return "InstanceState.__new__, __slots__"
    if not {"_fetchmany_impl", "_fetchall_impl"} <= set(dir(CursorResult)):
        return "CursorResult"
    if type(_DEFAULT_FETCH) is not CursorFetchStrategy:
        return "CursorFetchStrategy"
    if not set(LazyLoader.__slots__) >= _LAZY_SLOTS:
        return "_LazyLoader"
    if set(CollectionAdapter.__slots__) != _ADAPTER_SLOTS:
        return "CollectionAdapter"
    if not _is_known(orm.Session(), sessions):
        return "Session"
    if not _keeps_its_lists(type("Sample", (orm.Session,), {})):
        return "event.attr"
    changed = _changed_parameters()
    if changed is not None:
        return changed
    sample = WeakInstanceDict()
    if type(getattr(sample, "_dict", None)) is not dict or sample._wr() is not sample:
        return "_WeakInstanceDict"
    sample._kill()
    if sample.__dict__.get("_add_unpresent") is not killed:
        return "_WeakInstanceDict._kill"
    return None
