"""Comments at the end of statements, in sqlcommenter's form, by which a server's list of what runs
tells whose it is.

A comment is put on where a statement goes to the driver, after all that reads its text: what
hermetic, SQLAlchemy and their caches know of it is the text without.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import quote

from ..connection import ConnectionRecord
from ..dialects.family import Family
from ..events import logger
from ..trace import Trace
from .sink import ScopeView, Sink

# those that read "%" in a statement as their own mark
_FORMATS = frozenset({"format", "pyformat"})
# characters of a statement that is remembered with its comment, at most
_LONGEST = 4096


class Commenter:
    """What the sinks of one Database want in comments."""

    def __init__(self, sinks: tuple[Sink, ...]) -> None:
        self._sinks = sinks

    def __call__(
        self, trace: Trace, sql: str, family: Family, paramstyle: str | None, many: bool
    ) -> str:
        """A statement as it is sent.

        :param paramstyle: the driver's; ``None`` where it is given no parameters.
        """
        if not family.takes_comment(many=many):
            return sql
        if trace.remark is None:
            trace.remark = self._asked(trace)
        if not trace.remark:
            return sql
        # a long one is mostly one of its kind, and a span comes once
        known = len(sql) < _LONGEST and "traceparent=" not in trace.remark
        put_on = _remembered if known else _commented
        return put_on(sql, trace.remark, paramstyle in _FORMATS)

    def _asked(self, trace: Trace) -> str:
        view = ScopeView(trace)
        found: dict[str, str] = {}
        for sink in self._sinks:
            try:
                found.update(sink.comment(view))
                said = rendered(tuple(sorted(found.items())))
            except Exception:
                logger.exception("a sink failed to comment the statements of %s", view)
                return ""
        return said


@lru_cache(maxsize=1024)
def rendered(pairs: tuple[tuple[str, str], ...]) -> str:
    """Keys and values as a comment; nothing in them ends it, or the statement."""
    said = ",".join(f"{quote(key, safe='')}='{quote(value, safe='')}'" for key, value in pairs)
    return f"/*{said}*/" if said else ""


def _commented(sql: str, comment: str, doubled: bool) -> str:
    if "/*" in sql:
        return sql  # it has a comment already, which may be a hint to the server
    if doubled:
        comment = comment.replace("%", "%%")
    stripped = sql.rstrip()
    if stripped.endswith(";"):
        return f"{stripped[:-1]} {comment};"
    return f"{sql} {comment}"


_remembered = lru_cache(maxsize=4096)(_commented)


def commented(
    connection: ConnectionRecord,
    cursor: Any,
    statement: str,
    paramstyle: str | None,
    *,
    many: bool = False,
) -> str:
    """A statement as it is sent on a connection; ``paramstyle`` as with a Commenter."""
    trace = None if connection.scope is None else connection.scope.trace
    # a cursor of ours makes another statement of it
    if trace is None or trace.comment is None or hasattr(cursor, "own"):
        return statement
    said: str = trace.comment(trace, statement, connection.family, paramstyle, many)
    return said


def commenter_of(sinks: tuple[Sink, ...]) -> Any:
    """``None`` where no sink wants comments."""
    found = tuple(sink for sink in sinks if type(sink).comment is not Sink.comment)
    return Commenter(found) if found else None
