"""Replicas: servers of the tests that follow another one."""

from __future__ import annotations

from collections.abc import Mapping

from tests.servers.mariadb import MariaDBServer
from tests.servers.postgresql import PostgreSQLServer, program
from tests.servers.process import wait_until

_PATIENCE = 30.0


class PostgreSQLReplica(PostgreSQLServer):
    """A hot standby, streaming from a primary that runs."""

    def __init__(
        self, primary: PostgreSQLServer, *, settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(settings=settings)
        self.primary = primary

    def _initialise(self) -> None:
        self._run(
            program("pg_basebackup"),
            "--pgdata",
            self.data_path,
            "--dbname",
            f"host={self.primary.host} port={self.primary.port} user={self.primary.user} "
            f"password='{self.primary.password}'",
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
        )
        own = {
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            "synchronous_standby_names": "",
        }
        self._configure({**own, **self.settings})

    def pause(self) -> None:
        """Show nothing new, and go on receiving."""
        self._do("SELECT pg_wal_replay_pause()")
        state = "SELECT pg_get_wal_replay_pause_state() = 'paused'"
        assert wait_until(lambda: bool(self._do(state)), _PATIENCE)

    def resume(self) -> None:
        self._do("SELECT pg_wal_replay_resume()")

    def promote(self) -> None:
        """Make it a primary, and wait until it is one."""
        self._do("SELECT pg_promote(true)")

    def catch_up(self) -> None:
        """Wait until everything that the primary has done is to be seen."""
        place = self.primary._do("SELECT pg_current_wal_insert_lsn()::text")
        # the end of a page is before the next one's header for one of them, behind it for the other
        reached = f"SELECT pg_last_wal_replay_lsn() + 40 >= '{place}'::pg_lsn"
        assert wait_until(lambda: bool(self._do(reached)), _PATIENCE)


class MariaDBPrimary(MariaDBServer):
    """A server with a binary log, for replicas that are made before anything else is."""

    number = 1

    def __init__(self, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(
            settings={
                "server-id": str(self.number),
                "log-bin": "binary",
                "gtid-strict-mode": "ON",
                "log-slave-updates": "ON",
                "sync-binlog": "0",
                **(settings or {}),
            }
        )


class MariaDBReplica(MariaDBPrimary):
    """Follows a primary that runs, by GTID."""

    number = 2

    def __init__(
        self, primary: MariaDBPrimary, *, settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(settings={"read-only": "ON", **(settings or {})})
        self.primary = primary

    def start(self) -> None:
        super().start()
        if self._query("SELECT @@gtid_slave_pos")[0][0]:
            return  # it knows
        self._query("RESET MASTER")  # how its own user was made is nobody else's
        position = self.primary._query("SELECT @@gtid_binlog_pos")[0][0]
        password = self.primary.password
        self._query(
            f"SET GLOBAL gtid_slave_pos = '{position}'",
            f"CHANGE MASTER TO MASTER_HOST='{self.primary.host}', MASTER_PORT={self.primary.port},"
            f" MASTER_USER='{self.primary.user}', MASTER_PASSWORD='{password}',"
            " MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1",
            "START SLAVE",
        )

    def pause(self) -> None:
        """Show nothing new, and go on receiving."""
        self._query("STOP SLAVE SQL_THREAD")

    def resume(self) -> None:
        self._query("START SLAVE SQL_THREAD")

    def promote(self) -> None:
        self._query("STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = 0")

    def catch_up(self) -> None:
        position = self.primary._query("SELECT @@gtid_current_pos")[0][0]
        waited = self._query(f"SELECT MASTER_GTID_WAIT('{position}', {_PATIENCE:.0f})")
        assert waited[0][0] == 0
