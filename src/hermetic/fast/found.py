"""What a small query has found: SQLAlchemy's results, made when more than objects is wanted.

Most results are asked once, for all of their objects or for the only one. The classes here answer
that from the rows. Whatever else is wanted of one makes it what it stands for: it takes on
SQLAlchemy's class, and the state that SQLAlchemy's would have by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from sqlalchemy.engine import ScalarResult
from sqlalchemy.exc import InvalidRequestError

from .counts import count
from .instances import EntityLoader
from .lean import instance_of
from .plans import Entity
from .private import ChunkedIteratorResult, immutable, new_runid

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from . import shadow as cython

# the compiled form has it from instances.pxd
if not cython.compiled:
    from .instances import make

# up to so many rows, preparing the loop costs more than it saves
FEW = 4
# how far a result was used: not at all; its objects were taken; it was closed besides
_FRESH, _TAKEN, _CLOSED = 0, 1, 2


class Rows:
    """The rows of a result, made into objects when somebody wants them."""

    __slots__ = ("entity", "identity_map", "metadata", "rows", "session", "uniquing", "used")

    def __init__(self, session: Any, entity: Entity, metadata: Any, rows: Any) -> None:
        self.session = session
        self.entity = entity
        self.metadata = metadata
        self.rows = rows
        self.identity_map = session.identity_map
        self.uniquing = False
        self.used = _FRESH

    def chunks(self, size: int | None) -> Iterator[list[Any]]:
        runid = new_runid()
        while True:
            if size and self.uniquing:
                raise InvalidRequestError(_NOT_BOTH)
            # who asks for portions after some were taken gets those that are left
            rows = self.rows if type(self.rows) is list else list(self.rows)
            some, self.rows = (rows[:size], rows[size:]) if size else (rows, [])
            if size and not some:
                return
            yield self.made(some, runid)
            if not size:
                return

    def made(self, rows: Any, runid: int) -> list[Any]:
        if self.session.identity_map is not self.identity_map:
            # SQLAlchemy's words for a session that was closed, or emptied, meanwhile
            self.identity_map._kill()
        if len(rows) > FEW and self.entity.raw is not None and type(rows[0]) is tuple:
            return self.loader(runid).load(rows)
        count("load:few")
        return [instance_of(self.identity_map, self.session, self.entity, r, runid) for r in rows]

    def taken(self, used: int) -> list[Any]:
        """All objects at once."""
        self.used = _TAKEN  # also where it fails: SQLAlchemy's has no more rows then
        rows = self.rows
        found = self.made(rows if type(rows) is list else list(rows), new_runid()) if rows else []
        self.used = used
        return found

    def loader(self, runid: int) -> EntityLoader:
        """The loop for many rows, with the little that this query asks of it."""
        count("load:fast")
        entity = self.entity
        loader = EntityLoader(
            entity.many,
            {
                "identity_class": entity.identity_class,
                "identity_token": None,
                "session_id": self.session.hash_key,
                "runid": runid,
                "propagated_loader_options": (),
                "load_path": entity.load_path,
                "session_identity_map": self.identity_map,
                "populators": _NO_POPULATORS,
                "post_load": None,
            },
            partial(_one, self, runid),
        )
        loader.keeps = True
        if entity.raw:
            loader.take_raw(entity.raw, _as_they_are)
        return loader


_NO_POPULATORS: dict[str, list[Any]] = {"new": []}


def _as_they_are(rows: list[Any]) -> list[Any]:
    return rows


def _one(made: Rows, runid: int, row: Any) -> Any:
    """A row of an object that is there already, or of none."""
    return instance_of(made.identity_map, made.session, made.entity, row, runid)


_NOT_BOTH = "Can't use the ORM yield_per feature in conjunction with unique()"


def unique(result: Any) -> list[Any]:
    """SQLAlchemy asks the metadata of a result for this, when it is to be made unique."""
    if result._yield_per:
        raise InvalidRequestError(_NOT_BOTH)
    rows = getattr(result.chunks, "__self__", None)
    if rows is not None:  # a closed result has lost them
        rows.uniquing = True
    return [id]


# as SQLAlchemy's results of one mapped class have them
_ATTRIBUTES = immutable({"filtered": True, "is_single_entity": True})


class Executed(ChunkedIteratorResult[Any]):
    """What ``session.execute`` returns. Its one item is ``_found``, until it is ``whole``."""

    __slots__ = ()

    _source_supports_scalars = True
    _attributes = _ATTRIBUTES

    def scalars(self, index: Any = 0) -> Any:
        found = _fresh(self)
        return whole(self).scalars(index) if found is None else _scalars(found, self)

    def scalar(self) -> Any:
        return _asked(self, "scalar", 2, True, _fresh(self))

    def scalar_one(self) -> Any:
        return _asked(self, "scalar_one", 1, False, _fresh(self))

    def scalar_one_or_none(self) -> Any:
        return _asked(self, "scalar_one_or_none", 1, True, _fresh(self))

    def __getattr__(self, name: str) -> Any:
        if name not in _WHOLE_HAS:
            raise AttributeError(_NO_SUCH.format(ChunkedIteratorResult.__name__, name))
        return getattr(whole(self), name)

    def _generate(self) -> Any:
        return whole(self)._generate()

    def _soft_close(self, hard: bool = False, **more: Any) -> None:
        whole(self)._soft_close(hard, **more)

    @property
    def _hard_closed(self) -> bool:  # type: ignore[override]
        return bool(whole(self)._hard_closed)

    @property
    def _soft_closed(self) -> bool:  # type: ignore[override]
        return bool(whole(self)._soft_closed)


class Scalars(ScalarResult[Any]):
    """What ``session.scalars`` returns. It has ``_found``, and whose scalars they are, or ``None``,
    in ``_of``, until it is ``whole_scalars``.
    """

    __slots__ = ()

    def one(self) -> Any:
        return _asked(self, "one", 1, False, _fresh_scalars(self))

    def one_or_none(self) -> Any:
        return _asked(self, "one_or_none", 1, True, _fresh_scalars(self))

    def first(self) -> Any:
        return _asked(self, "first", 2, True, _fresh_scalars(self))

    def all(self) -> Any:
        found = _fresh_scalars(self)
        return whole_scalars(self).all() if found is None else found.taken(_TAKEN)

    def fetchall(self) -> Any:
        found = _fresh_scalars(self)
        return whole_scalars(self).fetchall() if found is None else found.taken(_TAKEN)

    def unique(self, strategy: Any = None) -> Any:
        return whole_scalars(self).unique(strategy)

    def __getattr__(self, name: str) -> Any:
        if name not in _WHOLE_SCALARS_HAVE:
            raise AttributeError(_NO_SUCH.format(ScalarResult.__name__, name))
        return getattr(whole_scalars(self), name)


_NO_SUCH = "{!r} object has no attribute {!r}"
_REAL: Any = ChunkedIteratorResult
_REAL_SCALARS: Any = ScalarResult
# what SQLAlchemy's have in their slots and their ``__dict__``: the first that is wanted of these
# makes all of them
_WHOLE_HAS = frozenset({"_metadata", "chunks", "iterator", "raw", "dynamic_yield_per", "context"})
_WHOLE_SCALARS_HAVE = frozenset(
    {"_real_result", "_post_creational_filter", "_metadata", "_unique_filter_state"}
)


def executed(session: Any, entity: Entity, metadata: Any, rows: Any) -> Any:
    """What ``session.execute`` returns for these rows."""
    result = make(Executed)
    result.__dict__["_found"] = Rows(session, entity, metadata, rows)
    return result


def scalars(session: Any, entity: Entity, metadata: Any, rows: Any) -> Any:
    """What ``session.scalars`` returns for these rows."""
    return _scalars(Rows(session, entity, metadata, rows), None)


def _scalars(found: Rows, of: Any) -> Any:
    result = make(Scalars)
    values = result.__dict__
    values["_found"] = found
    values["_of"] = of
    return result


def _fresh(result: Any) -> Any:
    """The rows of an ``Executed``, if nobody has used them; ``None`` if SQLAlchemy has to see."""
    found: Rows = result.__dict__["_found"]
    return None if found.used else found


def _fresh_scalars(result: Any) -> Any:
    values = result.__dict__
    found: Rows = values["_found"]
    of = values["_of"]
    if found.used or (of is not None and type(of) is not Executed):
        return None
    return found


def _asked(result: Any, name: str, most: int, none_is_fine: bool, found: Any) -> Any:
    """The only object, or the first one.

    :param most: with 1, that there are more is an error, as all errors are SQLAlchemy's to raise.
    """
    if found is not None:
        rows: Rows = found
        there = len(rows.rows)
        if not there and none_is_fine:
            rows.used = _CLOSED
            return None
        if there and (there == 1 or most > 1):
            objects = rows.taken(_CLOSED)
            if objects[0] is not None:
                return objects[0]
            rows.used = _FRESH  # SQLAlchemy makes no object of a row without a key
    result = whole(result) if type(result) is Executed else whole_scalars(result)
    return getattr(result, name)()


def whole(result: Any) -> Any:
    """Make an ``Executed`` what it stands for."""
    if type(result) is Executed:
        found: Rows = result.__dict__.pop("_found")
        result.__class__ = _REAL
        _as_used(result, found)
    return result


def whole_scalars(result: Any) -> Any:
    """Make ``Scalars`` what they stand for."""
    if type(result) is Scalars:
        values = result.__dict__
        found: Rows = values.pop("_found")
        of = values.pop("_of")
        if of is None:
            of = _as_used(ChunkedIteratorResult.__new__(ChunkedIteratorResult), found)
        result.__class__ = _REAL_SCALARS
        ScalarResult.__init__(result, whole(of), 0)
    return result


def _as_used(result: Any, found: Rows) -> Any:
    ChunkedIteratorResult.__init__(
        result, found.metadata, found.chunks, source_supports_scalars=True
    )
    result._attributes = _ATTRIBUTES
    if found.used:
        result._soft_close(hard=found.used == _CLOSED)
    return result
