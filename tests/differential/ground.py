"""A database with the pool's tables, put back to the seeds before each run."""

from __future__ import annotations

import warnings
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
        with self._observer.connect() as connection:
            return {
                table.name: sorted(
                    # as the driver reads them: a run may write what the types cannot read
                    map(tuple, connection.exec_driver_sql(f"SELECT * FROM {table.name}")),
                    key=repr,
                )
                for table in Base.metadata.sorted_tables
            }

    def reset(self) -> None:
        """Only what a run has changed is written again."""
        restart()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SQLite has no decimals
            now = self.rows()
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
