"""MariaDB for the tests."""

from __future__ import annotations

import re
import shutil
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pymysql
from pymysql.constants import ER

from tests.servers.access import Connection, ServerAccess, checked_name
from tests.servers.local import LocalServer
from tests.servers.process import ServerFailed, ServerUnavailable, find_program, reported_version

_SETTINGS = {
    "bind-address": "127.0.0.1",
    # No name server is asked about the clients.
    "skip-name-resolve": "ON",
    "character-set-server": "utf8mb4",
    # Tests provoke lock waits; the default is 50 s.
    "innodb-lock-wait-timeout": "1",
    "innodb-buffer-pool-size": "32M",
    "innodb-log-file-size": "16M",
    # Costs memory and start time, and nothing here reads it.
    "performance-schema": "OFF",
    "default-time-zone": "+00:00",
}


# What is written reaches the disk some time: a crash of the process loses nothing by that.
_UNDURABLE = {
    "innodb-flush-log-at-trx-commit": "2",
    "innodb-flush-method": "nosync",
    "sync-frm": "0",
}


_THREAD = re.compile(r"(?:MariaDB|MySQL) thread id (\d+),")


def transactions(status: str) -> dict[int, bool]:
    """The connections that have a transaction open, and whether each waits for a lock.

    That is looked up when it is asked for; information_schema.innodb_trx is a copy, which is not
    renewed while anybody in the whole server has looked at it within the last 0.1 s.

    :param status: what SHOW ENGINE INNODB STATUS has answered.
    """
    found: dict[int, bool] = {}
    begun = waits = False
    for line in status.partition("LIST OF TRANSACTIONS FOR EACH SESSION:")[2].splitlines():
        if line.startswith("---TRANSACTION"):
            begun, waits = ", not started" not in line, False
        elif line.startswith("LOCK WAIT"):
            waits = True
        elif begun and (thread := _THREAD.match(line)):
            found[int(thread[1])] = waits
    return found


class MariaDBAccess(ServerAccess):
    family = "mariadb"
    default_scheme = "mysql+pymysql"

    def version(self) -> str:
        return str(self._query("SELECT version()")[0][0])

    def create_database(self, name: str) -> None:
        self._query(f"CREATE DATABASE `{checked_name(name)}`")

    def drop_database(self, name: str) -> None:
        self.kill_backends(name)
        self._query(f"DROP DATABASE IF EXISTS `{checked_name(name)}`")

    def empty_database(self, name: str) -> None:
        self._query(f"DROP DATABASE `{checked_name(name)}`", f"CREATE DATABASE `{name}`")

    def connections(self, database: str) -> list[Connection]:
        rows = self._query(
            "SELECT id, user, command, coalesce(info, '') FROM information_schema.processlist"
            f" WHERE db = '{checked_name(database)}' AND id <> connection_id()"
        )
        return [
            Connection(int(str(id_)), str(user), str(command), str(info))
            for id_, user, command, info in rows
        ]

    def _kill(self, connections: Sequence[int]) -> None:
        for connection in connections:
            try:
                self._query(f"KILL CONNECTION {connection}")
            except pymysql.err.OperationalError as error:
                if error.args[0] != ER.NO_SUCH_THREAD:
                    raise

    def discard_prepared(self, database: str) -> list[str]:
        """Those whose name starts with the database's: the server keeps one list for all."""
        found = []
        for kind, length, _, data in self._query("XA RECOVER"):
            assert isinstance(data, bytes)
            assert isinstance(length, int)
            if data.startswith(database.encode()):
                whole, branch = data[:length].hex(), data[length:].hex()
                self._query(f"XA ROLLBACK X'{whole}', X'{branch}', {kind}")
                found.append(data.decode(errors="replace"))
        return found

    def _query(self, *statements: str) -> Sequence[tuple[object, ...]]:
        """Run statements on a connection of their own; the rows of the last one."""
        with self._admin() as admin, admin.cursor() as cursor:
            # A transaction nobody ended must make a DROP fail, not hang.
            cursor.execute("SET SESSION lock_wait_timeout = 2")
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()

    @contextmanager
    def _admin(self) -> Iterator[pymysql.Connection[pymysql.cursors.Cursor]]:
        connection = pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            autocommit=True,
            connect_timeout=15,
        )
        with connection:
            yield connection


