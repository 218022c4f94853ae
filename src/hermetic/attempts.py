"""Units of work: one scope, or several attempts of one, as a block, a decorator or a loop of
blocks.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from sqlalchemy.orm.state import InstanceState

from . import current
from .async_session import AsyncSession
from .attempt import Attempt
from .block import Block
from .boundary import Entry
from .clock import monotonic
from .decorated import SessionSlot, check_decorated, new_objects_among
from .dialects.classify import classify
from .errors import ScopeControls
from .events import RetryRefused, RetryScheduled, emit
from .options import Propagation, Retry, ScopeOptions
from .place import Place, caller_frame
from .registry import Scope, describe_error
from .retry import Again, decide, failure_of
from .scope import (
    begin_async,
    begin_sync,
    end_async,
    end_sync,
    see_to_end,
    see_to_end_async,
)
from .session import Session

if TYPE_CHECKING:
    from .database import Database

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


_JOINING = frozenset(
    {Propagation.REQUIRED, Propagation.NESTED, Propagation.MANDATORY, Propagation.SUPPORTS}
)


class Run:
    """One unit of work under a policy, from its first attempt to its last."""

    def __init__(self, database: Database, options: ScopeOptions, place: Place) -> None:
        self.database = database
        self.options = options
        self.place = place
        self.attempt = 0
        # of the scope of the last attempt
        self.number: int | None = None
        self.policy = self._own_policy()
        self.deadline = self._deadline(monotonic())
        self.errors: list[BaseException] = []
        # of the attempt that runs
        self.session: Session | None = None
        self.refused: weakref.WeakSet[InstanceState[Any]] | None = None
        # new objects that came as arguments; after a rollback they are new again
        self.given: list[tuple[InstanceState[Any], set[str]]] = []

    def _own_policy(self) -> Retry | None:
        """The policy, unless somebody further out runs all of it again, or ends it."""
        policy = self.options.retry
        outer = current.open_scope(self.database.registry)
        if policy is None or outer is None or not outer.owner.is_current():
            return policy
        joins = outer.root.entry is Entry.TRANSACTION and self.options.propagation in _JOINING
        scope: Scope | None = outer
        while scope is not None and not joins:
            joins = scope.rerun
            scope = scope.parent
        return None if joins else policy

    def _deadline(self, now: float) -> float | None:
        limits = [self.options.timeout]
        if self.policy is not None:
            limits.append(self.policy.within)
        known = [limit for limit in limits if limit is not None]
        return now + min(known) if known else None

    def scope_deadline(self) -> float | None:
        """The deadline of each attempt: that of ``timeout`` alone; ``within`` only bounds
        retrying.
        """
        if self.options.timeout is None or self.attempt == 0:
            return None
        return self._timeout_at

    def prepare(self) -> float | None:
        """Count the next attempt; the deadline that its scope has."""
        self.attempt += 1
        if self.attempt == 1 and self.options.timeout is not None:
            self._timeout_at = monotonic() + self.options.timeout
        return self.scope_deadline()

    def opened(self, scope: Scope) -> None:
        scope.attempt = self.attempt
        if self.attempt > 1 and scope.trace is not None:
            scope.trace.before = self.number
        self.number = scope.number
        for state, names in self.given:
            # what a failed attempt left on a new object: generated keys, defaults
            for name in set(state.dict) - names:
                del state.dict[name]
        scope.rerun = self.policy is not None
        if self.policy is not None and scope.entry is Entry.TRANSACTION:
            session: Session = scope.session
            self.session = session
            session._refused_states = self.refused
            session._tracked_states = weakref.WeakSet()
        # last: an interrupt before this leaves a scope that nobody will end, and nobody joins
        scope.handed = True

    def pause_after(self, scope: Scope | None, error: BaseException) -> float | None:
        """Seconds until the next attempt, or ``None`` when there is none: ``error`` goes on its
        way.
        """
        policy, database = self.policy, self.database
        if policy is None:
            return None
        outcome = None if scope is None else scope.outcome
        failure = failure_of(error, outcome, classify)
        decision = decide(
            policy,
            failure,
            attempt=self.attempt,
            now=monotonic(),
            deadline=self.deadline,
            chance=random.random(),
            budget=database.retry_budget,
        )
        listeners = database.registry.listeners
        name = self.options.name or self.place.function
        if isinstance(decision, Again):
            self.errors.append(error)
            if scope is not None:
                self._refuse_objects_of(scope)
            database.registry.counters["retries"] += 1
            if listeners:
                scheduled = RetryScheduled(
                    database.name, name, self.attempt + 1, decision.pause, failure.fault
                )
                emit(listeners, scheduled)
            return decision.pause
        if decision.reason:
            error.add_note(f"not run again after attempt {self.attempt}: {decision.reason}")
            for number, earlier in enumerate(self.errors, 1):
                error.add_note(f"attempt {number}: {describe_error(earlier)}")
            if listeners:
                refused = RetryRefused(
                    database.name, name, self.attempt, decision.reason, failure.fault
                )
                emit(listeners, refused)
        return None

    def _refuse_objects_of(self, scope: Scope) -> None:
        if self.refused is None:
            self.refused = weakref.WeakSet()
        session, self.session = self.session, None
        if session is not None and session._scope is scope:
            self.refused |= session._tracked_states
            self.refused -= {state for state, _ in self.given}


class Unit(Block):
    """A unit of work, as ``db.session(…)`` gives it: a block, ``with`` or ``async with``, or a
    decorator.

    The same object may be used many times, also by several threads and tasks at once.
    """

    # ------------------------------------------------------------ a decorator

    # a function of Session could return a coroutine too; the first that fits is the one meant
    @overload
    def __call__(
        self, function: Callable[Concatenate[AsyncSession, P], Coroutine[Any, Any, R]]
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[S, AsyncSession, P], Coroutine[Any, Any, R]]
    ) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Session, P], R]) -> Callable[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[S, Session, P], R]
    ) -> Callable[Concatenate[S, P], R]: ...
    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        check_decorated(function)
        options = self._options
        if options.name is None:
            options = options.updated(
                {"name": getattr(function, "__qualname__", "unit")[-63:]}, place="db.session()"
            )
        slot = SessionSlot.of(function)
        database = self._database
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                run = Run(database, options, Place(caller_frame()))
                run.given = _given(run, args, kwargs)
                return await _call_async(run, function, slot, args, kwargs)

            run_async.__signature__ = slot.left_out(function)  # type: ignore[attr-defined]
            return run_async

        @functools.wraps(function)
        def run_sync(*args: Any, **kwargs: Any) -> Any:
            run = Run(database, options, Place(caller_frame()))
            run.given = _given(run, args, kwargs)
            return _call_sync(run, function, slot, args, kwargs)

        run_sync.__signature__ = slot.left_out(function)  # type: ignore[attr-defined]
        return run_sync


def _given(
    run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[tuple[InstanceState[Any], set[str]]]:
    """The new objects among the arguments, and which attributes they came with."""
    if run.policy is None:
        return []
    states = new_objects_among((*args, *kwargs.values()))
    return [(state, set(state.dict)) for state in states]


def _call_sync(
    run: Run, function: Callable[..., Any], slot: SessionSlot, args: Any, kwargs: Any
) -> Any:
    cleanup = run.database.options.cleanup_timeout
    while True:
        scope = None
        try:
            scope = begin_sync(run.database, run.options, run.place, run.prepare())
            run.opened(scope)
            given, named = slot.fill(args, kwargs, scope.facade)
            try:
                result = function(*given, **named)
            except BaseException as error:
                end_sync(scope, error, cleanup)
                raise
            end_sync(scope, None, cleanup)
            return result
        except BaseException as error:
            if scope is not None:
                see_to_end(scope, error, cleanup)
            pause = run.pause_after(scope, error)
            if pause is None:
                raise
        time.sleep(pause)


async def _call_async(
    run: Run, function: Callable[..., Any], slot: SessionSlot, args: Any, kwargs: Any
) -> Any:
    cleanup = run.database.options.cleanup_timeout
    while True:
        scope = None
        try:
            scope = await begin_async(run.database, run.options, run.place, run.prepare())
            run.opened(scope)
            given, named = slot.fill(args, kwargs, scope.facade)
            try:
                result = await function(*given, **named)
            except BaseException as error:
                await end_async(scope, error, cleanup)
                raise
            await end_async(scope, None, cleanup)
            return result
        except BaseException as error:
            if scope is not None:
                await see_to_end_async(scope, error, cleanup)
            pause = run.pause_after(scope, error)
            if pause is None:
                raise
        await asyncio.sleep(pause)


# ---------------------------------------------------------------- a loop of blocks


class Attempts:
    """A unit of work as a loop of blocks, as ``db.attempts(…)`` gives it.

    The loop ends after the first attempt that succeeds; a failure that is not retried leaves it as
    an exception. It can be gone through once.
    """

    def __init__(self, database: Database, options: ScopeOptions, place: Place) -> None:
        self._run = Run(database, options, place)
        self._begun = False
        self._entered = 0
        self.pause: float | None = 0.0

    def __iter__(self) -> Iterator[Attempt]:
        self._begin()
        return self

    def __aiter__(self) -> AsyncIterator[Attempt]:
        self._begin()
        return self

    def __next__(self) -> Attempt:
        pause = self._take_pause()
        if pause is None:
            raise StopIteration
        if pause:
            time.sleep(pause)
        return Attempt(self, self._run)

    async def __anext__(self) -> Attempt:
        pause = self._take_pause()
        if pause is None:
            raise StopAsyncIteration
        if pause:
            await asyncio.sleep(pause)
        return Attempt(self, self._run)

    def _begin(self) -> None:
        if self._begun:
            raise ScopeControls(
                "This loop of attempts was gone through already.",
                hint="Call db.attempts() anew for every unit of work.",
            )
        self._begun = True

    def _take_pause(self) -> float | None:
        """Seconds before the next attempt; ``None`` when the last one was not to be run again."""
        if self._entered and self._run.attempt < self._entered:
            raise ScopeControls(
                "An attempt was not entered.", hint="Write: with attempt as session: …"
            )
        self._entered = self._run.attempt + 1
        pause, self.pause = self.pause, None
        return pause
