"""Opening and ending scopes: the shells around the work, for threads and for asyncio.

Opening sends nothing and waits for nothing, so it is the same in both worlds; only a savepoint may
have to flush first. How an end under asyncio is kept from cancellations is in ``shield``.
"""

from __future__ import annotations

import asyncio
import inspect
from asyncio import _get_running_loop
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import orm
from sqlalchemy.util import greenlet_spawn

from .async_session import AsyncSession
from .boundary import Ending, Entry, Outer, ending, enter
from .clock import monotonic
from .current import innermost, is_over, leave, make_current, open_scope
from .ending import end, end_struck, has_commit_listeners
from .errors import Outcome, ScopeRefused
from .events import HookFailed, ScopeFinished, ScopeOpened, emit, logger
from .execution import rewatch
from .fast import lean_async
from .fast.fresh import new_session, remember_session
from .fast.lean import is_clean
from .fast.listening import is_heard
from .fast.side import Side
from .hooks import Hook, ending_hooks
from .options import Isolation, Propagation, ScopeOptions
from .parts import leaves, members
from .place import Place
from .registry import Registry, Scope
from .session import Session, owned_session
from .shield import end_in_hand, end_shielded, end_written
from .tenancy import NO_TENANT, DatabasePerTenant, Tenants
from .trace import is_due

if TYPE_CHECKING:
    from .database import Database
    from .engine import Server

# as in boundary
_JOIN, _SAVEPOINT, _PLAIN, _TRANSACTION = (
    Entry.JOIN,
    Entry.SAVEPOINT,
    Entry.PLAIN,
    Entry.TRANSACTION,
)
_COMMIT = Ending.COMMIT
_REQUIRED = Propagation.REQUIRED
_JOINING = frozenset({_REQUIRED, Propagation.NESTED, Propagation.MANDATORY, Propagation.SUPPORTS})
_now = monotonic


def begin(
    database: Database,
    options: ScopeOptions,
    place: Place,
    asynchronous: bool,
    deadline: float | None,
) -> Scope:
    """Open a scope, and make it the current one. Nothing is sent.

    :param deadline: monotonic seconds, of a unit whose attempts share one.
    :raises ScopeRefused: by its propagation, or by a demand that the open scope does not meet.
    :raises DatabaseClosed: no new scopes are taken.
    """
    registry = database.registry
    parent = innermost()
    root = outer = None
    if parent is None:
        # nothing of any Database is open here
        if options.propagation is _REQUIRED:
            entry = _TRANSACTION
        else:
            entry = enter(options, None, database.family.default_isolation)
    else:
        outer = _own_outer(database, options)
        parent = innermost()
        entry = enter(options, _as_outer(outer), database.family.default_isolation)
        if outer is not None and entry in (_JOIN, _SAVEPOINT):
            root = _joined(outer, asynchronous)
            if options.after is not None and root.route is not None:
                root.route.check_joined(options.after, root)
        if outer is None:
            _check_apart(registry, options, parent)
    if outer is None:
        if database._closing or database.server.closed:
            database.check_open()
    elif root is None:
        database.check_not_closed()  # a drain waits for this owner's open scope, and for its needs
    now = _now()
    scope = Scope(registry, options, entry, parent, root, place, now)
    if database.tenants is not None:
        _settle_tenant(database.tenants, scope, outer)
    if root is None:
        _equip(database, scope, asynchronous)
        if deadline is not None:
            scope.deadline = deadline
    else:
        _attach_to(scope, root, now)
    registry.opened(scope)
    make_current(scope)
    if registry.watch is not None and root is None:
        registry.watch.opened(scope)
    if registry.listeners:
        opened = ScopeOpened(registry.name, scope.ref, str(scope.owner), str(entry))
        emit(registry.listeners, opened)
    return scope


def _check_apart(registry: Registry, options: ScopeOptions, scope: Scope | None) -> None:
    """A group's session is none of its databases', nor the other way round.

    :raises ScopeRefused: one of them is open here, and something is to join it.
    """
    if options.propagation not in _JOINING:
        return
    mine = {registry, *members(registry)}
    while scope is not None:
        other = scope.registry
        if other is not registry and not is_over(scope) and scope.owner.is_current():
            shared = mine.intersection((other, *members(other)))
            if shared:
                names = ", ".join(repr(each.name) for each in shared)
                raise ScopeRefused(
                    f"A scope of {registry.name!r} cannot join one of {other.name!r}, which is open"
                    f" here and has {names} too: their transactions would be two.",
                    scope=scope.ref,
                    hint="Use the session of the open one, or propagation='requires_new'.",
                )
        scope = scope.parent


