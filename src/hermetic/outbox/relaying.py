"""What relays of threads and of asyncio share: options, counts, and work in the database."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import SQLAlchemyError

from ..clock import monotonic
from ..errors import (
    ConfigurationError,
    DatabaseClosed,
    HermeticError,
    IntegrityViolation,
    InvalidData,
    InvalidOption,
    InvalidStatement,
    PermissionDenied,
    ScopeError,
    UnsupportedFeature,
)
from . import claims
from .claims import Claimed
from .message import Message
from .own_scopes import scope_options

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from .box import Outbox

log = logging.getLogger("hermetic.outbox")

# what does not pass by waiting
_HOPELESS: Final = (
    ConfigurationError,
    DatabaseClosed,
    IntegrityViolation,
    InvalidData,
    InvalidStatement,
    PermissionDenied,
    ScopeError,
    UnsupportedFeature,
)
# what may
_OF_THE_DATABASE: Final = (HermeticError, SQLAlchemyError, OSError)
# a database that is away is asked again after the first of these, and at the longest the last
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 5.0
# seconds for which a relay that ends tries to note what it has sent
_LAST_SECONDS = 10.0
# whoever finds messages in other hands looks again so soon
_SOON = 0.05


@dataclass(frozen=True, slots=True)
class Relayed:
    """What a relay has done so far.

    :param sent: how often a message was sent.
    :param failed: how often sending one has failed.
    :param parked: messages that were given up.
    :param lost: messages that were sent and had been taken by another relay meanwhile, because
        ``lease`` seconds were over: they are sent twice.
    """

    sent: int = 0
    failed: int = 0
    parked: int = 0
    lost: int = 0


@dataclass(slots=True)
class Done:
    """What has become of messages, and is not noted yet."""

    sent: list[int] = field(default_factory=list)
    # the pause after which it is due again, or None; and what was raised
    failed: dict[int, tuple[float | None, str]] = field(default_factory=dict)


class Hand:
    """The messages that a relay has in hand, and what became of them. Nothing here waits."""

    def __init__(self, lease: str, runs: list[list[Claimed]], until: float) -> None:
        # a name of its own: the same relay may run in several threads, and in forked processes
        self.lease = lease
        self.runs = runs
        # monotonic seconds at which they are another's
        self.until = until
        self.left = {each.id for run in runs for each in run}
        self._done = Done()

    def was_sent(self, each: Claimed) -> None:
        self.left.discard(each.id)
        self._done.sent.append(each.id)

    def has_failed(self, each: Claimed, pause: float | None, error: str) -> None:
        self.left.discard(each.id)
        self._done.failed[each.id] = pause, error

    def taken(self) -> Done:
        """What has become of some of them since it was last asked."""
        done, self._done = self._done, Done()
        return done

    def not_noted(self, done: Done) -> None:
        """It was given out, and noting it was broken off."""
        self._done.sent[:0] = done.sent
        self._done.failed = done.failed | self._done.failed


class Relaying:
    """The part of a relay that does not wait. See Relay for the options."""

    def __init__(
        self,
        outbox: Outbox,
        send: Callable[[Message], Any],
        *,
        batch: int = 100,
        lease: float = 30.0,
        poll: float = 1.0,
        pause: float = 1.0,
        longest_pause: float = 300.0,
        attempts: int | None = None,
    ) -> None:
        for option, given, least in (
            ("batch", batch, 1),
            ("lease", lease, 0.1),
            ("poll", poll, 0.001),
            ("pause", pause, 0.0),
            ("longest_pause", longest_pause, pause),
            ("attempts", attempts, 1),
        ):
            if given is not None and not given >= least:
                raise InvalidOption(option, given, f"must be {least} or more", place="relay()")
        self.outbox = outbox
        self.told = Relayed()
        self._send = send
        self._batch = batch
        self._lease = lease
        self._poll = poll
        self._pause = pause
        self._longest_pause = longest_pause
        self._attempts = attempts
        # a signal handler sets it: an Event's lock may be held by what it has interrupted
        self._stopping = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.outbox.messages.fullname}: {self.told}>"

    # ------------------------------------------------------------ in the database

    def _scope(self) -> dict[str, Any]:
        # conflicts with other relays are nothing to tell of
        return scope_options(self.outbox.db, "outbox: relay", propagation="requires_new", retry=5)

    def _claim(self, session: Session, lease: str) -> Hand | float:
        """What is in hand now, or how long to wait for more."""
        # counted from before the database's clock is asked
        until = monotonic() + self._lease
        table = self.outbox.messages
        runs = claims.claim(session, table, lease, self._lease, self._batch)
        if runs:
            return Hand(lease, runs, until)
        return self._poll if runs is not None else _SOON

    def _note(self, session: Session, lease: str, done: Done) -> int:
        """Note what became of messages; how many of those sent were not ours any more."""
        table = self.outbox.messages
        found = claims.delete_sent(session, table, lease, done.sent)
        for id_, (pause, error) in done.failed.items():
            claims.put_off(session, table, lease, id_, pause, error)
        return len(done.sent) - found

    def _end(self, session: Session, lease: str, done: Done) -> int:
        """Note it, and put back what is left."""
        lost = self._note(session, lease, done)
        claims.put_back(session, self.outbox.messages, lease)
        return lost

    def _renew(
        self, session: Session, lease: str, done: Done, left: frozenset[int]
    ) -> tuple[int, set[int], float]:
        """Note it, and keep the rest for longer."""
        lost = self._note(session, lease, done)
        until = monotonic() + self._lease
        held = claims.renew(session, self.outbox.messages, lease, left, self._lease)
        return lost, held, until

    # ------------------------------------------------------------ what is thought between

    def _noted(self, lost: int) -> None:
        if lost:
            self._count(lost=lost)
            log.warning(
                "%r: %d messages had been taken by another relay when they were sent; they are"
                " sent twice. A lease of %g s is too short for what sending takes.",
                self,
                lost,
                self._lease,
            )

    def _is_late(self, hand: Hand) -> bool:
        return hand.until - monotonic() < self._lease / 2

    def _was_sent(self, hand: Hand, each: Claimed) -> None:
        hand.was_sent(each)
        self._count(sent=1)

    def _has_failed(self, hand: Hand, each: Claimed, error: BaseException) -> None:
        tried = each.message.attempts + 1
        pause: float | None = None
        if self._attempts is None or tried < self._attempts:
            doubled = self._pause * 2.0 ** min(tried - 1, 60)
            pause = min(self._longest_pause, doubled) * random.uniform(1.0, 1.5)
        hand.has_failed(each, pause, type(error).__name__)
        self._count(failed=1, parked=int(pause is None))
        log.warning(
            "%r: sending the message %s about %r has failed %d times; %s.",
            self,
            each.message.token,
            each.message.topic,
            tried,
            "it is given up, and stays parked" if pause is None else f"again in {pause:.1f} s",
            exc_info=error,
        )

    def _count(self, **counted: int) -> None:
        told = self.told
        self.told = replace(told, **{name: getattr(told, name) + n for name, n in counted.items()})


class Trying:
    """How often something is tried in a database that may be away."""

    def __init__(self, relay: Relaying, *, last: bool) -> None:
        """:param last: the relay ends, and does not wait for ever."""
        self._relay = relay
        self._last = last
        self._first: float | None = None
        self._pause = _FIRST_PAUSE

    def after(self, error: Exception) -> float:
        """Seconds to wait before the next time.

        :raises Exception: the error, where there is none.
        """
        if isinstance(error, _HOPELESS) or not isinstance(error, _OF_THE_DATABASE):
            raise error
        now = monotonic()
        if self._first is None:
            self._first = now
            log.warning(
                "%r: the database does not take part; it goes on.", self._relay, exc_info=error
            )
        ends = self._last or self._relay._stopping
        if ends and now > self._first + _LAST_SECONDS:
            raise error
        pause, self._pause = self._pause, min(self._pause * 2, _LAST_PAUSE)
        return pause * random.uniform(0.5, 1.0)
