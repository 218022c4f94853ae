"""Tasks of any worker, of threads and of asyncio: a unit of work for each."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

from ..checking import Checker
from ..decorated import check_decorated
from ..errors import InvalidOption, NoScope, Outcome, UniqueViolation
from ..events import logger
from ..options import Retry, ScopeOptions
from ..outbox import Inbox
from ..scope import see_to_end, see_to_end_async
from .settings import MARK, retried
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


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """What the units of work of tasks promise.

    :param retry: the policy of tasks that are run again at once, in the same process, with a fresh
        session: a number of attempts or a Retry. Which ones, ``retried`` says. Default 5.
    :param once: an Inbox, in which each task's token is noted in the task's own transaction: what
        is delivered once more after it was committed is not run again. Default ``None``.
    :param opens: whether the scope is opened when the task begins, so that ``db.current`` is its
        session and ``db.session()`` joins it. No connection is taken before the first statement.
        With ``False`` it is opened by ``session`` or ``asession``. Default ``True``.
    :param scope: options of the units' scopes, which can be given as options of their own.
    """

    retry: Any = 5
    once: Inbox | None = None
    opens: bool = True
    scope: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check = Checker("task options")
        check.flag("opens", self.opens)
        if self.once is not None and not isinstance(self.once, Inbox):
            raise check.refuse("once", self.once, "must be an Inbox")
        policy = ScopeOptions().updated({"retry": self.retry}, place="task options").retry
        object.__setattr__(self, "retry", policy)

    @classmethod
    def build(cls, options: Mapping[str, Any]) -> TaskOptions:
        """From keywords: fields of its own, and of ScopeOptions.

        :raises InvalidOption: one is unknown, or wrong.
        """
        own = {f.name for f in fields(cls)}
        given = {name: value for name, value in options.items() if name in own}
        scope = {name: value for name, value in options.items() if name not in own}
        ScopeOptions().updated(scope, place="task options")
        return cls(**{**given, "scope": {**given.get("scope", {}), **scope}})

    def policy(self, function: object) -> Retry | None:
        """The policy of a task, if it is safe to run it again in the same process."""
        marked: Retry | bool | None = getattr(function, MARK, None)
        if isinstance(marked, Retry):
            return marked
        return self.retry if marked else None


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
        self._opens = options.opens or self._inbox is not None
        self.work: Work = self.database.work(of=function, **given)
        self._policy = policy
        self._party = _party()

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; ``None`` while that is open, or where no session was asked for."""
        return self.work.outcome

    @property
    def is_here(self) -> bool:
        """Whether it belongs to this thread, or task of asyncio."""
        return self._party == _party()

    def verdict(self, error: BaseException) -> Verdict:
        """Whether the worker may run the task again."""
        return verdict_of(error, self.outcome, once=self._inbox is not None)

    def pause_after(self, error: BaseException) -> float | None:
        """Seconds until it is run again in this process; ``None`` for not."""
        return None if self._policy is None else self.work.again(error)

    # ------------------------------------------------------------ for Sessions

    def begin(self) -> bool:
        """Open it, where that is not left to the task; whether it has not been done before."""
        if not self._opens:
            return True
        session = self.work.session()
        try:
            if self._inbox is not None:
                session.execute(self._inbox.note(self.token or ""))
        except UniqueViolation:
            self.work.rollback_only()
            return False
        return True

    async def abegin(self) -> bool:
        """As ``begin``, under asyncio."""
        if not self._opens:
            return True
        session = await self.work.asession()
        try:
            if self._inbox is not None:
                await session.execute(self._inbox.note(self.token or ""))
        except UniqueViolation:
            self.work.rollback_only()
            return False
        return True

    def end(self, error: BaseException | None) -> None:
        """End it; nothing where it has ended."""
        self.work.end(error)
        scope = self.work.scope
        if error is not None and scope is not None and not scope.ended:
            # whatever was thrown into this thread has struck its end itself
            see_to_end(scope, error, self.database.options.cleanup_timeout)

    async def aend(self, error: BaseException | None) -> None:
        """As ``end``, under asyncio."""
        await self.work.aend(error)
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
        :raises NoScope: no task runs here.
        :raises ScopeRefused: the demands are not met, or the task's session is one of asyncio.
        """
        return self.unit.work.session(**options)

    async def asession(self, **options: Any) -> AsyncSession:
        """As ``session``, under asyncio."""
        return await self.unit.work.asession(**options)

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
            if unit is not None and unit.outcome is None:
                raise NoScope(
                    "The task's session is not open yet.", hint="Ask for it first: session()."
                ) from None
            if inspect.iscoroutinefunction(send):
                raise
            send(*args, **kwargs)
        else:
            session.on_commit(functools.partial(send, *args, **kwargs))

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
        if self._inside():
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
        if self._inside():
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
        return result

    def _raise(self, unit: TaskUnit, error: BaseException) -> None:
        settled = self.settle(unit, error)
        if settled is not error:
            raise settled from error

    def _inside(self) -> bool:
        """Whether this is a call by a task of the same Database, which has its unit open."""
        found = self._found()
        return found is not None and found.is_here


@contextmanager
def _entered(unit: TaskUnit) -> Iterator[None]:
    token = _units.set((*_units.get(), unit))
    try:
        yield
    finally:
        _units.reset(token)


def _party() -> tuple[int, int]:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident(), id(task)
