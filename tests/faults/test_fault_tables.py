"""Every code of the servers, as each driver reports it, becomes the fault it stands for."""

from __future__ import annotations

from typing import Final, NamedTuple

import pytest

from hermetic.dialects.classify import classify
from hermetic.faults import Fault, FaultKind, Rerun, Transaction, Wire
from tests.faults.driver_errors import (
    MYSQL,
    POSTGRESQL,
    psycopg_error,
    sqlite_error,
)

K: Final = FaultKind


class Left(NamedTuple):
    """What a fault leaves: may the unit run again, and what is left of transaction and wire."""

    rerun: Rerun
    transaction: Transaction
    wire: Wire
    ambiguous: bool


def left(fault: Fault | None) -> Left:
    assert fault is not None
    return Left(fault.rerun, fault.transaction, fault.wire, fault.ambiguous_at_commit)


# The few combinations that there are.
KEPT: Final = Left(Rerun.NEVER, Transaction.INTACT, Wire.USABLE, ambiguous=False)
KEPT_AGAIN: Final = KEPT._replace(rerun=Rerun.TRANSACTION)
DOOMED: Final = KEPT._replace(transaction=Transaction.DOOMED)
DOOMED_AGAIN: Final = DOOMED._replace(rerun=Rerun.TRANSACTION)
ROLLED_BACK: Final = KEPT._replace(transaction=Transaction.GONE)
ROLLED_BACK_AGAIN: Final = ROLLED_BACK._replace(rerun=Rerun.TRANSACTION)
INTERRUPTED: Final = KEPT._replace(ambiguous=True)
DEAD: Final = Left(Rerun.NEVER, Transaction.GONE, Wire.DEAD, ambiguous=False)
DEAD_AGAIN: Final = DEAD._replace(rerun=Rerun.TRANSACTION)
LOST: Final = DEAD_AGAIN._replace(ambiguous=True)
UNREACHED: Final = DEAD._replace(rerun=Rerun.CONNECT)

POSTGRESQL_CODES: Final[tuple[tuple[str, FaultKind, Left], ...]] = (
    ("40001", K.SERIALIZATION, DOOMED_AGAIN),
    ("40000", K.SERIALIZATION, DOOMED_AGAIN),
    ("40P01", K.DEADLOCK, DOOMED_AGAIN),
    ("40003", K.AMBIGUOUS, DOOMED._replace(rerun=Rerun.RESOLVE, ambiguous=True)),
    ("08007", K.AMBIGUOUS, LOST._replace(rerun=Rerun.RESOLVE)),
    ("23505", K.UNIQUE, DOOMED),
    ("23P01", K.UNIQUE, DOOMED),
    ("23503", K.FOREIGN_KEY, DOOMED),
    ("23001", K.FOREIGN_KEY, DOOMED),
    ("23502", K.NOT_NULL, DOOMED),
    ("23514", K.CHECK, DOOMED),
    ("44000", K.CHECK, DOOMED),
    ("23000", K.INTEGRITY, DOOMED),
    ("25P02", K.TRANSACTION_ABORTED, DOOMED),
    ("25006", K.READ_ONLY, DOOMED),
    ("25P03", K.IDLE_TIMEOUT, DEAD_AGAIN),
    ("25P04", K.IDLE_TIMEOUT, LOST),
    ("57P05", K.IDLE_TIMEOUT, UNREACHED),
    ("57014", K.STATEMENT_TIMEOUT, DOOMED),
    ("55P03", K.LOCK_TIMEOUT, DOOMED_AGAIN),
    ("57P01", K.CONNECTION_LOST, LOST),
    ("57P02", K.CONNECTION_LOST, LOST),
    ("57P03", K.CANNOT_CONNECT, UNREACHED._replace(ambiguous=True)),
    ("57P04", K.CONNECTION_LOST, DEAD._replace(ambiguous=True)),
    ("53300", K.TOO_MANY_CONNECTIONS, UNREACHED),
    ("53100", K.RESOURCES, DOOMED),
    ("53200", K.RESOURCES, DOOMED),
    ("58030", K.RESOURCES, DOOMED),
    ("08000", K.CONNECTION_LOST, LOST),
    ("08003", K.CONNECTION_LOST, LOST),
    ("08006", K.CONNECTION_LOST, LOST),
    ("08P01", K.CONNECTION_LOST, LOST),
    ("08001", K.CANNOT_CONNECT, UNREACHED._replace(ambiguous=True)),
    ("08004", K.CANNOT_CONNECT, UNREACHED._replace(ambiguous=True)),
    ("28P01", K.AUTHENTICATION, DEAD),
    ("28000", K.AUTHENTICATION, DEAD),
    ("0A000", K.UNSUPPORTED, DOOMED),
    ("26000", K.PROGRAMMING, DOOMED),
    ("42P05", K.PROGRAMMING, DOOMED),
    ("42601", K.PROGRAMMING, DOOMED),
    ("42P01", K.PROGRAMMING, DOOMED),
    ("3D000", K.PROGRAMMING, DOOMED),
    ("42501", K.PERMISSION, DOOMED),
    ("22012", K.DATA, DOOMED),
    ("22P02", K.DATA, DOOMED),
    ("72000", K.SERIALIZATION, DOOMED_AGAIN),
    ("XX001", K.CORRUPT, DOOMED),
    ("XXA00", K.AMBIGUOUS, DOOMED._replace(rerun=Rerun.RESOLVE, ambiguous=True)),
    ("P0001", K.OTHER, DOOMED),
    ("XX000", K.OTHER, DOOMED),
    ("ZZ999", K.OTHER, DOOMED),
)

