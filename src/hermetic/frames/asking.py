"""What can be read into a frame, as a statement; and the session's connection that reads it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, inspect, select, text
from sqlalchemy.sql.expression import Executable, FromClause, TextClause

from ..errors import ConfigurationError, ReadOnlyScope


def statement_of(what: Any) -> Executable:
    """:raises ConfigurationError: it is nothing that has rows."""
    if isinstance(what, str):
        return text(what) if len(what.split()) > 1 else select(text("*")).select_from(named(what))
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


def named(name: str) -> Any:
    from sqlalchemy import table

    schema, _, plain = name.rpartition(".")
    # table() quotes what it is given: a name is never part of the SQL text
    return table(plain, schema=schema or None)


def mapper_of(what: Any) -> Any:
    """The mapper of a mapped class, or ``None``."""
    entity = inspect(what, raiseerr=False)
    return entity if entity is not None and hasattr(entity, "is_mapper") else None


def connection_for(session: Any, what: Any) -> Any:
    """The session's connection, in its transaction, after what is pending was flushed."""
    scope = getattr(session, "_scope", None)
    if scope is not None:
        scope.check_statement()
    session.flush()
    mapper = mapper_of(what)
    bind = {} if mapper is None else {"bind_arguments": {"mapper": mapper}}
    return session.connection(**bind)


def refuse_write(session: Any, subject: str) -> None:
    """:raises ReadOnlyScope: the session's scope is read-only."""
    scope = getattr(session, "_scope", None)
    if scope is not None and scope.readonly:
        raise ReadOnlyScope(
            f"The scope is read-only, and {subject} would be written.",
            subject=subject,
            scope=scope.ref,
            hint="Open the scope without readonly=True.",
        )
