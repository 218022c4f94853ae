"""Reading on a connection of PyMySQL's: its packets into Arrow, without an object for each value.

The private parts of PyMySQL that this stands on are looked at first (1.2); where they are not what
they were, PyMySQL reads.
"""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from ..dialects.text import head
from . import packets
from .assembly import unfit_value
from .fields import TEXT, Fields, strings
from .mysql_columns import arrow_of_field
from .rows import Column
from .substitution import OwnCursor

_READS = re.compile(r"\s*\(*\s*(SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)
_BYTES = strings(pa.binary())
_ROOM = 16_384
_CHUNK = 1 << 20
# kinds that Arrow reads the text of
_CAST = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_date,
    pa.types.is_timestamp,
)


class PymysqlReading(OwnCursor):
    """Reads one statement into a table of Arrow's."""

    table: Any = None

    def own(self, operation: str, parameters: Any) -> bool:
        conn: Any = getattr(self.connection, "driver_connection", None)
        if not _READS.match(head(operation)) or ";" in operation or not _is_known(conn):
            return False
        with conn.cursor() as cursor:
            query = operation if parameters is None else cursor.mogrify(operation, parameters)
        conn.query(query, unbuffered=True)
        result = conn._result
        if not result.unbuffered_active:
            return True  # it has no rows
        arrows = [arrow_of_field(field) for field in result.fields]
        names = [field.name for field in result.fields]
        reading = _Reading(names, arrows)
        try:
            refusal = _read(conn, result, reading)
        except BaseException:
            # in the middle of an answer: nobody could go on with it
            result.unbuffered_active, result.connection = False, None
            conn._force_close()
            raise
        if refusal:
            from pymysql.err import raise_mysql_exception

            raise_mysql_exception(refusal)
        self.table = reading.table()
        self.rowcount = reading.rows
        return True


def reading(connection: Any, statement: Any) -> PymysqlReading | None:
    """For a statement on a Connection of SQLAlchemy's."""
    from .columns import telling

    columns = getattr(statement, "selected_columns", None) or ()
    if any(telling(column.type) for column in columns):
        return None  # SQLAlchemy's types know more than the database's
    return PymysqlReading(connection._dbapi_connection)


def _is_known(conn: Any) -> bool:
    parts = ("_rfile", "_sock", "_read_timeout", "_result", "_force_close", "charset")
    if not all(hasattr(conn, name) for name in parts):
        return False
    return str(conn.charset).startswith("utf8") and hasattr(conn._rfile, "read1")


class _Reading:
    """The rows that came so far."""

    def __init__(self, names: list[str], arrows: list[Any]) -> None:
        self.names, self.arrows = names, arrows
        self.columns = [
            Column(name, arrow, _prepared(arrow)) for name, arrow in zip(names, arrows, strict=True)
        ]
        self.rows = 0
        self.chunks: list[list[Any]] = []
        self.failure: Exception | None = None
        size = 4 * _ROOM * max(1, len(names))
        self.starts = memoryview(bytearray(size)).cast("i")
        self.lengths = memoryview(bytearray(size)).cast("i")

    def take(self, chunk: Any, count: int) -> None:
        if self.failure is not None or not count:
            return
        try:
            made = []
            for number, column in enumerate(self.columns):
                fields = Fields(chunk, self.starts, self.lengths, number * _ROOM, count)
                made.append(_array(column, fields, self.rows))
        except ValueError as unfit:
            self.failure = unfit  # the rest is only looked through
            return
        self.chunks.append(made)
        self.rows += count

    def table(self) -> Any:
        if self.failure is not None:
            raise self.failure
        columns = [
            pa.chunked_array([chunk[number] for chunk in self.chunks], arrow)
            for number, arrow in enumerate(self.arrows)
        ]
        return pa.Table.from_arrays(columns, names=self.names)


def _array(column: Column, fields: Fields, first: int) -> Any:
    arrow = column.arrow
    if arrow == pa.binary():
        return _BYTES.array(fields)
    texts = TEXT.array(fields)
    if arrow == pa.string():
        return texts
    try:
        if any(test(arrow) for test in _CAST):
            return texts.cast(arrow)
    except pa.ArrowInvalid:
        pass  # one of them does not fit: which one, Column finds
    return column.array(texts.to_pylist(), first)


def _prepared(arrow: Any) -> Any:
    if pa.types.is_duration(arrow):
        from pymysql.converters import convert_timedelta

        return lambda values: [
            None if value is None else _duration(convert_timedelta(value)) for value in values
        ]
    if any(test(arrow) for test in _CAST):
        return lambda values: pa.array(values, pa.string()).cast(arrow)
    return None


def _duration(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError("no length of time")
    return value


def _read(conn: Any, result: Any, reading: _Reading) -> bytes:
    """Take all rows; the server's error, where that came in the place of the next."""
    conn._sock.settimeout(conn._read_timeout)
    chunk, at, why = bytearray(), 0, packets.MORE
    while True:
        count, at, why = packets.cut(
            chunk, at, len(chunk), len(reading.names), reading.starts, reading.lengths, _ROOM
        )
        reading.take(chunk, count)
        if why in (packets.LAST, packets.ERROR):
            break
        if count == _ROOM:
            continue
        if why == packets.PARTS:
            raise unfit_value(reading.names[0], reading.rows, "a row of less than 16 MB")
        chunk = chunk[at:]
        at = 0
        chunk += _received(conn)
    result.unbuffered_active, result.connection, result.rows = False, None, None
    if why == packets.LAST:
        return b""
    size = int.from_bytes(chunk[at : at + 3], "little")
    return bytes(chunk[at + 4 : at + 4 + size])


def _received(conn: Any) -> bytes:
    from pymysql.constants import CR
    from pymysql.err import OperationalError

    try:
        # what has arrived; to ask for more could be to wait for ever
        found: bytes = conn._rfile.read1(_CHUNK)
    except OSError as error:
        raise OperationalError(
            CR.CR_SERVER_LOST, f"Lost connection to MySQL server during query ({error})"
        ) from error
    if not found:
        raise OperationalError(CR.CR_SERVER_LOST, "Lost connection to MySQL server during query")
    return found
