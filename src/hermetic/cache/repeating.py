"""Reads of any form that come again: what SQLAlchemy has found out about a statement is kept, and
its result is made of the rows without another look.

A statement with its values is known by SQLAlchemy's own cache key. Who asks for columns, a count or
raw SQL gets a result of SQLAlchemy's classes, as it would make it. What else a result may be made
of (entities, bundles, types of one's own among the parameters) goes SQLAlchemy's whole way.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from sqlalchemy import CursorResult, TypeDecorator
from sqlalchemy.engine.cursor import _DEFAULT_FETCH
from sqlalchemy.exc import InvalidRequestError

from ..fast.private import ChunkedIteratorResult, SimpleResultMetaData, immutable, index_of
from ..fast.switch import ON
from ..registry import Scope
from .reading import Asked, look_at
from .reads import Reads
from .replay import Cursor, connection_over
from .store import Entry
from .values import FIXED, Unkeyable, parameters_key
from .wishes import Wish

# how many statements with their values are remembered
_REMEMBERED = 1000
# what a call may say besides the statement, and which options neither it nor the statement may have
# others than
_SAID = frozenset({"params", "execution_options", "_scalar_result"})
_OPTIONS = frozenset({"cache", "depends", "prebuffer_rows"})
# the attributes of results that have no objects
_ATTRIBUTES = immutable({"filtered": False, "is_single_entity": False})
_NOT_BOTH = "Can't use the ORM yield_per feature in conjunction with unique()"


class Known:
    """A statement with its values that was answered by the cache before.

    :param maker: makes a result of the rows; ``None`` where that is SQLAlchemy's to do.
    """

    __slots__ = ("asked", "generation", "key", "maker")

    def __init__(self, reads: Reads, asked: Asked, key: Any, maker: Any) -> None:
        self.generation = reads.following.generation
        self.asked = asked
        self.key = key
        self.maker = maker


def identity_of(
    session: Any, scope: Scope, wish: Wish, statement: Any, args: Any, kwargs: Any
) -> Any:
    """What tells a statement with its values from every other one; ``None`` where that is not
    certain.
    """
    if not ON or len(args) > 1 or session.binds or session.execution_options:
        return None
    if any(name not in _SAID and kwargs[name] for name in kwargs):
        return None
    given = kwargs.get("execution_options")
    if given and not _OPTIONS.issuperset(given):
        return None
    parameters = args[0] if args else kwargs.get("params")
    if parameters is not None and type(parameters) is not dict:
        return None
    said = statement if type(statement) is str else _said(statement)
    if said is None:
        return None
    try:
        given_key = parameters_key(parameters) if parameters else None
        # a mapped class in it, or a value, may have a hash of its own, or none
        identity = (said, given_key, wish, scope.tenant, session.bind)
        hash(identity)
    except (Unkeyable, TypeError):
        return None
    return identity


def _said(statement: Any) -> Any:
    """What a statement says, with the values in it."""
    own = statement._execution_options
    if own and not _OPTIONS.issuperset(own):
        return None
    structure = statement._generate_cache_key()
    if structure is None:
        return None
    binds = structure.bindparams
    if not binds:
        return structure.key
    values = []
    for bind in binds:
        if bind.callable is not None or not _is_ordinary(bind.type):
            return None
        values.append(bind.value)
    try:
        return (structure.key, parameters_key(values))
    except Unkeyable:
        return None


def is_settled(statement: Any) -> bool:
    """Whether the driver is given the same each time: a list or a dictionary in a statement may be
    changed, and what a type of one's own makes of a value may depend on anything.
    """
    structure = statement._generate_cache_key()
    return structure is not None and all(
        type(bind.value) in FIXED and _is_ordinary(bind.type) for bind in structure.bindparams
    )


_ordinary: dict[type, bool] = {}


def _is_ordinary(type_: Any) -> bool:
    """Whether a type is SQLAlchemy's, and gives the driver the same for the same value."""
    variants = type_._variant_mapping
    return _is_ordinary_kind(type(type_)) and (
        not variants or all(map(_is_ordinary, variants.values()))
    )


def _is_ordinary_kind(kind: type) -> bool:
    found = _ordinary.get(kind)
    if found is None:
        own = kind.__module__.startswith("sqlalchemy.") and not issubclass(kind, TypeDecorator)
        found = _ordinary[kind] = own
    return found


def again(reads: Reads, scope: Scope, identity: Any, statement: Any) -> Any:
    """The result, where the statement is known and its rows are there; ``None`` otherwise.

    :param statement: by whose own columns the result is to be asked, beside their names.
    """
    known: Known | None = reads.repeated.get(identity)
    if known is None or known.maker is None:
        return None
    if known.generation != reads.following.generation:
        reads.repeated.pop(identity, None)  # it may depend on more by now
        return None
    entry = look_at(reads, scope, known.asked, known.key)
    return None if entry is None else known.maker.made(entry, statement)


