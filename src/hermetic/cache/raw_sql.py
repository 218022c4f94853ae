"""Which tables a statement reads and writes that is known by its text alone."""

from __future__ import annotations

import re
from typing import Any

from ..dialects.parsing import sqlglot_name
from ..dialects.text import head
from ..touched import name_of
from .tables import NOTHING, UNKNOWN, Reach

# what changes no row of any table. MariaDB's SET STATEMENT has one behind it
_HARMLESS = re.compile(
    r"(SET(?!\s+STATEMENT\b)|SHOW|SAVEPOINT|RELEASE|ROLLBACK|RESET|BEGIN|START\s+TRANSACTION|PRAGMA|DISCARD|LISTEN"
    r"|UNLISTEN|NOTIFY|USE|DESCRIBE|DEALLOCATE|LOCK|UNLOCK|KILL|XA\s+(START|END|PREPARE|ROLLBACK"
    r"|RECOVER)|PREPARE\s+TRANSACTION|COMMIT(?!\s+PREPARED)|FETCH|CLOSE)\b",
    re.IGNORECASE,
)
# what the parser is asked about; of all else it would say no more than that it is a command
_PARSED = re.compile(r"\(*\s*(SELECT|WITH|VALUES|INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
# PostgreSQL's comments nest, and what they end with may look like the beginning of a statement
_NESTED = re.compile(r"/\*(?:(?!\*/).)*/\*", re.DOTALL)
_SEVERAL = re.compile(r";\s*\S")
_LOCKS = re.compile(
    r"\bFOR\s+(NO\s+KEY\s+)?(UPDATE|(KEY\s+)?SHARE)\b|\bLOCK\s+IN\s+SHARE\s+MODE\b"
    r"|advisory_(xact_)?lock|\bget_lock\b",
    re.IGNORECASE,
)
_NAMED = re.compile(r"%\((\w+)\)s")


def reach_of_text(sql: str, dialect: str) -> Reach:
    """What a text reads and writes; ``UNKNOWN`` where the parser cannot tell.

    :param dialect: SQLAlchemy's name of it.
    """
    if _NESTED.search(sql):
        return UNKNOWN
    if _HARMLESS.match(head(sql)) and not _SEVERAL.search(sql):
        # what it tells is of the session or the server
        return NOTHING._replace(sure=False, certain=False)
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
            reach.reads | own.reads, reach.writes | own.writes, reach.sure and own.sure,
            reach.certain and own.certain, reach.deletes or own.deletes,
        )  # fmt: skip
    return reach


def _reach_of_tree(tree: Any, exp: Any) -> Reach:
    known = (exp.Query, exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Values)
    if not isinstance(tree, known) or tree.find(exp.Into, exp.Command) is not None:
        return UNKNOWN
    # a common table expression may have the name of a table that it reads
    reads = {name_of(each.name) for each in tree.find_all(exp.Table) if each.name}
    writes: set[str] = set()
    deletes = False
    for each in tree.find_all(exp.Insert, exp.Update, exp.Delete, exp.Merge):
        targets = [each.this, *(each.args.get("tables") or ())]
        many = isinstance(each, exp.Update) or len(targets) > 1 or each.args.get("using")
        if many:
            # of several tables, the text alone does not tell which
            targets += each.find_all(exp.Table)
        for target in targets:
            if target is not None:
                writes |= {name_of(named.name) for named in target.find_all(exp.Table)}
        plain = isinstance(each, exp.Insert) and not any(
            each.args.get(name) for name in ("conflict", "overwrite", "alternative")
        )
        deletes = deletes or not plain
    if not writes and tree.find(exp.Insert, exp.Update, exp.Delete, exp.Merge) is not None:
        return UNKNOWN
    unknown = tree.find(exp.Anonymous) is not None
    # SQLite: ``x IN t`` reads the table t
    sure = not any(each.args.get("field") for each in tree.find_all(exp.In))
    return Reach(frozenset(reads), frozenset(writes), sure, not unknown, deletes)


def locks_by(sql: str) -> bool:
    """Whether a text may take locks that last."""
    return _LOCKS.search(sql) is not None
