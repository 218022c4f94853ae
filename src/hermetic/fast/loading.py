"""Results of ORM queries, with the compiled loop in place of SQLAlchemy's for making instances.

SQLAlchemy prepares the whole result: what each row needs, which checks apply, what is loaded
afterwards. Nothing has been fetched then. ``quicken`` replaces no more than the function that
fetches all rows and makes a list of instances of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .counts import count
from .filling import Gatherer
from .instances import BATCH, Due, EntityLoader, RowLoader
from .lazy import learn
from .plan import FIRST, plan_of
from .private import (
    CHUNKS_CELLS,
    INSTANCE_CELLS,
    ChunkedIteratorResult,
    CursorFetchStrategy,
    CursorResult,
    booleans_of,
    cells_of,
    chunks_code,
    index_of,
    instance_code,
)
from .selectin import quick_loader

# Up to so many rows, preparing the loop costs more than it saves.
FEW = 4


_Builder = Callable[[Any], list[Any]]


def quicken(result: Any, options: Any = None) -> Any:
    """The same result, which makes its instances faster when it is asked for all of them.

    :param options: the execution options that the statement was given.
    """
    if type(result) is not ChunkedIteratorResult or result._yield_per:
        return result
    chunks: Any = result.chunks
    if getattr(chunks, "__code__", None) is not chunks_code:
        return result
    quick = _Chunks(chunks)
    result.chunks = quick
    result.iterator = itertools.chain.from_iterable(quick(None))
    load_options = options.get("_sa_orm_load_options") if options else None
    if load_options is not None and load_options._lazy_loaded_from is not None:
        learn(result, load_options, quick.process[0])
    return result


class _Chunks:
    """Stands for the function that gives the rows of a result in lists."""

    __slots__ = ("context", "cursor", "original", "process", "single", "top")

    def __init__(self, original: Any) -> None:
        cells = cells_of(original, CHUNKS_CELLS)
        self.original = original
        self.context = cells["context"]
        self.cursor = cells["cursor"]
        self.process: Sequence[Any] = cells["process"]
        self.single: bool = cells["single_entity"]
        self.top: bool = cells["is_top_level"]

    def __call__(self, size: int | None) -> Iterator[Any]:
        if size:
            count("load:aside:yield_per")
            chunks: Iterator[Any] = self.original(size)
            return chunks
        return self._all()

    def _all(self) -> Iterator[list[Any]]:
        self.context.partials = {}
        found = self._built()
        if self.top:
            _load_late(self.context)
        yield found

    def _built(self) -> list[Any]:
        cursor = self.cursor
        if not is_plain(cursor):
            return self._plainly(cursor._raw_all_tuples())
        processed = cursor._row_getter[2]
        rows = next_rows(cursor)
        build = "few" if len(rows) <= FEW else self._compiled(processed)
        found: list[Any] = []
        if build == FIRST:
            found, rows = self._plainly(processed(rows[:1])), rows[1:]
            build = self._compiled(processed)
        if isinstance(build, str):
            count(f"load:aside:{build}")
            # what SQLAlchemy calls here may send statements: everything is fetched before
            return found + self._plainly([*processed(rows), *cursor._raw_all_tuples()])
        count("load:fast")
        while rows:
            found += build(rows)
            rows = []  # or the garbage collector walks them too
            Due()
            rows = next_rows(cursor)
        return found

    def grouped(self, size: int) -> dict[Any, list[Any]] | None:
        """Entities by the columns in front of them, so many; ``None`` where they are not to be had
        by compiled code, and nothing was fetched then.
        """
        keys = [index_of(process) for process in self.process[:-1]]
        if not is_plain(self.cursor) or keys != list(range(size)):
            return None
        loader = _maker(self.process[-1])
        if type(loader) is not EntityLoader:
            return None
        self.context.partials = {}
        count("load:fast")
        processed = self.cursor._row_getter[2]
        booleans = booleans_of(self.cursor._metadata)
        raw = bool(booleans) and booleans.isdisjoint(keys)
        if raw:
            loader.take_raw(booleans, processed)
        gatherer = Gatherer(loader, size)
        rows = next_rows(self.cursor)
        while rows:
            gatherer.load(rows if raw and type(rows[0]) is tuple else processed(rows))
            rows = []  # or the garbage collector walks them too
            Due()
            rows = next_rows(self.cursor)
        if self.top:
            _load_late(self.context)
        return gatherer.found

    def _plainly(self, rows: Any) -> list[Any]:
        """By SQLAlchemy's functions."""
        if self.single:
            make = self.process[0]
            return [make(row) for row in rows]
        return [tuple([make(row) for make in self.process]) for row in rows]

    def _compiled(self, processed: Any) -> _Builder | str:
        """What makes a list of the driver's rows; or why it cannot be compiled code."""
        loaders = [_maker(process) for process in self.process]
        for loader in loaders:
            # one of several that is SQLAlchemy's keeps no other from being fast
            if loader == FIRST or (self.single and isinstance(loader, str)):
                return str(loader)
        if self.single:
            return _single(loaders[0], self.cursor._metadata, processed)
        for position, loader in enumerate(loaders):
            if isinstance(loader, str):
                count(f"load:aside:{loader}")
                loaders[position] = self.process[position]
        load = RowLoader(loaders).load
        return lambda rows: load(processed(rows))


