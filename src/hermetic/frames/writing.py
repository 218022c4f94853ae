"""Writing, as work on the sync session: a frame into a table."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from sqlalchemy import delete, inspect

from .. import touched
from ..conflicts import Conflict, conflict_of
from ..errors import ConfigurationError
from ..execution import is_plain
from ..progress import Wanted, check, following
from .asking import connection_for, refuse_write
from .forms import library
from .ways import writer_for

IF_EXISTS = ("append", "replace", "fail")


def write_frame(
    session: Any, frame: Any, what: Any, if_exists: str, on_conflict: Any, progress: Wanted
) -> int:
    if if_exists not in IF_EXISTS:
        raise ConfigurationError(
            f"if_exists={if_exists!r} is none of {', '.join(map(repr, IF_EXISTS))}."
        )
    check(progress)
    library("pyarrow")
    from .creating import create
    from .incoming import in_time, incoming
    from .target import table_of, target_of

    refuse_write(session, "a frame")
    given = incoming(frame)
    connection = connection_for(session, what)
    table = table_of(what, connection)
    exists = table is not None and (isinstance(what, str) or inspect(connection).has_table(
        table.name, schema=table.schema
    ))  # fmt: skip
    if exists and if_exists == "fail":
        raise ConfigurationError(
            f"There is a table {table} already, and if_exists='fail' was asked for.",
            hint="Use if_exists='append' or 'replace'.",
        )
    if not exists:
        table = create(connection, what, table, given)
    assert table is not None
    target = target_of(what, table, given.names)
    conflict = conflict_of(on_conflict, table)
    touched.note(session, table)
    given.batches = in_time(session, given.batches)
    told = f"write into {table.name}"
    with _whole(session, connection), following(progress, told, given.rows) as followed:
        given.told = followed.more if progress else None
        if exists and if_exists == "replace":
            connection.execute(delete(table))
        count = _written(connection, given, target, conflict)
    _expire(session, table)
    return count


def _whole(session: Any, connection: Any) -> Any:
    """A savepoint, so that nothing is left of what fails in the middle.

    Not for a session outside of a scope: with SQLite's driver as SQLAlchemy has it, the end of a
    savepoint may be a commit.
    """
    scope = getattr(session, "_scope", None)
    if scope is None or is_plain(scope):
        return nullcontext()
    return connection.begin_nested()


def _written(connection: Any, given: Any, target: Any, conflict: Conflict | None) -> int:
    if not target.columns:
        return 0
    return writer_for(connection)(connection, given, target, conflict)


def _expire(session: Any, table: Any) -> None:
    """What was loaded of the table is not what it has any more."""
    written = (table.schema, table.name)
    for state in session.identity_map.all_states():
        tables = state.manager.mapper.tables
        if written in [(each.schema, each.name) for each in tables]:
            instance = state.obj()
            if instance is not None:
                session.expire(instance)
