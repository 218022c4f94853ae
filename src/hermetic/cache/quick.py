"""Small reads of one mapped class out of the cache: a key, the rows, the objects.

The rows are those of the fast paths, and become objects as theirs do: what the session has stays as
it is, and what it lacks is filled in.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, orm

from ..fast.found import executed, scalars
from ..fast.lean import ASIDE, instance_of, is_clean, may_run, prepared, rows_of
from ..fast.lean import sought as sought_by_key
from ..fast.private import runids
from ..fast.side import Side
from ..fast.statements import sought as sought_by_shape
from .keeping import Kept, come_again, keep, kept_of
from .reading import Asked, answer, key_of, look, look_at, ready
from .reads import Reads
from .repeating import is_settled
from .store import Entry
from .wishes import wish_of

__all__ = ["executed", "get", "got_at_once", "scalars", "select", "selected_at_once"]

# how many statements are remembered
_REMEMBERED = 2000
# the options that a fast path may leave out: what they ask for is so in any case
_IDLE = frozenset({"cache", "prebuffer_rows"})
# and of these the one that says nothing to the cache
_UNSEEN = frozenset({"prebuffer_rows"})


def get(session: Any, reads: Reads, entity: Any, ident: Any) -> Any:
    """``session.get(entity, ident)``, or ``ASIDE``."""
    side = _side(session)
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
    kept = kept_of(reads, statement) if _is_bare(more) else None
    if kept is not None:
        entry = _looked_up(session, reads, kept)
        if entry is not None:
            return result_of(session, kept.shape.entity, kept.shape.metadata, entry.taken())
    bare = _bare(reads, statement, more)
    side = None if bare is None else _side(session)
    if side is None:
        return ASIDE
    found = sought_by_shape(side, bare)
    if found is ASIDE:
        return ASIDE
    shape = found[0]
    rows = _rows(session, reads, side, shape.entity, shape, found[1])
    if rows is ASIDE:
        return ASIDE
    if session._scope is not None and _is_bare(more):
        _keep(session, reads, side, statement, found)
    return result_of(session, shape.entity, shape.metadata, rows)


def _is_bare(more: Any) -> bool:
    """Whether a call says no more than the statement; asyncio's has all of it in words."""
    for name in more:
        value = more[name]
        if value and (name != "execution_options" or not _UNSEEN.issuperset(value)):
            return False
    return True


def _keep(session: Any, reads: Reads, side: Side, statement: Any, found: Any) -> None:
    """Remember what a statement is, if it has come before."""
    shape = found[0]
    if not come_again(reads, statement) or not is_settled(statement):
        return
    asked = _asked(reads, side, shape.entity, shape)
    key = key_of(reads, session._scope, asked, found[1])
    if key is not None:
        keep(reads, Kept(statement, side, shape, asked, key, session._scope.tenant))


def _looked_up(session: Any, reads: Reads, kept: Kept) -> Entry | None:
    """The rows of a statement that was kept, where they are there; ``None`` otherwise."""
    side: Side = kept.side
    plan, scope = kept.shape.entity, session._scope
    if reads.store.blocking or prepared(session) is not side:
        return None
    if scope is None or scope.tenant != kept.tenant:
        return None
    # the same as ``sought_by_shape`` and ``_rows`` ask
    if plan.processors is None or not plan.current() or not may_run(session, side, plan):
        return None
    return look_at(reads, ready(session), kept.asked, kept.key)


def selected_at_once(session: Any, reads: Reads, statement: Any, more: Any, result_of: Any) -> Any:
    """As ``select``, where that takes no waiting; ``ASIDE`` otherwise."""
    kept = kept_of(reads, statement) if _is_bare(more) else None
    if kept is not None and _side_at_once(session, reads) is kept.side:
        entry = _looked_up(session, reads, kept)
        if entry is not None:
            return result_of(session, kept.shape.entity, kept.shape.metadata, entry.taken())
    bare = _bare(reads, statement, more)
    side = None if bare is None else _side_at_once(session, reads)
    if side is None:
        return ASIDE
    found = sought_by_shape(side, bare)
    if found is ASIDE:
        return ASIDE
    shape = found[0]
    rows = _rows_at_once(session, reads, side, shape.entity, shape, found[1])
    if rows is ASIDE:
        return ASIDE
    if _is_bare(more):
        _keep(session, reads, side, statement, found)
    return result_of(session, shape.entity, shape.metadata, rows)


def _object(session: Any, plan: Any, rows: Any) -> Any:
    return instance_of(session.identity_map, session, plan, rows[0], next(runids)) if rows else None


def _side(session: Any) -> Side | None:
    """The side of a session's engine, which has met its server: before that it makes no plans, and
    what SQLAlchemy reads is kept under another key than what is read by them later.
    """
    side: Side | None = prepared(session)
    if side is not None and session._scope is not None and not side.met():
        # which nobody is given: the cache may be used after it
        orm.Session.connection(session)
    return side


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
    given = None
    for name in more:
        if name == "execution_options":
            given = more[name]
            if given and not _IDLE.issuperset(given):
                return None
        elif more[name]:
            return None
    if wish_of(reads, statement, given) is None:
        return None
    parts = statement.__dict__
    own = parts.get("_execution_options")
    if not own:
        return statement
    if not _IDLE.issuperset(own):
        return None
    bare = Select.__new__(Select)
    bare.__dict__ = {name: value for name, value in parts.items() if name != "_execution_options"}
    return bare
