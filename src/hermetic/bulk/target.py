"""Where many rows go: a table, its columns by the names that rows have for them, and what it makes
by itself.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Table, inspect

from ..errors import ConfigurationError
from ..row_errors import InvalidRow


class Target:
    """One table, as a mapped class or a Table says it.

    :ivar what: its name, as errors have it.
    :ivar named: its columns, by the names that rows have for them, in the table's order.
    :ivar keys: the names of the primary key.
    :ivar counting: the name of the column whose values the server counts up, if there is one.
    :ivar fills: values of columns that mapping makes, by names: a discriminator, a first version.
    """

    def __init__(self, entity: Any) -> None:
        self.mapper, self.table = _table_of(entity)
        self.entity = entity
        self.what: str = self.table.name if self.mapper is None else self.mapper.class_.__name__
        self.named: dict[str, Column[Any]] = _named(self.mapper, self.table)
        names = {column: name for name, column in self.named.items()}
        self.keys: tuple[str, ...] = tuple(
            names[column] for column in self.table.primary_key if column in names
        )
        counting = self.table.autoincrement_column
        self.counting: str | None = None if counting is None else names.get(counting)
        self.fills: dict[str, Any] = {} if self.mapper is None else _fills(self.mapper, names)
        self.order = {name: number for number, name in enumerate(self.named)}
        self.relations: frozenset[str] = frozenset(
            () if self.mapper is None else self.mapper.relationships.keys()
        )

    def columns(self, names: tuple[str, ...]) -> tuple[Column[Any], ...]:
        return tuple(self.named[name] for name in names)

    def bind_arguments(self) -> dict[str, Any]:
        """By what a session finds the engine."""
        return {"clause": self.table} if self.mapper is None else {"mapper": self.mapper}

    def refuse_unknown(self, names: Any, row: int) -> None:
        """:raises InvalidRow: the table has no columns of these names."""
        for name in names:
            if name not in self.named:
                known = ", ".join(self.named)
                raise InvalidRow(
                    f"Row {row} has {name!r}, and {self.what} has no such column.",
                    row=row,
                    field=str(name),
                    hint=f"Its columns are {known}.",
                )

    def refuse_incomplete(self, names: tuple[str, ...], row: int) -> None:
        """:raises InvalidRow: a column lacks that has to have a value, and nobody makes one."""
        for name, column in self.named.items():
            if name not in names and name not in self.fills and _is_required(column):
                raise InvalidRow(
                    f"Row {row} has no {name!r}, which {self.what} cannot do without.",
                    row=row,
                    field=name,
                    hint="Give it a value, or its column a default.",
                )

    def may_be_none(self, name: str) -> bool:
        """Whether a row without this column is one with a NULL in it."""
        column = self.named[name]
        made = _makes(column) or column.primary_key or column.type.should_evaluate_none
        return bool(column.nullable) and not made


def _table_of(entity: Any) -> tuple[Any, Table]:
    if isinstance(entity, Table):
        return None, entity
    mapper = inspect(entity, raiseerr=False)
    if mapper is None or not getattr(mapper, "is_mapper", False):
        raise ConfigurationError(
            f"{entity!r} is neither a mapped class nor a Table.",
            hint="Give the class, or its __table__.",
        )
    table = mapper.local_table
    if not isinstance(table, Table) or len(mapper.tables) > 1:
        raise ConfigurationError(
            f"The rows of {mapper.class_.__name__} are spread over several tables.",
            hint="Use session.add_all(), or write the rows of each table by itself: its Table is "
            "accepted too.",
        )
    return mapper, table


def _named(mapper: Any, table: Table) -> dict[str, Column[Any]]:
    if mapper is None:
        return {column.key: column for column in table.c if column.computed is None}
    found = {
        prop.columns[0]: prop.key
        for prop in mapper.column_attrs
        if isinstance(prop.columns[0], Column) and prop.columns[0].table is table
    }
    return {found[column]: column for column in table.c if column in found and not column.computed}


def _fills(mapper: Any, names: dict[Any, str]) -> dict[str, Any]:
    fills: dict[str, Any] = {}
    discriminator = mapper.polymorphic_on
    if discriminator is not None and mapper.polymorphic_identity is not None:
        name = names.get(discriminator)
        if name is not None:
            fills[name] = mapper.polymorphic_identity
    version = mapper.version_id_col
    if version is not None and version in names and mapper.version_id_generator is not False:
        fills[names[version]] = mapper.version_id_generator(None)
    return fills


def _makes(column: Column[Any]) -> bool:
    """Whether somebody makes a value for a column that is not given."""
    return (
        column.default is not None
        or column.server_default is not None
        or column.identity is not None
    )


def _is_required(column: Column[Any]) -> bool:
    counts = column.table.autoincrement_column is column
    return not (column.nullable or counts or _makes(column))
