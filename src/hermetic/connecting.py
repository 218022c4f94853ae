"""How the connects of one pool wait their turn, in the way of its world."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from .clock import monotonic
from .connects import Connects, Expectant, Permit
from .errors import HermeticError, PoolTimeout
from .generation import Generation
from .pool import TaskWaker, ThreadWaker, asked_since, connect_bound, demanded
from .registry import Scope

# the permit that a pool got before it makes its record
_granted: ContextVar[Permit | None] = ContextVar("hermetic_granted", default=None)

# the keys of a pool record's ``record_info``
_PERMIT, BORN_IN = "hermetic.permit", "hermetic.generation"

# a connect that fails so short before its scope's deadline was given no more time than that
_MOMENT = 0.05


class Connecting:
    """Stands around the making of one pool's connections.

    :param dbapi: the module of the pool's driver, as SQLAlchemy sees it; ``driver`` is its name.
    :param connects: of the server, shared by its pools; ``None`` where there is no server.
    :param evict: ends the generation of a number, where it has not ended yet.
    :param closed: whether nobody connects any more.
    """

    def __init__(
        self,
        name: str,
        connects: Connects | None,
        generation: Generation,
        timeout: float,
        *,
        asynchronous: bool,
        dbapi: Any,
        driver: str,
        evict: Callable[[int | None], None],
        closed: Callable[[], bool],
    ) -> None:
        self.name = name
        self.dbapi = dbapi
        self.driver = driver
        self.connects = connects
        self.generation = generation
        self.timeout = timeout
        self.asynchronous = asynchronous
        self.evict = evict
        self.closed = closed
        # called when a connection was made
        self.born: Callable[[], None] | None = None

    def make(self, idle: list[Any], create: Callable[[], Any]) -> Any:
        """A new pool record, or ``None`` when the wait has brought an idle one."""
        if self.connects is None:
            return create()
        permit = self._ask(self.connects, demanded(), idle)
        if permit is None:
            return None
        token = _granted.set(permit)
        try:
            return create()
        except BaseException as struck:
            error = self._worded(struck)
            # what fails between the connect and ``made`` leaves a record behind that others may
            # hold for long, by a traceback
            self._ended(self.connects, permit, error, demanded())
            if error is struck:
                raise
            raise error from struck
        finally:
            _granted.reset(token)

    def _worded(self, error: BaseException) -> BaseException:
        """What a driver raises where SQLAlchemy sets a new connection up, as an error of the DBAPI.

        SQLAlchemy (2.1.9) lets the errors of a driver that it has adapted through, and knows
        nothing of them.
        """
        root = type(error).__module__.partition(".")[0]
        if isinstance(error, self.dbapi.Error) or root != self.driver:
            return error
        told: BaseException = self.dbapi.OperationalError(f"{type(error).__name__}: {error}")
        told.__cause__ = error
        return told

    def connect(self, record: Any, connect: Callable[[Any], Any]) -> Any:
        """What a record calls for its connection.

        The permit lasts until ``made``: a server that accepts and then says nothing of use is none.
        """
        info = record.record_info
        info[BORN_IN] = self.generation.number
        connects, scope = self.connects, demanded()
        if connects is None:
            return connect(record)
        info.pop(_PERMIT, None)
        permit = _granted.get()
        if permit is None or permit.mark is None:
            permit = self._ask(connects, scope, ())
            assert permit is not None
        try:
            connection = connect(record)
        except BaseException as error:
            self._ended(connects, permit, error, scope)
            raise
        info[_PERMIT] = permit
        return connection

    def made(self, record: Any) -> None:
        """The connection of a record is ready for use."""
        permit = record.record_info.pop(_PERMIT, None)
        if permit is not None and self.connects is not None:
            self.connects.succeeded(permit, monotonic())

    def spoilt(self, record: Any, error: BaseException) -> None:
        """It was made, and could not be set up."""
        permit = record.record_info.pop(_PERMIT, None)
        if permit is not None and self.connects is not None:
            self._ended(self.connects, permit, error, demanded())

    def returned(self, record_info: dict[str, Any]) -> None:
        """A record comes back; nothing is known of a connect that others kept it from making."""
        permit = record_info.pop(_PERMIT, None)
        if permit is not None and self.connects is not None:
            self.connects.gave_up(permit, monotonic())

    def _ended(
        self, connects: Connects, permit: Permit, error: BaseException, scope: Scope | None
    ) -> None:
        if permit.mark is None:
            return  # that is known already
        now = monotonic()
        bound = connect_bound(scope)
        hurried = bound is not None and now >= bound - _MOMENT
        if isinstance(error, Exception) and not isinstance(error, HermeticError) and not hurried:
            # time and chance are no secrets
            connects.failed(permit, again(error), now, random.random())
        else:
            connects.gave_up(permit, now)

    # ------------------------------------------------------------ waiting

    def _ask(self, connects: Connects, scope: Scope | None, idle: Any) -> Permit | None:
        """Wait for a permit, or for an idle connection.

        :raises DeadlineExceeded: the scope's time is over.
        """
        now = monotonic()
        asked = connects.ask(self, now, self._make_waker)
        if isinstance(asked, Permit):
            return asked
        # the wait at the gate was of the same time
        begun = asked_since.get() or now
        until, bound = begun + self.timeout, connect_bound(scope)
        if bound is not None:
            until = min(until, bound)
        try:
            while isinstance(asked, Expectant):
                waker: Any = asked.wake
                if waker is not None:
                    waker.wait(min(until, asked.until or until) - now)
                now = monotonic()
                if idle:
                    connects.leave(asked, now)
                    return None
                if asked.error is not None:
                    raise self._told(asked.error)
                if now >= until:
                    raise self._too_late(scope, now - begun)
                asked = connects.ask_again(asked, now, self._make_waker)
        except BaseException:
            if isinstance(asked, Expectant):
                connects.leave(asked, now)
            raise
        return asked

    def _told(self, error: BaseException) -> BaseException:
        """What another's connect failed with, as the driver of this pool would say it.

        The other world may have another driver, whose errors SQLAlchemy does not know here.
        """
        if isinstance(error, self.dbapi.Error) or not _is_of_a_driver(error):
            return again(error)
        # MariaDB's begin with their number
        numbered = error.args and isinstance(error.args[0], int)
        args = error.args if numbered else (str(error),)
        told: BaseException = self.dbapi.OperationalError(*args)
        told.__cause__ = again(error)
        return told

    def _make_waker(self) -> Callable[[], bool]:
        return TaskWaker() if self.asynchronous else ThreadWaker()

    def _too_late(self, scope: Scope | None, waited: float) -> BaseException:
        known = self.connects.error if self.connects is not None else None
        if scope is not None and scope.deadline is not None and scope.deadline <= monotonic():
            error: BaseException = scope.deadline_exceeded("while it waited for a connect")
            error.__cause__ = known and self._told(known)
            return error
        if known is not None:
            return self._told(known)
        return PoolTimeout(
            f"No connection of pool {self.name!r} could be made in {waited:.2f} s: the connects "
            "that are under way do not come to an end.",
            pool=self.name,
            limit=0,
            scope=None if scope is None else scope.ref,
            hint="See whether the server answers from here: hermetic doctor URL.",
        )


def _is_of_a_driver(error: BaseException) -> bool:
    return any(base.__name__ == "Error" for base in type(error).__mro__)


def again(error: BaseException, *, depth: int = 3) -> BaseException:
    """An error once more, for somebody else: nothing of the first one's frames hangs on it.

    What classifies an error looks behind it too, so its causes come along.
    """
    copy = type(error).__new__(type(error), *error.args)
    copy.args = error.args
    copy.__dict__.update(error.__dict__)
    if "__notes__" in copy.__dict__:
        # what becomes of one of them is nothing of the others
        copy.__notes__ = list(copy.__notes__)
    if error.__cause__ is not None and depth:
        copy.__cause__ = again(error.__cause__, depth=depth - 1)
    return copy
