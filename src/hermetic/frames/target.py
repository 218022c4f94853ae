"""Where a frame is written to: a table, its columns by the frame's names, and their defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, MetaData, Table, inspect
from sqlalchemy.exc import NoSuchTableError

from ..errors import ConfigurationError
from .asking import mapper_of


class Target(NamedTuple):
    """A table, and its columns in the order of the frame's."""

    table: Table
    columns: list[Column[Any]]
    # columns that the frame lacks, which have a default in Python
    defaults: list[Column[Any]]

    @property
    def written(self) -> list[Column[Any]]:
        return [*self.columns, *self.defaults]


def table_of(what: Any, connection: Any) -> Table | None:
    """:return: ``None`` for a name of which there is no table.
    :raises ConfigurationError: nothing that can be written to.
    """
    if isinstance(what, Table):
        return what
    if isinstance(what, str):
        schema, _, name = what.rpartition(".")
        try:
            return Table(name, MetaData(), schema=schema or None, autoload_with=connection)
        except NoSuchTableError:
            return None
    mapper = mapper_of(what)
    table = None if mapper is None else mapper.local_table
    if not isinstance(table, Table) or len(mapper.tables) != 1:
        raise ConfigurationError(
            f"{what!r} is no table that a frame can be written to.",
            hint="Give a Table, a mapped class of one table, or a table's name.",
        )
    return table


def target_of(what: Any, table: Table, names: Sequence[str]) -> Target:
    """:raises ConfigurationError: a column of the frame is none of the table, or the other way
    round.
    """
    known = _known(what, table)
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise ConfigurationError(
            f"The frame has several columns {', '.join(sorted(doubled))}.",
            hint="Drop or rename all but one of each.",
        )
    extra = [name for name in names if name not in known]
    if extra:
        raise ConfigurationError(
            f"{table.name} has no column {', '.join(extra)}, which the frame has.",
            hint=f"Its columns are {', '.join(known)}.",
        )
    columns = [known[name] for name in names]
    generated = [column.name for column in columns if column.computed is not None]
    if generated:
        raise ConfigurationError(
            f"{', '.join(generated)} of {table.name} is computed.",
            hint="Leave it out of the frame: the database fills it in.",
        )
    return Target(table, columns, _defaults(table, columns))


def _known(what: Any, table: Table) -> dict[str, Column[Any]]:
    """The columns by their names; those of a mapped class by its attributes' first."""
    found = {column.name: column for column in table.columns}
    mapper = mapper_of(what)
    if mapper is not None:
        attributes = {
            attribute.key: attribute.columns[0]
            for attribute in inspect(mapper).column_attrs
            if attribute.columns[0] in table.columns.values()
        }
        taken = set(attributes.values())
        rest = {name: column for name, column in found.items() if column not in taken}
        # a column's own name will do, unless another attribute has it
        found = {**found, **rest, **attributes}
    return found


def _defaults(table: Table, given: Sequence[Column[Any]]) -> list[Column[Any]]:
    found, missing = [], []
    for column in table.columns:
        if column in given or column.computed is not None:
            continue
        default: Any = column.default
        if default is not None and (default.is_scalar or default.is_callable):
            found.append(column)
        elif (default is not None and not default.is_sequence) or not _optional(table, column):
            missing.append(column.name)
    if missing:
        raise ConfigurationError(
            f"The frame has no column {', '.join(missing)}, which {table.name} cannot do without.",
            hint="Add it to the frame; defaults are taken of the database, or of Python where they "
            "are values or functions.",
        )
    return found


def _optional(table: Table, column: Column[Any]) -> bool:
    if column.nullable or column.server_default is not None or column.identity is not None:
        return True
    return column is table.autoincrement_column
