"""PostgreSQL for the tests."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from tests.servers.access import Connection, ServerAccess, checked_name
from tests.servers.local import LocalServer
from tests.servers.process import ServerUnavailable, find_program, reported_version

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    # Two-phase transactions are off unless this is set.
    "max_prepared_transactions": "20",
    # What a standby needs; it also makes positions and replication testable.
    "wal_level": "replica",
    # A deadlock is looked for only after this wait, and tests provoke many.
    "deadlock_timeout": "50ms",
    "shared_buffers": "32MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

# As whom an administrator of the tests connects. A server lists one that has ended for a moment.
ADMINISTRATOR: Final = "hermetic-tests-admin"


class PostgreSQLAccess(ServerAccess):
    family = "postgresql"
    default_scheme = "postgresql+psycopg"
    # the administrator's connection of this process to a shared server
    _kept: tuple[int, psycopg.Connection | None] = (0, None)

    def version(self) -> str:
        with self._admin() as admin:
            return str(_scalars(admin, "SHOW server_version")[0])

    def create_database(self, name: str) -> None:
        with self._admin() as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(_identifier(name)))

    def drop_database(self, name: str) -> None:
        with self._admin() as admin:
            admin.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(_identifier(name))
            )

    def empty_database(self, name: str) -> None:
        with self._admin(name) as admin:
            # A transaction nobody ended must make this fail, not hang.
            admin.execute("SET lock_timeout = '2s'")
            schemas = _scalars(
                admin,
                "SELECT nspname FROM pg_namespace"
                " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'",
            )
            for schema in schemas:
                admin.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(str(schema))))
            admin.execute("CREATE SCHEMA public")
            admin.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
            admin.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
            admin.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(_identifier(name)))

    def connections(self, database: str) -> list[Connection]:
        with self._admin() as admin:
            rows = admin.execute(
                "SELECT pid, usename, coalesce(state, 'starting'), query FROM pg_stat_activity"
                " WHERE datname = %s AND backend_type IN ('client backend', 'walsender')"
                " AND pid <> pg_backend_pid() AND application_name <> %s",
                [database, ADMINISTRATOR],
            ).fetchall()
        return [Connection(pid, user or "", state, query) for pid, user, state, query in rows]

    def _kill(self, connections: Sequence[int]) -> None:
        with self._admin() as admin:
            for pid in connections:
                admin.execute("SELECT pg_terminate_backend(%s)", [pid])

    def discard_prepared(self, database: str) -> list[str]:
        with self._admin() as admin:
            names = _scalars(
                admin, "SELECT gid FROM pg_prepared_xacts WHERE database = %s", database
            )
        if names:
            with self._admin(database) as admin:
                for name in names:
                    admin.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(str(name))))
        return [str(name) for name in names]

    def close(self) -> None:
        pid, kept = self._kept
        if kept is not None and pid == os.getpid():
            kept.close()
        self._kept = (0, None)

    @contextmanager
    def _admin(self, database: str = "postgres") -> Iterator[psycopg.Connection]:
        if not self.shared or database != "postgres":
            with self._connected(database) as connection:
                yield connection
            return
        # the server of a whole run, which nobody stops: a connect costs more than what is asked
        pid, kept = self._kept
        if kept is None or kept.broken or pid != os.getpid():
            kept = self._connected(database)
            self._kept = os.getpid(), kept
        yield kept

    def _connected(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=database,
            autocommit=True,
            connect_timeout=15,
            application_name=ADMINISTRATOR,
        )


class PostgreSQLServer(LocalServer, PostgreSQLAccess):
    system_user = "postgres"
    # "Fast shutdown"; the usual SIGTERM waits for the clients.
    halt_signal = signal.SIGINT

    @classmethod
    def installed_version(cls) -> str:
        return reported_version(program("postgres")).partition(" (PostgreSQL) ")[2]

    @property
    def data_path(self) -> Path:
        return self.directory / "data"

    def _initialise(self) -> None:
        password_file = self.directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        if self._account is not None:
            password_file.chmod(0o644)
        self._run(
            program("initdb"),
            "--pgdata",
            self.data_path,
            "--username",
            self.user,
            "--pwfile",
            password_file,
            "--auth",
            # as strong as loopback needs; SCRAM costs each of many connects some milliseconds
            "md5",
            "--encoding",
            "UTF8",
            "--locale",
            "C.UTF-8",
            "--no-sync",
        )
        password_file.unlink()
        settings = {
            **_SETTINGS,
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            **({} if self.durable else {"fsync": "off", "full_page_writes": "off"}),
            **self.settings,
        }
        self._configure(settings)

    def _configure(self, settings: Mapping[str, str]) -> None:
        """Add to the file of settings; the last of a name counts."""
        with (self.data_path / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {_quoted(value)}\n" for name, value in settings.items())

    def _do(self, statement: str, database: str = "postgres") -> object:
        """One statement of the administrator; the first value of its answer."""
        with self._admin(database) as admin:
            cursor = admin.execute(statement.encode())
            row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None

    def _command(self) -> list[str | Path]:
        return [program("postgres"), "-D", self.data_path]

    def _answers(self) -> bool:
        try:
            with self._admin():
                return True
        except psycopg.OperationalError:
            return False


def program(name: str) -> Path:
    # Debian keeps the server's programs off the path, one folder for each version.
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda folder: int(re.sub(r"\D", "", folder.parent.name) or 0),
        reverse=True,
    )
    found = find_program(name, folders)
    if found is None:
        raise ServerUnavailable(f"no program {name!r} here: install the package 'postgresql'")
    return found


def _identifier(name: str) -> sql.Identifier:
    return sql.Identifier(checked_name(name))


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _scalars(connection: psycopg.Connection, statement: str, *arguments: str) -> list[object]:
    # Every statement here is a constant of this file, which the driver's LiteralString asks for.
    cursor = connection.execute(statement.encode(), arguments or None)
    return [row[0] for row in cursor.fetchall()]
