"""Tasks of any worker, of threads and of asyncio: a unit of work for each."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

from ..decorated import check_decorated
from ..errors import InvalidOption, NoScope, Outcome
from ..events import logger
from ..options import ScopeOptions
from ..scope import see_to_end, see_to_end_async
from .settings import retried
from .task_options import TaskOptions
from .verdicts import Verdict, verdict_of

if TYPE_CHECKING:
    from ..async_session import AsyncSession
    from ..database import Database
    from ..session import Session
    from ..work import Work

__all__ = ["Sessions", "TaskOptions", "TaskUnit", "retried"]

_F = TypeVar("_F", bound=Callable[..., Any])

# from the outermost to the innermost
_units: ContextVar[tuple[TaskUnit, ...]] = ContextVar("hermetic_task_units", default=())


class TaskUnit:
    """The unit of work of one task, as ``Sessions.unit`` gives it."""

    def __init__(
        self,
        sessions: Sessions,
        function: Callable[..., Any],
        name: str | None,
        token: str | None,
        scope: Mapping[str, Any],
        arguments: tuple[Any, ...] = (),
    ) -> None:
        self.arguments = arguments
        options, self.database = sessions.options, sessions.database
        self.name: str = str(name or getattr(function, "__qualname__", "task"))[-63:]
        self.token = token
        policy = options.policy(function)
        given = {"name": self.name, **options.scope, **scope, "retry": policy}
        # what only reads may be done again
        self._inbox = None if token is None or given.get("readonly") else options.once
        self._commits_apart = sessions.commits_apart
        self._opens = options.opens or self._inbox is not None
        self.work: Work = self.database.work(of=function, **given)
        self._policy = policy
        self._party = _party()
        # whether an attempt has begun, and not ended; its scope is none of those before
        self.is_running, self._earlier = False, self.work.scope

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; ``None`` while that is open, or where no session was asked for."""
        return self.work.outcome

    @property
    def is_here(self) -> bool:
        """Whether it belongs to this thread, or task of asyncio."""
        return self._party == _party()

    @property
    def is_open(self) -> bool:
        """Whether what is done now can be part of it: not in its hooks after the commit."""
        scope = self.work.scope
        return self.is_running and (
            scope is None or scope is self._earlier or scope.outcome is None
        )

    def verdict(self, error: BaseException) -> Verdict:
        """Whether the worker may run the task again."""
        return verdict_of(error, self.outcome, once=self._inbox is not None)

    def pause_after(self, error: BaseException) -> float | None:
        """Seconds until it is run again in this process; ``None`` for not."""
        return None if self._policy is None else self.work.again(error)

    # ------------------------------------------------------------ for Sessions

    def begin(self) -> bool:
        """Open it, where that is not left to the task; whether it has not been done before."""
        self.is_running, self._earlier = True, self.work.scope
        self.work.commits_apart = self._commits_apart
        if not self._opens:
            return True
        session = self.work.session()
        inbox, token = self._inbox, self.token or ""
        if inbox is None or inbox.first(session, token, savepoint=False):
            return True
        self.work.rollback_only()
        return False

    async def abegin(self) -> bool:
        """As ``begin``, under asyncio."""
        self.is_running, self._earlier = True, self.work.scope
        if not self._opens:
            return True
        session = await self.work.asession()
        inbox, token = self._inbox, self.token or ""
        if inbox is None or await inbox.first(session, token, savepoint=False):
            return True
        self.work.rollback_only()
        return False

    def end(self, error: BaseException | None) -> None:
        """End it; nothing where it has ended."""
        self.work.end(error)
        self.is_running = False
        scope = self.work.scope
        if error is not None and scope is not None and not scope.ended:
            # whatever was thrown into this thread has struck its end itself
            see_to_end(scope, error, self.database.options.cleanup_timeout)

    async def aend(self, error: BaseException | None) -> None:
        """As ``end``, under asyncio."""
        await self.work.aend(error)
        self.is_running = False
        scope = self.work.scope
        if error is not None and scope is not None and not scope.ended:
            await see_to_end_async(scope, error, self.database.options.cleanup_timeout)

    def is_done(self, error: BaseException, strikes: tuple[type[BaseException], ...]) -> bool:
        """Whether what was thrown into the task by its worker has come after the commit."""
        if self.outcome is not Outcome.COMMITTED or not isinstance(error, strikes):
            return False
        kind = type(error).__name__
        logger.warning("task %s was committed when %s came, and is done", self.name, kind)
        return True


