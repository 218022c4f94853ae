"""COPY on a connection of psycopg's, as the steps of a generator that either world waits for."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any

from psycopg import errors
from psycopg.generators import copy_end, copy_from, copy_to, execute, fetch_many
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.waiting import Wait

from ..dialects.exchanges import add
from . import libpq
from .assembly import Assembly

_Steps = Generator[Any, Any, Any]
_ROOM = 1 << 20

# more at once libpq may have no room for
_MOST = 1 << 17

_ACTIVE = int(TransactionStatus.ACTIVE)
_COPY_IN, _COPY_OUT = int(ExecStatus.COPY_IN), int(ExecStatus.COPY_OUT)
_COMMAND_OK = int(ExecStatus.COMMAND_OK)


def described(conn: Any, query: bytes) -> _Steps:
    """The names, oids and modifiers of a query's columns."""
    pgconn = conn.pgconn
    yield from conn._start_query()
    add(conn, 2)
    pgconn.send_prepare(b"", query)
    (result,) = yield from execute(pgconn)
    _check(pgconn, result, _COMMAND_OK)
    pgconn.send_describe_prepared(b"")
    (result,) = yield from execute(pgconn)
    _check(pgconn, result, _COMMAND_OK)
    encoding = pgconn._encoding
    return [
        (result.fname(at).decode(encoding), result.ftype(at), result.fmod(at))
        for at in range(result.nfields)
    ]


def read(conn: Any, query: bytes, assembly: Assembly) -> _Steps:
    """Have a ``COPY … TO STDOUT (FORMAT binary)`` sent, and take all that comes."""
    pgconn = conn.pgconn
    yield from conn._start_query()
    add(conn, 1)
    pgconn.send_query(query)
    results = yield from execute(pgconn)
    _check(pgconn, results[0], _COPY_OUT)
    library = libpq.addresses()
    if library is None:
        yield from _read_rows(pgconn, assembly)
    else:
        yield from _gather_rows(pgconn, library, assembly)


def _gather_rows(pgconn: Any, library: tuple[int, int, int], assembly: Assembly) -> _Steps:
    chunk, used = bytearray(_ROOM), 0
    while True:
        length, used = libpq.take(pgconn, library, chunk, used, _ROOM)
        if length > 0 or length == -1:
            taken = assembly.feed(chunk, used)
            if length == -1:
                break
            rest = used - taken
            chunk[:rest] = chunk[taken:used]
            used = rest
        elif length == 0:
            while not (yield Wait.R):
                pass
            pgconn.consume_input()
        else:
            break
    yield from _end(pgconn)


def _read_rows(pgconn: Any, assembly: Assembly) -> _Steps:
    """The same, by psycopg's own function."""
    chunk = bytearray()
    while True:
        found = yield from copy_from(pgconn)
        if not isinstance(found, memoryview):
            break
        chunk += found
        if len(chunk) >= _ROOM:
            del chunk[: assembly.feed(bytes(chunk), len(chunk))]
    assembly.feed(bytes(chunk), len(chunk))


def _end(pgconn: Any) -> _Steps:
    (result, *_) = yield from fetch_many(pgconn)
    _check(pgconn, result, _COMMAND_OK)


def _check(pgconn: Any, result: Any, status: int) -> None:
    if result.status != status:
        raise errors.error_from_result(result, encoding=pgconn._encoding)


def write(conn: Any, query: bytes, chunks: Iterator[Any]) -> _Steps:
    """Have a ``COPY … FROM STDIN (FORMAT binary)`` sent, and what it copies; how many rows."""
    pgconn = conn.pgconn
    yield from conn._start_query()
    add(conn, 1)
    pgconn.send_query(query)
    results = yield from execute(pgconn)
    _check(pgconn, results[0], _COPY_IN)
    try:
        for chunk in chunks:
            for start in range(0, len(chunk), _MOST):
                part = chunk if len(chunk) <= _MOST else chunk[start : start + _MOST]
                yield from copy_to(pgconn, part, flush=True)
    except Exception as error:
        if pgconn.transaction_status == _ACTIVE:
            with suppress(errors.QueryCanceled):
                yield from copy_end(pgconn, type(error).__name__.encode())
        raise
    result = yield from copy_end(pgconn, None)
    return result.command_tuples
