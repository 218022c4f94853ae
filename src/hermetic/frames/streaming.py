"""Reading batch by batch, as work on the sync session: no more than one of them is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ConfigurationError, InvalidOption
from . import forms
from .asking import connection_for, refuse_write, statement_of
from .ways import fetching_of


class Stream:
    """A statement under way, and what it gives, ``size`` rows at a time."""

    def __init__(
        self, session: Any, what: Any, params: Mapping[str, Any] | None, as_: str, size: int
    ) -> None:
        forms.check(as_, {})
        if size < 1:
            raise InvalidOption("size", size, "must be 1 or more", place="batches()")
        self._session, self._as, self._size = session, as_, size
        self._what, self._params = what, params
        self._first = 0
        self._result: Any = None
        self._fetching: Any = None
        self._columns: list[Any] = []
        self._over = False

    def next(self) -> Any:
        """The next frame; ``None`` after the last."""
        if self._over:
            return None
        scope = getattr(self._session, "_scope", None)
        if scope is not None:
            scope.check_statement()
        if self._result is None:
            self._open()
        if self._fetching is not None:
            return self._fetched(self._fetching)
        result = self._result
        rows = result.cursor_strategy.fetchmany(result, result.cursor, self._size)
        if not rows:
            self.close()
            return None
        return self._frame(rows)

    def _open(self) -> None:
        from .columns import columns_of

        statement: Any = statement_of(self._what)
        if getattr(statement, "is_dml", False):
            refuse_write(self._session, f"the statement {str(statement).strip()!r}")
        connection = connection_for(self._session, self._what)
        self._result = connection.execute(
            statement,
            dict(self._params or {}),
            execution_options={"stream_results": True, "max_row_buffer": self._size},
        )
        if not self._result.returns_rows:
            self.close()
            raise ConfigurationError(
                "The statement has returned no rows.", hint="Use session.execute() for such ones."
            )
        self._columns = columns_of(self._result)
        self._fetching = fetching_of(self._result, statement)

    def _fetched(self, fetching: Any) -> Any:
        """By the fast way of the driver."""
        if not self._first:
            table = self._begun(fetching)
        else:
            table = fetching.table(self._size, self._first)
        if table is None:
            self.close()
            return None
        return self._shaped(table.columns, table.num_rows)

    def _begun(self, fetching: Any) -> Any:
        """The first rows: some SQLAlchemy has fetched already, to see whether there are any."""
        import pyarrow as pa

        from .rows import transposed

        rows = fetching.taken()
        if not rows:
            return None
        names = [f"c{number}" for number in range(len(self._columns))]
        tables = [pa.Table.from_arrays(list(transposed(rows, self._columns, 0)), names=names)]
        rest = fetching.table(self._size - len(rows), len(rows)) if self._size > len(rows) else None
        if rest is not None:
            tables.append(rest.rename_columns(names))
        table = pa.concat_tables(tables, promote_options="permissive")
        for column, field in zip(self._columns, table.schema, strict=True):
            column.arrow = field.type
        return table

    def _frame(self, rows: Any) -> Any:
        from .rows import transposed

        return self._shaped(transposed(rows, self._columns, self._first), len(rows))

    def _shaped(self, columns: Any, count: int) -> Any:
        import pyarrow as pa

        from .fields import fixed_type

        arrays = []
        for column, made in zip(self._columns, columns, strict=True):
            if column.arrow is None:
                column.arrow = made.type  # the first batch says of what type the others are
            wanted = fixed_type(column.arrow, narrow=self._as == "polars")
            arrays.append(made if made.type == wanted else made.cast(wanted))
        self._first += count
        table = pa.Table.from_arrays(arrays, names=[column.name for column in self._columns])
        return forms.shaped(table, self._as, {})

    def close(self) -> None:
        """Give up what was not read."""
        self._over = True
        result, self._result = self._result, None
        if result is not None:
            result.close()


def stream(
    session: Any, what: Any, params: Mapping[str, Any] | None, as_: str, size: int
) -> Iterator[Any]:
    going = Stream(session, what, params, as_, size)
    return _frames(going)


def _frames(going: Stream) -> Iterator[Any]:
    try:
        while (frame := going.next()) is not None:
            yield frame
    finally:
        going.close()


class AsyncStream:
    """The same for ``async for``; what is left of it is given up by ``aclose``."""

    def __init__(self, session: Any, going: Stream) -> None:
        self._session, self._going = session, going

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> Any:
        frame = await self._session.run_sync(lambda _: self._going.next())
        if frame is None:
            raise StopAsyncIteration
        return frame

    async def aclose(self) -> None:
        await self._session.run_sync(lambda _: self._going.close())
