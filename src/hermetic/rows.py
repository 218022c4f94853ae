"""``session.rows``: what a statement finds, as plain objects of the user's own class."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from sqlalchemy import Executable, inspect, orm
from sqlalchemy.ext import asyncio as sa_asyncio
from sqlalchemy.util import EMPTY_DICT

from .bulk.given import check_size
from .errors import ConfigurationError, ScopeError
from .execution import known
from .fast.fields import Fields, fields_of
from .fast.reading import Order, read, shaped
from .streams import began, ended

if TYPE_CHECKING:
    from sqlalchemy import Select

_T = TypeVar("_T")
_Options = Mapping[str, Any]

# rows of a stream that are held at a time
BATCH = 1000


class RowsSession(orm.Session):
    """A Session that gives rows as plain objects."""

    @overload
    def rows(
        self,
        statement: Executable | str,
        params: Any = None,
        *,
        into: type[_T],
        stream: Literal[False] = False,
        batch: int = BATCH,
        execution_options: _Options = EMPTY_DICT,
        bind_arguments: dict[str, Any] | None = None,
    ) -> list[_T]: ...
    @overload
    def rows(
        self,
        statement: Executable | str,
        params: Any = None,
        *,
        into: type[_T],
        stream: Literal[True],
        batch: int = BATCH,
        execution_options: _Options = EMPTY_DICT,
        bind_arguments: dict[str, Any] | None = None,
    ) -> Generator[_T]: ...
    def rows(
        self,
        statement: Executable | str,
        params: Any = None,
        *,
        into: type[_T],
        stream: bool = False,
        batch: int = BATCH,
        execution_options: _Options = EMPTY_DICT,
        bind_arguments: dict[str, Any] | None = None,
    ) -> list[_T] | Generator[_T]:
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
        :param stream: whether rows are fetched as they are gone through, some at a time, instead of
            a list of all of them: for more rows than memory. It is over with the scope. On MariaDB
            and MySQL no other statement can be sent before its end.
        :param batch: of a stream, how many rows are held at a time. Default 1000.
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
        if stream:
            check_size(batch)
            execution_options = {**execution_options, "yield_per": batch}
        result = session.execute(
            statement, params, execution_options=execution_options, bind_arguments=bind_arguments
        )
        if stream:
            parts = parts_of(session, result, into, fields, batch)
            return (row for part in parts for row in part)
        return read(result, into, fields, lambda names: order_of(fields, names, into))


class AsyncRowsSession(sa_asyncio.AsyncSession):
    """An AsyncSession that gives rows as plain objects."""

    @overload
    def rows(
        self,
        statement: Executable | str,
        params: Any = None,
        *,
        into: type[_T],
        stream: Literal[False] = False,
        batch: int = BATCH,
        execution_options: _Options = EMPTY_DICT,
        bind_arguments: dict[str, Any] | None = None,
    ) -> Coroutine[Any, Any, list[_T]]: ...
    @overload
    def rows(
        self,
        statement: Executable | str,
        params: Any = None,
        *,
        into: type[_T],
        stream: Literal[True],
        batch: int = BATCH,
        execution_options: _Options = EMPTY_DICT,
        bind_arguments: dict[str, Any] | None = None,
    ) -> AsyncGenerator[_T]: ...
    def rows(
        self,
        statement: Executable | str,
        params: Any = None,
        *,
        into: type[_T],
        stream: bool = False,
        batch: int = BATCH,
        execution_options: _Options = EMPTY_DICT,
        bind_arguments: dict[str, Any] | None = None,
    ) -> Coroutine[Any, Any, list[_T]] | AsyncGenerator[_T]:
        """As Session.rows: awaited for a list, and with ``stream=True`` an asynchronous iterator.

        One that is not gone through to its end is to be closed before its scope ends
        (``contextlib.aclosing``).
        """
        more = {"execution_options": execution_options, "bind_arguments": bind_arguments}
        if stream:
            return self._streamed(statement, params, into=into, batch=batch, **more)
        return self.run_sync(
            lambda session: session.rows(  # type: ignore[attr-defined]
                statement, params, into=into, **more
            )
        )

    async def _streamed(
        self, statement: Any, params: Any, *, into: Any, batch: int, **more: Any
    ) -> AsyncGenerator[Any]:
        def begin(session: Any) -> Any:
            return session.rows(statement, params, into=into, stream=True, batch=batch, **more)

        def some(_: Any) -> list[Any]:
            return list(islice(rows, batch))

        rows = await self.run_sync(begin)
        try:
            while part := await self.run_sync(some):
                for each in part:
                    yield each
        finally:
            await self.run_sync(lambda _: rows.close())


def parts_of(
    session: Any, result: Any, into: type, fields: Fields, size: int
) -> Generator[list[Any]]:
    """The rows of a result that is not fetched yet, so many at a time."""
    shape = shaped(list(result.keys()), into, fields, lambda names: order_of(fields, names, into))
    record = known((getattr(result, "raw", None) or result).connection)
    scope = session._scope
    if record is not None:
        # also of a stream that nobody begins to go through
        began(record.number, result)
    alone = scope is not None and record is not None and not record.family.reads_while_streaming
    sent = scope.statements if alone else None
    return _fetched(scope, result, shape, size, record, sent)


def _fetched(
    scope: Any,
    result: Any,
    shape: Callable[[list[Any]], list[Any]],
    size: int,
    record: Any,
    sent: int | None,
) -> Generator[list[Any]]:
    try:
        while True:
            if scope is not None:
                scope.check_statement()
                if sent is not None and scope.statements != sent:
                    raise _cut_short(scope)
            # SQLAlchemy's rows are tuples of their own kind
            part = [tuple(row) for row in result.fetchmany(size)]
            if not part:
                return
            yield shape(part)
    finally:
        if record is None or ended(record.number, result):
            result.close()


def _cut_short(scope: Any) -> ScopeError:
    return ScopeError(
        "Another statement was sent while rows were streamed: the rest of them is lost, since a "
        "connection of this database does one thing at a time.",
        scope=scope.ref,
        hint="Go through the rows first, take them as a list, or send the other statement in a "
        "scope with propagation='requires_new'.",
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