WSREP = "WSREP has not yet prepared node for application use"
READ_ONLY = (
    "The MariaDB server is running with the --read-only option so it cannot execute this statement"
)
SECURE_FILE = (
    "The MariaDB server is running with the --secure-file-priv option so it cannot execute this "
    "statement"
)
IDLE = "The client was disconnected by the server because of inactivity."
NO_TRIGGER = "Referenced trigger 'x' for the given action time and event type does not exist"

MYSQL_CODES: Final[tuple[tuple[int, str, FaultKind, Left], ...]] = (
    (1213, "", K.DEADLOCK, ROLLED_BACK_AGAIN),
    (1614, "", K.DEADLOCK, ROLLED_BACK_AGAIN),
    (3058, "", K.DEADLOCK, DOOMED_AGAIN),
    (1613, "", K.LOCK_TIMEOUT, ROLLED_BACK_AGAIN),
    (1205, "", K.LOCK_TIMEOUT, DOOMED_AGAIN),
    (3572, "", K.LOCK_TIMEOUT, DOOMED_AGAIN),
    (1020, "", K.SERIALIZATION, ROLLED_BACK_AGAIN),
    (3101, "", K.SERIALIZATION, ROLLED_BACK_AGAIN),
    (1412, "", K.STALE_PLAN, DOOMED_AGAIN),
    (1305, "SAVEPOINT sa_savepoint_1 does not exist", K.TRANSACTION_ABORTED, ROLLED_BACK),
    (1305, "PROCEDURE db.x does not exist", K.PROGRAMMING, KEPT),
    (1206, "", K.RESOURCES, ROLLED_BACK),
    (1114, "", K.RESOURCES, KEPT),
    (1021, "", K.RESOURCES, KEPT),
    (1040, "", K.TOO_MANY_CONNECTIONS, UNREACHED),
    (1203, "", K.TOO_MANY_CONNECTIONS, UNREACHED),
    (1226, "User 'x' has exceeded the 'max_user_connections' resource (current value: 1)",
     K.TOO_MANY_CONNECTIONS, UNREACHED),
    (1226, "User 'x' has exceeded the 'max_queries_per_hour' resource (current value: 6)",
     K.RESOURCES, KEPT),
    (1129, "", K.CANNOT_CONNECT, DEAD),
    (1045, "", K.AUTHENTICATION, DEAD),
    (1698, "", K.AUTHENTICATION, DEAD),
    (1053, "", K.CONNECTION_LOST, LOST),
    (1927, "", K.CONNECTION_LOST, LOST),
    (2006, "", K.CONNECTION_LOST, LOST),
    (2013, "", K.CONNECTION_LOST, LOST),
    (2014, "", K.CONNECTION_LOST, LOST),
    (2045, "", K.CONNECTION_LOST, LOST),
    (2055, "", K.CONNECTION_LOST, LOST),
    (2003, "Can't connect to MySQL server on 'x' ([Errno 111])", K.CANNOT_CONNECT, UNREACHED),
    (2003, "([SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed)", K.TLS, DEAD),
    (4031, IDLE, K.IDLE_TIMEOUT, LOST),
    (4031, NO_TRIGGER, K.PROGRAMMING, KEPT),
    (1047, WSREP, K.NOT_READY, LOST),
    (1047, "Unknown command", K.PROGRAMMING, KEPT),
    (1290, READ_ONLY, K.READ_ONLY, KEPT),
    (1290, READ_ONLY.replace("--read-only", "--super-read-only"), K.READ_ONLY, KEPT),
    (1290, SECURE_FILE, K.UNSUPPORTED, KEPT),
    (1836, "", K.READ_ONLY, KEPT),
    (1792, "", K.READ_ONLY, KEPT),
    (1317, "", K.STATEMENT_TIMEOUT, INTERRUPTED),
    (1969, "", K.STATEMENT_TIMEOUT, INTERRUPTED),
    (3024, "", K.STATEMENT_TIMEOUT, INTERRUPTED),
    (1180, "", K.AMBIGUOUS, ROLLED_BACK._replace(rerun=Rerun.RESOLVE, ambiguous=True)),
    (1030, "", K.OTHER, DOOMED._replace(rerun=Rerun.RESOLVE, ambiguous=True)),
    (1062, "", K.UNIQUE, KEPT),
    (1451, "", K.FOREIGN_KEY, KEPT),
    (1452, "", K.FOREIGN_KEY, KEPT),
    (1048, "", K.NOT_NULL, KEPT),
    (1364, "", K.NOT_NULL, KEPT),
    (4025, "", K.CHECK, KEPT),
    (3819, "", K.CHECK, KEPT),
    (1406, "", K.DATA, KEPT),
    (1153, "", K.DATA, DEAD),
    (1064, "", K.PROGRAMMING, KEPT),
    (1146, "", K.PROGRAMMING, KEPT),
    (1142, "", K.PERMISSION, KEPT),
    (1235, "", K.UNSUPPORTED, KEPT),
    (1034, "", K.CORRUPT, KEPT),
    (1105, "", K.OTHER, KEPT),
)  # fmt: skip

