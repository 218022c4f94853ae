"""DataFrames read inside a session's own transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from sqlalchemy import Table, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.expression import Executable, FromClause, TextClause

from .async_session import AsyncSession
from .errors import ConfigurationError, HermeticError
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from pandas import DataFrame


@overload
def read(
    session: Session, what: Any, *, params: Mapping[str, Any] | None = None, **options: Any
) -> DataFrame: ...
@overload
def read(
    session: AsyncSession, what: Any, *, params: Mapping[str, Any] | None = None, **options: Any
) -> Coroutine[Any, Any, DataFrame]: ...
def read(
    session: Session | AsyncSession,
    what: Any,
    *,
    params: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """A pandas DataFrame of a table or a query, read inside the session's own transaction.

    Pending changes are flushed first, so that it shows the session's uncommitted rows; it never
    commits and honours owner, deadline and read-only rule of the scope. With an AsyncSession the
    result is awaited.

    :param what: a mapped class, a Table, a table's name, a select, or SQL as a string with a space.
    :param params: bound parameters of the statement.
    :param options: passed to ``pandas.read_sql_query`` (``index_col``, ``parse_dates``, ``dtype``,
        …).
    :raises ConfigurationError: pandas is not installed, or ``what`` is nothing that can be read.
    """
    if isinstance(session, AsyncSession):
        return session.run_sync(_read, what, params, options)
    return _read(session, what, params, options)


def _read(
    session: Any, what: Any, params: Mapping[str, Any] | None, options: dict[str, Any]
) -> Any:
    pandas = _pandas()
    statement = _statement(what)
    if getattr(session, "_scope", None) is not None:
        session._scope.check_statement()
    session.flush()
    bind: dict[str, Any] = {}
    entity = inspect(what, raiseerr=False)
    if entity is not None and hasattr(entity, "is_mapper"):
        bind["bind_arguments"] = {"mapper": entity}
    connection = session.connection(**bind)
    try:
        return pandas.read_sql_query(statement, connection, params=params, **options)
    except pandas.errors.DatabaseError as error:
        # pandas wraps whatever SQLAlchemy raised; the same fault shall have the same class here
        if isinstance(error.__cause__, (HermeticError, SQLAlchemyError)):
            raise error.__cause__ from None
        raise


def _statement(what: Any) -> Executable:
    if isinstance(what, str):
        return text(what) if len(what.split()) > 1 else select(text("*")).select_from(_named(what))
    if isinstance(what, (Table, FromClause)):
        return select(what)
    entity = inspect(what, raiseerr=False)
    if entity is not None and hasattr(entity, "local_table"):
        return select(entity.selectable)
    if isinstance(what, (Executable, TextClause)):
        return what
    raise ConfigurationError(
        f"{what!r} cannot be read into a DataFrame.",
        hint="Give a mapped class, a Table, a table's name, a select(), or SQL with a space in it.",
    )


def _named(name: str) -> Any:
    from sqlalchemy import table

    schema, _, plain = name.rpartition(".")
    # table() quotes what it is given: a name is never part of the SQL text
    return table(plain, schema=schema or None)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ConfigurationError(
            "hermetic.frames needs pandas.", hint="Install it with: pip install 'hermetic[pandas]'"
        ) from error
    return pandas
