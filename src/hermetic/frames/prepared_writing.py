"""Frames into MariaDB and MySQL by PyMySQL: an INSERT of many rows that the server has prepared.

Its values travel as the numbers and bytes that they are, and the server reads no SQL for them: that
is half of its work with an INSERT of the same rows as text. LOAD DATA LOCAL is no faster, needs a
connection on which the server may ask for files of the client's, and turns errors into warnings.

The private parts of PyMySQL that this stands on are looked at first (1.1 to 2.2); where they are
not what they were, the rows go as text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ..conflicts import Conflict
from . import literal_writing
from .parameters import Rows, rows_of
from .substitution import OwnCursor, substituted

# parameters of one statement: with more of them the server's work grows with each
_MOST = 4096
# rows of a statement: a batch is a multiple of them, and their bits are whole bytes
_MOST_ROWS, _LEAST_ROWS = 512, 16
# rows in a batch from which it is worth it to prepare a statement
_WORTH = 2048
# the commands of the protocol
_PREPARE, _EXECUTE, _CLOSE = 0x16, 0x17, 0x19
_DEPRECATE_EOF = 1 << 24
# the server prepares no such statement (1295), none with so many parameters (1390), no more of them
# (1461), or is a proxy that does not know how (1047)
_UNPREPARED = frozenset({1047, 1295, 1390, 1461})


class Prepared:
    """One INSERT of ``count`` rows, prepared when the first rows come that it is worth it for."""

    def __init__(self, connection: Any, sql: str, parts: tuple[str, str], width: int, packet: int):
        """:param packet: how many bytes the server takes at once."""
        self._connection = connection
        self._sql, self._parts, self._packet = sql, parts, packet
        self.count = _MOST_ROWS
        while self.count * width > _MOST:
            self.count //= 2
        conn = _driver_connection(connection)
        self._off = width == 0 or self.count < _LEAST_ROWS or not _is_known(conn)
        self._number: bytes | None = None
        self._bound = b""

    def send(self, batch: Any, first: int) -> tuple[int, int]:
        """Insert the first rows of a batch: how many those are, and what the server says of them.

        :param first: the number of the first row, for an error.
        """
        whole = batch.num_rows - batch.num_rows % self.count
        if self._off or not whole or (self._number is None and batch.num_rows < _WORTH):
            return 0, 0
        if self._number is None and not self._prepare(batch.num_columns):
            self._off = True
            return 0, 0
        rows = rows_of(batch.slice(0, whole), first)
        packets = self._packets(rows, whole)
        sending = _Executing(self._connection._dbapi_connection, packets)
        self._run(sending)
        return sending.sent * self.count, sending.rowcount

    def _prepare(self, width: int) -> bool:
        before, behind = self._parts
        row = f"({', '.join('?' * width)})"
        text = f"{before}{', '.join([row] * self.count)}{behind}"
        preparing = _Preparing(self._connection._dbapi_connection, text, self.count * width)
        self._run(preparing)
        self._number = preparing.number
        return self._number is not None

    def _run(self, cursor: OwnCursor) -> None:
        with substituted(self._connection, cursor):
            self._connection.exec_driver_sql(
                self._sql, execution_options={"no_parameters": True}
            ).close()

    def _packets(self, rows: Rows, whole: int) -> Iterator[bytes]:
        """What is sent for so many rows each, up to the first that the server may not take."""
        assert self._number is not None
        for at in range(0, whole, self.count):
            absent, data = rows.part(at, at + self.count)
            # a type that was told holds until another is; of the rows that are NULL it is another
            types = b"\0" if rows.kinds == self._bound else b"\1" + rows.kinds * self.count
            packet = b"".join((self._number, _ONCE, absent, types, data))
            if len(packet) > self._packet:
                return
            yield packet
            self._bound = rows.kinds

    def close(self) -> None:
        """Have the server forget the statement."""
        number, self._number = self._number, None
        if number is None:
            return
        conn = _driver_connection(self._connection)
        # it says nothing to that; a connection that is lost has forgotten it
        with suppress(Exception):
            conn._execute_command(_CLOSE, number)


# no cursor, and one round
_ONCE = struct.pack("<BI", 0, 1)


class _Preparing(OwnCursor):
    """Prepares a text in the place of the statement that everybody else sees."""

    number: bytes | None = None

    def __init__(self, connection: Any, text: str, count: int) -> None:
        super().__init__(connection)
        self._text, self._count = text, count

    def own(self, operation: str, parameters: Any) -> bool:
        from pymysql.err import Error

        conn = self.connection.driver_connection
        conn._execute_command(_PREPARE, self._text.encode())
        try:
            answer = conn._read_packet()._data
        except Error as error:
            if error.args and error.args[0] in _UNPREPARED:
                return True
            raise
        _, number, columns, count = struct.unpack_from("<B4sHH", answer)
        for _ in range(count + 1 if count else 0):
            conn._read_packet()
        if count == self._count and not columns:
            self.number = number
        else:
            conn._execute_command(_CLOSE, number)
        return True


class _Executing(OwnCursor):
    """Executes a prepared statement, with some values after the others."""

    rowcount = 0
    # how often it was
    sent = 0

    def __init__(self, connection: Any, packets: Iterator[bytes]) -> None:
        super().__init__(connection)
        self._packets = packets

    def own(self, operation: str, parameters: Any) -> bool:
        conn = self.connection.driver_connection
        for packet in self._packets:
            conn._execute_command(_EXECUTE, packet)
            self.rowcount += max(0, conn._read_query_result())
            self.sent += 1
        return True


def _driver_connection(connection: Any) -> Any:
    return getattr(connection._dbapi_connection, "driver_connection", None)


def _is_known(conn: Any) -> bool:
    parts = ("_execute_command", "_read_packet", "_read_query_result", "charset", "client_flag")
    if not all(hasattr(conn, name) for name in parts):
        return False
    # text travels as Arrow has it
    return str(conn.charset).startswith("utf8") and not conn.client_flag & _DEPRECATE_EOF


def write(connection: Any, given: Any, target: Any, conflict: Conflict | None) -> int:
    return literal_writing.write(connection, given, target, conflict, Prepared)
