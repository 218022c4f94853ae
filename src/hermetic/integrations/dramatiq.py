"""Dramatiq: a unit of work for each message, acknowledged after its commit."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from ..decorated import check_decorated
from ..errors import ConfigurationError, MissingDriver, Outcome
from .settings import retried
from .tasks import Sessions as _Sessions
from .tasks import TaskUnit
from .verdicts import Verdict

try:
    from dramatiq import Actor, Broker, Middleware
    from dramatiq.asyncio import async_to_sync
    from dramatiq.middleware import Interrupt, MiddlewareError, Retries
except ImportError as missing:
    raise MissingDriver("Dramatiq is not installed.", extra="dramatiq") from missing

__all__ = ["Sessions", "retried"]


class _Final(tuple[Any, ...]):
    """The exception of a message that must not come again; then what it had for such before."""

    __slots__ = ()


class _Refused(ConfigurationError, MiddlewareError):
    """What Dramatiq does not keep to itself of what a middleware says of an actor."""


class _AfterRetries(Middleware):
    """Takes it away when the retries were looked at: the message may be sent on, to callbacks."""

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:
        if not isinstance(throws := message.options.get("throws"), _Final):
            return
        _, *before = throws
        if before:
            message.options["throws"] = before[0]
        else:
            del message.options["throws"]


# that of the worker's thread, or of its task in the loop of actors
_message: ContextVar[Any] = ContextVar("hermetic_dramatiq_message", default=None)


class Sessions(_Sessions, Middleware):
    """The sessions of a Database's actors::

        sessions = Sessions(db)
        broker = RedisBroker(url="redis://")
        sessions.install(broker)

        @dramatiq.actor
        def pay(number: int) -> None:
            db.current.get(Order, number).paid = True

    Each message is one scope and one transaction. It commits before the message is acknowledged,
    and rolls back where an exception left the actor. What failed for good is not run again.

    :param options: the fields of TaskOptions and ScopeOptions.
    :raises InvalidOption: an option is unknown, or its value outside its limits.
    """

    strikes = (Interrupt, asyncio.CancelledError)

    def __init__(self, database: Any, **options: Any) -> None:
        super().__init__(database, **options)
        # the messages that must not come again
        self._final: set[str] = set()

    def install(self, broker: Broker) -> None:
        """Give every actor of a broker its units.

        :raises ConfigurationError: the broker has actors already.
        """
        if broker.actors:
            raise ConfigurationError(
                "The broker has actors already, which would have no units of work.",
                hint="Call install() where the broker is made.",
            )
        # the last one is the first that hears of a message's end
        broker.add_middleware(self)
        known = [type(each) for each in broker.middleware]
        if any(issubclass(each, Retries) for each in known) and _AfterRetries not in known:
            broker.add_middleware(_AfterRetries(), before=Retries)

    def token(self, *args: Any) -> str | None:
        """The message's id."""
        message = _message.get()
        return None if message is None else str(message.message_id)

    @property
    def commits_apart(self) -> bool:
        """In a worker's threads."""
        return _message.get() is not None

    def settle(self, unit: TaskUnit, error: BaseException) -> BaseException:
        """Notes that a message must not come again; all others are Dramatiq's to retry."""
        message = _message.get()
        if message is not None and unit.verdict(error) is Verdict.NEVER:
            self._final.add(message.message_id)
        return error

    # ------------------------------------------------------------ as Dramatiq calls it

    @property
    def actor_options(self) -> set[str]:
        """``scope_options``: those of an actor's scopes, over those of its sessions."""
        return {"scope_options"}

    def before_declare_actor(self, broker: Broker, actor: Actor[..., Any]) -> None:
        """Refuses what cannot be a unit of work.

        :raises ConfigurationError: the actor's function is a generator function.
        """
        try:
            check_decorated(inspect.unwrap(actor.fn))
        except ConfigurationError as refused:
            raise _Refused(str(refused)) from refused

    def after_declare_actor(self, broker: Broker, actor: Actor[..., Any]) -> None:
        """Puts a unit around the actor's function."""
        scope = actor.options.get("scope_options", {})
        given = inspect.unwrap(actor.fn)
        if inspect.iscoroutinefunction(given):
            actor.fn = self._in_loop(given, actor.actor_name, scope)
        else:
            actor.fn = self._in_thread(actor.fn, actor.actor_name, scope)

    def before_process_message(self, broker: Broker, message: Any) -> None:
        """Whose token it is from here on."""
        _message.set(message)

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:
        """Has a message that failed for good fail, before its retries are looked at."""
        _message.set(None)
        if message.message_id in self._final:
            self._final.discard(message.message_id)
            if exception is not None:
                before = message.options.get("throws")
                given = (type(exception), before) if before else (type(exception),)
                message.options["throws"] = _Final(given)

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        """As after any other."""
        _message.set(None)

    # ------------------------------------------------------------ actors

    def _in_thread(
        self, function: Callable[..., Any], name: str, scope: Mapping[str, Any]
    ) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            call = functools.partial(function, *args, **kwargs)
            return self.run(function, call, name=name, token=self.token(), scope=scope)

        return run

    def _in_loop(
        self, function: Callable[..., Any], name: str, scope: Mapping[str, Any]
    ) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            message, units = _message.get(), list[TaskUnit]()

            async def call() -> Any:
                units.append(self.unit)
                return await function(*args, **kwargs)

            async def run_async() -> Any:
                # the loop is another thread's, whose context is not this one's
                _message.set(message)
                token = self.token()
                return await self.arun(function, call, name=name, token=token, scope=scope)

            try:
                return async_to_sync(run_async)()
            except Interrupt as struck:
                # it is raised here, whatever became of the coroutine
                if units and units[-1].is_done(struck, self.strikes):
                    return None
                raise
            except RuntimeError:
                if message is not None and units and _is_left_behind(units[-1]):
                    self._final.add(message.message_id)  # the coroutine was left behind
                raise

        return run


def _is_left_behind(unit: TaskUnit) -> bool:
    """Whether a unit goes on, or has, after its worker has given up: it may still commit."""
    return unit.is_running or unit.outcome in (Outcome.COMMITTED, Outcome.UNKNOWN)
