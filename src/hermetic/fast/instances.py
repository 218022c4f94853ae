"""Rows into new persistent instances, in a compiled loop.

An ``EntityLoader`` does, for one entity of one query, what SQLAlchemy's own row function does for a
row whose identity the session does not have yet, and hands it every other row. What it makes are
the same objects: instances with an ``InstanceState``, in the identity map, with the loaded values
in their dictionary.

The garbage collector would walk what is being built over and over, which takes longer than the
building. From CPython 3.12 on it waits for the end of a compiled loop by itself; on 3.11 the loop
asks it to. It is off only while this code runs, which holds the interpreter's lock, for no more
rows than one call is given, and on again whenever somebody else's function is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from . import shadow as cython

from .private import STATE_ATTR, InstanceState, WeakInstanceDict
from .switch import ON

if TYPE_CHECKING:
    from .plan import EntityPlan

_STATE_ATTR = STATE_ATTR
_State = InstanceState
_Map = WeakInstanceDict
_NOTHING = ()

# Rows that are turned into instances while the garbage collector is held back: few enough that what
# was built is still in the processor's caches when it looks at it, which then takes a third of the
# time.
BATCH = 500


class Due:
    """Made to have the garbage collector do now what it held back during a batch: it looks whether
    a collection is due when it is asked for memory, which the next batch might not do at all.
    """


# the compiled form has these from instances.pxd
if not cython.compiled:

    def offset_of(descriptor: Any) -> int:
        return 0

    def make(cls: Any) -> Any:
        return cls.__new__(cls)

    def claims(identities: dict[Any, Any], key: Any, state: Any) -> bool:
        return identities.setdefault(key, state) is state

    def furnish(state: Any, instance: Any, cls: Any, manager: Any, cleanup: Any) -> None:
        state.__init__(instance, manager)

    def single(value: Any) -> tuple[Any]:
        return (value,)

    def cell(row: tuple[Any, ...], columns: tuple[int, ...], position: int) -> Any:
        return row[columns[position]]

    def values_of(instance: Any) -> dict[str, Any]:
        return instance.__dict__  # type: ignore[no-any-return]

    def lacks(values: dict[str, Any], keys: tuple[str, ...]) -> bool:
        return any(key not in values for key in keys)

    def set_values(instance: Any, values: dict[str, Any]) -> None:
        instance.__dict__ = values

    def weak(referent: Any, told: Any) -> Any:
        return ref(referent, told)

    def pause() -> bool:
        return False

    def resume(paused: bool) -> None:
        return


def _offset(slot: str) -> int:
    return offset_of(InstanceState.__dict__[slot]) if ON else 0  # who made sure what they are


_CLASS = _offset("class_")
_MANAGER = _offset("manager")
_OBJ = _offset("obj")
_COMMITTED = _offset("committed_state")
_EXPIRED = _offset("expired_attributes")


def forget(state: Any, reference: Any) -> None:
    """As ``InstanceState._cleanup``, which is told that the instance has gone.

    That one lets go of the instance too, which was not kept alive: it would not have gone.
    """
    identity_map = state._instance_dict()
    if identity_map is not None:
        if type(identity_map) is _Map:
            known = identity_map._dict
            key = state.key
            found = known.pop(key, None)
            if found is not state and found is not None:
                known[key] = found
        else:
            identity_map._fast_discard(state)
        del state._instance_dict
    state.session_id = None


class EntityLoader:
    """Makes the instances of one entity of one query."""

    def __init__(self, plan: EntityPlan, cells: dict[str, Any], fallback: Any) -> None:
        """:param fallback: SQLAlchemy's function for rows of the entity."""
        self.manager = plan.manager
        self.cls = plan.manager.class_
        self.keys = plan.keys
        self.columns = plan.columns
        self.width = len(plan.keys)
        self.expired = plan.expired
        self.primary = plan.primary
        self.first = plan.primary[0]
        self.composed = len(plan.primary) > 1
        self.identity_class = cells["identity_class"]
        self.token = cells["identity_token"]
        self.session_id = cells["session_id"]
        self.runid = cells["runid"]
        self.options = cells["propagated_loader_options"]
        self.path = cells["load_path"]
        self.identity_map = cells["session_identity_map"]
        self.identities = self.identity_map._dict
        self.reference = self.identity_map._wr
        self.populators = tuple([populator for _, populator in cells["populators"]["new"]])
        # what loads after all rows, such as selectinload, wants to know all states
        self.late = cells["post_load"].states if cells["post_load"] else None
        self.fallback = fallback
        self.flags: tuple[bool, ...] | None = None
        self.processed: Any = None
        self.paused = False
        self.keeps = False

    def take_raw(self, booleans: frozenset[int], processed: Any) -> None:
        """Expect rows as the driver has them, which differ from what they should be in columns of
        0 and 1 that stand for ``bool``.

        :param processed: SQLAlchemy's function that makes the whole difference, for a list of rows.
        """
        self.flags = tuple([column in booleans for column in self.columns])
        self.processed = processed

    def load(self, rows: list[tuple[Any, ...]]) -> list[Any]:
        """The instances of rows, new or not; ``None`` for a row without a primary key."""
        found: list[Any] = []
        for start in range(0, len(rows), BATCH):
            if start:
                Due()
            self.load_some(rows, start, min(start + BATCH, len(rows)), found)
        return found

    def load_some(
        self, rows: list[tuple[Any, ...]], start: int, stop: int, found: list[Any]
    ) -> None:
        self.paused = pause()
        try:
            for position in range(start, stop):
                found.append(self.one(rows[position]))  # noqa: PERF401 - it is compiled
        finally:
            resume(self.paused)

    def one(self, row: tuple[Any, ...]) -> Any:
        primary = self.identity(row)
        if primary is None:
            return self.aside(row)
        key = (self.identity_class, primary, self.token)
        if self.keeps:
            instance = self.there(key)
            if instance is not None:
                return instance
        state = make(_State)
        if not claims(self.identities, key, state):
            return self.aside(row)
        instance = make(self.cls)
        furnish(state, instance, self.cls, self.manager, forget)
        values = values_of(instance)
        values[_STATE_ATTR] = state
        # one by one: asked for its dictionary, a state has one from then on, which takes memory
        state.key = key
        state.identity_token = self.token
        state.session_id = self.session_id
        state._instance_dict = self.reference
        state.load_options = self.options
        state.load_path = self.path
        state.runid = self.runid
        self.populate(state, values, row)
        return instance

    def there(self, key: tuple[Any, ...]) -> Any:
        """The instance that the session has already, where it lacks nothing; ``None`` otherwise."""
        state = self.identities.get(key)
        if state is None:
            return None
        instance = state.obj()
        if instance is None or state.expired_attributes:
            return None
        return None if lacks(values_of(instance), self.keys) else instance

    def identity(self, row: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The primary key, unless a part of it is NULL."""
        if not self.composed:
            value = row[self.first]
            return None if value is None else single(value)
        primary = tuple([row[index] for index in self.primary])
        return None if None in primary else primary

    def populate(self, state: Any, values: dict[str, Any], row: tuple[Any, ...]) -> None:
        if self.flags is None:
            for position in range(self.width):
                values[self.keys[position]] = cell(row, self.columns, position)
        else:
            for position in range(self.width):
                value = cell(row, self.columns, position)
                if self.flags[position] and value is not None:
                    value = True if value else False  # noqa: SIM210 - bool is looked up and called
                values[self.keys[position]] = value
        for key in self.expired:
            state.expired_attributes.add(key)
        if self.populators:
            self.call_populators(state, values, row)
        if self.late is not None:
            self.late[state] = True

    def call_populators(self, state: Any, values: dict[str, Any], row: tuple[Any, ...]) -> None:
        """What is installed by a function: lazy loaders of options, deferred columns."""
        resume(self.paused)
        try:
            if self.flags is not None:
                row = self.processed([row])[0]
            for populator in self.populators:
                populator(state, values, row)
            if state.modified:
                state._commit_all(values, self.identity_map)
        finally:
            self.paused = pause()

    def aside(self, row: tuple[Any, ...]) -> Any:
        resume(self.paused)
        try:
            if self.flags is not None:
                row = self.processed([row])[0]
            return self.fallback(row)
        finally:
            self.paused = pause()


class RowLoader:
    """Makes the rows of a query for several things, of which some are entities."""

    def __init__(self, makers: list[Any]) -> None:
        """:param makers: for each thing an ``EntityLoader``, the number of a column, or a function
        of the whole row.
        """
        self.makers = makers
        self.paused = False

    def load(self, rows: list[tuple[Any, ...]]) -> list[Any]:
        found: list[Any] = []
        self.paused = pause()
        try:
            for row in rows:
                found.append(self.one(row))  # noqa: PERF401 - the loop is compiled
        finally:
            resume(self.paused)
        return found

    def one(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        values = []
        for maker in self.makers:
            if type(maker) is EntityLoader:
                values.append(self.entity(maker, row))
            elif type(maker) is int:
                values.append(row[maker])
            else:
                values.append(self.call(maker, row))
        return tuple(values)

    def entity(self, loader: EntityLoader, row: tuple[Any, ...]) -> Any:
        loader.paused = self.paused
        instance = loader.one(row)
        self.paused = loader.paused
        return instance

    def call(self, function: Any, row: tuple[Any, ...]) -> Any:
        resume(self.paused)
        try:
            return function(row)
        finally:
            self.paused = pause()
