"""What becomes of a row whose key is there already: the grammar of ``on_conflict``, everywhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Column, Index, Insert, PrimaryKeyConstraint, Table, UniqueConstraint

from .dialects.writing import says_conflicts
from .errors import ConfigurationError, InvalidOption

_PLACE: Final = "on_conflict"


@dataclass(frozen=True, slots=True)
class OnConflict:
    """What an INSERT does with a row whose key is there already.

    PostgreSQL and SQLite look at the named key alone: a conflict with another one is an error.
    MariaDB and MySQL look at every unique key of the table and cannot be told otherwise: keep to
    tables with one unique key besides a generated one, or give rows that collide with that alone.
    Nowhere are errors of another kind ignored: MySQL's ``INSERT IGNORE`` is not used, which would
    store a changed row where a value does not fit.

    :param key: the columns, or the name of a unique constraint or unique index of the Table.
        Default ``None``: the primary key; to ignore rows, any unique key.
    :param update: the columns that get the new values; ``"all"``, which is every column that the
        row has a value for, key and primary key aside; or ``"ignore"``, which leaves the row that
        is there as it is. Default ``"all"``.
    """

    key: str | Sequence[str] | None = None
    update: str | Sequence[str] = "all"


Given: TypeAlias = "Literal['ignore', 'update'] | OnConflict | None"


@dataclass(frozen=True, slots=True)
class Conflict:
    """The same, for one table.

    :param key: the columns of the key; none of them for any unique key.
    :param where: the condition of a unique index that is only on some rows.
    :param update: the columns that get new values; ``None`` for all that are given.
    """

    table: Table
    key: tuple[Column[Any], ...]
    where: Any
    update: tuple[Column[Any], ...] | None

    def updated(self, given: Collection[Column[Any]]) -> tuple[Column[Any], ...]:
        """The columns that a row's new values go to, which has values for the ``given`` ones."""
        if self.update is not None:
            return self.update
        fixed = {*self.key, *self.table.primary_key}
        return tuple(column for column in given if column not in fixed)

    @property
    def ignores(self) -> bool:
        return self.update == ()


def conflict_of(
    on_conflict: Given, table: Table, named: Mapping[str, Column[Any]] | None = None
) -> Conflict | None:
    """What is meant, for a table; ``None`` where a conflict is an error.

    :param named: the columns by the names that the user has for them. Default: by their keys.
    :raises InvalidOption: nothing that can be meant, or the table has no such column or constraint.
    """
    if on_conflict is None:
        return None
    if not isinstance(on_conflict, OnConflict):
        if on_conflict not in ("ignore", "update"):
            problem = "must be None, 'ignore', 'update' or an OnConflict"
            raise InvalidOption(_PLACE, on_conflict, problem, place=_PLACE)
        on_conflict = OnConflict(update="all" if on_conflict == "update" else "ignore")
    columns = dict(table.c) if named is None else named
    update = _update(on_conflict.update, columns, table)
    key, where = _key(on_conflict.key, columns, table, needed=update != ())
    return Conflict(table, key, where, update)


def _update(
    update: str | Sequence[str], named: Mapping[str, Column[Any]], table: Table
) -> tuple[Column[Any], ...] | None:
    if isinstance(update, str):
        if update not in ("all", "ignore"):
            problem = "must be 'all', 'ignore' or a list of columns"
            raise InvalidOption("update", update, problem, place="OnConflict()")
        return None if update == "all" else ()
    found = tuple(_column("update", name, named, table) for name in update)
    if not found:
        hint = "To leave the row as it is, say 'ignore'."
        raise InvalidOption("update", update, "names no column", place="OnConflict()", hint=hint)
    return found


def _key(
    key: str | Sequence[str] | None,
    named: Mapping[str, Column[Any]],
    table: Table,
    *,
    needed: bool,
) -> tuple[tuple[Column[Any], ...], Any]:
    if key is None:
        found = tuple(table.primary_key) if needed else ()
        if needed and not found:
            problem = f"is the primary key by default, and {table.name} has none"
            raise InvalidOption("key", key, problem, place="OnConflict()")
        return found, None
    if isinstance(key, str):
        unique = _unique(key, table)
        if unique is not None:
            return unique
        return (_column("key", key, named, table),), None
    columns = tuple(_column("key", name, named, table) for name in key)
    if not columns:
        raise InvalidOption("key", key, "names no column", place="OnConflict()")
    return columns, None


