"""Celery: a unit of work for each task, acknowledged after its commit."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ..decorated import check_decorated
from ..errors import ConfigurationError, MissingDriver
from .settings import retried
from .tasks import Sessions as _Sessions
from .tasks import TaskUnit
from .verdicts import Verdict

try:
    import celery
    from celery.app.autoretry import add_autoretry_behaviour
    from celery.exceptions import SoftTimeLimitExceeded
    from celery.utils.imports import symbol_by_name
except ImportError as missing:
    raise MissingDriver("Celery is not installed.", extra="celery") from missing

if TYPE_CHECKING:
    from ..outbox import Message

__all__ = ["Sessions", "retried", "to_celery"]


class Sessions(_Sessions):
    """The sessions of a Database's tasks::

        sessions = Sessions(db, timeout=30.0)
        app = Celery("shop", broker="redis://")
        sessions.install(app)

        @app.task
        def pay(number: int) -> None:
            db.current.get(Order, number).paid = True

    Each task is one scope and one transaction. It commits before the task's result is stored, and
    before its message is acknowledged; it rolls back where an exception left the task.

    :param options: the fields of TaskOptions and ScopeOptions.
    :raises InvalidOption: an option is unknown, or its value outside its limits.
    """

    strikes = (SoftTimeLimitExceeded, asyncio.CancelledError)

    def install(self, app: celery.Celery) -> None:
        """Make every task of an application one with a unit: those whose base is ``app.Task``.

        Their messages are acknowledged late, and come back when their process is killed
        (``acks_late``, ``reject_on_worker_lost``), where a task does not say otherwise.

        :raises ConfigurationError: the application has tasks already, or other sessions.
        """
        known = _sessions_of(app)
        if known is not None:
            raise ConfigurationError(
                f"The application's tasks have units of Database {known.database.name!r} already, "
                "and a task is one unit of work.",
                hint="Call install() once. Inside the tasks another Database has scopes of its "
                "own: other.session().",
            )
        if "Task" in vars(app) or app.finalized:
            raise ConfigurationError(
                "The application has tasks already, which would have no units of work.",
                hint="Call install() where the application is made.",
            )
        base: Any = symbol_by_name(app.task_cls)
        app.task_cls = type("Task", (_UnitTask, base), {"abstract": True, "sessions": self})

    def settle(self, unit: TaskUnit, error: BaseException) -> BaseException:
        """Has Celery send a task again that met a passing failure, by the task's own settings;
        what the database has nothing to do with, as its ``autoretry_for`` has it.
        """
        task, verdict = celery.current_task, unit.verdict(error)
        # a proxy, also where no task is
        if verdict is Verdict.NEVER or not task or task.request.called_directly:
            return error
        if not isinstance(error, Exception):
            return error
        if verdict is Verdict.OWN or task.request.is_eager:
            return _by_itself(task, error)
        settled: BaseException = task.retry(exc=error, throw=False)
        return settled


class _UnitTask(celery.Task):  # type: ignore[misc]
    """The base of an application's tasks."""

    abstract = True
    acks_late = True
    reject_on_worker_lost = True
    sessions: ClassVar[Sessions]
    # a task's own, over those of its sessions
    scope_options: Mapping[str, Any] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        """:raises ConfigurationError: the task's function is a generator function."""
        super().__init_subclass__(**options)
        run = inspect.unwrap(cls.run)
        if inspect.isgeneratorfunction(run) or inspect.isasyncgenfunction(run):
            check_decorated(run)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        request = self.request
        if request.called_directly:
            call = functools.partial(super().__call__, *args, **kwargs)
        else:
            # what autoretry_for does is done outside of the unit
            run = vars(self).get("_orig_run", self.run)
            call = functools.partial(run, *args, **kwargs)
        # Celery's own, which look after its backends
        if self.name.startswith("celery."):
            return call()
        token = None if request.called_directly or request.is_eager else request.id
        given = {"name": self.name, "token": token, "scope": self.scope_options}
        if inspect.iscoroutinefunction(inspect.unwrap(self.run)):
            coroutine = self.sessions.arun(self.run, call, **given)
            if request.called_directly and asyncio._get_running_loop() is not None:
                return coroutine  # for the caller to await
            return _finish(coroutine)
        if request.is_eager and self.sessions.is_inside:
            # as it would be elsewhere, its failure is not that of the task that has sent it
            call = functools.partial(_in_savepoint, self.sessions, call)
        return self.sessions.run(self.run, call, **given)

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """``delay``, when the scope that is open here has committed; at once where none is."""
        self.sessions.after_commit(self.delay, *args, **kwargs)

    def apply_async_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """``apply_async``, when the scope that is open here has committed."""
        self.sessions.after_commit(self.apply_async, *args, **kwargs)


def _sessions_of(app: celery.Celery) -> Sessions | None:
    """Those that are installed already."""
    known: Sessions | None = getattr(symbol_by_name(app.task_cls), "sessions", None)
    return known if isinstance(known, Sessions) else None


def _in_savepoint(sessions: Sessions, call: Callable[[], Any]) -> Any:
    if not sessions.unit.work.opened:
        return call()
    with sessions.database.session(propagation="nested"):
        return call()


class _Failing:
    """What ``autoretry_for`` takes for the task, that has failed before."""

    def __init__(self, task: Any) -> None:
        self.__dict__["_task"] = task

    def __getattr__(self, name: str) -> Any:
        if name == "_orig_run":
            raise AttributeError(name)
        return getattr(self._task, name)

    def __delattr__(self, name: str) -> None:
        delattr(self._task, name)

    def run(self, error: Exception) -> None:
        raise error


def _by_itself(task: Any, error: Exception) -> BaseException:
    """What a task's ``autoretry_for`` makes of an error."""
    failing = _Failing(task)
    add_autoretry_behaviour(failing)
    try:
        failing.run(error)
    except BaseException as settled:
        return settled
    return error


def to_celery(app: celery.Celery, **options: Any) -> Callable[[Message], None]:
    """What a relay of an Outbox sends messages with: ``outbox.relay(to_celery(app))``.

    A message's topic is the task's name, its payload the keyword arguments where it is a mapping,
    positional ones where it is a list, or else the only one; its token is the task's id.

    :param options: of ``app.send_task``.
    """

    def send(message: Message) -> None:
        payload = message.payload
        args = payload if isinstance(payload, list) else [payload]
        given = {"kwargs": payload} if isinstance(payload, dict) else {"args": args}
        headers = {**options.get("headers", {}), **message.headers}
        more = {**options, "headers": headers, "task_id": message.token}
        app.send_task(message.topic, **given, **more)

    return send


# ---------------------------------------------------------------- coroutine functions

_own = threading.local()


def _finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a loop of this thread, which is kept, and with it its connections."""
    if getattr(_own, "process", None) != os.getpid():
        _own.process, _own.loop = os.getpid(), asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = _own.loop
    task = loop.create_task(coroutine)
    try:
        return loop.run_until_complete(task)
    except BaseException as struck:
        if task.done():
            raise
        # a signal's handler has raised in the loop, between two steps of the task
        task.cancel()
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            raise struck from None
