"""What travels between a client and its server, read from the bytes.

A message is the protocol's own: one of PostgreSQL's, one packet of MariaDB's. A request is whatever
the client waits for an answer to: a Query, Sync or Flush of PostgreSQL, a command of MariaDB.
Statements that travel together are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_COM_QUERY: Final = b"\x03"
_NO_ANSWER: Final = frozenset((b"\x01", b"\x18", b"\x19"))  # QUIT, STMT_SEND_LONG_DATA, STMT_CLOSE

# What PostgreSQL's first message may be instead of the beginning of a session.
_CANCEL: Final = b"\x04\xd2\x16\x2e"
_ENCRYPT: Final = frozenset((b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30"))


@dataclass(frozen=True, slots=True)
class Message:
    """One message, as its bytes, with what it says.

    ``kind`` is PostgreSQL's letter or the first byte of MariaDB's packet; empty for what has none.
    ``text`` is the statement that a message runs, or the tag of one that was carried out.
    """

    kind: bytes
    text: bytes
    raw: bytes


class Messages:
    """Reads one side of one connection.

    :param mysql: the protocol: MariaDB's, or else PostgreSQL's.
    :param server: the side: what the server sends, or else what the client does.
    """

    def __init__(self, *, mysql: bool, server: bool = False) -> None:
        self._mysql = mysql
        self._server = server
        self._buffer = b""
        # PostgreSQL's first message has no type
        self._started = mysql or server
        self._prepared: dict[bytes, bytes] = {}
        self._bound: dict[bytes, bytes] = {}
        # a client's offers to encrypt; a server's answers of one byte that are still to come
        self.offers = 0
        self.bare_answers = 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete with these bytes."""
        self._buffer += data
        found: list[Message] = []
        while (taken := self._take_mysql() if self._mysql else self._take_postgresql()) is not None:
            found.append(taken)
        return found

    def _cut_off(self, size: int) -> bytes:
        raw, self._buffer = self._buffer[:size], self._buffer[size:]
        return raw

    def _take_mysql(self) -> Message | None:
        if len(self._buffer) < 4:
            return None
        length, number = int.from_bytes(self._buffer[:3], "little"), self._buffer[3]
        if len(self._buffer) < 4 + length:
            return None
        raw = self._cut_off(4 + length)
        # a command begins a numbering of its own; the handshake goes on with the server's
        if not self._server and number:
            return Message(b"", b"", raw)
        kind = raw[4:5]
        return Message(kind, raw[5:] if not self._server else b"", raw)

    def _take_postgresql(self) -> Message | None:
        if self.bare_answers and self._buffer:
            self.bare_answers -= 1
            return Message(b"", b"", self._cut_off(1))
        begin = 1 if self._started else 0
        if len(self._buffer) < begin + 4:
            return None
        end = begin + int.from_bytes(self._buffer[begin : begin + 4], "big")
        if len(self._buffer) < end:
            return None
        raw = self._cut_off(end)
        kind, body = raw[:begin], raw[begin + 4 :]
        if not begin:
            # the offer to encrypt is answered before the real beginning
            offered = body[:4] in _ENCRYPT
            self.offers += offered
            self._started = not offered
            return Message(b"", b"cancel" if body[:4] == _CANCEL else b"", raw)
        return Message(kind, self._text(kind, body), raw)

    def _text(self, kind: bytes, body: bytes) -> bytes:
        if self._server:
            return body.rstrip(b"\0") if kind == b"C" else b""
        if kind == b"Q":
            return body.rstrip(b"\0")
        if kind == b"P":
            name, text = body.split(b"\0")[:2]
            self._prepared[name] = text
            return text
        if kind == b"B":
            portal, name = body.split(b"\0")[:2]
            self._bound[portal] = self._prepared.get(name, b"")
            return name
        if kind == b"E":
            return self._bound.get(body.split(b"\0")[0], b"")
        return b""


def runs(message: Message, *, mysql: bool) -> bool:
    """Whether a client's message has its server carry out a statement whose text is known."""
    return message.kind == _COM_QUERY if mysql else message.kind in (b"Q", b"E")


class Requests:
    """Reads one client's side of one connection, as requests."""

    def __init__(self, *, mysql: bool) -> None:
        self._mysql = mysql
        self._messages = Messages(mysql=mysql)
        self._texts: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The requests that are complete with these bytes, each with the texts in it."""
        found: list[bytes] = []
        for message in self._messages.feed(data):
            if self._mysql:
                found += [message.text] if message.kind and message.kind not in _NO_ANSWER else []
            else:
                found += self._postgresql(message)
        return found

    def _postgresql(self, message: Message) -> list[bytes]:
        if message.kind == b"P":
            self._texts.append(message.text)
        elif message.kind == b"B":
            self._texts.append(b"bind " + message.text)
        elif message.kind == b"Q":
            return [message.text]
        elif message.kind == b"S" or (message.kind == b"H" and self._texts):
            # asyncpg prepares up to a Flush; psycopg's after a Sync has nothing to wait for
            texts, self._texts = self._texts, []
            return [b"; ".join(texts)]
        return []
