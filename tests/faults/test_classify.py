"""What a fault may be wrapped in, and what is no fault of a database's."""

from __future__ import annotations

import asyncio
import errno
import socket
import sqlite3
import ssl
from collections.abc import Callable
from pathlib import Path

import asyncmy.errors
import asyncpg
import psycopg
import pymysql.err
import pytest
from sqlalchemy import bindparam, create_engine, select, types
from sqlalchemy import exc as sa_exc
from sqlalchemy.engine import Dialect

from hermetic.blending import fault_error
from hermetic.dialects.classify import classify
from hermetic.errors import (
    CommitUnknown,
    DeadlineExceeded,
    FaultError,
    RolledBack,
)
from hermetic.faults import Fault, FaultKind, Rerun, Transaction, Wire
from tests.faults.driver_errors import (
    adapted,
    asyncpg_error,
    mysqlclient_class,
    psycopg_error,
    pymysql_error,
    raised,
    sqlite_error,
)

K = FaultKind
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")


def wrapped(orig: BaseException) -> sa_exc.DBAPIError:
    return sa_exc.OperationalError("SELECT 1", None, orig)


def kind_of(error: BaseException, family: str | None = None) -> FaultKind | None:
    fault = classify(error, family=family)
    return None if fault is None else fault.kind


# ---------------------------------------------------------------- errors without a code


def connect_failed(text: str) -> BaseException:
    """psycopg's error of a connect, with the text that libpq 18 has for it."""
    where = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: '
    return psycopg.OperationalError(where + text)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (connect_failed("Connection refused"), K.CANNOT_CONNECT),
        (connect_failed("FATAL:  the database system is starting up"), K.CANNOT_CONNECT),
        (connect_failed("server closed the connection unexpectedly"), K.CANNOT_CONNECT),
        (psycopg.OperationalError("connection is bad: no such file"), K.CANNOT_CONNECT),
        (psycopg.OperationalError("failed to resolve host 'x': [Errno -2]"), K.CANNOT_CONNECT),
        (psycopg.errors.ConnectionTimeout("connection timeout expired"), K.CANNOT_CONNECT),
        (connect_failed('FATAL:  password authentication failed for user "x"'), K.AUTHENTICATION),
        (connect_failed("fe_sendauth: no password supplied"), K.AUTHENTICATION),
        (connect_failed('FATAL:  no pg_hba.conf entry for host "::1"'), K.AUTHENTICATION),
        (connect_failed('FATAL:  role "x" does not exist'), K.AUTHENTICATION),
        (connect_failed('FATAL:  too many connections for role "x"'), K.TOO_MANY_CONNECTIONS),
        (connect_failed("FATAL:  sorry, too many clients already"), K.TOO_MANY_CONNECTIONS),
        (
            connect_failed("FATAL:  remaining connection slots are reserved for superusers"),
            K.TOO_MANY_CONNECTIONS,
        ),
        (connect_failed('FATAL:  database "x" does not exist'), K.PROGRAMMING),
        (connect_failed('FATAL:  permission denied for database "x"'), K.PERMISSION),
        (psycopg.OperationalError("the connection is closed"), K.CONNECTION_LOST),
        (psycopg.OperationalError("the connection is lost"), K.CONNECTION_LOST),
        (
            psycopg.OperationalError("consuming input failed: server closed the connection"),
            K.CONNECTION_LOST,
        ),
        (psycopg.errors.PipelineAborted("pipeline aborted"), K.TRANSACTION_ABORTED),
        (psycopg.DataError("PostgreSQL text fields cannot contain NUL"), K.DATA),
        (psycopg.ProgrammingError("cannot adapt type 'object'"), K.PROGRAMMING),
        (psycopg.NotSupportedError("codec not available"), K.UNSUPPORTED),
        (asyncpg.InterfaceError("connection is closed"), K.CONNECTION_LOST),
        (asyncpg.InterfaceError("another operation is in progress"), K.PROGRAMMING),
        (asyncpg.InterfaceError("unsupported SASL Authentication methods"), K.AUTHENTICATION),
        (asyncpg.ProtocolError("unexpected message"), K.CONNECTION_LOST),
        (asyncpg.TargetServerAttributeNotMatched("no primary"), K.CANNOT_CONNECT),
        (asyncpg.OutdatedSchemaCacheError("changed"), K.STALE_PLAN),
        (pymysql.err.InterfaceError(0, ""), K.CONNECTION_LOST),
        (pymysql.err.InternalError("Packet sequence number wrong - got 1"), K.CONNECTION_LOST),
        (pymysql.err.Error("Already closed"), K.CONNECTION_LOST),
        (asyncmy.errors.InterfaceError(0, "Not connected"), K.CONNECTION_LOST),
        (asyncmy.errors.InterfaceError(0, "Cancelled during execution"), K.CONNECTION_LOST),
        (asyncmy.errors.InternalError("Truncated row packet"), K.CONNECTION_LOST),
        (asyncmy.errors.InternalError("network operation failed due to x"), K.CONNECTION_LOST),
        (asyncmy.errors.ProgrammingError("Cursor closed"), K.PROGRAMMING),
        (mysqlclient_class("InterfaceError")(0, ""), K.CONNECTION_LOST),
        (mysqlclient_class("OperationalError")(2006, ""), K.CONNECTION_LOST),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), K.CONNECTION_LOST),
        (sqlite3.OperationalError("no active connection"), K.CONNECTION_LOST),
        (sqlite3.ProgrammingError("Error binding parameter 1"), K.PROGRAMMING),
        (sqlite_error(1, "SQLITE_ERROR", "no such table: x"), K.PROGRAMMING),
        (sqlite_error(1, "SQLITE_ERROR", "no such savepoint: x"), K.TRANSACTION_ABORTED),
        (
            sqlite_error(1, "SQLITE_ERROR", "cannot commit - no transaction is active"),
            K.TRANSACTION_ABORTED,
        ),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, BaseException) else "",
)
def test_an_error_without_a_code_is_known_by_class_and_text(
    error: BaseException, kind: FaultKind
) -> None:
    assert kind_of(error) is kind
    if type(error).__module__.startswith("asyncpg"):
        assert kind_of(adapted(error)) is kind


