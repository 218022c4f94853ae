"""The relay of threads."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from ..proof import new_token
from .claims import Claimed
from .message import Message
from .relaying import Hand, Relaying, Trying


class Relay(Relaying):
    """Sends an outbox's messages, one after the other, in the thread that runs it.

    Made by ``outbox.relay(send)``. There may be many, in threads and processes. A message that
    fails holds those of its key that follow, and no others.

    :param batch: messages that are taken together. What a killed relay has sent of them is sent
        again. Default 100.
    :param lease: seconds for which they are this relay's. A ``send`` that takes longer than half of
        it may have its message, and those sent just before, sent by another relay as well; a relay
        that was killed leaves its messages for so long. Default 30.
    :param poll: seconds between two looks at an empty outbox. Scopes of the same process wake the
        relay at their commit. Default 1.
    :param pause: seconds after which a message that failed is due again, doubled each time, and up
        to a half more at random. Default 1.
    :param longest_pause: seconds. Default 300.
    :param attempts: how often a message is tried before it is given up, and left in the table;
        those of its key go on without it. Default ``None``: for ever.
    :raises InvalidOption: a value is none.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # putting into it takes no lock that the thread of a signal handler may hold
        self._woken: SimpleQueue[None] = SimpleQueue()

    def wake(self) -> None:
        """Have it look at once."""
        self._woken.put(None)

    def stop(self) -> None:
        """Have ``run`` end after the message that is being sent; also from a signal handler."""
        self._stopping = True
        self._woken.put(None)

    def run(self) -> None:
        """Send what is there and what comes, until ``stop``. What is left in hand is put back.

        A database that is away is waited for.
        """
        while not self._stopping:
            while not self._woken.empty():
                self._woken.get()
            seconds = self._round()
            if seconds and not self._stopping:
                with suppress(Empty):
                    self._woken.get(timeout=seconds)

    def drain(self) -> int:
        """Send what is due, until nothing is; how many were sent."""
        before = self.told.sent
        while not self._stopping and (pause := self._round()) < self._poll:
            time.sleep(pause)
        return self.told.sent - before

    def _round(self) -> float:
        """How long to wait for the next."""
        lease = new_token()
        try:
            hand = self._in_database(self._claim, lease)
        except Exception:
            raise
        except BaseException:
            # it may have been committed all the same
            self._finish(Hand(lease, [], 0.0), last=True)
            raise
        if not isinstance(hand, Hand):
            pause: float = hand
            return pause
        try:
            for run in hand.runs:
                self._go_through(hand, run)
            self._finish(hand)
        except BaseException:
            self._finish(hand, last=True)
            raise
        return 0.0

    def _go_through(self, hand: Hand, run: list[Claimed]) -> None:
        for each in run:
            if self._stopping:
                return
            if self._is_late(hand):
                self._keep(hand)
            if each.id not in hand.left:
                return  # another relay has it, and what follows
            try:
                self._call(each.message)
            except Exception as error:
                self._has_failed(hand, each, error)
                return
            self._was_sent(hand, each)

    def _call(self, message: Message) -> None:
        answer = self._send(message)
        if inspect.isawaitable(answer):
            raise TypeError(f"{self._send!r} gave {answer!r}, and nobody awaits it in a thread")

    def _keep(self, hand: Hand) -> None:
        done, left = hand.taken(), frozenset(hand.left)
        try:
            lost, held, hand.until = self._in_database(self._renew, hand.lease, done, left)
        except BaseException:
            hand.not_noted(done)
            raise
        hand.left &= held
        self._noted(lost)

    def _finish(self, hand: Hand, *, last: bool = False) -> None:
        done = hand.taken()
        try:
            lost = self._in_database(self._end, hand.lease, done, last=last)
        except BaseException:
            hand.not_noted(done)
            raise
        self._noted(lost)

    def _in_database(self, work: Callable[..., Any], *args: Any, last: bool = False) -> Any:
        """Do it, as often as it takes. What was done twice is as if done once."""
        trying = Trying(self, last=last)
        while True:
            try:
                for attempt in self.outbox.db.attempts(**self._scope()):
                    with attempt as session:
                        answer = work(session, *args)
                return answer
            except Exception as error:
                pause = trying.after(error)
            time.sleep(pause)
