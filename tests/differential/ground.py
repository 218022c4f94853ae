"""A database with the pool's tables, put back to the seeds before each run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, Engine, insert, text

from tests.differential.pool import SEEDS, Base, restart

Rows = dict[str, list[tuple[Any, ...]]]


class Ground:
    """One database, seen by an engine of the test's own."""

    def __init__(self, observer: Engine) -> None:
        self._observer = observer
        self._is_sqlite = observer.dialect.name == "sqlite"
        Base.metadata.create_all(observer)
        if observer.dialect.name == "postgresql":
            self._keep_order()
        self._pristine: Rows | None = None
        # as they were when they were looked at last; a run looks when it has ended
        self._latest: Rows | None = None
        self._restarts: str | None = None

    def _keep_order(self) -> None:
        """Where no order is asked for rows come as they lie: at moments of its own, a vacuum makes
        room for new ones between old ones.
        """
        with self._observer.begin() as connection:
            for table in Base.metadata.sorted_tables:
                off = f"ALTER TABLE {table.name} SET (autovacuum_enabled = false)"
                connection.exec_driver_sql(off)

    def rows(self) -> Rows:
        """As the driver reads them: a run may write what the types cannot read."""
        names = [table.name for table in Base.metadata.sorted_tables]
        with self._observer.connect() as connection:
            if self._observer.dialect.name == "postgresql":
                found = _at_once(connection, names)
            else:
                found = [
                    connection.exec_driver_sql(f"SELECT * FROM {name}").all() for name in names
                ]
        self._latest = {
            name: sorted(map(tuple, rows), key=repr)
            for name, rows in zip(names, found, strict=True)
        }
        return self._latest

    def reset(self) -> None:
        """Only what a run has changed is written again."""
        restart()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SQLite has no decimals
            now, self._latest = self._latest or self.rows(), None
            changed = [
                name for name in now if not self._pristine or now[name] != self._pristine[name]
            ]
            # a sequence goes on also in what is rolled back
            if changed or not self._is_sqlite:
                with self._observer.begin() as connection:
                    self._write(connection, changed)
            if self._pristine is None:
                self._pristine = self.rows()

    def _write(self, connection: Connection, names: list[str]) -> None:
        if not self._is_sqlite:  # there, the observer's connections have no foreign keys
            connection.execute(text("SET LOCAL session_replication_role = replica"))
        for name in names:
            table = Base.metadata.tables[name]
            connection.execute(table.delete())
            for row in SEEDS.get(name, []):
                connection.execute(insert(table).values(row))
        if not self._is_sqlite:
            if self._restarts is None:
                self._restarts = _sequences(connection)
            connection.execute(text(self._restarts))

    def close(self) -> None:
        self._observer.dispose()


def _at_once(connection: Connection, names: list[str]) -> list[Sequence[Any]]:
    """All tables in one round trip: they are asked for twice in each run."""
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute("; ".join(f"SELECT * FROM {name}" for name in names))
        found: list[Sequence[Any]] = [cursor.fetchall()]
        while cursor.nextset():
            found.append(cursor.fetchall())
    return found


def _sequences(connection: Connection) -> str:
    """A statement that puts every sequence to the number of its table's seeds."""
    settings = []
    for table in Base.metadata.sorted_tables:
        if "id" in table.c:
            asked = text("SELECT pg_get_serial_sequence(:name, 'id')")
            sequence = connection.scalar(asked, {"name": table.name})
            if sequence is not None:
                settings.append(f"setval('{sequence}', {len(SEEDS[table.name])})")
    return f"SELECT {', '.join(settings)}"
