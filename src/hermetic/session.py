"""The session classes: SQLAlchemy's, with an owner, an outcome, and plain SQL strings."""

from __future__ import annotations

import functools
import inspect
import threading
import weakref
from collections.abc import Callable, Iterable
from threading import get_ident
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from sqlalchemy import Select, orm, text
from sqlalchemy.orm import SessionTransaction, SessionTransactionOrigin
from sqlalchemy.orm.state import InstanceState

from . import release
from .bulk.admission import stray_write
from .clock import monotonic
from .current import current_scope
from .errors import (
    ConcurrentUse,
    NoScope,
    Outcome,
    ScopeControls,
    ScopeError,
    StaleInstance,
)
from .events import SessionInfo
from .execution import KEY
from .fast import lean, statements
from .fast.adding import add_all as fast_add_all
from .fast.flush import flush as fast_flush
from .fast.lean import ASIDE
from .fast.lean import get as shortly_get
from .fast.seam import quicken
from .hooks import Hook, HookKind, add_hook
from .loan import Loan
from .many import ManySession
from .owner import Owner, current_task, describe_current
from .place import Place, user_frame
from .redaction import redacted
from .registry import Scope, loose_sessions
from .rows import RowsSession
from .strings import StringSession
from .tenant_objects import TenantSession, described
from .transaction import ScopeTransaction

_F = TypeVar("_F", bound=Callable[..., Any])
_P = ParamSpec("_P")
_R = TypeVar("_R")
_Party = tuple[int, Any]


