"""Frames of pandas, polars and Arrow, in and out of a session's own transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from ..async_session import AsyncSession
from ..many import awaited
from ..session import Session
from .reading import read_frame
from .streaming import AsyncStream, Stream, stream
from .writing import write_frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping

    from pandas import DataFrame

    from ..conflicts import Given
    from ..progress import Wanted

    Form = Literal["pandas", "polars", "arrow"]
    IfExists = Literal["append", "replace", "fail"]

__all__ = ["batches", "read", "write"]


@overload
def read(
    session: Session,
    what: Any,
    as_: Literal["pandas"] = "pandas",
    *,
    params: Mapping[str, Any] | None = None,
    **options: Any,
) -> DataFrame: ...
@overload
def read(
    session: AsyncSession,
    what: Any,
    as_: Literal["pandas"] = "pandas",
    *,
    params: Mapping[str, Any] | None = None,
    **options: Any,
) -> Coroutine[Any, Any, DataFrame]: ...
@overload
def read(
    session: Session,
    what: Any,
    as_: Literal["polars", "arrow"],
    *,
    params: Mapping[str, Any] | None = None,
) -> Any: ...
@overload
def read(
    session: AsyncSession,
    what: Any,
    as_: Literal["polars", "arrow"],
    *,
    params: Mapping[str, Any] | None = None,
) -> Coroutine[Any, Any, Any]: ...
def read(
    session: Session | AsyncSession,
    what: Any,
    as_: str = "pandas",
    *,
    params: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """A frame of a table or a query, read inside the session's own transaction.

    Pending changes are flushed first, so that it shows the session's uncommitted rows; it never
    commits and honours owner, deadline and read-only rule of the scope. With an AsyncSession the
    result is awaited.

    :param what: a mapped class, a Table, a table's name, a select, or SQL as a string with a space.
    :param as_: a DataFrame of ``"pandas"`` or ``"polars"``, or a Table of ``"arrow"``.
    :param params: bound parameters of the statement.
    :param options: for pandas, as its ``read_sql_query`` has them: ``index_col``, ``parse_dates``,
        ``dtype``, ``coerce_float`` (off here: decimals stay decimals), ``dtype_backend``.
    :raises ConfigurationError: the library is not installed, or ``what`` is nothing that can be
        read.
    :raises UnfitValue: a value that the column's type in a frame cannot hold; it names column and
        row.
    """
    if isinstance(session, AsyncSession):
        return session.run_sync(read_frame, what, params, as_, options)
    return read_frame(session, what, params, as_, options)


@overload
def batches(
    session: Session,
    what: Any,
    as_: Form = "pandas",
    *,
    size: int = 65_536,
    params: Mapping[str, Any] | None = None,
) -> Iterator[Any]: ...
@overload
def batches(
    session: AsyncSession,
    what: Any,
    as_: Form = "pandas",
    *,
    size: int = 65_536,
    params: Mapping[str, Any] | None = None,
) -> AsyncIterator[Any]: ...
def batches(
    session: Session | AsyncSession,
    what: Any,
    as_: Form = "pandas",
    *,
    size: int = 65_536,
    params: Mapping[str, Any] | None = None,
) -> Any:
    """As ``read``, in frames of some rows each, of which no more than one is in memory.

    The statement is sent when the first is asked for. The frames have the same types, whatever is
    in them: a numeric without precision has 38 decimal places (18 for polars). On PostgreSQL and
    SQLite the session can be used in between; on MariaDB and MySQL not before the last frame, or
    the iterator's ``close``. Nothing is left to read after the scope. With an AsyncSession it is
    for ``async for``.

    :param size: rows of a frame; default 65 536.
    """
    if isinstance(session, AsyncSession):
        return AsyncStream(session, Stream(session.sync_session, what, params, as_, size))
    return stream(session, what, params, as_, size)


@overload
def write(
    session: Session,
    frame: Any,
    what: Any,
    *,
    if_exists: IfExists = "append",
    on_conflict: Given = None,
    progress: Wanted = None,
) -> int: ...
@overload
def write(
    session: AsyncSession,
    frame: Any,
    what: Any,
    *,
    if_exists: IfExists = "append",
    on_conflict: Given = None,
    progress: Wanted = None,
) -> Coroutine[Any, Any, int]: ...
def write(
    session: Session | AsyncSession,
    frame: Any,
    what: Any,
    *,
    if_exists: IfExists = "append",
    on_conflict: Given = None,
    progress: Wanted = None,
) -> Any:
    """Write a frame into a table, inside the session's own transaction; how many rows that were.

    What is pending is flushed first; it never commits, and keeps the scope's rules as ``read``
    does. Columns go by their names. Objects of the table that the session has loaded are expired.
    With an AsyncSession it is awaited.

    :param frame: a DataFrame of pandas or polars, a Table, RecordBatch or RecordBatchReader of
        Arrow, whatever has ``__arrow_c_stream__``, or an iterable of them, which may use the
        session meanwhile; with an AsyncSession an asynchronous one too. Of pandas' index the levels
        that have a name are columns; NaN is NULL.
    :param what: a mapped class, a Table, or a table's name.
    :param if_exists: what to do with a table that is there: ``"append"`` adds the rows,
        ``"replace"`` deletes the others first and keeps the table, ``"fail"`` raises. One that is
        not there is made, except on MariaDB and MySQL, which would commit.
    :param on_conflict: what becomes of rows whose key is there already, as with ``insert_many``.
        Default ``None``: an error.
    :param progress: ``True`` for a bar, or a function of a Progress, as with ``insert_many``; it is
        told after every 65 536 rows.
    :raises ConfigurationError: it is no frame, or its columns are not those of the table.
    :raises UnfitValue: a value that the table's column cannot hold as it is.
    """
    options = (what, if_exists, on_conflict, progress)
    if not isinstance(session, AsyncSession):
        return write_frame(session, frame, *options)
    given = awaited(frame, 1) if hasattr(frame, "__aiter__") else frame
    return session.run_sync(write_frame, given, *options)