def _unique(name: str, table: Table) -> tuple[tuple[Column[Any], ...], Any] | None:
    """The columns of a unique constraint or index of this name, and the condition of an index."""
    for constraint in table.constraints:
        unique = isinstance(constraint, (UniqueConstraint, PrimaryKeyConstraint))
        if unique and constraint.name == name:
            return tuple(constraint.columns), None  # type: ignore[attr-defined]
    for index in table.indexes:
        if index.unique and index.name == name:
            columns = tuple(each for each in index.expressions if isinstance(each, Column))
            if len(columns) < len(index.expressions):
                problem = "is an index of expressions"
                raise InvalidOption("key", name, problem, place="OnConflict()")
            return columns, _condition(index)
    return None


def _condition(index: Index) -> Any:
    for options in index.dialect_options.values():
        if options.get("where") is not None:
            return options["where"]
    return None


def _column(
    option: str, name: object, named: Mapping[str, Column[Any]], table: Table
) -> Column[Any]:
    found = named.get(name) if isinstance(name, str) else None
    if found is None:
        known = ", ".join(named)
        problem = f"names no column of {table.name}"
        if option == "key":
            problem = f"names no column or unique constraint of {table.name}"
        hint = f"Its columns are {known}."
        raise InvalidOption(option, name, problem, place="OnConflict()", hint=hint)
    return found


def insert_into(
    table: Table, dialect: Any, conflict: Conflict | None, given: Collection[Column[Any]]
) -> Insert:
    """An INSERT of the dialect's own, with what it does on a conflict.

    :param given: the columns that the rows have values for. A column of the key that is not among
        them conflicts with nothing.
    :raises ConfigurationError: hermetic does not know how this database says it, or the rows lack
        a column of the key.
    """
    if conflict is None:
        return table.insert()
    words = says_conflicts(dialect.name)
    _check_key(conflict, given)
    if words == "on conflict":
        return _on_conflict(table, dialect, conflict, given)
    if words == "on duplicate key":
        return _on_duplicate_key(table, conflict, given)
    raise ConfigurationError(
        f"hermetic does not know how {dialect.name} is told what to do on a conflict.",
        hint="Leave on_conflict out.",
    )


def _check_key(conflict: Conflict, given: Collection[Column[Any]]) -> None:
    missing = [column.name for column in conflict.key if column not in given]
    if missing:
        raise ConfigurationError(
            f"The rows have no value for {', '.join(missing)}, of the key that they could be in "
            f"conflict by: nothing would ever be updated in {conflict.table.name}.",
            hint="Name the key by OnConflict(key=…), or give the rows its values.",
        )


def _on_conflict(
    table: Table, dialect: Any, conflict: Conflict, given: Collection[Column[Any]]
) -> Insert:
    from sqlalchemy.dialects import postgresql, sqlite

    # the two differ in what else they can, not in this
    kinds: Any = {each.dialect.name: each.insert for each in (postgresql, sqlite)}
    statement = kinds.get(dialect.name, postgresql.insert)(table)
    updated = conflict.updated(given)
    key: dict[str, Any] = {"index_elements": list(conflict.key)} if conflict.key else {}
    if conflict.key and conflict.where is not None:
        key["index_where"] = conflict.where
    if not updated:
        result: Insert = statement.on_conflict_do_nothing(**key)
    else:
        values = {column.key: statement.excluded[column.key] for column in updated}
        result = statement.on_conflict_do_update(**key, set_=values)
    return result


def _on_duplicate_key(table: Table, conflict: Conflict, given: Collection[Column[Any]]) -> Insert:
    from sqlalchemy.dialects import mysql

    statement = mysql.insert(table)
    updated = conflict.updated(given)
    if updated:
        return statement.on_duplicate_key_update(
            {column.key: statement.inserted[column.key] for column in updated}
        )
    # INSERT IGNORE would ignore other errors too; a column that is set to itself is no change
    same = next(iter(table.primary_key), None)
    column = next(iter(table.c)) if same is None else same
    return statement.on_duplicate_key_update({column.key: column})
