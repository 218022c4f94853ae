"""What a client asks of its server, read from the bytes that it sends.

A request is whatever the client waits for an answer to: a Query or Sync of PostgreSQL, a command of
MariaDB. Statements that travel together are one.
"""

from __future__ import annotations

from typing import Final

_NO_ANSWER: Final = frozenset((0x01, 0x18, 0x19))  # COM_QUIT, STMT_SEND_LONG_DATA, STMT_CLOSE


class Requests:
    """Reads one client's side of one connection."""

    def __init__(self, *, mysql: bool) -> None:
        self._mysql = mysql
        self._buffer = b""
        # PostgreSQL's first message has no type
        self._started = mysql
        self._texts: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The requests that are complete with these bytes, each with the texts in it."""
        self._buffer += data
        found: list[bytes] = []
        while True:
            taken = self._take_mysql() if self._mysql else self._take_postgresql()
            if taken is None:
                return found
            found += taken

    def _take_mysql(self) -> list[bytes] | None:
        if len(self._buffer) < 4:
            return None
        length, number = int.from_bytes(self._buffer[:3], "little"), self._buffer[3]
        if len(self._buffer) < 4 + length:
            return None
        body, self._buffer = self._buffer[4 : 4 + length], self._buffer[4 + length :]
        # a command begins a numbering of its own; the handshake goes on with the server's
        return [body[1:]] if number == 0 and body and body[0] not in _NO_ANSWER else []

    def _take_postgresql(self) -> list[bytes] | None:
        begin = 1 if self._started else 0
        if len(self._buffer) < begin + 4:
            return None
        end = begin + int.from_bytes(self._buffer[begin : begin + 4], "big")
        if len(self._buffer) < end:
            return None
        kind, body = self._buffer[:begin], self._buffer[begin + 4 : end]
        self._buffer = self._buffer[end:]
        if not begin:
            # the offer to encrypt is answered before the real beginning
            self._started = body[:4] not in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30")
            return []
        if kind == b"P":
            self._texts.append(body.split(b"\0")[1])
        elif kind == b"B":
            self._texts.append(b"bind " + body.split(b"\0")[1])
        elif kind == b"Q":
            return [body.rstrip(b"\0")]
        elif kind == b"S":
            texts, self._texts = self._texts, []
            return [b"; ".join(texts)]
        return []
