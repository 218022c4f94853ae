"""The end of a scope, as work on the sync session: commit or roll back, then close. It never waits
by itself; the shells run it in their own way, in a thread or under SQLAlchemy's bridge to asyncio.
"""

from __future__ import annotations

import asyncio
import inspect
from contextlib import nullcontext
from functools import partial
from threading import RLock, get_ident
from typing import Any

from sqlalchemy import orm
from sqlalchemy.util import await_only

from .boundary import Ending, Entry, State, ending
from .clock import monotonic
from .errors import (
    FaultError,
    ForeignOwner,
    Outcome,
)
from .events import logger
from .execution import rewatch, watch
from .fast.fresh import keep_listed
from .fast.lean import close as close_shortly
from .fast.lean import commit as commit_in_hand
from .fast.lean import (
    commits_in_one_step,
    forget_begun,
    hand_over,
    is_clean,
    may_close,
    worded,
)
from .fast.listening import is_heard
from .hooks import Hook, run_before_commit
from .interrupts import HeldBack, main_thread, out_of_reach
from .outcome import not_committed, outcome_of, refused, settle
from .owner import Owner
from .parts import parts
from .registry import Scope, describe_error
from .remains import Remains, remains_of
from .sealed import mark, seal
from .trace import is_due

# as in boundary
_JOIN, _SAVEPOINT, _PLAIN, _TRANSACTION = (
    Entry.JOIN,
    Entry.SAVEPOINT,
    Entry.PLAIN,
    Entry.TRANSACTION,
)
_COMMIT, _ROLLBACK, _REFUSE = Ending.COMMIT, Ending.ROLLBACK, Ending.REFUSE
_COMMITTED, _NOT_COMMITTED, _UNKNOWN = Outcome.COMMITTED, Outcome.NOT_COMMITTED, Outcome.UNKNOWN
_DOOMED = State.DOOMED

_NOTHING = nullcontext()

# seconds that the end of a statement on the server may take, where it goes on without its client
_REMAINS_SECONDS = 1.0


def end(scope: Scope, error: BaseException | None, cleanup_timeout: float) -> BaseException | None:
    """End a scope whose block was left with ``error``.

    :return: what has to be raised instead of, or without, ``error``; ``None`` where nothing has.
    """
    if scope.entry is _JOIN:
        _end_joined(scope, error)
        return None
    root = scope if scope._root is None else scope._root
    if root is not scope and root.ended:
        return None  # it outlived the scope that it was part of; there is nothing left to end
    owner = root._owner
    if root is scope and scope.borrower is not None:
        scope.boundary.doom(_still_lent(scope, scope.borrower))
    if not owner.is_current():
        # in a task of its own under asyncio; in another thread than it was opened in, where a
        # framework runs the two halves of a generator so. Whoever ends it owns it meanwhile
        root._owner = Owner()
    try:
        if scope.entry is _SAVEPOINT:
            return _end_savepoint(scope, error, cleanup_timeout)
        return _end_root(scope, error, cleanup_timeout)
    finally:
        root._owner = owner


def end_struck(scope: Scope, struck: BaseException, cleanup_timeout: float) -> BaseException:
    """What is left of an end that an interrupt broke off. Nothing more of the scope commits.

    :return: ``struck``.
    """
    if scope.entry is _JOIN:
        _end_joined(scope, struck)
    elif scope.entry is _SAVEPOINT:
        if not scope.root.ended:
            _end_struck_savepoint(scope, struck, cleanup_timeout)
    elif scope.session is not None:
        owner = scope.owner
        if not owner.is_current():
            scope.owner = Owner()
        try:
            _end_struck_root(scope, struck, cleanup_timeout)
        finally:
            scope.owner = owner
    return struck


def _end_struck_root(scope: Scope, struck: BaseException, cleanup_timeout: float) -> None:
    scope.interruptible = False
    scope.ending = True
    if scope.outcome is None and scope.entry is _TRANSACTION:
        scope.boundary.end(outcome_of(scope, struck))
    with _held_back(scope, cleanup_timeout):
        _finish(scope, struck, None, _ROLLBACK, cleanup_timeout)


def _end_struck_savepoint(scope: Scope, struck: BaseException, cleanup_timeout: float) -> None:
    """It may have been released already: nothing of the whole may commit."""
    with _held_back(scope, cleanup_timeout):
        scope.root.boundary.doom(struck)
        scope.boundary.end(_NOT_COMMITTED)
        _roll_back_savepoint(scope, struck)
        _leave_savepoint(scope)