def exclusive(method: Callable[Concatenate[Any, _P], _R]) -> Callable[Concatenate[Any, _P], _R]:
    """A method of a session that only its owner, or one party at a time, may be in."""

    @functools.wraps(method)
    def call(self: Any, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        if self._scope is not None:
            self._scope.check_owner()
            return method(self, *args, **kwargs)
        outermost = self._enter_use()
        try:
            return method(self, *args, **kwargs)
        finally:
            if outermost:
                self._leave_use()

    return cast(Callable[Concatenate[Any, _P], _R], call)


_unit_of_work = orm.Session.flush
_deleted = exclusive(orm.Session.delete)
_deleted_all = exclusive(release.delete_all)
_merged_all = exclusive(release.merge_all)


def _written(session: orm.Session, objects: Any = None) -> None:
    if objects is not None or not fast_flush(session):
        _unit_of_work(session, objects)


def _add_all(session: Any, instances: Iterable[object]) -> None:
    if session._warn_on_events:
        session._flush_warning("Session.add_all()")
    fast_add_all(session, instances)


_begin, _commit, _rollback, _close, _reset, _merge, _flush = (
    exclusive(method)
    for method in (
        *(orm.Session.begin, orm.Session.commit, orm.Session.rollback),
        *(orm.Session.close, orm.Session.reset, orm.Session.merge, _written),
    )
)

_added_all = exclusive(_add_all)


_OPTIONS_OF_GET = frozenset(inspect.signature(orm.Session.get).parameters)


def asks_nothing(options: dict[str, Any]) -> bool:
    """Whether the options of a ``get`` are those that it has without any."""
    return (
        not any(options.values())
        and _OPTIONS_OF_GET.issuperset(options)
        and options.get("identity_token") is None
    )


class Session(RowsSession, ManySession, StringSession, TenantSession):
    """A SQLAlchemy session that knows whose it is.

    It behaves as ``sqlalchemy.orm.Session`` does, takes the same arguments, and besides: it takes a
    plain SQL string wherever a statement goes, as text with bound parameters; it refuses to be
    used by two threads or tasks at once, naming both; and inside a scope of a Database it refuses
    everybody but the scope's owner, and leaves commit, rollback and close to the scope.
    """

    _scope: Scope | None = None
    # whether a call for many rows is under way
    _many: bool = False
    _maker: Owner | None = None
    _user: _Party | None = None
    _begun: tuple[Owner, Place, float] | None = None
    # how many of its reads a cache has answered
    cache_hits: int = 0
    # states of this unit's earlier attempts, which are refused, and of this one, while it may be
    # re-run
    _refused_states: Any = None
    _tracked_states: Any = None

    # ------------------------------------------------------------ what it is

    if not TYPE_CHECKING:  # the signature is SQLAlchemy's

        @functools.wraps(orm.Session.__init__)
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self._maker = Owner()

    @property
    def scope(self) -> Scope | None:
        """The live record of its scope: name, owner, state, outcome. ``None`` outside any."""
        return self._scope

    @property
    def outcome(self) -> Outcome | None:
        """How its scope ended; ``None`` while that is open, or outside any scope."""
        return None if self._scope is None else self._scope.outcome

    @property
    def position(self) -> str | None:
        """How far the server had come when its scope had committed, as a short string.

        A replica that has come as far shows what the scope has written, and what it has read.
        ``None`` where nothing was sent, nothing is committed, or the database keeps no positions.

        :raises ScopeError: the scope did not ask for it.
        """
        scope = self._scope
        if scope is None or scope.outcome is not Outcome.COMMITTED:
            return None
        family = scope.registry.family
        if family is None or not family.positions.known:
            return None
        route = scope.root.route
        if not scope.root.asks or route is None:
            raise ScopeError(
                "The scope has committed, and the server was not asked how far it had come then.",
                scope=scope.ref,
                hint="Open it with position=True, or inside db.flow(); db.position() asks now.",
            )
        position: str | None = route.position
        return position

    def __repr__(self) -> str:
        scope = self._scope
        if scope is not None:
            whose = f"scope {scope.name!r} (#{scope.number}) of {scope.owner}"
            state = "ended, " + str(scope.state) if scope.ended else str(scope.state)
            return f"<{type(self).__name__} {self.hash_key}: {whose}, {state}, at {scope.place}>"
        state = "in transaction" if self.in_transaction() else "idle"
        if self._user is not None:
            state += ", in use"
        owner = self._maker if self._begun is None else self._begun[0]
        whose = "" if owner is None else f" of {owner}"
        return (
            f"<{type(self).__name__} {self.hash_key}{whose}, {state}, on {self._described_bind()}>"
        )

    def _described_bind(self) -> str:
        engine = None if self.bind is None else self.bind.engine
        return "no bind" if engine is None else redacted(engine.url)

    def _loose_info(self, now: float) -> SessionInfo | None:
        """Its line in a snapshot, when it is in a transaction outside any scope."""
        begun = self._begun
        if begun is None or self._scope is not None or not self.in_transaction():
            return None
        owner, place, since = begun
        return SessionInfo(
            repr(self), str(owner), str(place), now - since, "in transaction", self._connected()
        )

    def _connected(self) -> int | None:
        """The number of the connection that it holds, if that is one of a Database's."""
        transaction = self.get_transaction()
        for connection in () if transaction is None else release.connections_of(transaction):
            # another thread may look: SQLAlchemy's own ``info`` would connect anew
            held = getattr(connection, "_dbapi_connection", None)
            entry = getattr(held, "_connection_record", None)
            record = None if entry is None else entry.info.get(KEY)
            if record is not None:
                number: int = record.number
                return number
        return None

    # ------------------------------------------------------------ what a scope offers

    def rollback_only(self) -> None:
        """Have the scope rolled back when it ends, without an exception.

        Called inside a scope that joined another, it makes the outermost one raise RolledBack.

        :raises NoScope: the session is not in a scope.
        """
        scope = self._required_scope("rollback_only")
        scope.check_owner()
        if scope.entry == "plain":
            raise ScopeControls(
                "The scope has no transaction that could be rolled back.",
                scope=scope.ref,
                hint="Open it with propagation='required'.",
            )
        innermost = innermost_of(scope)
        scope.innermost.ask_rollback(by_joined=innermost.entry == "join")

    def on_commit(self, function: _F, *, key: object = None) -> _F:
        """Call ``function()`` after the scope has committed and its connection is back.

        Hooks run in the order in which they were added, outside any scope; under asyncio they may
        be coroutine functions and are awaited. One that was added inside a savepoint is dropped
        when that is rolled back. What a hook raises is logged, stops no other hook, and leaves the
        scope committed. Returns the function, so that it decorates.

        :param key: a hook with the same key as an earlier one of the scope is not added again.
        :raises NoScope: the session is not in a scope.
        """
        return self._hook(HookKind.AFTER_COMMIT, function, key)

    def on_rollback(self, function: _F, *, key: object = None) -> _F:
        """Call ``function()`` after the scope was rolled back; otherwise as ``on_commit``."""
        return self._hook(HookKind.AFTER_ROLLBACK, function, key)

    def before_commit(self, function: _F, *, key: object = None) -> _F:
        """Call ``function()`` just before the scope's flush and COMMIT, inside its transaction.

        What it raises rolls the scope back.
        """
        return self._hook(HookKind.BEFORE_COMMIT, function, key)

    def _hook(self, kind: HookKind, function: _F, key: object) -> _F:
        scope = self._required_scope(kind.value)
        scope.check_owner()
        add_hook(scope, self, Hook(kind, function, key, self.get_nested_transaction()))
        return function

    def lend(self) -> Loan:
        """Hand the session over to another thread or task, for the time of a ``with`` block there::

            loan = session.lend()
            # elsewhere:
            with loan as session: ...

        In the meantime the lender's own use is refused.

        :raises NoScope: the session is not in a scope.
        """
        scope = self._required_scope("lend")
        scope.check_owner()
        return Loan(scope, scope.facade)

    def _required_scope(self, what: str) -> Scope:
        if self._scope is None:
            raise NoScope(
                f"{what} belongs to scopes, and this session is in none.",
                hint="Open one with db.session().",
            )
        return self._scope

    # ------------------------------------------------------------ who may use it

    def _guard(self) -> None:
        if self._scope is not None:
            self._scope.check_owner()

    def _enter_use(self) -> bool:
        """Note who is at work here; whether the caller is the outermost to note it.

        :raises ConcurrentUse: somebody else is.
        """
        me: _Party = (get_ident(), current_task())
        # setdefault is one step under the GIL: of two that come at once, one is told
        holder: _Party = self.__dict__.setdefault("_user", me)
        if holder is me:
            return True
        if holder == me:
            return False
        raise ConcurrentUse(
            f"This session is in use by {_party(holder)}, and {describe_current()} tried to use it "
            "at the same time.",
            owner=_party(holder),
            user=describe_current(),
            hint="A session is for one thread or task at a time: give each its own.",
        )

    def _leave_use(self) -> None:
        self.__dict__.pop("_user", None)

    def _execute_internal(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(statement, str):
            statement = text(statement)
        scope = self._scope
        if scope is not None:
            scope.check_statement()
            if scope.readonly and getattr(statement, "is_dml", False):
                raise stray_write(scope, f"the statement {str(statement).strip()!r}")
            result = super()._execute_internal(statement, *args, **kwargs)
            return quicken(result, kwargs.get("execution_options"))
        outermost = self._enter_use()
        try:
            result = super()._execute_internal(statement, *args, **kwargs)
            return quicken(result, kwargs.get("execution_options"))
        finally:
            if outermost:
                self._leave_use()

    @exclusive
    def _execute_plan(self, plan: Any, parameters: dict[str, Any], state: Any) -> Any:
        if self._scope is not None:
            self._scope.check_statement()
        return plan.run(self, parameters, state)

    def flush(self, objects: Any = None) -> None:
        scope = self._scope
        if scope is None:
            _flush(self, objects)
            return
        scope.check_owner()
        if self._is_clean():
            return
        scope.check_statement()
        if scope.readonly:
            changed = self._first_change()
            if changed is not None:
                raise stray_write(scope, changed)
        try:
            _written(self, objects)
        except BaseException as error:
            # SQLAlchemy has given up the transaction of this level, also when nobody lets the error
            # pass; a savepoint that the user opened by hand heals with its own rollback
            if self.get_nested_transaction() is scope.savepoint:
                scope.innermost.doom(error)
            raise

    def _first_change(self) -> str | None:
        """The first object that a flush would write, in words."""
        for word, objects in (("new", self.new), ("deleted", self.deleted)):
            for instance in objects:
                return f"the {word} object {described(instance)}"
        for instance in self.dirty:
            if self.is_modified(instance):
                return f"the changed object {described(instance)}"
        return None

    def in_transaction(self) -> bool:
        scope = self._scope
        return self._transaction is not None or (scope is not None and scope.in_hand)

    def get_transaction(self) -> SessionTransaction | None:
        if self._scope is not None and self._scope.in_hand:
            self._autobegin_t()  # a fast path has begun, without one
        return super().get_transaction()

    def _autobegin_t(self, begin: bool = False) -> SessionTransaction:
        if self._transaction is None:
            if self._scope is not None:
                return ScopeTransaction(self, SessionTransactionOrigin.AUTOBEGIN)
            self._begun = (Owner(), Place(user_frame()), monotonic())
            loose_sessions[id(self)] = weakref.ref(self, _forget(id(self)))
        return super()._autobegin_t(begin)

    def _save_or_update_impl(self, state: InstanceState[Any]) -> None:
        # the objects that cascades reach come here too
        self._check_attempt(state)
        if "info" in state.__dict__:
            self._check_tenant(state)
        if self._tracked_states is not None:
            self._tracked_states.add(state)
        super()._save_or_update_impl(state)

    def expunge_all(self) -> None:
        # SQLAlchemy's close() comes here too
        scope = self._scope
        if scope is not None and (scope.ended or not scope.ending):
            scope.check_owner()
            self._mark(self.identity_map.all_states())
        super().expunge_all()

    if not TYPE_CHECKING:  # the signature is SQLAlchemy's

        @functools.wraps(orm.Session.get)
        def get(self, entity, ident, **more):
            # scoped_session and get_one pass on whatever get() takes
            if not more or asks_nothing(more):
                if self._scope is None:
                    found = self._shortly(lean.get, entity, ident)
                else:
                    found = shortly_get(self, entity, ident)
                if found is not ASIDE:
                    return found
            return super().get(entity, ident, **more)

        @functools.wraps(orm.Session.execute)
        def execute(self, statement, *args, **more):
            if type(statement) is Select and not args and not more:
                found = self._shortly(statements.execute, statement)
                if found is not ASIDE:
                    return found
            return super().execute(statement, *args, **more)

        @functools.wraps(orm.Session.scalars)
        def scalars(self, statement, *args, **more):
            if type(statement) is Select and not args and not more:
                found = self._shortly(statements.scalars, statement)
                if found is not ASIDE:
                    return found
            return super().scalars(statement, *args, **more)

        @functools.wraps(orm.Session.scalar)
        def scalar(self, statement, *args, **more):
            if type(statement) is Select and not args and not more:
                found = self._shortly(statements.scalar, statement)
                if found is not ASIDE:
                    return found
            return super().scalar(statement, *args, **more)

    def _shortly(self, path: Callable[..., Any], *asked: Any) -> Any:
        """Take a fast path, as whoever may use the session."""
        if self._scope is not None:
            return path(self, *asked)
        outermost = self._enter_use()
        try:
            return path(self, *asked)
        finally:
            if outermost:
                self._leave_use()

    def _check_attempt(self, state: InstanceState[Any] | None) -> None:
        refused = self._refused_states
        if refused is not None and state is not None and state in refused:
            assert self._scope is not None
            raise StaleInstance(
                f"{described(state.obj())} belongs to an earlier attempt of this unit.",
                scope=self._scope.ref,
                hint="Make or load objects inside the attempt that uses them.",
            )

    def merge(self, instance: Any, **kw: Any) -> Any:
        # a copy of what a failed attempt read is no better than the object itself
        state = getattr(instance, "_sa_instance_state", None)
        self._check_attempt(state)
        self._check_merged(state)
        return _merge(self, instance, **kw)

    def merge_all(self, instances: Iterable[Any], **kw: Any) -> Any:
        """As SQLAlchemy's; an object of another tenant is refused."""
        given = list(instances)
        for instance in given:
            state = getattr(instance, "_sa_instance_state", None)
            self._check_attempt(state)
            self._check_merged(state)
        return _merged_all(self, given, **kw)

    add = exclusive(orm.Session.add)

    def add_all(self, instances: Iterable[object]) -> None:
        """As SQLAlchemy's; many new objects are not added one by one."""
        _added_all(self, instances)

    def delete(self, instance: object) -> None:
        """As SQLAlchemy's; an object of another tenant is refused."""
        self._check_given(instance)
        _deleted(self, instance)

    def delete_all(self, instances: Iterable[object]) -> None:
        """As SQLAlchemy's; an object of another tenant is refused."""
        given = list(instances)
        for instance in given:
            self._check_given(instance)
        _deleted_all(self, given)

    refresh = exclusive(orm.Session.refresh)
    expire = exclusive(orm.Session.expire)
    expire_all = exclusive(orm.Session.expire_all)
    expunge = exclusive(orm.Session.expunge)
    connection = exclusive(orm.Session.connection)
    _bulk_save_mappings = exclusive(orm.Session._bulk_save_mappings)
    # also when the identity map answers: the map is the owner's
    _get_impl = exclusive(orm.Session._get_impl)

    # ------------------------------------------------------------ what its scope does for it

    def begin(self, nested: bool = False) -> SessionTransaction:
        scope = self._scope
        if scope is not None:
            scope.check_owner()
            if not nested:
                raise self._controls("begin", "It has begun with the scope.")
            scope.check_statement()
        return cast(SessionTransaction, _begin(self, nested))

    def commit(self) -> None:
        if self._scope is not None:
            raise self._controls("commit", "The scope commits when its block ends; use flush() to "
                                 "send changes now.")  # fmt: skip
        _commit(self)

    def rollback(self) -> None:
        if self._scope is not None:
            raise self._controls("rollback", "Raise, or call rollback_only(), to have the scope "
                                 "rolled back; use propagation='nested' for a part.")  # fmt: skip
        _rollback(self)

    def close(self) -> None:
        if self._scope is not None:
            if self._scope.ended:
                return  # its scope closed it
            raise self._controls("close", "The scope closes it when its block ends.")
        _close(self)

    def reset(self) -> None:
        if self._scope is not None:
            raise self._controls("reset", "Open another scope instead.")
        _reset(self)

    def invalidate(self) -> None:
        if self._scope is not None:
            raise self._controls("invalidate", "Raise to have the scope rolled back.")
        super().invalidate()

    def _controls(self, what: str, hint: str) -> ScopeControls:
        assert self._scope is not None
        return ScopeControls(
            f"{what}() was called on the session of a scope, which ends exactly once, by itself.",
            scope=self._scope.ref,
            hint=hint,
        )


def _owned_session(*args: Any, **kwargs: Any) -> Session:
    session = Session.__new__(Session)
    orm.Session.__init__(session, *args, **kwargs)
    return session


# makes a session for a scope, which knows whose it is: the session need not find out. SQLAlchemy's
# AsyncSession asks for a class, and only calls it
owned_session: Any = _owned_session


def _forget(number: int) -> Callable[[object], None]:
    def forget(reference: object) -> None:
        loose_sessions.pop(number, None)

    return forget


def innermost_of(scope: Scope) -> Scope:
    """The scope that the session's user is in: the root, or the last one that joined it."""
    from_context = current_scope.get()
    while from_context is not None and (from_context.ended or from_context.root is not scope):
        from_context = from_context.parent
    return scope if from_context is None else from_context


def _party(party: _Party) -> str:
    ident, task = party
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    thread = f"thread {names.get(ident, ident)!r}"
    return thread if task is None else f"task {task.get_name()!r} of {thread}"