def test_what_was_refused_before_it_was_sent_is_not_ambiguous() -> None:
    unsent = (
        asyncpg.InterfaceError("cannot call Transaction.commit(): the connection is closed"),
        pymysql.err.InterfaceError(0, ""),
        sqlite3.ProgrammingError("Cannot operate on a closed database."),
    )
    for error in unsent:
        fault = classify(error)
        assert fault is not None
        assert not fault.ambiguous_at_commit
    # psycopg says so of a connection that another thread closed during the COMMIT, too
    fault = classify(psycopg.OperationalError("the connection is closed"))
    assert fault is not None
    assert fault.ambiguous_at_commit


def test_what_a_driver_refuses_by_itself_leaves_the_transaction_as_it_was() -> None:
    refused = asyncpg.DataError("invalid input for query argument $1")
    for error in (psycopg.DataError("NUL"), refused, adapted(refused)):
        fault = classify(error)
        assert fault is not None
        assert (fault.kind, fault.transaction) == (K.DATA, Transaction.INTACT)


def test_the_last_word_of_a_server_that_hung_up_is_not_lost() -> None:
    lost = asyncpg.ConnectionDoesNotExistError("closed in the middle of operation")
    lost.__cause__ = asyncpg_error("25P03", severity="FATAL")
    for error in (lost, adapted(lost)):
        fault = classify(error)
        assert fault is not None
        assert (fault.kind, fault.code, fault.wire) == (K.IDLE_TIMEOUT, "25P03", Wire.DEAD)


# ---------------------------------------------------------------- errors of the system


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (REFUSED, K.CANNOT_CONNECT),
        (socket.gaierror(-2, "Name or service not known"), K.CANNOT_CONNECT),
        (FileNotFoundError(2, "No such file or directory"), K.CANNOT_CONNECT),
        (ssl.SSLCertVerificationError("certificate verify failed"), K.TLS),
        (ConnectionResetError(104, "reset by peer"), K.CONNECTION_LOST),
        (TimeoutError(110, "timed out"), K.CONNECTION_LOST),
        (TimeoutError(), K.STATEMENT_TIMEOUT),
        (asyncio.IncompleteReadError(b"", 5), K.CONNECTION_LOST),
    ],
)
def test_a_system_error_is_the_databases_only_out_of_a_driver(
    error: BaseException, kind: FaultKind
) -> None:
    assert classify(error) is None
    assert kind_of(error, "postgresql") is kind
    assert kind_of(wrapped(error)) is kind
    assert kind_of(sa_exc.StatementError("", "", None, error)) is None


def test_a_system_error_that_no_driver_raised_is_the_applications() -> None:
    error = raised(Path("/nonexistent").read_text)
    assert error.__traceback__ is not None
    assert classify(error, family="postgresql") is None


def test_a_parameter_that_cannot_be_made_is_no_fault() -> None:
    class FromFile(types.TypeDecorator[str]):
        impl = types.String
        cache_ok = True

        def process_bind_param(self, value: str | None, dialect: Dialect) -> str:
            raise ConnectionResetError(value)

    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        statement = select(bindparam("x", "y", type_=FromFile()))
        error = raised(lambda: connection.execute(statement))
    engine.dispose()
    assert isinstance(error, sa_exc.StatementError)
    assert classify(error, family="postgresql") is None


def test_aiosqlites_value_error_is_a_lost_connection_only_out_of_it() -> None:
    for text in ("no active connection", "Connection closed"):
        assert kind_of(ValueError(text), "sqlite") is K.CONNECTION_LOST
        assert classify(ValueError(text)) is None
    assert classify(ValueError("no active user"), family="sqlite") is None