def _settle_tenant(tenants: Tenants, scope: Scope, outer: Scope | None) -> None:
    """Whose rows a scope sees: that is settled where it begins, and stays so.

    :raises UnknownTenant: nobody has the name that was given.
    :raises TenantRequired: none was given.
    :raises ScopeRefused: another one than that of the scope it joins.
    """
    asked = scope.options.tenant
    if scope.root is not scope:
        wanted = None if asked is NO_TENANT else asked
        if asked is not None and wanted != scope.tenant:
            raise ScopeRefused(
                f"tenant={asked!r} was asked for inside a scope of {scope.tenant or NO_TENANT!r}.",
                scope=scope.root.ref,
                hint="Open it outside, or with propagation='requires_new'.",
            )
        return
    if asked is None and outer is not None:
        asked = outer.tenant or NO_TENANT
    scope.tenant = tenants.chosen(asked)
    if scope.tenant is None:
        return
    if isinstance(tenants, DatabasePerTenant):
        _refuse_positions(scope)
        return
    if scope.entry is _PLAIN:
        raise ScopeRefused(
            "Without a transaction the database cannot be told of a tenant.",
            hint=f"Leave propagation={str(scope.options.propagation)!r} out.",
        )
    assert scope.registry.family is not None
    scope.settings = scope.registry.family.tenant_settings(tenants, scope.tenant)


def _refuse_positions(scope: Scope) -> None:
    """The databases of tenants may be on servers whose positions say nothing of each other."""
    family = scope.registry.family
    asked = scope.options.position or scope.options.after is not None
    if asked and family is not None and family.positions.known:
        raise ScopeRefused(
            f"A position was asked for of the database of tenant {scope.tenant!r}.",
            hint="Positions are those of the Database's own server, which has no tenant.",
        )


def _joined(outer: Scope, asynchronous: bool) -> Scope:
    """The scope whose session is joined."""
    if outer.root.asynchronous != asynchronous:
        raise ScopeRefused(
            "A scope of threads and one of asyncio cannot share a session.",
            scope=outer.ref,
            hint="Use the same form of 'with' inside, or propagation='requires_new'.",
        )
    outer.check_owner()
    return outer.root


def _own_outer(database: Database, options: ScopeOptions) -> Scope | None:
    """The open scope, if it is the caller's own: one seen through a copied context is not."""
    found = open_scope(database.registry)
    while found is not None and not found.root.handed:
        # an interrupt struck while it was being opened: nobody holds it, nobody will end it
        found.ended = True
        found.registry.closed(found)
        found = open_scope(database.registry)
    if found is None or found.owner.is_current():
        return found
    if options.propagation is Propagation.MANDATORY:
        raise found.foreign(
            f"The scope that is open here belongs to {found.owner}, and", "asked to join it."
        )
    return None


def _as_outer(scope: Scope | None) -> Outer | None:
    if scope is None:
        return None
    root = scope.root
    transactional = root.entry is not _PLAIN
    isolation = root.options.isolation
    if isolation is None and root.readonly and root.registry.reads_apart:
        isolation = Isolation.READ_COMMITTED
    return Outer(transactional, root.readonly, isolation, scope)


def _equip(database: Database, scope: Scope, asynchronous: bool) -> None:
    """Give a scope its session, bound to the pool that its promise asks for."""
    options = database.options.session_options
    reader = scope.readonly
    scope.asynchronous = asynchronous
    if scope.tenant is not None and database.tenant_servers is not None:
        server = database.tenant_servers.server(scope.tenant, scope)
    elif database.routes is None:
        server = database.server
    else:
        chosen = database.routes.begin(scope)
        if chosen is None:
            return  # a group's has given the scope its session
        server = chosen
    if asynchronous:
        side = _equip_async(server, scope, options)
    else:
        side = server.sides.get(reader) or server.side(reader=reader)
        if side.session_dict is not None and not options:
            session = new_session(side, scope)
        else:
            make = server.session_maker or owned_session
            session = make(side.engine, expire_on_commit=False, **options)
            if not options:
                remember_session(side, session)
            session._scope = scope
        scope.facade = scope.session = session
    if (
        side.begin is not None
        and scope.entry is _TRANSACTION
        and scope.options.isolation is None
        and (side.wire is not None or not asynchronous)
        and (scope.route is None or scope.route.settled)
        and not scope.settings
    ):
        scope.side = side


def _equip_async(server: Server, scope: Scope, options: Mapping[str, Any]) -> Side:
    reader = scope.readonly
    sides = server.async_sides.get(_get_running_loop())
    side = None if sides is None else sides.get(reader)
    if side is not None and side.facade_dict is not None and not options:
        session = new_session(side, scope)
        facade = lean_async.new_facade(side, session)
    else:
        engine, side = server.async_side(reader=reader)
        make = server.session_maker or owned_session
        facade = (server.facade_class or AsyncSession)(
            engine, sync_session_class=make, expire_on_commit=False, **options
        )
        session = facade.sync_session
        if not options:
            remember_session(side, session)
            lean_async.remember_facade(side, facade)
        session._scope = scope
    scope.facade, scope.session = facade, session
    return side