def _still_lent(scope: Scope, borrower: Owner) -> ForeignOwner:
    return ForeignOwner(
        f"The scope ended while its session was on loan to {borrower}.",
        owner=str(borrower),
        user=str(Owner()),
        scope=scope.ref,
        hint="Wait for the borrower before the scope's block ends.",
    )


def _end_joined(scope: Scope, error: BaseException | None) -> None:
    root = scope.root
    root.deadline, root.given_timeout = scope.outer_deadline, scope.given_timeout
    rewatch(root)
    # without a transaction there is nothing that could still be rolled back
    if root.entry is _PLAIN or error is None or isinstance(error, scope.options.commit_on):
        return
    scope.boundary.doom(error)


def _end_savepoint(
    scope: Scope, error: BaseException | None, cleanup_timeout: float
) -> BaseException | None:
    how = ending(scope.boundary, error, scope.options.commit_on)
    raised: BaseException | None = None
    if how is _COMMIT:
        try:
            if not is_heard(scope.session):  # as in _flush
                scope.session.flush()
        except BaseException as failed:
            raised = failed
            how = _ROLLBACK
    with _held_back(scope, cleanup_timeout):
        if how is _COMMIT:
            try:
                scope.savepoint.commit()
            except BaseException as failed:
                raised = failed
                how = _ROLLBACK
                if len(parts(scope.root)) > 1:
                    # in one database it may be released, and not in the other
                    scope.root.boundary.doom(failed)
        if how is not _COMMIT:
            scope.boundary.end(_NOT_COMMITTED)
            if how is _REFUSE:
                raised = refused(scope)
            _roll_back_savepoint(scope, raised or error)
        _leave_savepoint(scope)
    return raised


def _held_back(scope: Scope, cleanup_timeout: float) -> Any:
    """Signals wait, where there is a connection, and Python's handlers run here.

    A loop has signal handlers of its own, and other tasks run while this one waits; without a
    connection nothing is sent that a signal could strike.
    """
    root = scope.root
    if root.connection is None or root.asynchronous or get_ident() != main_thread:
        return _NOTHING
    return HeldBack(partial(_bound, root, cleanup_timeout))


def _roll_back_savepoint(scope: Scope, error: BaseException | None) -> None:
    try:
        # after a failed flush it is inactive, and has to be rolled back all the same, with
        # whatever savepoints were left open inside it
        if _is_open(scope):
            scope.savepoint.rollback()
    except BaseException as failed:
        _attach(error, "the rollback to the savepoint failed too", failed)
        # the savepoint may still hold what it should not: nothing of the whole may commit
        scope.root.boundary.doom(failed)


def _leave_savepoint(scope: Scope) -> None:
    root = scope.root
    root.innermost, root.savepoint = scope.parent_boundary, scope.parent_savepoint
    root.deadline, root.given_timeout = scope.outer_deadline, scope.given_timeout
    rewatch(root)


def _is_open(scope: Scope) -> bool:
    nested = scope.session.get_nested_transaction()
    while nested is not None and nested is not scope.savepoint:
        nested = nested.parent
    return nested is not None


# ---------------------------------------------------------------- a transaction


def _end_root(
    scope: Scope, error: BaseException | None, cleanup_timeout: float
) -> BaseException | None:
    how = ending(scope.boundary, error, scope.options.commit_on)
    raised: BaseException | None = None
    if how is _COMMIT:
        scope.interruptible = True
        raised = _prepare(scope)
        scope.interruptible = False
    scope.ending = True
    # a commit that is one step, or nothing that could be struck
    resolver = scope.registry.resolver
    if scope.connection is None or (
        scope.in_hand
        and how is _COMMIT
        and resolver is None
        and not scope.asks
        and commits_in_one_step(scope)
    ):
        return _carry_out(scope, error, raised, how, cleanup_timeout)
    if how is _COMMIT and raised is None and getattr(scope.unit, "commits_apart", False):
        return out_of_reach(partial(_commit_apart, scope, error, cleanup_timeout))
    if resolver is None or how is not _COMMIT or raised is not None:
        with _held_back(scope, cleanup_timeout):
            return _carry_out(scope, error, raised, how, cleanup_timeout)
    return _commit_provably(scope, error, cleanup_timeout)


def _commit_apart(
    scope: Scope, error: BaseException | None, cleanup_timeout: float
) -> BaseException | None:
    """A commit in another thread than the scope's, which waits."""
    owner, session = scope._owner, scope.session
    scope._owner = Owner()
    in_use = getattr(session, "_in_use", None)
    if in_use is not None:
        session._in_use = RLock()
    try:
        if scope.registry.resolver is None:
            return _carry_out(scope, error, None, _COMMIT, cleanup_timeout)
        return _commit_provably(scope, error, cleanup_timeout)
    finally:
        scope._owner = owner
        if in_use is not None:
            session._in_use = in_use


