"""Listeners to everything that SQLAlchemy tells, in groups, because each may make a difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from sqlalchemy import Engine, event

from tests.differential.describe import Describer, scrubbed
from tests.differential.pool import Base

Hear = Callable[..., None]

MAPPER: Final = (
    *("before_insert", "after_insert", "before_update"),
    *("after_update", "before_delete", "after_delete"),
)
INSTANCE: Final = (
    *("init", "load", "refresh", "refresh_flush", "expire", "pickle", "unpickle"),
)  # fmt: skip
ATTRIBUTE: Final = ("set", "append", "remove", "init_scalar", "init_collection")
# listeners to attributes are many, and take their time
HEARD: Final = frozenset({"Person", "Kind", "Team", "Member", "Node", "Stamped"})
LIVES: Final = (
    *("before_attach", "after_attach", "transient_to_pending", "pending_to_persistent"),
    *("pending_to_transient", "persistent_to_transient", "persistent_to_deleted"),
    *("deleted_to_detached", "deleted_to_persistent", "persistent_to_detached"),
    *("detached_to_persistent", "loaded_as_persistent"),
)
FLUSH: Final = ("before_flush", "after_flush", "after_flush_postexec")
TRANSACTION: Final = (
    *("after_begin", "before_commit", "after_commit", "after_rollback", "after_soft_rollback"),
    *("after_transaction_create", "after_transaction_end"),
)
ORM_EXECUTE: Final = ("do_orm_execute", "after_bulk_update", "after_bulk_delete")
CURSOR: Final = ("before_cursor_execute", "after_cursor_execute")
ENGINE: Final = (
    *("before_execute", "after_execute", "begin", "commit", "rollback"),
    *("savepoint", "rollback_savepoint", "release_savepoint"),
)

# which listeners there are; nobody listens in the first, which is where fast paths are taken
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "silent": (),
    "all": ("mapper", "instance", "attribute", "lives", "flush", "transaction", "orm", "cursor"),
    "mapper": ("mapper",),
    "instance": ("instance",),
    "attribute": ("attribute",),
    "lives": ("lives",),
    "flush": ("flush",),
    "transaction": ("transaction",),
    "orm": ("orm",),
    "cursor": ("cursor",),
    "engine": ("engine",),
}
_NAMES: Final = {
    "mapper": MAPPER,
    "instance": INSTANCE,
    "lives": LIVES,
    "flush": FLUSH,
    "transaction": TRANSACTION,
    "orm": ORM_EXECUTE,
    "cursor": CURSOR,
    "engine": ENGINE,
}


class Ears:
    """The listeners of one run; what they hear goes to ``hear``, in order."""

    def __init__(self, group: str, describer: Describer, hear: Hear) -> None:
        self.groups = GROUPS[group]
        self._describer = describer
        self._hear = hear

    @contextmanager
    def on_models_and_engine(self, engine: Engine) -> Iterator[None]:
        with ExitStack() as stack:
            # SQLAlchemy never takes this back, and words an error by it: of the next run's engine
            heard: Any = engine
            stack.callback(setattr, heard, "_has_events", heard._has_events)
            for group in self.groups:
                if group in ("mapper", "instance"):
                    for name in _NAMES[group]:
                        self._listen(stack, Base, name, propagate=True)
                elif group == "attribute":
                    self._listen_to_attributes(stack)
                elif group in ("cursor", "engine"):
                    for name in _NAMES[group]:
                        self._listen(stack, engine, name)
            yield

    @contextmanager
    def on_session(self, session: Any) -> Iterator[None]:
        with ExitStack() as stack:
            for group in self.groups:
                if group in ("lives", "flush", "transaction", "orm"):
                    for name in _NAMES[group]:
                        self._listen(stack, session, name)
            yield

    def _listen_to_attributes(self, stack: ExitStack) -> None:
        # this registry alone: others in the process may be half collected
        Base.registry.configure()
        for mapper in Base.registry.mappers:
            for attribute in mapper.attrs if mapper.class_.__name__ in HEARD else ():
                if hasattr(attribute, "columns") or hasattr(attribute, "mapper"):
                    target = getattr(mapper.class_, attribute.key)
                    for name in ATTRIBUTE:
                        self._listen(stack, target, name, raw=False)

    def _listen(self, stack: ExitStack, target: Any, name: str, **options: Any) -> None:
        def listener(*args: Any) -> None:
            self._hear(name, *self._described(name, args))

        event.listen(target, name, listener, **options)
        stack.callback(event.remove, target, name, listener)

    def _described(self, name: str, args: tuple[Any, ...]) -> list[Any]:
        value = self._describer.value
        if name in _SELDOM:
            return _SELDOM[name](self._describer, args)
        if name in MAPPER:
            return [value(args[2])]
        if name in ATTRIBUTE or name in INSTANCE:
            return [scrubbed(str(value(arg))) for arg in args if not _is_inside(arg)]
        if name in LIVES:
            return [value(args[1])]
        return []


def _is_inside(thing: Any) -> bool:
    return type(thing).__module__.startswith("sqlalchemy.")


def _flush(describer: Describer, args: tuple[Any, ...]) -> list[Any]:
    described = describer.session(args[0])
    return [described[key] for key in ("keys", "new", "dirty", "deleted")]


def _cursor(describer: Describer, args: tuple[Any, ...]) -> list[Any]:
    _, _, statement, parameters, _, many = args
    return [statement, _parameters(statement, parameters), many]


def _parameters(statement: str, parameters: Any) -> str:
    if "member_tags" in statement and isinstance(parameters, list):
        parameters = sorted(parameters, key=str)  # of a set
    return scrubbed(repr(parameters))


def _transaction(describer: Describer, args: tuple[Any, ...]) -> list[Any]:
    return [args[1].nested, args[1].parent is None]


def _orm_execute(describer: Describer, args: tuple[Any, ...]) -> list[Any]:
    state = args[0]
    return [
        # some that write can only be shown by the session that sends them
        str(state.statement) if state.is_select else type(state.statement).__name__,
        scrubbed(repr(state.parameters)),
        [
            name
            for name in (
                *("is_select", "is_insert", "is_update", "is_delete", "is_orm_statement"),
                *("is_column_load", "is_relationship_load", "is_executemany"),
            )
            if getattr(state, name)
        ],
    ]


def _pickle(describer: Describer, args: tuple[Any, ...]) -> list[Any]:
    state, pickled = args
    # an object of an ended scope remembers where that was, among its callables
    return [describer.value(state), sorted(pickled.keys() - {"callables"})]


def _execute(describer: Describer, args: tuple[Any, ...]) -> list[Any]:
    many, one = (_parameters(str(args[1]), part) for part in args[2:4])
    return [str(args[1]), many, one]


_SELDOM: Final[dict[str, Callable[[Describer, tuple[Any, ...]], list[Any]]]] = {
    "before_flush": _flush,
    "after_flush": _flush,
    "after_flush_postexec": _flush,
    "before_cursor_execute": _cursor,
    "after_cursor_execute": _cursor,
    "after_transaction_create": _transaction,
    "after_transaction_end": _transaction,
    "do_orm_execute": _orm_execute,
    "before_execute": _execute,
    "after_execute": _execute,
    "pickle": _pickle,
    "unpickle": _pickle,
}