def remember(
    session: Any, reads: Reads, identity: Any, asked: Asked, key: Any, context: Any, result: Any
) -> None:
    """Keep how this result was made, for the next one like it."""
    if len(reads.repeated) >= _REMEMBERED:
        reads.repeated.clear()
    maker = _maker_of(session, context, result)
    reads.repeated[identity] = Known(reads, asked, key, maker)


def _maker_of(session: Any, context: Any, result: Any) -> Any:
    if type(result) is CursorResult:
        return _CursorResults(session.bind, context)
    if type(result) is not ChunkedIteratorResult or type(result.raw) is not CursorResult:
        return None
    query: Any = result.context
    cursor: Any = result.raw
    entities = query.compile_state._entities
    if any(
        entity.use_id_for_hash or entity._non_hashable_value or entity._null_column_type
        for entity in entities
    ):
        return None
    getters, labels, extra = zip(
        *[entity.row_processor(query, cursor) for entity in entities], strict=True
    )
    order = tuple(map(index_of, getters))
    processors = cursor._metadata._processors
    if order != tuple(range(len(processors))) or cursor._metadata._tuplefilter is not None:
        return None
    return _OrmResults(labels, extra, processors, _translated(entities), query.query)


def _translated(entities: Any) -> dict[int, tuple[int, tuple[Any, ...]]]:
    """Which columns of a result may be asked for by the statement's own expressions: where these
    are in the statement, and what else they may be asked for by.
    """
    return {
        at: (entity.raw_column_index, entity._row_processor[2])
        for at, entity in enumerate(entities)
        if entity.translate_raw_column
    }


class _CursorResults:
    """Makes what Core's statements and raw SQL return."""

    __slots__ = ("kind", "parts")

    def __init__(self, engine: Any, context: Any) -> None:
        self.kind: Any = type(context)
        # without what belongs to the session that it was
        connection = connection_over(engine, None)
        own = {"root_connection": connection, "_dbapi_connection": connection.connection}
        own |= {"cursor": None, "_soft_closed": False}
        self.parts: dict[str, Any] = {**context.__dict__, **own}
        # another statement of the same form has columns of its own, as where SQLAlchemy finds what
        # it has compiled
        self.parts["cache_hit"] = context.dialect.CACHE_HIT

    def made(self, entry: Entry, statement: Any) -> Any:
        context = self.kind.__new__(self.kind)
        parts = context.__dict__
        parts.update(self.parts)
        if type(statement) is not str:
            parts["invoked_statement"] = statement
        parts["cursor"] = Cursor(entry.description, entry.taken())
        return CursorResult(context, _DEFAULT_FETCH, entry.description)


class _OrmResults:
    """Makes what statements for columns of mapped classes return."""

    __slots__ = ("columns", "extra", "labels", "metadata", "processors", "translated", "width")

    def __init__(
        self, labels: Any, extra: Any, processors: Any, translated: Any, statement: Any
    ) -> None:
        self.width = len(labels)
        self.labels, self.extra = list(labels), list(extra)
        self.translated = translated
        # whose columns are in the metadata
        self.columns = statement._raw_columns if translated else None
        self.metadata = self._metadata(self.extra)
        self.processors = processors if any(processors) else None

    def _metadata(self, extra: list[Any]) -> Any:
        return SimpleResultMetaData(self.labels, extra, _create_unique_filters=self.unique)

    def _metadata_of(self, statement: Any) -> Any:
        columns = statement._raw_columns
        if columns is self.columns:
            return self.metadata
        extra = list(self.extra)
        for at, (index, others) in self.translated.items():
            extra[at] = (*others, columns[index])
        return self._metadata(extra)

    def made(self, entry: Entry, statement: Any) -> Any:
        metadata = self._metadata_of(statement) if self.translated else self.metadata
        rows = entry.taken()
        if self.processors is not None:
            rows = [
                tuple(
                    [
                        value if process is None else process(value)
                        for process, value in zip(self.processors, row, strict=True)
                    ]
                )
                for row in rows
            ]
        result: Any = ChunkedIteratorResult(metadata, _Chunks(rows))
        result._attributes = _ATTRIBUTES
        return result

    def unique(self, result: Any) -> list[None]:
        """SQLAlchemy asks the metadata of a result for this, when it is to be made unique."""
        if result._yield_per:
            raise InvalidRequestError(_NOT_BOTH)
        chunks = getattr(result, "chunks", None)
        if type(chunks) is _Chunks:  # a closed result has lost them
            chunks.uniquing = True
        return [None] * self.width


class _Chunks:
    """Gives the rows of a result in lists."""

    __slots__ = ("rows", "uniquing")

    def __init__(self, rows: list[Any]) -> None:
        self.rows = iter(rows)
        self.uniquing = False

    def __call__(self, size: int | None) -> Iterator[list[Any]]:
        while True:
            if size and self.uniquing:
                raise InvalidRequestError(_NOT_BOTH)
            some = list(islice(self.rows, size)) if size else list(self.rows)
            if size and not some:
                return
            yield some
            if not size:
                return
