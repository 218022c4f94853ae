"""PgBouncer in front of a test's PostgreSQL."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from sqlalchemy import URL

from tests.servers.access import ServerAccess
from tests.servers.process import (
    Account,
    ServerFailed,
    ServerUnavailable,
    end,
    find_program,
    free_port,
    make_directory,
    spawn,
    wait_until,
)

_SETTINGS = {
    "pool_mode": "transaction",
    # few, so that everybody meets everybody's connections
    "default_pool_size": "2",
    "max_client_conn": "200",
    "query_wait_timeout": "20",
    "server_login_retry": "0.2",
    "listen_addr": "127.0.0.1",
    "auth_type": "scram-sha-256",
}


class PgBouncer:
    """Lends its own few connections to one server, for a transaction each, while its block is open.

    It refuses to run as root, and gets the account of the server.
    """

    def __init__(self, server: ServerAccess, settings: Mapping[str, str] | None = None) -> None:
        self._server = server
        self._settings = {**_SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None
        self.port = 0

    def url(self, database: str, scheme: str = "postgresql+psycopg") -> str:
        """As the server's, through the pooler."""
        return URL.create(
            scheme,
            username=self._server.user,
            password=self._server.password,
            host="127.0.0.1",
            port=self.port,
            database=database,
        ).render_as_string(hide_password=False)

    def show(self, what: str) -> list[dict[str, object]]:
        """What its console tells: POOLS, SERVERS, CLIENTS, STATS."""
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=self._server.user,
            password=self._server.password,
            dbname="pgbouncer",
            autocommit=True,
        ) as console:
            cursor = console.execute(f"SHOW {what}".encode(), prepare=False)
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def __enter__(self) -> Self:
        program = find_program("pgbouncer", [Path("/usr/sbin"), Path("/usr/local/sbin")])
        if program is None:
            raise ServerUnavailable("no program 'pgbouncer' here: install the package 'pgbouncer'")
        account = Account.for_server("postgres")
        self._directory = make_directory("hermetic-pgbouncer-", account)
        self.port = free_port()
        self._write(self._directory)
        log = self._directory / "pgbouncer.log"
        self._process = spawn(
            [program, self._directory / "pgbouncer.ini"],
            account=account,
            directory=self._directory,
            log_path=log,
            ends_with=signal.SIGINT,
        )
        if not wait_until(self._answers, 30.0):
            said = log.read_text(errors="replace")[-2000:]
            self.__exit__(None, None, None)
            raise ServerFailed(f"PgBouncer did not start; its log ends:\n{said}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process, self._process = self._process, None
        if process is not None:
            end(process, signal.SIGTERM, timeout=10.0)  # at once, whoever is connected
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _write(self, directory: Path) -> None:
        server = self._server
        users = directory / "users.txt"
        users.write_text(f'"{server.user}" "{server.password}"\n')
        settings = {
            **self._settings,
            "listen_port": str(self.port),
            "auth_file": str(users),
            "unix_socket_dir": "",
            "admin_users": server.user,
        }
        lines = ["[databases]", f"* = host={server.host} port={server.port}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        (directory / "pgbouncer.ini").write_text("\n".join(lines) + "\n")

    def _answers(self) -> bool:
        try:
            return bool(self.show("VERSION"))
        except psycopg.OperationalError:
            return False