def _single(loader: EntityLoader, metadata: Any, processed: Any) -> _Builder:
    booleans = booleans_of(metadata)
    if not booleans:
        return lambda rows: loader.load(processed(rows))
    loader.take_raw(booleans, processed)
    # where the driver's rows are no tuples, they become some
    return lambda rows: loader.load(rows if type(rows[0]) is tuple else processed(rows))


def _maker(process: Any) -> Any:
    """The compiled twin of one of SQLAlchemy's functions of a row; or why there is none."""
    index = index_of(process)
    if index is not None:
        return index
    if getattr(process, "__code__", None) is not instance_code:
        return "inheritance" if getattr(process, "__closure__", None) else "expression"
    cells = cells_of(process, INSTANCE_CELLS)
    plan = plan_of(cells)
    return plan if isinstance(plan, str) else EntityLoader(plan, cells, process)


def is_plain(cursor: Any) -> bool:
    """Whether the driver's cursor gives the rows one after the other, and nobody logs them."""
    return (
        type(cursor) is CursorResult
        and type(cursor.cursor_strategy) is CursorFetchStrategy
        and not cursor._row_logging_fn
    )


def next_rows(cursor: Any) -> list[Any]:
    """The next rows as the driver has them, or none."""
    rows = cursor._fetchmany_impl(BATCH)
    # some drivers give a tuple of them
    return rows if type(rows) is list else list(rows)


def _load_late(context: Any) -> None:
    """What is loaded once all rows are there; it may ask for more of the same."""
    waiting = context.post_load_paths
    while waiting:
        due = list(waiting.items())
        waiting.clear()
        for path, post_load in due:
            for token, (of, key, limit, loader, *others) in post_load.loaders.items():
                post_load.loaders[token] = (of, key, limit, quick_loader(loader), *others)
            post_load.invoke(context, path)


class Source:
    """The rows of a result of columns, as the driver has them or nearly so."""

    __slots__ = ("booleans", "columns", "cursor", "processed")

    def __init__(self, cursor: Any, columns: Sequence[int]) -> None:
        self.cursor = cursor
        self.columns = columns
        self.processed = cursor._row_getter[2]
        # of these columns the rows have 0 and 1 where the result has bool
        self.booleans = booleans_of(cursor._metadata)

    def next(self) -> Any:
        """Some more rows, or none."""
        rows = next_rows(self.cursor)
        if rows and self.booleans and type(rows[0]) is tuple:
            return rows
        return self.processed(rows)


def source_of(result: Any) -> Source | None:
    """Where a result has its rows from; ``None`` where they are another's, were begun, or are not
    made of columns alone.
    """
    columns: Sequence[int | None] = ()
    cursor = result
    if type(result) is ChunkedIteratorResult:
        chunks: Any = result.chunks
        if type(chunks) is not _Chunks or result._yield_per:
            return None
        columns = [index_of(process) for process in chunks.process]
        cursor = chunks.cursor
    if not is_plain(cursor) or cursor._metadata._tuplefilter is not None:
        return None
    found = [column for column in columns if column is not None]
    if len(found) < len(columns):
        return None
    return Source(cursor, found or range(len(cursor._metadata._keys)))