SQLITE_CODES: Final[tuple[tuple[int, str, FaultKind, Left], ...]] = (
    (5, "SQLITE_BUSY", K.LOCK_TIMEOUT, KEPT_AGAIN),
    (261, "SQLITE_BUSY_RECOVERY", K.LOCK_TIMEOUT, KEPT_AGAIN),
    (773, "SQLITE_BUSY_TIMEOUT", K.LOCK_TIMEOUT, KEPT_AGAIN),
    (517, "SQLITE_BUSY_SNAPSHOT", K.SERIALIZATION, DOOMED_AGAIN),
    (6, "SQLITE_LOCKED", K.LOCK_TIMEOUT, KEPT_AGAIN),
    (262, "SQLITE_LOCKED_SHAREDCACHE", K.LOCK_TIMEOUT, KEPT_AGAIN),
    (15, "SQLITE_PROTOCOL", K.LOCK_TIMEOUT, KEPT_AGAIN),
    (13, "SQLITE_FULL", K.RESOURCES, KEPT),
    (7, "SQLITE_NOMEM", K.RESOURCES, KEPT),
    (10, "SQLITE_IOERR", K.RESOURCES, INTERRUPTED),
    (1034, "SQLITE_IOERR_FSYNC", K.RESOURCES, INTERRUPTED),
    (3082, "SQLITE_IOERR_NOMEM", K.RESOURCES, KEPT),
    (9, "SQLITE_INTERRUPT", K.STATEMENT_TIMEOUT, KEPT),
    (8, "SQLITE_READONLY", K.READ_ONLY, KEPT),
    (1544, "SQLITE_READONLY_DIRECTORY", K.READ_ONLY, KEPT),
    (1032, "SQLITE_READONLY_DBMOVED", K.CORRUPT, DEAD),
    (11, "SQLITE_CORRUPT", K.CORRUPT, DEAD),
    (267, "SQLITE_CORRUPT_VTAB", K.CORRUPT, DEAD),
    (26, "SQLITE_NOTADB", K.CORRUPT, DEAD),
    (14, "SQLITE_CANTOPEN", K.CORRUPT, DEAD),
    (17, "SQLITE_SCHEMA", K.STALE_PLAN, KEPT_AGAIN),
    (516, "SQLITE_ABORT_ROLLBACK", K.TRANSACTION_ABORTED, ROLLED_BACK),
    (19, "SQLITE_CONSTRAINT", K.INTEGRITY, KEPT),
    (275, "SQLITE_CONSTRAINT_CHECK", K.CHECK, KEPT),
    (531, "SQLITE_CONSTRAINT_COMMITHOOK", K.INTEGRITY, ROLLED_BACK),
    (787, "SQLITE_CONSTRAINT_FOREIGNKEY", K.FOREIGN_KEY, KEPT),
    (1043, "SQLITE_CONSTRAINT_FUNCTION", K.INTEGRITY, KEPT),
    (1299, "SQLITE_CONSTRAINT_NOTNULL", K.NOT_NULL, KEPT),
    (1555, "SQLITE_CONSTRAINT_PRIMARYKEY", K.UNIQUE, KEPT),
    (1811, "SQLITE_CONSTRAINT_TRIGGER", K.INTEGRITY, KEPT),
    (2067, "SQLITE_CONSTRAINT_UNIQUE", K.UNIQUE, KEPT),
    (2579, "SQLITE_CONSTRAINT_ROWID", K.UNIQUE, KEPT),
    (3091, "SQLITE_CONSTRAINT_DATATYPE", K.DATA, KEPT),
    (1, "SQLITE_ERROR", K.PROGRAMMING, KEPT),
    (18, "SQLITE_TOOBIG", K.DATA, KEPT),
    (20, "SQLITE_MISMATCH", K.DATA, KEPT),
    (21, "SQLITE_MISUSE", K.PROGRAMMING, KEPT),
    (23, "SQLITE_AUTH", K.PERMISSION, KEPT),
    (2, "SQLITE_INTERNAL", K.OTHER, KEPT),
    (99, "SQLITE_WHATEVER", K.OTHER, KEPT),
)


