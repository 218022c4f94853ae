"""A proxy that knows where messages begin and end, and does something to a chosen one.

A snare waits for the n-th message of one side that matches, on any connection, and is sprung once.
"""

from __future__ import annotations

import enum
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.proxy import Link, Proxy, delivered, received
from tests.wire import Message, Messages, runs

BEGIN: Final = re.compile(rb"\s*(BEGIN|START TRANSACTION)\b", re.IGNORECASE)
COMMIT: Final = re.compile(rb"\s*COMMIT\b", re.IGNORECASE)
ROLLBACK: Final = re.compile(rb"\s*ROLLBACK\b", re.IGNORECASE)
SAVEPOINT: Final = re.compile(rb"\s*(SAVEPOINT|RELEASE|ROLLBACK TO)\b", re.IGNORECASE)
WORK: Final = re.compile(rb"\s*(SELECT|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)

# Ends what PostgreSQL answers to what was asked in one go; MariaDB's answers have no such mark.
_READY: Final = b"Z"


class Act(enum.Enum):
    """What happens to the message."""

    CUT_BEFORE = "cut before it is forwarded"
    CUT_AFTER = "forwarded, then cut at once"
    DROP_REPLY = "forwarded, the reply dropped, then cut"
    DELAY_REPLY = "forwarded, the reply delayed"
    FREEZE = "forwarded, then nothing for a time in either direction"
    RESET = "reset before it is forwarded"


@dataclass(frozen=True, slots=True)
class Where:
    """Which message: of a side, of a kind, with a text; after so many that match as well."""

    text: re.Pattern[bytes] | None = None
    kind: bytes | None = None
    server: bool = False
    skip: int = 0

    def matches(self, message: Message, *, server: bool, mysql: bool) -> bool:
        if server is not self.server:
            return False
        if self.kind is not None and message.kind != self.kind:
            return False
        if self.text is None:
            return bool(message.kind)
        # a Parse has the text too, and runs nothing
        known = server or self.kind is not None or runs(message, mysql=mysql)
        return known and self.text.match(message.text) is not None


class Snare:
    """:param seconds: for how long, where something is delayed."""

    def __init__(
        self,
        where: Where,
        act: Act,
        seconds: float = 0.0,
        told: Callable[[], object] = lambda: None,
    ) -> None:
        self.where = where
        self.act = act
        self.seconds = seconds
        self.sprung = threading.Event()
        self._left = where.skip
        self._told = told

    def passes(self, message: Message, *, server: bool, mysql: bool) -> bool:
        """Whether this message goes by; the one that does not has sprung it."""
        if not self.where.matches(message, server=server, mysql=mysql):
            return True
        self._left -= 1
        return self._left >= 0

    def spring(self) -> None:
        self.sprung.set()
        self._told()


class SnaringProxy(Proxy):
    """Keeps nothing of what was sent, and may run for days."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._snares: list[Snare] = []
        # how many messages have passed; two threads that count at once may lose one
        self.passed = 0

    def set_snare(self, snare: Snare) -> Snare:
        with self._lock:
            self._snares.append(snare)
        return snare

    def remove_snare(self, snare: Snare) -> bool:
        """:return: whether it was still waiting."""
        with self._lock:
            if snare in self._snares:
                self._snares.remove(snare)
                return True
        return False

    @property
    def links(self) -> int:
        """How many connections go through it."""
        with self._lock:
            self._links = [link for link in self._links if not link.over]
            return len(self._links)

    def sprung_by(self, message: Message, *, server: bool) -> Snare | None:
        """The snare that a message springs; it is set no more."""
        self.passed += 1
        if not self._snares:
            return None
        with self._lock:
            for snare in self._snares:
                if not snare.passes(message, server=server, mysql=self.mysql):
                    self._snares.remove(snare)
                    return snare
        return None

    def _link(self, client: socket.socket, server: socket.socket) -> Link:
        return SnaringLink(self, client, server)


class SnaringLink(Link):
    def __init__(self, proxy: SnaringProxy, client: socket.socket, server: socket.socket) -> None:
        super().__init__(proxy, client, server)
        self._snaring = proxy
        self._asking = Messages(mysql=proxy.mysql)
        self._answering = Messages(mysql=proxy.mysql, server=True)
        self._cutting = threading.Event()
        self._dropping = False
        # until when the answers, or both sides, are held back
        self._answers_at = self._frozen_until = 0.0

    def cut(self) -> None:
        self._cutting.set()
        super().cut()

    def _upward(self) -> None:
        while data := received(self._client):
            messages = self._asking.feed(data)
            self._answering.bare_answers += self._asking.offers
            self._asking.offers = 0
            if not self._forward(messages, server=False):
                break
        self._proxy.flowing.wait()
        self.cut()

    def _downward(self) -> None:
        while data := received(self._server):
            messages = self._answering.feed(data)
            if self._dropping:
                if self._snaring.mysql or any(each.kind == _READY for each in messages):
                    break
                continue
            self._wait(max(self._answers_at, self._frozen_until))
            if not self._forward(messages, server=True):
                break
        self._proxy.flowing.wait()
        self.cut()

    def _forward(self, messages: list[Message], *, server: bool) -> bool:
        """Pass messages on; whether more may follow."""
        ready = b""
        for message in messages:
            snare = self._snaring.sprung_by(message, server=server)
            if snare is None:
                ready += message.raw
                continue
            stays = snare.act in (Act.CUT_BEFORE, Act.RESET)
            # first: the server may have answered before the next line
            if snare.act is Act.DROP_REPLY:
                self._dropping = True
            elif snare.act in (Act.DELAY_REPLY, Act.FREEZE):
                self._answers_at = time.monotonic() + snare.seconds
            if not self._pass_on(ready if stays else ready + message.raw, server=server):
                return False
            ready = b""
            going_on = self._do(snare)
            snare.spring()
            if not going_on:
                return False
        return self._pass_on(ready, server=server)

    def _pass_on(self, data: bytes, *, server: bool) -> bool:
        self._wait(self._frozen_until)
        self._proxy.flowing.wait()
        return not data or delivered(self._client if server else self._server, data)

    def _do(self, snare: Snare) -> bool:
        if snare.act is Act.FREEZE:
            self._frozen_until = time.monotonic() + snare.seconds
        elif snare.act is Act.RESET:
            self._reset()
        return snare.act not in (Act.CUT_BEFORE, Act.CUT_AFTER, Act.RESET)

    def _reset(self) -> None:
        """The client sees a reset, not an end. Nobody else reads from its socket meanwhile."""
        lingers: Any = struct.pack("ii", 1, 0)
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingers)
        self._client.close()

    def _wait(self, until: float) -> None:
        rest = until - time.monotonic()
        if rest > 0:
            self._cutting.wait(rest)
