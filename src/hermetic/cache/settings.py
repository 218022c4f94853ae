"""Statements after which a session sees other rows than the text of a read and its key tell, and
those that end a transaction past SQLAlchemy.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ..connection import ConnectionRecord
from ..dialects.text import head
from ..registry import Scope

# a setting of the session or of its transaction, another database or schema, a level
_SETS = re.compile(
    r"(SET\s+(?!CONSTRAINTS\b)|RESET|USE|PRAGMA|ATTACH|DETACH|DISCARD|BEGIN|START)\b",
    re.IGNORECASE,
)
# the same by a function, a variable or a table that hides one, wherever in a statement
_SETS_INSIDE = re.compile(
    r"set_config|@\w+\s*:=|\bINTO\s+@|\bINTO\s+(LOCAL\s+)?TEMP|\bpg_temp\b", re.IGNORECASE
)
_ENDS = re.compile(
    r"(COMMIT|END|BEGIN|START\s+TRANSACTION|XA\s+COMMIT|SET\b.*\bAUTOCOMMIT)\b",
    re.IGNORECASE | re.DOTALL,
)
# where there is no transaction, a savepoint is one, and its release a COMMIT (SQLite)
_SAVES = re.compile(r"(SAVEPOINT|RELEASE)\b", re.IGNORECASE)
_SEVERAL = re.compile(r";\s*\S")

# the key in the ``info`` of the pool's record of a connection: the number of the scope that has
# made it another one than its key tells, or ``True`` where nothing sets it back
_OTHER = "hermetic.other"


class Effect(NamedTuple):
    """What a statement does besides reading and writing rows.

    :param sets: it changes what the statements behind it see.
    :param hides: it runs code that may do so.
    :param ends: it may commit what was written before it.
    :param saves: it may where no transaction is open.
    """

    sets: bool
    hides: bool
    ends: bool
    saves: bool


def effect_of(sql: str, family: Any) -> Effect:
    """By the text alone."""
    first = head(sql)
    several = _SEVERAL.search(sql) is not None
    hides = several or family.hides(sql)
    return Effect(
        sets=bool(_SETS.match(first) or _SETS_INSIDE.search(sql)) or family.leaves(sql),
        hides=hides,
        ends=bool(_ENDS.match(first))
        or several
        or family.commits_implicitly(first)
        or (hides and family.code_commits),
        saves=bool(_SAVES.match(first)),
    )


def make_other(info: Any, record: ConnectionRecord, *, for_good: bool) -> None:
    """From here on nothing that is read on a connection is what its key tells.

    :param for_good: nothing sets the connection back when its scope has ended.
    """
    if for_good:
        info[_OTHER] = True
    elif record.scope is not None and info.get(_OTHER) is not True:
        info[_OTHER] = record.scope.root.number


def was_made_other(info: Any, scope: Scope | None) -> bool:
    """Whether a connection was made another one by this scope, or for good."""
    found = info.get(_OTHER)
    if found is None or found is True:
        return found is True
    return scope is not None and found == scope.root.number


def is_other(scope: Scope) -> bool:
    """Whether what a scope reads may be something else than its key tells."""
    given = getattr(scope.session, "_given_out", None)
    if given is not None and _has_options(given):
        return True
    record = scope.connection
    held: Any = None if record is None or record.pool_record is None else record.pool_record()
    return held is not None and was_made_other(held.info, scope)


def _has_options(connection: Any) -> bool:
    """Whether SQLAlchemy's connection was given options: another schema's tables, for one."""
    own = set(connection.get_execution_options()) - set(connection.engine.get_execution_options())
    return not own <= {"isolation_level", "postgresql_readonly"}
