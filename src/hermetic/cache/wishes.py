"""Whether a statement may be answered by the cache: it says so, or its class is cached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import SelectBase, TextClause

from ..touched import name_of
from .reads import Reads

# options by which rows come in portions, which are not all there at any moment
_PORTIONS = ("yield_per", "stream_results")
_NONE: Mapping[str, Any] = {}


class Wish(NamedTuple):
    """What is wanted of the cache for one statement.

    :param named: whether the statement itself has asked for it.
    :param depends: the tables that it depends on besides those that it shows.
    """

    named: bool
    depends: frozenset[str] = frozenset()


_BY_CLASS = Wish(named=False)
_NAMED = Wish(named=True)


def wish_of(reads: Reads, statement: Any, given: Any) -> Wish | None:
    """What is wanted for a statement; ``None`` for nothing.

    :param given: the execution options of the call, which go before those of the statement.
    """
    own = getattr(statement, "_execution_options", _NONE)
    cached = (given or _NONE).get("cache", own.get("cache") if own else None)
    if cached is None:
        if not reads.entities:
            return None
        subject = getattr(statement, "_propagate_attrs", _NONE).get("plugin_subject")
        if getattr(subject, "class_", None) not in reads.entities:
            return None
    elif not cached:
        return None
    if not (isinstance(statement, str) or _only_reads(statement)):
        return None
    options = {**own, **given} if given else own
    loading = options.get("_sa_orm_load_options") if options else None
    if getattr(loading, "_refresh_state", None) is not None:
        return None  # of one object, what the database has
    if options and any(options.get(name) for name in _PORTIONS):
        return None
    depends = options.get("depends") if options else None
    if depends is None:
        return _BY_CLASS if cached is None else _NAMED
    return Wish(cached is not None, _names(depends))


def _only_reads(statement: Any) -> bool:
    """Whether it is a statement for rows, that locks none."""
    if getattr(statement, "_for_update_arg", None) is not None:
        return False
    return isinstance(statement, (TextClause, SelectBase)) or bool(
        getattr(statement, "is_select", False)
    )


def _names(depends: Any) -> frozenset[str]:
    one = isinstance(depends, str) or not isinstance(depends, Iterable)
    several: Any = [depends] if one else depends
    return frozenset(name_of(getattr(each, "__table__", each)) for each in several)
