"""Small reads of one mapped class out of the cache: a key, the rows, the objects.

The rows are those of the fast paths, and become objects as theirs do: what the session has stays as
it is, and what it lacks is filled in.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select

from ..fast.found import executed, scalars
from ..fast.lean import ASIDE, instance_of, is_clean, may_run, prepared, rows_of
from ..fast.lean import sought as sought_by_key
from ..fast.private import runids
from ..fast.side import Side
from ..fast.statements import sought as sought_by_shape
from .reading import Asked, answer, look, ready
from .reads import Reads
from .store import Entry
from .wishes import wish_of

# what a statement has in it besides what it says: options, and what compiling it has left there
_LEFT_OUT = frozenset({"_execution_options", "_memoized_keys"})
__all__ = ["executed", "get", "got_at_once", "scalars", "select", "selected_at_once"]

# how many statements are remembered
_REMEMBERED = 2000
# the options that a fast path may leave out: what they ask for is so in any case
_IDLE = frozenset({"cache", "prebuffer_rows"})


def get(session: Any, reads: Reads, entity: Any, ident: Any) -> Any:
    """``session.get(entity, ident)``, or ``ASIDE``."""
    side = prepared(session)
    if side is None:
        return ASIDE
    found = sought_by_key(session, side, entity, ident)
    if type(found) is not tuple:
        return found
    rows = _rows(session, reads, side, found[0], found[0], found[1])
    return rows if rows is ASIDE else _object(session, found[0], rows)


def got_at_once(session: Any, reads: Reads, entity: Any, ident: Any) -> Any:
    """As ``get``, where that takes no waiting; ``ASIDE`` otherwise."""
    side = _side_at_once(session, reads)
    if side is None:
        return ASIDE
    found = sought_by_key(session, side, entity, ident)
    if type(found) is not tuple:
        return found
    rows = _rows_at_once(session, reads, side, found[0], found[0], found[1])
    return rows if rows is ASIDE else _object(session, found[0], rows)


def select(session: Any, reads: Reads, statement: Any, more: Any, result_of: Any) -> Any:
    """What a statement finds, or ``ASIDE``."""
    bare = _bare(reads, statement, more)
    side = None if bare is None else prepared(session)
    if side is None:
        return ASIDE
    found = sought_by_shape(side, bare)
    if found is ASIDE:
        return ASIDE
    shape = found[0]
    rows = _rows(session, reads, side, shape.entity, shape, found[1])
    return rows if rows is ASIDE else result_of(session, shape.entity, shape.metadata, rows)


def selected_at_once(session: Any, reads: Reads, statement: Any, more: Any, result_of: Any) -> Any:
    """As ``select``, where that takes no waiting; ``ASIDE`` otherwise."""
    bare = _bare(reads, statement, more)
    side = None if bare is None else _side_at_once(session, reads)
    if side is None:
        return ASIDE
    found = sought_by_shape(side, bare)
    if found is ASIDE:
        return ASIDE
    shape = found[0]
    rows = _rows_at_once(session, reads, side, shape.entity, shape, found[1])
    return rows if rows is ASIDE else result_of(session, shape.entity, shape.metadata, rows)


def _object(session: Any, plan: Any, rows: Any) -> Any:
    return instance_of(session.identity_map, session, plan, rows[0], next(runids)) if rows else None


def _side_at_once(session: Any, reads: Reads) -> Side | None:
    if reads.store.blocking or session._scope is None or not is_clean(session):
        return None
    side: Side | None = prepared(session)
    return side


def _asked(reads: Reads, side: Side, plan: Any, asked: Any) -> Asked:
    found = reads.asked.get(asked)
    if found is None:
        if len(reads.asked) >= _REMEMBERED:
            reads.asked.clear()
        names = reads.names_of(plan)
        found = reads.asked[asked] = Asked(reads, "objects", side.driver, asked.sql, names)
    return found


def _rows(session: Any, reads: Reads, side: Side, plan: Any, asked: Any, parameters: Any) -> Any:
    if session._scope is None or not may_run(session, side, plan):
        return ASIDE
    scope = ready(session)

    def run() -> Any:
        rows = rows_of(session, side, plan, asked, parameters)
        return None if rows is ASIDE else ((), rows)

    found: Any = answer(reads, scope, _asked(reads, side, plan, asked), parameters, run)
    if type(found) is Entry and (
        # how its rows are to be understood, the first that the driver gives has to tell
        plan.processors is None or (reads.store.blocking and not found.fits(len(plan.keys)))
    ):
        found = run()
        reads.store.counters["hits"] -= 1
        session.cache_hits -= 1
    if found is None:
        return ASIDE
    return found.taken() if type(found) is Entry else found[1]


def _rows_at_once(
    session: Any, reads: Reads, side: Side, plan: Any, asked: Any, parameters: Any
) -> Any:
    if plan.processors is None or not may_run(session, side, plan):
        return ASIDE
    scope = session._scope
    scope.check_statement()
    entry = look(reads, scope, _asked(reads, side, plan, asked), parameters)
    return ASIDE if entry is None else entry.taken()


def _bare(reads: Reads, statement: Any, more: Any) -> Any:
    """The statement without what it says of the cache, where it says no more; or ``None``."""
    given = more.get("execution_options") if more else None
    if more and (len(more) > 1 or given is None or not _IDLE.issuperset(given)):
        return None
    if wish_of(reads, statement, given) is None:
        return None
    parts = statement.__dict__
    own = parts.get("_execution_options")
    if own and not _IDLE.issuperset(own):
        return None
    memoized = parts.get("_memoized_keys")
    if not own and not memoized:
        return statement
    bare = Select.__new__(Select)
    bare.__dict__ = {
        name: value
        for name, value in parts.items()
        if name not in _LEFT_OUT and (memoized is None or name not in memoized)
    }
    return bare