class Sessions:
    """The sessions of a Database's tasks: for plain workers, threads, schedulers::

        sessions = Sessions(db, timeout=30.0)

        @sessions.task
        def pay(number: int) -> None:
            db.current.get(Order, number).paid = True

    A task is one scope and one transaction, shared by everything it calls; it commits when the
    function has returned, before its caller hears of it, and rolls back where an exception left it.

    :param options: the fields of TaskOptions and ScopeOptions.
    :raises InvalidOption: an option is unknown, or its value outside its limits.
    """

    # what a worker throws into a running task
    strikes: ClassVar[tuple[type[BaseException], ...]] = ()

    def __init__(self, database: Database, **options: Any) -> None:
        self.database = database
        self.options = TaskOptions.build(options)
        if self.options.once is not None and self.options.once.db is not database:
            raise InvalidOption(
                "once", self.options.once, "is of another Database", place="task options"
            )

    # ------------------------------------------------------------ inside a task

    @property
    def unit(self) -> TaskUnit:
        """The unit of the task that runs here.

        :raises NoScope: none does.
        """
        found = self._found()
        if found is None:
            raise NoScope(
                "No task with a unit of work runs here.",
                hint="Decorate its function with @sessions.task, or install() the sessions.",
            )
        return found

    def session(self, **options: Any) -> Session:
        """The task's session, the same for all that it calls.

        :param options: those of a scope. Where it is open already they are demands, which it has
            to meet.
        :raises NoScope: no task runs here, or it has ended: in its hooks.
        :raises ScopeRefused: the demands are not met, or the task's session is one of asyncio.
        """
        return self._open_unit().work.session(**options)

    async def asession(self, **options: Any) -> AsyncSession:
        """As ``session``, under asyncio."""
        return await self._open_unit().work.asession(**options)

    def after_commit(self, send: Callable[..., object], /, *args: Any, **kwargs: Any) -> None:
        """Call ``send(*args, **kwargs)`` when the scope that is open here has committed.

        Where none is, it is called at once. What is sent by it can be lost, where the process ends
        in between, or the broker is away: an Outbox keeps it.

        :raises NoScope: a coroutine function, and no scope is open that would await it; or the
            task's own is not open yet.
        """
        try:
            session = self.database.current
        except NoScope:
            unit = self._found()
            if unit is not None and unit.is_open and not unit.work.opened:
                raise NoScope(
                    "The task's session is not open yet.", hint="Ask for it first: session()."
                ) from None
            if inspect.iscoroutinefunction(send):
                raise
            send(*args, **kwargs)
        else:
            session.on_commit(functools.partial(send, *args, **kwargs))

    def _open_unit(self) -> TaskUnit:
        unit = self.unit
        if not unit.is_open:
            # nobody would end what was opened now
            raise NoScope(
                "The task's unit of work has ended.", hint="Open another one: db.session()."
            )
        return unit

    def _found(self) -> TaskUnit | None:
        units = reversed(_units.get())
        return next((unit for unit in units if unit.database is self.database), None)

    # ------------------------------------------------------------ tasks

    @overload
    def task(self, function: _F, /) -> _F: ...
    @overload
    def task(self, /, **scope: Any) -> Callable[[_F], _F]: ...
    def task(self, function: Any = None, /, **scope: Any) -> Any:
        """Decorate a function, or a coroutine function, as a task: each call has a unit of its own.

        Called by another task, in the same thread, it is part of that one's.

        :param scope: options of its scope, over those of ``Sessions``.
        :raises InvalidOption: an option is unknown, or its value outside its limits.
        """
        ScopeOptions().updated(scope, place="task()")
        if function is None:
            return functools.partial(self._decorated, scope=scope)
        return self._decorated(function, scope=scope)

    def _decorated(self, function: Callable[..., Any], scope: Mapping[str, Any]) -> Any:
        check_decorated(function)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                call = functools.partial(function, *args, **kwargs)
                token = self.token(*args)
                return await self.arun(function, call, token=token, scope=scope, arguments=args)

            return run_async

        @functools.wraps(function)
        def run_sync(*args: Any, **kwargs: Any) -> Any:
            call = functools.partial(function, *args, **kwargs)
            token = self.token(*args)
            return self.run(function, call, token=token, scope=scope, arguments=args)

        return run_sync

    def token(self, *args: Any) -> str | None:
        """What the task that was just delivered is known by; ``None`` where nothing delivers."""
        return None

    @property
    def commits_apart(self) -> bool:
        """Whether another thread throws something into the task that runs here: a signal can be
        put aside while its COMMIT is on its way, that cannot.
        """
        return False

    def settle(self, unit: TaskUnit, error: BaseException) -> BaseException:
        """What is raised to the worker of a task that failed, and is not run again here."""
        return error

    def run(
        self,
        function: Callable[..., Any],
        call: Callable[[], Any],
        *,
        name: str | None = None,
        token: str | None = None,
        scope: Mapping[str, Any],
        arguments: tuple[Any, ...] = (),
    ) -> Any:
        """Run a task; for whoever writes an integration.

        :param function: the task's own function.
        :param call: calls it.
        :param name: what the scope is called. Default: as the function.
        :param token: what the task is known by, however often it is delivered.
        :param arguments: what it was called with, for ``settle``.
        """
        if self.is_inside:
            return call()
        unit = TaskUnit(self, function, name, token, scope, arguments)
        with _entered(unit):
            while True:
                try:
                    return self._attempt(unit, call)
                except BaseException as error:
                    pause = unit.pause_after(error)
                    if pause is None:
                        self._raise(unit, error)
                        raise
                time.sleep(pause)

    def _attempt(self, unit: TaskUnit, call: Callable[[], Any]) -> Any:
        result, returned = None, False
        try:
            try:
                if unit.begin():
                    result = call()
                else:
                    logger.info("task %s was done before, and is not run again", unit.name)
                returned = True
                unit.end(None)
            except BaseException as error:
                if not (returned and unit.is_done(error, self.strikes)):
                    unit.end(error)
                    raise
        except BaseException as error:
            unit.end(error)  # something was thrown into the thread while it failed
            raise
        return result

    async def arun(
        self,
        function: Callable[..., Any],
        call: Callable[[], Any],
        *,
        name: str | None = None,
        token: str | None = None,
        scope: Mapping[str, Any],
        arguments: tuple[Any, ...] = (),
    ) -> Any:
        """As ``run``, under asyncio."""
        if self.is_inside:
            return await call()
        unit = TaskUnit(self, function, name, token, scope, arguments)
        with _entered(unit):
            while True:
                try:
                    return await self._attempt_async(unit, call)
                except BaseException as error:
                    pause = unit.pause_after(error)
                    if pause is None:
                        self._raise(unit, error)
                        raise
                await asyncio.sleep(pause)

    async def _attempt_async(self, unit: TaskUnit, call: Callable[[], Any]) -> Any:
        result, returned = None, False
        try:
            try:
                if await unit.abegin():
                    result = await call()
                else:
                    logger.info("task %s was done before, and is not run again", unit.name)
                returned = True
                await unit.aend(None)
            except BaseException as error:
                if not (returned and unit.is_done(error, self.strikes)):
                    await unit.aend(error)
                    raise
        except BaseException as error:
            await unit.aend(error)
            raise
        return result

    def _raise(self, unit: TaskUnit, error: BaseException) -> None:
        settled = self.settle(unit, error)
        if settled is not error:
            raise settled from error

    @property
    def is_inside(self) -> bool:
        """Whether this is a call by a task of the same Database, which has its unit open."""
        found = self._found()
        return found is not None and found.is_here and found.is_open


@contextmanager
def _entered(unit: TaskUnit) -> Iterator[None]:
    token = _units.set((*_units.get(), unit))
    try:
        yield
    finally:
        _units.reset(token)


def _party() -> tuple[int, int, int]:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return os.getpid(), threading.get_ident(), id(task)
