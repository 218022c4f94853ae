"""``session.rows``: what a statement finds, as plain objects of the user's own class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Executable, inspect, orm
from sqlalchemy.ext import asyncio as sa_asyncio
from sqlalchemy.util import EMPTY_DICT

from .errors import ConfigurationError
from .fast.fields import Fields, fields_of
from .fast.reading import Order, read

if TYPE_CHECKING:
    from sqlalchemy import Select

_T = TypeVar("_T")
_Options = Mapping[str, Any]


class RowsSession(orm.Session):
    """A Session that gives rows as plain objects."""

    def rows(
        self,
        statement: Executable | str,
        params: Any = None,
        *,
        into: type[_T],
        execution_options: _Options = EMPTY_DICT,
        bind_arguments: dict[str, Any] | None = None,
    ) -> list[_T]:
        """What a statement finds, each row an object of a class with a field for each column::

            class Name(NamedTuple):
                id: int
                username: str

            session.rows(select(User.id, User.username), into=Name)
            session.rows(select(User), into=Name)

        The objects are nobody's: the session does not know them, and changing one changes no row.
        That makes them cost a fraction of entities. Columns go to the fields of their name, in
        any order; columns without a field are left out, fields with a default may lack a column.

        :param into: a dataclass, a NamedTuple or a msgspec Struct.
        :raises ConfigurationError: it is none of these, or the statement has no column for one of
            its fields. Nothing was sent then, unless the statement is text.
        """
        fields = fields_of(into)
        if fields is None:
            raise ConfigurationError(
                f"into={into!r} is no class whose fields are known.",
                hint="Give a dataclass, a NamedTuple or a msgspec Struct.",
            )
        if not isinstance(statement, str):
            statement, names = _columns(statement)
            if names is not None:
                order_of(fields, names, into)
        session: Any = self
        result = session.execute(
            statement, params, execution_options=execution_options, bind_arguments=bind_arguments
        )
        return read(result, into, fields, lambda names: order_of(fields, names, into))


class AsyncRowsSession(sa_asyncio.AsyncSession):
    """An AsyncSession that gives rows as plain objects."""

    async def rows(
        self,
        statement: Executable | str,
        params: Any = None,
        *,
        into: type[_T],
        execution_options: _Options = EMPTY_DICT,
        bind_arguments: dict[str, Any] | None = None,
    ) -> list[_T]:
        """As Session.rows."""
        return await self.run_sync(
            lambda session: session.rows(  # type: ignore[attr-defined]
                statement,
                params,
                into=into,
                execution_options=execution_options,
                bind_arguments=bind_arguments,
            )
        )


def order_of(fields: Fields, names: list[str], into: type) -> Order:
    """Each field that has a column, with the number of the column.

    :raises ConfigurationError: a field has none, or more than one.
    """
    order = []
    for field in fields.names:
        count = names.count(field)
        if count == 1:
            order.append((field, names.index(field)))
        elif count > 1:
            raise ConfigurationError(
                f"The statement has {count} columns for the field {field!r} of {into.__name__}.",
                hint="Give the columns different names by .label().",
            )
        elif field in fields.required:
            raise ConfigurationError(
                f"The statement has no column for the field {field!r} of {into.__name__};"
                f" its columns are {', '.join(names)}.",
                hint="Select it, or give a column this name by .label().",
            )
    return tuple(order)


def _columns(statement: Any) -> tuple[Any, list[str] | None]:
    """A statement for columns in the place of entities, and the names of the columns.

    The names are unknown where a statement is text.
    """
    described = getattr(statement, "column_descriptions", None)
    if not described or not hasattr(statement, "with_only_columns"):
        return statement, None
    names: list[str] = []
    columns: list[Any] = []
    entities = False
    for each in described:
        if each.get("entity") is not None and each["expr"] is each["entity"]:
            entities = True
            for name, column in _attributes(each["entity"]):
                names.append(name)
                columns.append(column)
        else:
            names.append(each["name"])
            columns.append(each["expr"])
    return (_only(statement, columns) if entities else statement), names


def _only(statement: Select[Any], columns: list[Any]) -> Any:
    return statement.with_only_columns(*columns, maintain_column_froms=True)


def _attributes(entity: Any) -> list[tuple[str, Any]]:
    """The columns that loading an entity would load, by the names of its attributes."""
    mapper: Any = inspect(entity).mapper
    return [
        (prop.key, getattr(entity, prop.key)) for prop in mapper.column_attrs if not prop.deferred
    ]
