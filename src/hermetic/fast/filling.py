"""Collections of many parents, filled in compiled loops.

``Gatherer`` makes the members of the driver's rows, each put with those of its parent. ``fill``
gives every parent its collection, as SQLAlchemy's ``set_committed_value`` does.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from .instances import EntityLoader
from .private import ClassManager, CollectionAdapter, CollectionImpl, InstrumentedList

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from . import shadow as cython

# the compiled form has these from instances.pxd
if not cython.compiled:
    from .instances import make, pause, resume

_Adapter = CollectionAdapter
_List = InstrumentedList
_ref = ref
_extend = list.extend


class Gatherer:
    """Members by the keys of their parents, which are the first columns of the rows."""

    def __init__(self, loader: EntityLoader, size: int) -> None:
        """:param size: of how many columns a parent's key is."""
        self.loader = loader
        self.size = size
        self.found: dict[Any, list[Any]] = {}

    def load(self, rows: list[tuple[Any, ...]]) -> None:
        loader = self.loader
        loader.paused = pause()
        try:
            for row in rows:
                instance = loader.one(row)
                key = row[0] if self.size == 1 else row[: self.size]
                members = self.found.get(key)
                if members is None:
                    self.found[key] = [instance]
                else:
                    members.append(instance)
        finally:
            resume(loader.paused)


def fill(parents: list[Any], key: str, found: dict[Any, list[Any]], whole: int) -> None:
    """Give each parent what was found for it.

    :param parents: tuples of primary key, state, values, and whether what is there is replaced.
    :param whole: whether a key of one column is a tuple in ``found``.
    """
    manager: Any = None
    impl: Any = None
    plain = False
    for primary, state, values, overwrite in parents:
        if not overwrite and key in values:
            continue
        if state.manager is not manager:
            manager = state.manager
            impl = manager[key].impl
            plain = _is_plain(manager, impl)
        members = found.get(primary if whole or len(primary) > 1 else primary[0])
        if not plain or state.callables or key in state._pending_mutations:
            impl.set_committed_value(state, values, members or ())
            continue
        collection: Any = make(_List)
        _adapt(impl, key, state, collection)
        if members is not None:
            _extend(collection, members)
        values[key] = collection
        state.committed_state.pop(key, None)
        state.expired = False
        state.expired_attributes.discard(key)


def _is_plain(manager: Any, impl: Any) -> bool:
    """Whether the collections are lists of SQLAlchemy's, of which nobody is told."""
    return (
        type(manager) is ClassManager
        and type(impl) is CollectionImpl
        and impl.collection_factory is _List
        and not impl.dispatch.init_collection
    )


def _adapt(impl: Any, key: str, state: Any, collection: Any) -> None:
    """As ``CollectionAdapter.__init__``."""
    adapter: Any = make(_Adapter)
    adapter.attr = impl
    adapter._key = key
    adapter._data = _ref(collection)
    adapter.owner_state = state
    collection._sa_adapter = adapter
    adapter.invalidated = False
    adapter.empty = False
