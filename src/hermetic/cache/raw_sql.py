"""Which tables a statement reads and writes that is known by its text alone."""

from __future__ import annotations

import re
from typing import Any

from ..dialects.parsing import sqlglot_name
from ..dialects.text import head
from ..touched import name_of
from .tables import NOTHING, UNKNOWN, Reach

# what changes no row of any table
_HARMLESS = re.compile(
    r"(SET|SHOW|SAVEPOINT|RELEASE|ROLLBACK|RESET|BEGIN|START\s+TRANSACTION|PRAGMA|DISCARD|LISTEN"
    r"|UNLISTEN|NOTIFY|USE|DESCRIBE|DEALLOCATE|LOCK|UNLOCK|KILL|XA\s+(START|END|PREPARE|ROLLBACK"
    r"|RECOVER)|PREPARE\s+TRANSACTION|COMMIT(?!\s+PREPARED)|FETCH|CLOSE)\b",
    re.IGNORECASE,
)
# what the parser is asked about; of all else it would say no more than that it is a command
_PARSED = re.compile(r"\(*\s*(SELECT|WITH|VALUES|INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
_NAMED = re.compile(r"%\((\w+)\)s")


def reach_of_text(sql: str, dialect: str) -> Reach:
    """What a text reads and writes; ``UNKNOWN`` where the parser cannot tell.

    :param dialect: SQLAlchemy's name of it.
    """
    if _HARMLESS.match(head(sql)):
        return NOTHING
    if not _PARSED.match(head(sql)):
        return UNKNOWN
    from sqlglot import exp, parse
    from sqlglot.errors import SqlglotError

    text = _NAMED.sub("NULL", sql).replace("%s", "NULL").replace("%%", "%")
    try:
        found = parse(text, read=sqlglot_name(dialect))
    except (SqlglotError, RecursionError):
        return UNKNOWN
    reach = NOTHING
    for tree in found:
        if tree is None:
            continue
        own = _reach_of_tree(tree, exp)
        if own is UNKNOWN:
            return UNKNOWN
        reach = Reach(
            reach.reads | own.reads, reach.writes | own.writes, own.sure, own.certain,
            reach.deletes or own.deletes,
        )  # fmt: skip
    return reach


def _reach_of_tree(tree: Any, exp: Any) -> Reach:
    known = (exp.Query, exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Values)
    if not isinstance(tree, known) or tree.find(exp.Into, exp.Command) is not None:
        return UNKNOWN
    common = {each.alias_or_name.lower() for each in tree.find_all(exp.CTE)}
    reads = {name_of(each.name) for each in tree.find_all(exp.Table) if each.name}
    writes: set[str] = set()
    deletes = False
    for each in tree.find_all(exp.Insert, exp.Update, exp.Delete, exp.Merge):
        targets = [each.this, *(each.args.get("tables") or ())]
        if isinstance(each, exp.Update) or len(targets) > 1:
            # of several tables, the text alone does not tell which
            targets += each.find_all(exp.Table)
        for target in targets:
            if target is not None:
                writes |= {name_of(named.name) for named in target.find_all(exp.Table)}
        plain = isinstance(each, exp.Insert) and not each.args.get("conflict")
        deletes = deletes or not plain or bool(each.args.get("overwrite"))
    if not writes and tree.find(exp.Insert, exp.Update, exp.Delete, exp.Merge) is not None:
        return UNKNOWN
    unknown = tree.find(exp.Anonymous) is not None
    return Reach(frozenset(reads - common), frozenset(writes), True, not unknown, deletes)