def _commit_provably(
    scope: Scope, error: BaseException | None, cleanup_timeout: float
) -> BaseException | None:
    """``_carry_out`` of a commit whose answer, if it is lost, the database is asked for."""
    raised: BaseException | None = None
    signal: BaseException | None = None
    try:
        with _held_back(scope, cleanup_timeout):
            raised = _commit(scope)
            if scope.boundary.outcome is not _UNKNOWN or scope.proof is None:
                _finish(scope, error, raised, _COMMIT, cleanup_timeout)
                return raised
    except BaseException as struck:
        # of a signal that was held back: it is raised when the outcome is known
        if scope.boundary.outcome is not _UNKNOWN or scope.proof is None or scope.session is None:
            raise
        signal, scope.cancelled = struck, True
    # signals are not held back from this: it may take its time
    try:
        raised = settle(scope, raised, cleanup_timeout)
    except BaseException as struck:
        struck.add_note(f"the outcome is not known; it can be asked for by {scope.proof}")
        raise
    with _held_back(scope, cleanup_timeout):
        _finish(scope, error, raised, _COMMIT, cleanup_timeout)
    if signal is not None:
        raise signal
    return raised


def _carry_out(
    scope: Scope,
    error: BaseException | None,
    raised: BaseException | None,
    how: Ending,
    cleanup_timeout: float,
) -> BaseException | None:
    if how is _COMMIT and raised is None:
        raised = _commit(scope)
    elif how is _REFUSE:
        raised = refused(scope)
    _finish(scope, error, raised, how, cleanup_timeout)
    return raised


def _finish(
    scope: Scope,
    error: BaseException | None,
    raised: BaseException | None,
    how: Ending,
    cleanup_timeout: float,
) -> None:
    """Everything after the COMMIT, or in the place of one."""
    if scope.boundary.outcome is None and scope.entry is _TRANSACTION:
        unsure = scope.transaction is not None and scope.transaction.unsure
        scope.boundary.end(_UNKNOWN if unsure else _NOT_COMMITTED)
    rollback = raised is not None or how is not _COMMIT
    scope.failed = rollback or error is not None
    final = raised or error
    _clean_up(scope, final, cleanup_timeout, rollback)
    scope.forget()
    if final is not None and isinstance(final, FaultError):
        final.outcome = scope.outcome


def end_sent(
    scope: Scope, struck: BaseException | None, cleanup_timeout: float
) -> BaseException | None:
    """The end of a scope whose COMMIT was sent by its shell, on the driver's connection.

    :param struck: what came of it, as the DBAPI raises it; ``None``: it was answered.
    :return: as ``end``.
    """
    owner = scope.owner
    if not owner.is_current():
        scope.owner = Owner()
    raised: BaseException | None = None
    try:
        if struck is None:
            scope.transaction.committed = True  # type: ignore[union-attr]
            if scope.trace is not None:
                scope.trace.look()
            scope.boundary.end(_COMMITTED)
            forget_begun(scope.session)
        else:
            raised = not_committed(scope, worded(scope, struck))
            if scope.proof is not None and scope.boundary.outcome is _UNKNOWN:
                raised = settle(scope, raised, cleanup_timeout)
        _finish(scope, None, raised, _COMMIT, cleanup_timeout)
    finally:
        scope.owner = owner
    return raised


def end_unsent(scope: Scope, struck: BaseException, cleanup_timeout: float) -> BaseException:
    """The end of a scope whose flush failed in its shell, before any COMMIT.

    :return: as ``end``.
    """
    owner = scope.owner
    if not owner.is_current():
        scope.owner = Owner()
    scope.ending = True
    try:
        _finish(scope, None, struck, _COMMIT, cleanup_timeout)
    finally:
        scope.owner = owner
    return struck


def _prepare(scope: Scope) -> BaseException | None:
    """Everything before the COMMIT: hooks and flush.

    They may be interrupted like any of the work.
    """
    try:
        if is_due(scope):
            scope.trace.raise_due()
        if scope.hooks:
            run_before_commit(scope, partial(_run_hook, scope))
        _flush(scope)
        if scope.cancelled:
            raise asyncio.CancelledError
        if scope.deadline is not None and monotonic() >= scope.deadline:
            raise scope.deadline_exceeded("before its COMMIT was sent")
        if scope.boundary.state is _DOOMED:
            raise refused(scope)
    except BaseException as failed:
        return failed
    return None


def _run_hook(scope: Scope, hook: Hook) -> None:
    answer = hook.function()
    if scope.asynchronous and inspect.isawaitable(answer):
        await_only(answer)