@pytest.mark.parametrize(("state", "kind", "leaves"), POSTGRESQL_CODES)
def test_a_sqlstate_is_one_fault_by_every_driver(state: str, kind: FaultKind, leaves: Left) -> None:
    for make in POSTGRESQL:
        fault = classify(make(state))
        assert fault is not None
        assert (fault.kind, fault.code, left(fault)) == (kind, state, leaves)


@pytest.mark.parametrize(("errno", "message", "kind", "leaves"), MYSQL_CODES)
def test_an_errno_is_one_fault_by_every_driver(
    errno: int, message: str, kind: FaultKind, leaves: Left
) -> None:
    for make in MYSQL:
        fault = classify(make(errno, message))
        assert fault is not None
        assert (fault.kind, fault.code, left(fault)) == (kind, str(errno), leaves)


@pytest.mark.parametrize(("code", "name", "kind", "leaves"), SQLITE_CODES)
def test_a_result_code_is_one_fault(code: int, name: str, kind: FaultKind, leaves: Left) -> None:
    fault = classify(sqlite_error(code, name))
    assert fault is not None
    assert (fault.kind, fault.code, left(fault)) == (kind, name, leaves)


def test_python_311_does_not_have_to_know_a_result_code() -> None:
    known = classify(sqlite_error(3091, "unknown"))
    assert known is not None
    assert (known.kind, known.code) == (K.DATA, "SQLITE_CONSTRAINT_DATATYPE")
    unknown = classify(sqlite_error(5 | 77 << 8, "unknown"))
    assert unknown is not None
    assert (unknown.kind, unknown.code) == (K.LOCK_TIMEOUT, "SQLITE_BUSY")