def test_a_transport_that_is_gone_is_a_lost_connection_only_out_of_a_driver() -> None:
    error = RuntimeError("Transport does not expose socket instance")
    assert kind_of(error, "mysql") is K.CONNECTION_LOST
    assert classify(error) is None
    assert classify(RuntimeError("no"), family="mysql") is None


def test_a_family_that_is_not_known_has_no_faults_of_its_own() -> None:
    assert classify(REFUSED, family="oracle") is None


# ---------------------------------------------------------------- wrappings

Wrap = Callable[[BaseException], BaseException]


def from_cause(inner: BaseException) -> BaseException:
    error = LookupError("not found")
    error.__cause__ = inner
    return error


def from_context(inner: BaseException) -> BaseException:
    error = LookupError("not found")
    error.__context__ = inner
    return error


def twice(inner: BaseException) -> BaseException:
    return from_cause(from_context(wrapped(inner)))


@pytest.mark.parametrize("wrap", [wrapped, from_cause, from_context, twice])
def test_a_wrapped_error_is_the_same_fault(wrap: Wrap) -> None:
    for error in (psycopg_error("40001"), adapted(asyncpg_error("40001")), pymysql_error(1213)):
        assert classify(error) is not None
        assert classify(wrap(error)) == classify(error)


def test_a_fault_error_tells_its_own_fault() -> None:
    fault = Fault(K.DEADLOCK, "x", Rerun.TRANSACTION, Transaction.GONE)
    error = fault_error(wrapped(psycopg_error("23505")), fault)
    assert classify(error) is fault
    assert classify(from_cause(error)) is fault
    assert classify(FaultError("made by hand, without one")) is None


def test_a_disowned_context_does_not_count() -> None:
    error = LookupError("not found")
    error.__context__ = psycopg_error("40001")
    error.__suppress_context__ = True
    assert classify(error) is None


def test_a_circle_of_causes_ends() -> None:
    first, second = LookupError(), LookupError()
    first.__context__, second.__context__ = second, first
    assert classify(first) is None


def test_a_cancellation_is_no_fault_whatever_it_interrupted() -> None:
    for error in (asyncio.CancelledError(), KeyboardInterrupt(), SystemExit()):
        error.__context__ = psycopg_error("40001")
        assert classify(error) is None
        assert classify(from_cause(error)) is None


def test_what_a_rerun_cannot_mend_is_no_fault_whatever_caused_it() -> None:
    unknown = CommitUnknown("the answer was lost")
    late = DeadlineExceeded("over", timeout=1.0)
    for error in (unknown, late):
        error.__cause__ = psycopg.OperationalError("the connection is lost")
        assert classify(error) is None
        assert classify(from_cause(error)) is None
    rolled_back = RolledBack("nothing was applied")
    rolled_back.__cause__ = psycopg_error("40001")
    assert kind_of(rolled_back) is K.SERIALIZATION


def test_a_group_may_run_again_only_if_all_of_it_may() -> None:
    conflict, unique, own = psycopg_error("40001"), psycopg_error("23505"), LookupError()
    assert isinstance(conflict, Exception)
    assert isinstance(unique, Exception)
    deadlock = ExceptionGroup("", [LookupError("x")])
    deadlock.exceptions[0].__cause__ = psycopg_error("40P01")
    assert kind_of(ExceptionGroup("", [conflict, deadlock])) is K.SERIALIZATION
    assert kind_of(ExceptionGroup("", [conflict, unique])) is K.UNIQUE
    assert kind_of(ExceptionGroup("", [own, unique])) is K.UNIQUE
    assert kind_of(ExceptionGroup("", [conflict, own])) is None
    assert kind_of(BaseExceptionGroup("", [conflict, asyncio.CancelledError()])) is None
    assert kind_of(from_cause(ExceptionGroup("", [conflict]))) is K.SERIALIZATION


def test_a_leaf_raised_out_of_its_own_group_ends() -> None:
    leaf = LookupError()
    leaf.__context__ = ExceptionGroup("", [leaf, ExceptionGroup("", [leaf])])
    assert classify(leaf) is None


def test_a_connection_that_sqlalchemy_gave_up_is_dead() -> None:
    error = wrapped(psycopg_error("23505"))
    error.connection_invalidated = True
    fault = classify(error)
    assert fault is not None
    assert (fault.kind, fault.wire, fault.transaction) == (K.UNIQUE, Wire.DEAD, Transaction.GONE)


def test_a_subclass_of_a_drivers_error_is_the_drivers() -> None:
    class Retried(psycopg.errors.SerializationFailure):
        pass

    assert kind_of(Retried("x")) is K.SERIALIZATION


def test_the_applications_own_errors_are_no_faults() -> None:
    for error in (ValueError(), LookupError("40001"), sa_exc.InvalidRequestError("x")):
        assert classify(error) is None
        assert classify(error, family="postgresql") is None
