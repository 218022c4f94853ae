"""What the families know of a transaction whose COMMIT was not answered.

``connection`` is an open SQLAlchemy Connection to the primary throughout.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

from sqlalchemy import URL

from ..clock import monotonic
from ..proof import CommitProof

# the wait for a row that an unfinished transaction has inserted, in one attempt; seconds
LOCK_SECONDS = 1


class Commits:
    """A family that can be asked by a token alone, in a table."""

    # what is asked before a COMMIT, where the database remembers how its transactions ended; and
    # the same with the lineage of the server, for the first time on a connection
    before: ClassVar[str | None] = None
    before_first: ClassVar[str | None] = None
    # whether it takes a connection to know where a table is
    searches: ClassVar[bool] = False

    def backend(self, dbapi: Any, driver: str) -> int | None:
        """The server's number of a driver's connection, without asking the server."""
        return None

    def noted(self, row: Any, lineage: str, server: str) -> CommitProof:
        """What ``before`` has found."""
        raise NotImplementedError

    def status(self, connection: Any, proof: CommitProof) -> bool | None:
        """Whether the transaction of a proof was committed; ``None``: it is under way.

        :raises LookupError: this server cannot tell, now or later.
        """
        raise NotImplementedError

    def hurry(self, connection: Any) -> None:
        """Have the next statements wait for a lock no longer than ``LOCK_SECONDS``."""

    def end_backend(self, connection: Any, proof: CommitProof) -> None:
        """End the server's side of the lost connection, if that is what the number still is and it
        waits for its client. One that is at work may be about to commit.
        """

    def schema(self, connection: Any, table: str, database: str | None) -> str | None:
        """Where the table of tokens is, whatever a scope makes of its search path."""
        return None


_LINEAGE = (
    "(SELECT string_agg(pid::text, ',') FROM pg_stat_activity"
    " WHERE datid IS NULL AND usesysid IS NULL)"
)


class PostgreSQLCommits(Commits):
    """PostgreSQL 10 and later remembers, for about two thousand million transactions."""

    # pg_walfile_name begins with the timeline. A promoted standby counts on from where it was: the
    # same number may be another client's transaction there. So may it after a crash, in which
    # numbers are forgotten that no flushed WAL has: a server that has not crashed has at least one
    # of its own processes (checkpointer, walwriter, …) still
    before: ClassVar[str | None] = (
        "SELECT txid_current_if_assigned(), pg_backend_pid(), "
        "substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), "
        "(SELECT system_identifier FROM pg_control_system())::text"
    )
    before_first: ClassVar[str | None] = f"{before}, {_LINEAGE}"
    searches: ClassVar[bool] = True

    def backend(self, dbapi: Any, driver: str) -> int | None:
        raw = getattr(dbapi, "driver_connection", dbapi)
        if driver == "asyncpg":
            return int(raw.get_server_pid())
        pgconn = getattr(raw, "pgconn", None)
        return None if pgconn is None else int(pgconn.backend_pid)

    def noted(self, row: Any, lineage: str, server: str) -> CommitProof:
        transaction, backend, timeline, system = row[:4]
        return CommitProof(
            server=server,
            transaction=transaction,
            backend=backend,
            timeline=timeline,
            system=system,
            lineage=lineage,
        )

    def status(self, connection: Any, proof: CommitProof) -> bool | None:
        recovering = connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one()
        if recovering:
            return None  # a standby; whoever is promoted is asked then
        timeline, system, lineage = connection.exec_driver_sql(
            "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), "
            f"(SELECT system_identifier FROM pg_control_system())::text, {_LINEAGE}"
        ).one()
        if (timeline, system) != (proof.timeline, proof.system):
            raise LookupError(
                f"the server is on timeline {timeline}, the transaction was on {proof.timeline}: "
                "its number means nothing there"
            )
        if not set((lineage or "").split(",")) & set((proof.lineage or "").split(",")):
            raise LookupError(
                "the server has been started again, and may have given its number anew"
            )
        # an int of ours, and drivers disagree on parameters
        found = connection.exec_driver_sql(
            f"SELECT txid_status({int(proof.transaction or 0)})"
        ).scalar_one()
        if found is None:
            raise LookupError("the transaction is too old to be remembered")
        if found == "in progress":
            self.end_backend(connection, proof)
            return None
        return bool(found == "committed")

    def schema(self, connection: Any, table: str, database: str | None) -> str | None:
        found: str | None = connection.exec_driver_sql(
            "SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
            f"WHERE pg_class.oid = to_regclass('{table}')"
        ).scalar()
        return found

    def hurry(self, connection: Any) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")

    def end_backend(self, connection: Any, proof: CommitProof) -> None:
        since = elapsed(proof)
        if proof.backend is None or since is None:
            return
        # numbers of processes come again: ours is older than the COMMIT that it was sent. One that
        # waits for a standby would commit without it (PostgreSQL 15, syncrep.c)
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE pid = {int(proof.backend)} AND usename = current_user "
            f"AND backend_start < clock_timestamp() - interval '{since:.3f} s' "
            "AND left(state, 19) = 'idle in transaction'"
        )


class MySQLCommits(Commits):
    """MariaDB and MySQL have no memory of transactions: a token it has to be."""

    def backend(self, dbapi: Any, driver: str) -> int | None:
        raw = getattr(dbapi, "driver_connection", dbapi)
        number = getattr(raw, "thread_id", None)
        return int(number()) if callable(number) else None

    def schema(self, connection: Any, table: str, database: str | None) -> str | None:
        return database

    def hurry(self, connection: Any) -> None:
        connection.exec_driver_sql(
            f"SET SESSION innodb_lock_wait_timeout = {LOCK_SECONDS}, "
            f"lock_wait_timeout = {LOCK_SECONDS}"
        )

    def end_backend(self, connection: Any, proof: CommitProof) -> None:
        since = elapsed(proof)
        if proof.backend is None or since is None or _is_of_several(connection.engine.url):
            return
        # numbers begin anew with the server; one that was not up at the COMMIT has not our thread
        uptime = connection.exec_driver_sql("SHOW GLOBAL STATUS LIKE 'Uptime'").one()[1]
        known = connection.exec_driver_sql(
            "SELECT 1 FROM information_schema.processlist "
            f"WHERE id = {int(proof.backend)} AND command = 'Sleep'"
        ).first()
        if known is not None and int(uptime) > since:
            connection.exec_driver_sql(f"KILL CONNECTION {int(proof.backend)}")


def _is_of_several(url: URL) -> bool:
    """Whether a connection may be to another server than the last one: numbers mean nothing then"""
    hosts = url.query.get("host", "")
    return not isinstance(hosts, str) or "," in hosts


def elapsed(proof: CommitProof) -> float | None:
    """Seconds since a COMMIT was about to be sent; ``None``: in another process."""
    return monotonic() - proof.sent if proof.process == os.getpid() else None