def _flush(scope: Scope) -> None:
    session = scope.session
    if is_heard(session) and session.dispatch.before_commit:
        # SQLAlchemy tells of a commit before it flushes; its transaction remembers that it did
        transaction = session._transaction or session._autobegin_t()
        if scope.in_hand:
            hand_over(session, scope.side)
        transaction._prepare_impl()
        return
    for _ in range(100):  # as SQLAlchemy: hooks of a flush may make more to flush
        if is_clean(session):
            break
        session.flush()


def _commit(scope: Scope) -> BaseException | None:
    plain = scope.entry is _PLAIN
    if not plain:
        scope.boundary.committing()
    try:
        if scope.registry.resolver is not None:
            scope.registry.resolver.note(scope)
        if scope.in_hand and commit_in_hand(scope.session, scope):
            pass
        # without a transaction the session touched nothing that could be committed
        elif scope.session.in_transaction() or has_commit_listeners(scope):
            orm.Session.commit(scope.session)
    except BaseException as struck:
        return not_committed(scope, struck)
    if not plain:
        scope.boundary.end(_COMMITTED)
    return None


def has_commit_listeners(scope: Scope) -> bool:
    """Whether SQLAlchemy's own hooks wait for a commit, also for one of nothing."""
    if not is_heard(scope.session):
        return False  # without a look at the session's own collections, which would make them
    return bool(scope.session.dispatch.before_commit or scope.session.dispatch.after_commit)


# ---------------------------------------------------------------- afterwards


def _clean_up(
    scope: Scope, error: BaseException | None, cleanup_timeout: float, rollback: bool
) -> None:
    """Roll back where that is due, and close: the connection goes back, or is destroyed."""
    session = scope.session
    if scope.registry.has_tenants and session.identity_map:
        mark(session.identity_map.all_states(), scope.tenant)
    if not rollback and may_close(session):
        close_shortly(session, scope)
        return
    remains = [remains_of(part) for part in parts(scope)] if rollback else []
    try:
        if scope.in_hand:
            hand_over(session, scope.side)
        if rollback and session.in_transaction():
            _set_apart_untouched(scope)
            if _is_broken_off(scope):
                orm.Session.invalidate(session)
            else:
                _bound(scope, cleanup_timeout)
                orm.Session.rollback(session)
    except BaseException as failed:
        _attach(error, "the rollback failed too, and the connection was destroyed", failed)
        _destroy(scope)
    try:
        if session.identity_map:
            seal(session.identity_map.all_states(), scope)
        orm.Session.close(session)
        keep_listed(session)
    except BaseException as failed:
        _attach(error, "closing failed too, and the connection was destroyed", failed)
        _destroy(scope)
    for each in remains:
        if each is not None:
            _end_remains(each, error, min(cleanup_timeout, _REMAINS_SECONDS))


def _end_remains(remains: Remains, error: BaseException | None, seconds: float) -> None:
    problem = remains.end(seconds)
    if problem is not None and error is not None:
        error.add_note(f"the statement may go on in the server until it is done: {problem}")


def _is_broken_off(scope: Scope) -> bool:
    """Whether the watchdog has destroyed the socket already."""
    connection = scope.connection
    if connection is None or connection.alarm is None or connection.scope is not scope:
        return False
    return bool(connection.alarm.fired) and not connection.family.embedded


def _set_apart_untouched(scope: Scope) -> None:
    """Let go of what was only read, before SQLAlchemy's rollback expires every object it finds.

    What was flushed or changed stays and is expired: its values are not those of the database.
    """
    session = scope.session
    touched: set[object] = set()
    transaction = session.get_nested_transaction() or session.get_transaction()
    while transaction is not None:
        touched.update(transaction._dirty, transaction._new, transaction._deleted)
        transaction = transaction.parent
    untouched = [
        state
        for state in session.identity_map.all_states()
        if not state.modified and state not in touched
    ]
    if untouched:
        seal(untouched, scope)
        session._expunge_states(untouched)


def _bound(scope: Scope, seconds: float) -> None:
    """Destroy the scope's socket unless the cleanup is over in time."""
    for part in parts(scope):
        connection = part.connection
        if connection is not None and connection.scope is part:
            watch(connection, monotonic() + seconds)


def _destroy(scope: Scope) -> None:
    try:
        orm.Session.invalidate(scope.session)
    except BaseException:
        logger.exception("a connection could not be destroyed in good order")


def _attach(error: BaseException | None, what: str, failed: BaseException) -> None:
    """A failed cleanup never masks what came first."""
    if error is not None:
        error.add_note(f"{what}: {describe_error(failed)}")
    else:
        logger.error("after a commit, %s", what, exc_info=failed)
