"""Which tables a statement reads and writes, by what SQLAlchemy's own form of it says."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple
from weakref import WeakSet

from sqlalchemy import ForeignKeyConstraint, MetaData, Table, event
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import ColumnClause, TextClause
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import (
    GenerativeSelect,
    SelectBase,
    TableClause,
    TextualSelect,
)

from ..touched import EVERYTHING, name_of

# what a foreign key may do to the rows of its table when the row it names is changed or deleted
_FOLLOWING = frozenset({"CASCADE", "SET NULL", "SET DEFAULT"})
# functions whose answer is a matter of their arguments
_CERTAIN = frozenset(
    {
        *("count", "sum", "min", "max", "avg", "coalesce", "nullif", "lower", "upper", "length"),
        *("char_length", "abs", "round", "floor", "ceil", "concat", "substring", "substr", "trim"),
        *("cast", "row_number", "rank", "dense_rank", "greatest", "least"),
    }
)


class Reach(NamedTuple):
    """What a statement has to do with which tables.

    ``sure`` is whether ``reads`` has all of them, ``certain`` whether the same rows give the same
    answer each time; ``locks`` whether it takes locks besides reading.
    """

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    sure: bool = True
    certain: bool = True
    deletes: bool = False
    locks: bool = False


NOTHING = Reach()
UNKNOWN = Reach(frozenset(), frozenset({EVERYTHING}), sure=False, certain=False)


class _Changes:
    """How often a table or a foreign key has come to some MetaData."""

    number = 0

    @classmethod
    def count(cls, *_: object) -> None:
        cls.number += 1


# a key may come to a table that was looked at before, by a module that is imported later
event.listen(Table, "after_parent_attach", _Changes.count)
event.listen(ForeignKeyConstraint, "after_parent_attach", _Changes.count)


class Following:
    """What a write of a table changes besides: by foreign keys, and by what tables declare."""

    def __init__(self, given: Iterable[MetaData]) -> None:
        self.known: WeakSet[MetaData] = WeakSet(given)
        self._seen: tuple[int, ...] = ()
        self._tables: frozenset[str] = frozenset()
        self._after: dict[str, set[str]] = {}
        self._behind: dict[str, set[str]] = {}

    def add(self, metadata: MetaData) -> None:
        self.known.add(metadata)

    @property
    def generation(self) -> tuple[int, int]:
        """Changes whenever a write may reach further than before."""
        return _Changes.number, len(self.known)

    def knows(self, names: frozenset[str]) -> bool:
        """Whether it was told of the foreign keys of these tables."""
        self._look()
        return names <= self._tables

    def written(self, names: frozenset[str], *, deletes: bool) -> frozenset[str]:
        """What changes where these tables are written.

        :param deletes: whether rows are deleted or their keys changed, or may be.
        """
        if EVERYTHING in names:
            return names
        self._look()
        found, todo = set(names), list(names)
        while todo:
            for name in self._after.get(todo.pop(), ()):
                # of an INSERT, only what was declared follows
                bare = name.removeprefix("+")
                if bare not in found and (deletes or name != bare):
                    found.add(bare)
                    todo.append(bare)
        return frozenset(found)

    def read(self, names: frozenset[str]) -> frozenset[str]:
        """What these tables are made of: themselves, and what views declare."""
        if not names:
            return names
        self._look()
        found, todo = set(names), list(names)
        while todo:
            more = self._behind.get(todo.pop(), set()) - found
            found |= more
            todo += more
        return frozenset(found)

    def _look(self) -> None:
        seen = self.generation
        metadatas = list(self.known)
        if seen == self._seen:
            return
        after: dict[str, set[str]] = {}
        behind: dict[str, set[str]] = {}
        for table in [table for each in metadatas for table in list(each.tables.values())]:
            own = name_of(table)
            for key in table.foreign_key_constraints:
                actions = {(each or "").upper() for each in (key.ondelete, key.onupdate)}
                if actions & _FOLLOWING:
                    for element in key.elements:
                        after.setdefault(_referred(element), set()).add(own)
            for name in _declared(table, "cache_touches"):
                after.setdefault(own, set()).add(f"+{name}")
            behind.setdefault(own, set()).update(_declared(table, "cache_depends"))
        self._after, self._behind = after, behind
        self._tables, self._seen = frozenset(behind), seen


def _referred(element: Any) -> str:
    # by its text: the table that it names may not be there yet
    return name_of(element.target_fullname.rpartition(".")[0])


def _declared(table: Table, key: str) -> frozenset[str]:
    given = table.info.get(key, ())
    return frozenset(map(name_of, (given,) if isinstance(given, (str, Table)) else given))


def reach_of(statement: Any, following: Following) -> Reach:
    """Of a statement in SQLAlchemy's form."""
    reads: set[str] = set()
    writes: set[str] = set()
    sure = certain = True
    deletes = locks = False
    seen: set[int] = set()
    todo = [statement]
    while todo:
        top = todo.pop()
        if top is None or id(top) in seen:
            continue
        seen.add(id(top))
        for each in visitors.iterate(top):
            if _is_foreign(each):
                sure = certain = False
            if isinstance(each, GenerativeSelect):
                locks = locks or each._for_update_arg is not None
            if isinstance(each, UpdateBase):
                writes |= _tables(each.table, following)
                for column in _valued(each):
                    # an UPDATE of several tables (MySQL), by the columns that are set
                    writes |= _tables(column.table, following)
                deletes = deletes or not each.is_insert or _may_replace(each)
                todo.append(each.table)
            elif isinstance(each, TableClause):
                reads |= _tables(each, following)
            elif isinstance(each, (TextClause, TextualSelect)):
                sure = certain = False
            elif isinstance(each, FunctionElement):
                certain = certain and getattr(each, "name", "").lower() in _CERTAIN
            elif isinstance(each, ColumnClause):
                if each.is_literal and each.name != "*":
                    sure = certain = False
                todo.append(each.table)
    return Reach(frozenset(reads), frozenset(writes), sure, certain, deletes, locks)


@lru_cache(maxsize=1024)
def _is_foreign_kind(kind: Any) -> bool:
    """Whether the text of an element is somebody else's: by ``@compiles``, or a visitor's name that
    is not SQLAlchemy's.
    """
    if hasattr(kind, "_compiler_dispatcher"):
        return True
    owner = next((each for each in kind.__mro__ if "__visit_name__" in each.__dict__), kind)
    return not owner.__module__.startswith("sqlalchemy.")


def _is_foreign(element: Any) -> bool:
    kind: Any = type(element)
    return _is_foreign_kind(kind)


def is_foreign(statement: Any) -> bool:
    """Whether it is only by its text that one can say what a statement does."""
    if not isinstance(statement, (SelectBase, UpdateBase)):
        return True
    return _is_foreign(statement) or any(
        isinstance(each, UpdateBase) and _is_foreign(each) for each in visitors.iterate(statement)
    )


def _valued(update: Any) -> list[Any]:
    found: list[Any] = list(getattr(update, "_values", None) or ())
    found += [pair[0] for pair in getattr(update, "_ordered_values", None) or ()]
    return [each for each in found if getattr(each, "table", None) is not None]


def _may_replace(insert: Any) -> bool:
    """Whether an INSERT may change rows that are there."""
    return getattr(insert, "_post_values_clause", None) is not None or bool(insert._prefixes)


def _tables(clause: Any, following: Following) -> set[str]:
    found = set()
    for each in visitors.iterate(clause):
        if isinstance(each, TableClause):
            found.add(name_of(each.name))
            if isinstance(each, Table):
                following.add(each.metadata)
    return found
