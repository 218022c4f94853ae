"""psycopg's cursors, with what goes ahead of a statement sent together with it.

psycopg sends BEGIN, waits, and then sends the first statement. In libpq's pipeline mode both travel
at once, and with them whatever else has to be told to the server before a statement. The cursors
here are psycopg's own in everything but this, and a shorter way for a statement that was prepared
before (``read``); what cannot go through a pipeline they leave to it.

``psycopg_private`` looks first whether psycopg's private parts are what they were.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.generators import execute, fetch_many, send
from psycopg.pq import ExecStatus, TransactionStatus

from .exchanges import add
from .pooling import statements

# plain numbers: psycopg's C functions give them, and a member of an enum compares more slowly
_IDLE = int(TransactionStatus.IDLE)
_ROWS = int(ExecStatus.TUPLES_OK)
_FINE = (int(ExecStatus.COMMAND_OK), _ROWS)
# psycopg._preparing.Prepare
_UNPREPARED, _TO_PREPARE = 1, 3

# what the extended protocol takes, and cannot turn into a COPY
_TRAVELS = re.compile(
    rb"\s*(SELECT|INSERT|UPDATE|DELETE|MERGE|WITH|VALUES|SET|SAVEPOINT)\b", re.IGNORECASE
)

# how many statements a cursor knows by heart
_REMEMBERED = 50

_Steps = Generator[Any, Any, Any]


@lru_cache(maxsize=1000)
def _travels(query: bytes, bound: bool) -> bool:
    """Whether a statement may go through a pipeline.

    What has no parameters psycopg sends by the simple protocol, which takes several statements in
    one text.
    """
    return _TRAVELS.match(query) is not None and (bound or b";" not in query)


class _Ahead:
    """Mixed into psycopg's cursors."""

    # statements that go ahead of the next one
    ahead: tuple[bytes, ...] = ()
    # whether a statement begins no transaction, as in autocommit
    apart = False
    # what psycopg made of statements that were read; each has its converter of values
    _known: dict[str, Any] | None = None
    _converted: Any = None

    @staticmethod
    def travels(statement: str) -> bool:
        """Whether what is ``ahead`` would be sent together with this statement."""
        return _travels(statement.encode(), False)

    def _execute_gen(
        self: Any,
        query: Any,
        params: Any = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> _Steps:
        conn = self._conn
        begins = self._begins()
        if not (begins or self.ahead) or conn._pipeline or self._closed:
            yield from self._send_ahead()
            yield from super()._execute_gen(query, params, prepare=prepare, binary=binary)  # type: ignore[misc]
            return
        conn._check_connection_ok()
        self._prepare_for(query)
        pgq = self._convert_query(query, params)
        if not _travels(pgq.query, bool(pgq.params)):
            yield from self._send_ahead()
            yield from super()._execute_gen(query, params, prepare=prepare, binary=binary)  # type: ignore[misc]
            return
        first, self.ahead = self.ahead, ()
        if begins:
            first = (*statements(conn._get_tx_start_command()), *first)
        yield from self._execute_together(first, pgq, prepare, binary)
        self._last_query = query
        yield from conn._prepared.maintain_gen(conn)

    def _start_query(self: Any, query: Any = None) -> _Steps:
        if self.apart and not self._closed:
            self._prepare_for(query)
        else:
            yield from super()._start_query(query)  # type: ignore[misc]

    def _prepare_for(self: Any, query: Any) -> None:
        """As psycopg begins every execution, BEGIN aside."""
        self._reset()
        if not self._last_query or self._last_query is not query:
            self._last_query = None
            self._tx = psycopg.adapt.Transformer(self)

    def _convert_query(self: Any, query: Any, params: Any = None) -> Any:
        converted = self._converted = super()._convert_query(query, params)  # type: ignore[misc]
        return converted

    def _knows(self: Any, query: str) -> bool:
        """Whether a statement was read before, and nothing has to go ahead of it."""
        if self._known is None or query not in self._known:
            return False
        return not (self.ahead or self._conn._pipeline or self._closed or self._begins())

    def _begins(self: Any) -> bool:
        """Whether a statement begins a transaction."""
        if self.apart or self._conn._autocommit:
            return False
        idle: bool = self._pgconn.transaction_status == _IDLE
        return idle

    def _learn(self: Any, query: str) -> None:
        if self._known is None or len(self._known) >= _REMEMBERED:
            self._known = {}
        self._known[query] = self._converted

    def _sent_again(self: Any, query: str, params: Any) -> bool:
        """Send a statement that it knows, if that is prepared for parameters of these types.

        As ``_execute_gen`` does, without looking for what is known to be so.
        """
        pgq = self._known[query]
        pgq.dump(params)
        manager = self._conn._prepared
        key = (pgq.query, pgq.types)
        name = manager._names.get(key)
        if name is None:
            return False
        self._conn._check_connection_ok()
        self._reset()
        self._tx = pgq._tx
        self._last_query = query
        manager._names.move_to_end(key)
        add(self._conn, 1)
        self._pgconn.send_query_prepared(
            name, pgq.params, param_formats=pgq.formats, result_format=self.format
        )
        return True

    def _rows_of(self: Any, results: list[Any]) -> list[Any]:
        """As what follows on an execution, and ``fetchall``."""
        if len(results) != 1 or results[0].status != _ROWS:
            self._check_results(results)
        self._set_results(results)
        self._pos = count = results[0].ntuples
        rows: list[Any] = self._tx.load_rows(0, count, self._make_row)
        return rows

    def _send_ahead(self: Any) -> _Steps:
        """Send what is ahead by itself."""
        first, self.ahead = self.ahead, ()
        if first:
            yield from self._conn._start_query()
        for statement in first:
            yield from self._conn._exec_command(statement)

    def _execute_together(
        self: Any, first: tuple[bytes, ...], pgq: Any, prepare: bool | None, binary: bool | None
    ) -> _Steps:
        manager = self._conn._prepared
        prep, name = self._get_prepared(pgq, prepare)
        answers: list[Any] = []
        try:
            yield from self._talk(first, pgq, prep, name, binary, answers)
        finally:
            if self._pgconn.pipeline_status:
                # broken off in the middle: nobody could go on with it
                self._pgconn.finish()
        results = answers.pop()
        for answer in answers:
            for result in answer:
                if result.status not in _FINE:
                    self._raise_for_result(result)
        key = manager.maybe_add_to_cache(pgq, prep, name)
        if key is not None:
            manager.validate(key, prep, name, results)
        self._check_results(results)
        self._set_results(results)

    def _talk(
        self: Any,
        first: tuple[bytes, ...],
        pgq: Any,
        prep: int,
        name: bytes,
        binary: bool | None,
        answers: list[Any],
    ) -> _Steps:
        """One round trip; every answer is taken, whatever it says.

        A value that cannot be sent says so when what goes ahead is under way: as with psycopg, the
        transaction has begun then, and the connection is as good as before.
        """
        pgconn = self._pgconn
        pgconn.enter_pipeline_mode()
        for statement in first:
            pgconn.send_query_params(statement, None)
        count = len(first) + 1
        if prep == _TO_PREPARE:
            pgconn.send_prepare(name, pgq.query, param_types=pgq.types)
            count += 1
        refused: Exception | None = None
        try:
            if prep == _UNPREPARED:
                self._execute_send(pgq, force_extended=True, binary=binary)
            else:
                self._send_query_prepared(name, pgq, binary=binary)
        except Exception as error:
            refused = error
            count -= 1
        pgconn.pipeline_sync()
        add(self._conn, 1)
        yield from send(pgconn)
        for _ in range(count):
            answers.append((yield from fetch_many(pgconn)))  # noqa: PERF401 - no comprehension yields
        yield from fetch_many(pgconn)  # the answer to the Sync
        pgconn.exit_pipeline_mode()
        if refused is not None:
            raise refused

    def _execute_send(self: Any, query: Any, **how: Any) -> None:
        self._count()
        super()._execute_send(query, **how)  # type: ignore[misc]

    def _send_prepare(self: Any, name: bytes, query: Any) -> None:
        self._count()
        super()._send_prepare(name, query)  # type: ignore[misc]

    def _send_query_prepared(self: Any, name: bytes, pgq: Any, **how: Any) -> None:
        self._count()
        super()._send_query_prepared(name, pgq, **how)  # type: ignore[misc]

    def _count(self: Any) -> None:
        if not self._pgconn.pipeline_status:
            add(self._conn, 1)

    def _executemany_gen_pipeline(
        self: Any, query: Any, params_seq: Iterable[Any], returning: bool
    ) -> _Steps:
        conn = self._conn
        add(conn, 1)
        first, self.ahead = self.ahead, ()
        if not conn._autocommit and self._pgconn.transaction_status == _IDLE:
            first = (*statements(conn._get_tx_start_command()), *first)
        for statement in first:
            yield from conn._exec_command(statement)
        if first:
            # under way: psycopg sees that BEGIN was sent
            yield from conn._pipeline._communicate_gen()
        yield from super()._executemany_gen_pipeline(query, params_seq, returning)  # type: ignore[misc]

    def _executemany_gen_no_pipeline(
        self: Any, query: Any, params_seq: Iterable[Any], returning: bool
    ) -> _Steps:
        yield from self._send_ahead()
        yield from super()._executemany_gen_no_pipeline(query, params_seq, returning)  # type: ignore[misc]


class Cursor(_Ahead, psycopg.Cursor[Any]):
    """psycopg's, for threads."""

    def read(self, query: str, params: Any) -> list[Any]:
        """``execute`` and ``fetchall``."""
        if self._knows(query):
            conn = self._conn
            with conn.lock:
                if self._sent_again(query, params):
                    return self._rows_of(conn.wait(execute(self._pgconn)))
        self.execute(query, params)
        rows = self.fetchall()
        self._learn(query)
        return rows


class AsyncCursor(_Ahead, psycopg.AsyncCursor[Any]):
    """psycopg's, for asyncio."""

    async def read(self, query: str, params: Any) -> list[Any]:
        """``execute`` and ``fetchall``."""
        if self._knows(query):
            conn = self._conn
            async with conn.lock:
                if self._sent_again(query, params):
                    return self._rows_of(await conn.wait(execute(self._pgconn)))
        await self.execute(query, params)
        rows = await self.fetchall()
        self._learn(query)
        return rows