class MariaDBServer(LocalServer, MariaDBAccess):
    system_user = "mysql"
    halt_signal = signal.SIGTERM

    @classmethod
    def installed_version(cls) -> str:
        _program("mariadb-install-db", "mysql_install_db")
        # "Ver 11.8.9-MariaDB-2 from Debian for debian-linux-gnu on x86_64"
        reported = reported_version(_program("mariadbd", "mysqld"))
        return reported.partition(" Ver ")[2].partition(" for ")[0]

    @property
    def data_path(self) -> Path:
        return self.directory / "data"

    @property
    def socket_path(self) -> Path:
        return self.directory / "mariadb.sock"

    def _initialise(self) -> None:
        try:
            self._install()
        except ServerFailed:
            # its script fails now and then where several run at once (10.11.18: error 1051, for
            # tables that it has made itself)
            shutil.rmtree(self.data_path, ignore_errors=True)
            self._install()

    def _install(self) -> None:
        self._run(
            _program("mariadb-install-db", "mysql_install_db"),
            "--no-defaults",
            f"--datadir={self.data_path}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            # The size must be the one the server will run with, or it makes its log anew.
            f"--innodb-log-file-size={_SETTINGS['innodb-log-file-size']}",
        )

    def _command(self) -> list[str | Path]:
        settings = {
            **_SETTINGS,
            "datadir": str(self.data_path),
            "tmpdir": str(self.directory),
            "port": str(self.port),
            "socket": str(self.socket_path),
            "pid-file": str(self.directory / "mariadb.pid"),
            **({} if self.durable else _UNDURABLE),
            # since 11.4 it makes a certificate of its own, and no proxy could read what is sent
            **({} if "ssl-cert" in self.settings else {"ssl": "0"}),
            **self.settings,
        }
        options = (f"--{name}={value}" for name, value in settings.items())
        return [_program("mariadbd", "mysqld"), "--no-defaults", *options]

    def _answers(self) -> bool:
        # Through the socket in our folder: on the port, somebody else's server might answer.
        # Tried without the driver first, because PyMySQL leaves a socket open that finds nobody.
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(self.socket_path)):
                return False
        try:
            pymysql.connect(
                unix_socket=str(self.socket_path),
                user=self.user,
                password=self.password,
                connect_timeout=15,
            ).close()
        except pymysql.err.OperationalError as error:
            # At the first start our user is not there yet; that it is refused is an answer.
            return bool(error.args[0] == ER.ACCESS_DENIED_ERROR)
        return True

    def _admit_user(self) -> None:
        with (
            pymysql.connect(unix_socket=str(self.socket_path), user="root") as root,
            root.cursor() as cursor,
        ):
            # One account for TCP and one for the socket; none that needs no password stays.
            for host in ("127.0.0.1", "localhost"):
                cursor.execute(
                    f"GRANT ALL PRIVILEGES ON *.* TO {self.user}@'{host}'"
                    " IDENTIFIED BY %s WITH GRANT OPTION",
                    [self.password],
                )
            cursor.execute("SELECT user, host FROM mysql.user WHERE user IN ('', 'root')")
            for user, host in cursor.fetchall():
                cursor.execute("DROP USER %s@%s", [user, host])


def _program(*names: str) -> Path:
    for name in names:
        # The account that runs the tests rarely has the system's folders on its path.
        found = find_program(name, [Path("/usr/sbin"), Path("/usr/local/sbin")])
        if found is not None:
            return found
    raise ServerUnavailable(f"no program {names[0]!r} here: install the package 'mariadb-server'")
