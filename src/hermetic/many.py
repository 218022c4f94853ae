"""``session.insert_many`` and its like: many rows written without an object for each."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol, overload

from sqlalchemy import Column, orm
from sqlalchemy.ext import asyncio as sa_asyncio
from sqlalchemy.util import await_only

from .bulk.admission import admitted
from .bulk.affected import expire, expire_all, forget
from .bulk.changing import Changing, Deleting, Updating
from .bulk.given import Reading, Run, batches_of, check_size
from .bulk.inserting import Inserting
from .bulk.keys import keys_of, needs_change, needs_key, refuse_versions
from .bulk.sending import Sender
from .bulk.target import Target
from .conflicts import Given, conflict_of
from .dialects.writing import takes_columns, unnests
from .errors import InvalidOption
from .progress import Wanted, check, following

# rows that are sent together; a COPY begins and ends for each of its batches, and nobody else works
# at these moments
BATCH = 5000
INSERTED = 20_000

# how many rows are awaited before they are looked at
_AWAITED = 500

Returning = bool | Sequence[Any]


class _Call(Protocol):
    def send(self, run: Run) -> None: ...


class ManySession(orm.Session):
    """A Session that writes many rows at once."""

    @overload
    def insert_many(
        self,
        entity: Any,
        rows: Iterable[Any],
        *,
        on_conflict: Given = None,
        returning: Literal[False] = False,
        batch: int = INSERTED,
        progress: Wanted = None,
    ) -> int: ...
    @overload
    def insert_many(
        self,
        entity: Any,
        rows: Iterable[Any],
        *,
        on_conflict: Given = None,
        returning: Literal[True] | Sequence[Any],
        batch: int = INSERTED,
        progress: Wanted = None,
    ) -> list[Any]: ...
    def insert_many(
        self,
        entity: Any,
        rows: Iterable[Any],
        *,
        on_conflict: Given = None,
        returning: Returning = False,
        batch: int = INSERTED,
        progress: Wanted = None,
    ) -> int | list[Any]:
        """Insert rows of any iterable, by the fastest way of the driver, in constant memory.

        A row is a dict, a dataclass, a NamedTuple, a msgspec Struct or an object of the class,
        which stays out of the session. Its fields are the class's attributes; those that are absent
        get their defaults, a ``None`` is NULL (of an object, as in a flush, the default). What
        mapping and columns say holds: types, defaults, discriminators. Events of mapped classes
        (``before_insert``) are not fired.

        Pending changes are flushed first. The call is whole: after an error nothing of it is
        written, and the scope goes on as if it had not been made. An error that the database
        raises for a row has its position as ``row``.

        :param entity: a mapped class of one table, or a Table.
        :param on_conflict: what becomes of a row whose key is there: ``"ignore"``, ``"update"`` or
            an OnConflict. Default ``None``: an error. Updated objects of the session are expired.
        :param returning: ``True`` for the primary keys, in the rows' order: values, or tuples of
            them; objects that were given get theirs. A list of attributes for tuples of these.
        :param batch: how many rows are sent together, and held in memory. Default 20 000.
        :param progress: ``True`` for a bar, or a function of a Progress.
        :return: how many rows there were; with ``returning`` what was asked for.
        :raises InvalidRow: a row has an unknown field, or lacks one that is needed.
        """
        target = Target(entity)
        check_size(batch)
        check(progress)
        conflict = conflict_of(on_conflict, target.table, target.named)
        columns = _returned(returning, target)
        what = f"insert_many({target.what})"
        keys = returning is True
        calls: list[Inserting] = []

        def begin(sender: Sender) -> Inserting:
            calls.append(Inserting(sender, target, conflict, columns, keys=keys))
            return calls[0]

        # a COPY takes rows
        in_arrays = bool(columns) or conflict is not None
        reading = Reading(target, target.refuse_incomplete, lambda *of: in_arrays and unnests(*of))
        with admitted(self, f"rows of {target.what}"):
            count = _write(self, target, rows, batch, progress, what, reading, begin)
            if calls and conflict is not None and not conflict.ignores:
                expire_all(self, target)
        if not columns:
            return count
        return calls[0].returned if calls else []

    def update_many(
        self,
        entity: Any,
        rows: Iterable[Any],
        *,
        key: str | Sequence[str] | None = None,
        batch: int = BATCH,
        progress: Wanted = None,
    ) -> int:
        """Update rows by their keys; otherwise as ``insert_many``.

        A row has its key and the columns that get new values; others stay as they are, and get what
        their ``onupdate`` says. A key that no row of the table has changes nothing. Of several rows
        with one key the last one counts. Objects of the session with these keys are expired.

        :param key: the columns that a row is found by. Default ``None``: the primary key.
        :param batch: how many rows are sent together. Default 5000.
        :return: how many rows of the table were found.
        :raises InvalidRow: a row has an unknown field, lacks its key, or has nothing but its key.
        """
        target = Target(entity)
        refuse_versions(target)
        keys = keys_of(target, key)
        reading = Reading(
            target, lambda names, row: needs_change(target, keys, names, row), takes_columns
        )
        reading.fills = False
        return self._change(Updating, reading, keys, rows, batch, progress)

    def delete_many(
        self,
        entity: Any,
        rows: Iterable[Any],
        *,
        key: str | Sequence[str] | None = None,
        batch: int = BATCH,
        progress: Wanted = None,
    ) -> int:
        """Delete rows by their keys; otherwise as ``insert_many``.

        A row may be the value of its key, or a tuple of the values; of dicts and the like the
        fields of the key are looked at alone. Objects of the session with these keys are deleted
        ones. What refers to the rows is the database's to delete, or to refuse: relationships and
        their cascades are not looked at.

        :param key: the columns that a row is found by. Default ``None``: the primary key.
        :param batch: how many rows are sent together. Default 5000.
        :return: how many rows of the table were found.
        :raises InvalidRow: a row lacks its key.
        """
        target = Target(entity)
        keys = keys_of(target, key)
        reading = Reading(
            target,
            lambda names, row: needs_key(target, keys, names, row),
            lambda *_: True,
            scalars=keys,
        )
        reading.fills = False
        return self._change(Deleting, reading, keys, rows, batch, progress)

    def _change(
        self,
        kind: type[Updating] | type[Deleting],
        reading: Reading,
        keys: tuple[str, ...],
        rows: Iterable[Any],
        batch: int,
        progress: Wanted,
    ) -> int:
        target = reading.target
        check_size(batch)
        check(progress)
        word = "update_many" if kind is Updating else "delete_many"
        calls: list[Changing] = []

        def begin(sender: Sender) -> Changing:
            calls.append(kind(sender, target, keys))
            return calls[0]

        with admitted(self, f"rows of {target.what}"):
            what = f"{word}({target.what})"
            _write(self, target, rows, batch, progress, what, reading, begin)
            if not calls:
                return 0
            if keys != target.keys:
                expire_all(self, target)
            elif kind is Updating:
                expire(self, target, calls[0].changed)
            else:
                forget(self, target, calls[0].changed)
        return calls[0].matched


class AsyncManySession(sa_asyncio.AsyncSession):
    """An AsyncSession that writes many rows at once."""

    @overload
    async def insert_many(
        self,
        entity: Any,
        rows: Iterable[Any] | AsyncIterable[Any],
        *,
        on_conflict: Given = None,
        returning: Literal[False] = False,
        batch: int = INSERTED,
        progress: Wanted = None,
    ) -> int: ...
    @overload
    async def insert_many(
        self,
        entity: Any,
        rows: Iterable[Any] | AsyncIterable[Any],
        *,
        on_conflict: Given = None,
        returning: Literal[True] | Sequence[Any],
        batch: int = INSERTED,
        progress: Wanted = None,
    ) -> list[Any]: ...
    async def insert_many(
        self,
        entity: Any,
        rows: Iterable[Any] | AsyncIterable[Any],
        *,
        on_conflict: Given = None,
        returning: Returning = False,
        batch: int = INSERTED,
        progress: Wanted = None,
    ) -> int | list[Any]:
        """As Session.insert_many; an asynchronous iterable of rows is accepted too."""
        written: int | list[Any] = await self._many(
            "insert_many",
            *(entity, rows, batch),
            on_conflict=on_conflict,
            returning=returning,
            progress=progress,
        )
        return written

    async def update_many(
        self,
        entity: Any,
        rows: Iterable[Any] | AsyncIterable[Any],
        *,
        key: str | Sequence[str] | None = None,
        batch: int = BATCH,
        progress: Wanted = None,
    ) -> int:
        """As Session.update_many; an asynchronous iterable of rows is accepted too."""
        matched: int = await self._many(
            "update_many", entity, rows, batch, key=key, progress=progress
        )
        return matched

    async def delete_many(
        self,
        entity: Any,
        rows: Iterable[Any] | AsyncIterable[Any],
        *,
        key: str | Sequence[str] | None = None,
        batch: int = BATCH,
        progress: Wanted = None,
    ) -> int:
        """As Session.delete_many; an asynchronous iterable of rows is accepted too."""
        matched: int = await self._many(
            "delete_many", entity, rows, batch, key=key, progress=progress
        )
        return matched

    async def _many(self, method: str, entity: Any, rows: Any, batch: int, **options: Any) -> Any:
        check_size(batch)
        given = awaited(rows, min(batch, _AWAITED)) if hasattr(rows, "__aiter__") else rows
        return await self.run_sync(
            lambda session: getattr(session, method)(entity, given, batch=batch, **options)
        )


def _write(
    session: Any,
    target: Target,
    rows: Iterable[Any],
    size: int,
    progress: Wanted,
    what: str,
    reading: Reading,
    begin: Callable[[Sender], _Call],
) -> int:
    """Send all rows, batch by batch, or none of them; how many there were."""
    batches = batches_of(rows, size)
    first = next(batches, None)
    if first is None:
        return 0
    # what can be known of the first rows is known before anything is sent
    _check_tenants(session, target, first)
    reading.prepare(session.get_bind(**target.bind_arguments()).dialect)
    runs = list(reading.runs(first, 0))
    if session.autoflush and not session._flushing:
        session.flush()
    sender = Sender(session, target, what)
    call = begin(sender)
    with sender.whole(), following(progress, what, rows) as counted:
        for run in runs:
            call.send(run)
        counted.more(len(first))
        del first, runs
        for batch in batches:
            _check_tenants(session, target, batch)
            for run in reading.runs(batch, counted.done):
                call.send(run)
            counted.more(len(batch))
    return counted.done


def _check_tenants(session: Any, target: Target, batch: list[Any]) -> None:
    """:raises ForeignTenant: an object is another's."""
    if target.mapper is None:
        return
    for kind in set(map(type, batch)):
        if issubclass(kind, target.mapper.class_):
            for row in batch:
                if type(row) is kind:
                    session._check_given(row)


def _returned(returning: Returning, target: Target) -> tuple[Column[Any], ...]:
    if returning is False:
        return ()
    if returning is True:
        found = tuple(target.table.primary_key)
        if not found:
            problem = f"asks for a primary key, and {target.what} has none"
            raise InvalidOption("returning", returning, problem, place="insert_many()")
        return found
    columns = []
    for each in (returning,) if isinstance(returning, str) else returning:
        name = each if isinstance(each, str) else getattr(each, "key", None)
        if name not in target.named:
            problem = f"names {each!s}, which is no column of {target.what}"
            raise InvalidOption("returning", ..., problem, place="insert_many()")
        columns.append(target.named[name])
    return tuple(columns)


def awaited(rows: AsyncIterable[Any], size: int) -> Iterator[Any]:
    """The rows of an asynchronous iterable, for code that runs on SQLAlchemy's bridge to asyncio.

    :param size: how many are awaited at a time.
    """
    iterator = aiter(rows)
    while some := await_only(_some(iterator, size)):
        yield from some


async def _some(iterator: AsyncIterator[Any], size: int) -> list[Any]:
    found: list[Any] = []
    async for each in iterator:
        found.append(each)
        if len(found) == size:
            break
    return found