def _attach_to(scope: Scope, root: Scope, now: float) -> None:
    scope.facade, scope.session = root.facade, root.session
    scope.asynchronous = root.asynchronous
    scope.outer_deadline = root.deadline
    scope.given_timeout = root.given_timeout
    if scope.options.timeout is not None:
        own = now + scope.options.timeout
        if root.deadline is None or own < root.deadline:
            root.deadline = own
            root.given_timeout = scope.options.timeout
        scope.deadline = root.deadline
        rewatch(root)


def open_savepoint(scope: Scope) -> None:
    """Begin the savepoint of a nested scope: what is pending is flushed first, outside of it."""
    root = scope.root
    try:
        root.check_statement()
        scope.savepoint = orm.Session.begin(scope.session, nested=True)
    except BaseException as error:
        scope.boundary.doom(error)
        root.deadline, root.given_timeout = scope.outer_deadline, scope.given_timeout
        rewatch(root)
        _finished(scope, error)
        raise
    root.innermost, root.savepoint = scope.boundary, scope.savepoint


# ---------------------------------------------------------------- threads


def begin_sync(
    database: Database, options: ScopeOptions, place: Place, deadline: float | None = None
) -> Scope:
    scope = begin(database, options, place, False, deadline)
    if scope.entry is _SAVEPOINT:
        open_savepoint(scope)
    return scope


def end_sync(scope: Scope, error: BaseException | None, cleanup_timeout: float) -> None:
    """End a scope, run its hooks, and raise what has to be raised besides ``error``."""
    if scope.trace is not None:
        scope.trace.left = _now()
    if scope.route is not None:
        leaves(scope)
    try:
        raised = end(scope, error, cleanup_timeout)
    except BaseException as struck:
        # a signal that was held back: the scope has ended by now; or else it struck before that
        raised = end_struck(scope, struck, cleanup_timeout)
    late: BaseException | None = None
    try:
        _finished(scope, raised or error)
    except BaseException as struck:
        late = struck  # in a sink or a listener: the hooks have their turn all the same
    if scope.hooks and scope.root is scope:
        raised = _run_hooks_sync(scope) or raised
    if late is not None:
        late.__context__ = raised or late.__context__
        raised = late
    if raised is not None and raised is not error:
        _note_outcome(raised, scope)
        raise raised


def see_to_end(scope: Scope, struck: BaseException, cleanup_timeout: float) -> None:
    """Have a scope ended whose end raised: an interrupt may have come before or after it."""
    if not scope.ended or scope.number in scope.registry.scopes:
        end_struck(scope, struck, cleanup_timeout)
        _finished(scope, struck)


def _run_hooks_sync(scope: Scope) -> BaseException | None:
    """Run every hook, outside of any scope; an interrupt waits until the last has had its turn."""
    struck: BaseException | None = None
    outer = innermost()
    make_current(None)
    try:
        for hook in ending_hooks(scope):
            try:
                hook.function()
            except Exception as failed:
                _hook_failed(scope, hook, failed)
            except BaseException as interrupt:
                struck = struck or interrupt
    finally:
        make_current(outer)
    return struck


# ---------------------------------------------------------------- asyncio


async def begin_async(
    database: Database, options: ScopeOptions, place: Place, deadline: float | None = None
) -> Scope:
    known: Scope | None = innermost()
    if known is not None and known.left:
        await _end_left(known, database.options.cleanup_timeout)
    scope = begin(database, options, place, True, deadline)
    if scope.entry is _SAVEPOINT:
        if is_clean(scope.session) and not is_heard(scope.session):
            open_savepoint(scope)  # nothing is sent before a statement inside
        else:
            await greenlet_spawn(open_savepoint, scope)
    return scope