def test_a_fatal_error_is_the_same_fault_on_a_dead_connection() -> None:
    for make in POSTGRESQL:
        conflict = classify(make("40001", severity="FATAL"))
        assert conflict is not None
        assert (conflict.kind, left(conflict)) == (K.SERIALIZATION, DEAD_AGAIN)
        internal = classify(make("XX000", severity="PANIC"))
        assert internal is not None
        assert (internal.kind, left(internal)) == (K.OTHER, DEAD._replace(ambiguous=True))


def test_a_plan_that_the_schema_left_behind_may_run_again() -> None:
    text = "cached plan must not change result type"
    translated = "Planergebnistyp geändert"
    for make in POSTGRESQL:
        fault = classify(make("0A000", translated, function="RevalidateCachedQuery"))
        assert (fault and fault.kind, left(fault)) == (K.STALE_PLAN, DOOMED_AGAIN)
    fault = classify(psycopg_error("0A000", text))
    assert fault is not None
    assert fault.kind is K.STALE_PLAN


def test_postgresql_names_the_constraint() -> None:
    for make in POSTGRESQL:
        fault = classify(make("23505", constraint="users_name_key"))
        assert fault is not None
        assert fault.constraint == "users_name_key"


@pytest.mark.parametrize(
    ("errno", "message", "name"),
    [
        (1062, "Duplicate entry 'a' for key 'users_name'", "users_name"),
        (1062, "Duplicate entry 'it's' for key 'users.name'", "users.name"),
        (1062, "Doppelter Eintrag 'a' für Schlüssel 'name'", "name"),
        (1452, "(`db`.`a`, CONSTRAINT `a``b` FOREIGN KEY (`t`) REFERENCES `t` (`id`))", "a`b"),
        (4025, "CONSTRAINT `n_positive` failed for `db`.`t`", "n_positive"),
        (3819, "Check constraint 'n_positive' is violated.", "n_positive"),
        (1048, "Column 'name' cannot be null", None),
    ],
)
def test_mysql_names_the_constraint(errno: int, message: str, name: str | None) -> None:
    for make in MYSQL:
        fault = classify(make(errno, message))
        assert fault is not None
        assert fault.constraint == name


@pytest.mark.parametrize(
    ("code", "message", "name"),
    [
        (2067, "UNIQUE constraint failed: users.name", "users.name"),
        (2067, "UNIQUE constraint failed: index 'lower_name'", "lower_name"),
        (275, "CHECK constraint failed: kind = 'x'", "kind = 'x'"),
        (787, "FOREIGN KEY constraint failed", None),
        (1, "UNIQUE constraint failed: users.name", None),
    ],
)
def test_sqlite_names_the_constraint(code: int, message: str, name: str | None) -> None:
    fault = classify(sqlite_error(code, "SQLITE_X", message))
    assert fault is not None
    assert fault.constraint == name