async def end_async(scope: Scope, error: BaseException | None, cleanup_timeout: float) -> None:
    """As ``end_sync``; a cancellation that arrives in the meantime is raised once, afterwards."""
    struck: BaseException | None = None
    if scope.trace is not None:
        scope.trace.left = _now()
    if scope.route is not None:
        leaves(scope)
    if _get_running_loop() is None:
        raised = None
        _abandon(scope)
    elif _sends_nothing(scope, error):
        raised = end(scope, error, cleanup_timeout)
    elif lean_async.may_end(scope, error):
        raised, struck = await end_in_hand(scope, cleanup_timeout)
    elif lean_async.may_commit(scope, error) and not is_clean(scope.session):
        raised, struck = await end_written(scope, cleanup_timeout)
    else:
        raised, struck = await end_shielded(scope, error, cleanup_timeout)
    try:
        _finished(scope, raised or error)
    except BaseException as late:
        struck = struck or late  # in a sink or a listener: the hooks have their turn all the same
    if scope.root is scope and scope.hooks:
        struck = await _run_hooks(scope) or struck
    if isinstance(error, asyncio.CancelledError) and isinstance(struck, asyncio.CancelledError):
        struck = None  # one is on its way out already, and enough
    if struck is not None:
        if raised is not None and raised is not struck:
            struck.__context__ = raised
        raised = struck
    if raised is not None and raised is not error:
        _note_outcome(raised, scope)
        raise raised


async def see_to_end_async(scope: Scope, struck: BaseException, cleanup_timeout: float) -> None:
    """As ``see_to_end``."""
    if isinstance(struck, GeneratorExit) or _get_running_loop() is None:
        return  # its coroutine was closed: nothing can be awaited
    if not scope.ended or scope.number in scope.registry.scopes:
        await end_shielded(scope, struck, cleanup_timeout, struck=True)
        _finished(scope, struck)


async def _end_left(scope: Scope | None, cleanup_timeout: float) -> None:
    """End the caller's scopes whose ends an interrupt kept from beginning."""
    while scope is not None and scope.left and scope.owner.is_current():
        scope.left = False
        struck = KeyboardInterrupt("an interrupt struck while its block was left")
        await see_to_end_async(scope, struck, cleanup_timeout)
        scope = innermost()


def _abandon(scope: Scope) -> None:
    """The end of a scope whose loop was closed under it: nothing can be sent any more."""
    root = scope.root
    if scope is not root:
        return
    scope.ending = scope.failed = True
    sent = scope.transaction is not None and scope.transaction.commit_sent
    scope.boundary.end(Outcome.UNKNOWN if sent else Outcome.NOT_COMMITTED)
    if scope.connection is not None:
        scope.registry.connections.pop(scope.connection.number, None)
        scope.connection.abandon()
    if scope.ticket is not None:
        gate, ticket = scope.ticket
        gate.leave(ticket, _now())


def _sends_nothing(scope: Scope, error: BaseException | None) -> bool:
    if scope.entry is _JOIN:
        return True
    if scope.entry is _SAVEPOINT:
        return lean_async.keeps_savepoint(scope, error)
    if scope.hooks:
        return False
    if scope.connection is not None:
        return False
    if is_due(scope):
        return False
    session: Session = scope.session
    if ending(scope.boundary, error, scope.options.commit_on) is not _COMMIT:
        return not session.in_transaction()
    return session._is_clean() and not has_commit_listeners(scope)


async def _run_hooks(scope: Scope) -> BaseException | None:
    """Run every hook; a cancellation waits until the last one has had its turn."""
    struck: BaseException | None = None
    outer = innermost()
    make_current(None)
    try:
        for hook in ending_hooks(scope):
            try:
                answer = hook.function()
                if inspect.isawaitable(answer):
                    await answer
            except Exception as failed:
                _hook_failed(scope, hook, failed)
            except BaseException as arrived:
                struck = struck or arrived
    finally:
        make_current(outer)
    return struck


# ---------------------------------------------------------------- both


def _finished(scope: Scope, error: BaseException | None) -> None:
    # more than once, where it was interrupted
    scope.ended = True
    scope.seconds = _now() - scope.started
    if scope.route is not None:
        scope.route.ended(scope, error)
    leave(scope)
    registry = scope.registry
    registry.closed(scope)
    if scope.trace is not None:
        trace, scope.trace = scope.trace, None
        trace.close(scope, error)
    if registry.listeners:
        name = None if error is None else type(error).__name__
        outcome = scope.outcome
        emit(
            registry.listeners,
            ScopeFinished(registry.name, scope.ref, outcome, scope.seconds, scope.statements, name),
        )


def _hook_failed(scope: Scope, hook: Hook, error: Exception) -> None:
    scope.hook_errors += (error,)
    logger.error(
        "hook %s of %s failed; the outcome stays %s",
        hook.name,
        scope.ref,
        scope.outcome and scope.outcome.value,
        exc_info=error,
    )
    if scope.registry.listeners:
        failed = HookFailed(scope.registry.name, scope.ref, hook.name, error)
        emit(scope.registry.listeners, failed)


def _note_outcome(error: BaseException, scope: Scope) -> None:
    """Say on an exception that is not ours how the transaction ended that it interrupted."""
    if not isinstance(error, Exception) and scope.outcome is not None:
        error.add_note(f"outcome of {scope.ref}: {scope.outcome.value}")
