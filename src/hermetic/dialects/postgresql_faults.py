"""PostgreSQL's errors, by psycopg 3 and asyncpg: SQLSTATE → fault.

Where there is no SQLSTATE, the class of the driver's error decides, and where that is
OperationalError or InterfaceError, its text. libpq tells no SQLSTATE of a failed connect, and the
server's text arrives in the server's language: what is not recognised is an unreachable server.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

from ..faults import Fault, FaultKind, Pool, Rerun, Transaction, Wire

__all__ = ["classify"]


def _error(
    kind: FaultKind,
    rerun: Rerun = Rerun.NEVER,
    transaction: Transaction = Transaction.DOOMED,
    *,
    ambiguous: bool = False,
) -> Fault:
    """What the server reports as ERROR: the transaction is aborted, the session goes on."""
    return Fault(kind, "", rerun, transaction, ambiguous_at_commit=ambiguous)


def _fatal(
    kind: FaultKind,
    rerun: Rerun = Rerun.TRANSACTION,
    *,
    ambiguous: bool = True,
    pool: Pool = Pool.KEEP,
) -> Fault:
    """What ends the session, or kept it from beginning."""
    return Fault(
        kind, "", rerun, Transaction.GONE, Wire.DEAD, pool=pool, ambiguous_at_commit=ambiguous
    )


_LOST = _fatal(FaultKind.CONNECTION_LOST)
_SHUT_DOWN = _fatal(FaultKind.CONNECTION_LOST, pool=Pool.EVICT)
_CANNOT_CONNECT = _fatal(FaultKind.CANNOT_CONNECT, Rerun.CONNECT, ambiguous=False)
_NO_TRUST = _fatal(FaultKind.TLS, Rerun.NEVER, ambiguous=False)
_TOO_MANY = _fatal(FaultKind.TOO_MANY_CONNECTIONS, Rerun.CONNECT, ambiguous=False)
_CREDENTIALS = _fatal(FaultKind.AUTHENTICATION, Rerun.NEVER, ambiguous=False)
_NO_DATABASE = _fatal(FaultKind.PROGRAMMING, Rerun.NEVER, ambiguous=False)
_NOT_ADMITTED = _fatal(FaultKind.PERMISSION, Rerun.NEVER, ambiguous=False)
_ABORTED = _error(FaultKind.TRANSACTION_ABORTED)
_STALE_PLAN = _error(FaultKind.STALE_PLAN, Rerun.TRANSACTION)
_PROGRAMMING = _error(FaultKind.PROGRAMMING)
_RESOURCES = _error(FaultKind.RESOURCES)
_CONFLICT = _error(FaultKind.SERIALIZATION, Rerun.TRANSACTION)
_OTHER = _error(FaultKind.OTHER)

_BY_STATE: dict[str, Fault] = {
    "08001": replace(_CANNOT_CONNECT, ambiguous_at_commit=True),
    "08004": replace(_CANNOT_CONNECT, ambiguous_at_commit=True),
    # CockroachDB, and the second phase of a two-phase commit
    "08007": _fatal(FaultKind.AMBIGUOUS, Rerun.RESOLVE),
    "23001": _error(FaultKind.FOREIGN_KEY),
    "23502": _error(FaultKind.NOT_NULL),
    "23503": _error(FaultKind.FOREIGN_KEY),
    # may be a conflict in disguise (documentation, 13.5), but never re-run: it could go on for ever
    "23505": _error(FaultKind.UNIQUE),
    "23514": _error(FaultKind.CHECK),
    "23P01": _error(FaultKind.UNIQUE),
    # A demoted primary, or a write in a read-only transaction. Which of the two, only the role of
    # the engine tells: where it is to write, the engine evicts the pool and may run the unit again.
    "25006": _error(FaultKind.READ_ONLY),
    "25P02": _ABORTED,
    # not ambiguous: the server looks for it only while it waits for the next command
    "25P03": _fatal(FaultKind.IDLE_TIMEOUT, ambiguous=False),
    "25P04": _fatal(FaultKind.IDLE_TIMEOUT),  # since 17
    "40002": _error(FaultKind.INTEGRITY),
    "40003": _error(FaultKind.AMBIGUOUS, Rerun.RESOLVE, ambiguous=True),
    "40P01": _error(FaultKind.DEADLOCK, Rerun.TRANSACTION),
    "42501": _error(FaultKind.PERMISSION),
    "53300": _TOO_MANY,
    "55000": _PROGRAMMING,
    "55P02": _PROGRAMMING,
    "55P03": _error(FaultKind.LOCK_TIMEOUT, Rerun.TRANSACTION),
    # Not ambiguous: a COMMIT cancelled while it waits for a standby is done, with a WARNING.
    "57014": _error(FaultKind.STATEMENT_TIMEOUT),
    "57P01": _SHUT_DOWN,
    "57P02": _SHUT_DOWN,
    "57P03": _fatal(FaultKind.CANNOT_CONNECT, Rerun.CONNECT),
    "57P04": _fatal(FaultKind.CONNECTION_LOST, Rerun.NEVER, pool=Pool.EVICT),
    "57P05": _fatal(FaultKind.IDLE_TIMEOUT, Rerun.CONNECT, ambiguous=False),
    "XX001": _error(FaultKind.CORRUPT),
    "XX002": _error(FaultKind.CORRUPT),
    # CockroachDB: the rows were committed, and a change of the schema beside them failed
    "XXA00": _error(FaultKind.AMBIGUOUS, Rerun.RESOLVE, ambiguous=True),
}

_BY_CLASS: dict[str, Fault] = {
    "08": _LOST,
    "0A": _error(FaultKind.UNSUPPORTED),
    "20": _PROGRAMMING,
    "21": _PROGRAMMING,
    "22": _error(FaultKind.DATA),
    "23": _error(FaultKind.INTEGRITY),
    "24": _PROGRAMMING,
    "25": _PROGRAMMING,
    # 26000 and 42P05 are what a pooler in transaction mode makes of prepared statements
    "26": _PROGRAMMING,
    "28": _CREDENTIALS,
    "2B": _PROGRAMMING,
    "2D": _PROGRAMMING,
    "34": _PROGRAMMING,
    "3B": _PROGRAMMING,
    "3D": _PROGRAMMING,
    "3F": _PROGRAMMING,
    "40": _CONFLICT,
    "42": _PROGRAMMING,
    "44": _error(FaultKind.CHECK),
    "53": _RESOURCES,
    "54": _PROGRAMMING,
    "57": _LOST,
    "58": _RESOURCES,
    "72": _CONFLICT,
}


def _unsent(kind: FaultKind) -> Fault:
    """What a driver refused before it sent anything, or after everything had come back."""
    return _error(kind, transaction=Transaction.INTACT)


_BY_NAME: dict[str, Fault] = {
    "PipelineAborted": _ABORTED,
    "ConnectionTimeout": _CANNOT_CONNECT,
    "OperationalError": _LOST,
    "InvalidCachedStatementError": _STALE_PLAN,
    "OutdatedSchemaCacheError": _STALE_PLAN,
    "TargetServerAttributeNotMatched": _CANNOT_CONNECT,
    # asyncpg lost its place in the protocol
    "InternalClientError": _LOST,
    "DataError": _unsent(FaultKind.DATA),
    "ProgrammingError": _unsent(FaultKind.PROGRAMMING),
    "NotSupportedError": _unsent(FaultKind.UNSUPPORTED),
    "UnsupportedClientFeatureError": _unsent(FaultKind.UNSUPPORTED),
    "UnsupportedServerFeatureError": _unsent(FaultKind.UNSUPPORTED),
    "InterfaceError": _unsent(FaultKind.PROGRAMMING),
    "Error": _OTHER,
}

# psycopg's own words, in no other language, for a connect that failed
_CONNECTING = ("connection failed", "connection is bad", "failed to resolve", "connection timeout")

# libpq 18 with a server of 15; each in the text of a connect that failed, all lower case
_REFUSALS: tuple[tuple[str, Fault], ...] = (
    ("authentication failed", _CREDENTIALS),
    ("no password supplied", _CREDENTIALS),
    ("no pg_hba.conf entry", _CREDENTIALS),
    ('fatal:  role "', _CREDENTIALS),
    ("too many connections", _TOO_MANY),
    ("too many clients", _TOO_MANY),
    ("connection slots are reserved", _TOO_MANY),
    ("no more connections allowed", _TOO_MANY),  # pgbouncer's max_client_conn
    ("permission denied for database", _NOT_ADMITTED),
    ('fatal:  database "', _NO_DATABASE),
    ("certificate verify failed", _NO_TRUST),
    ("does not match host name", _NO_TRUST),
    ("server does not support ssl", _NO_TRUST),
    ("root certificate file", _NO_TRUST),
    ("could not load system root certificate", _NO_TRUST),
)

# asyncpg looks at its own state before it sends, so that a COMMIT refused like this was never sent
_UNSENT_ON_CLOSED = replace(_LOST, ambiguous_at_commit=False)

_COMMAND_TIMEOUT = _fatal(FaultKind.STATEMENT_TIMEOUT, Rerun.NEVER)


def classify(error: BaseException) -> Fault | None:
    """The fault behind a driver's error.

    OSError, TimeoutError and EOFError are taken for the connection's: only a caller who knows that
    they came from the driver passes them.
    """
    if isinstance(error, (OSError, EOFError)):
        return _transport(error)
    cause, lost = _innermost(error)
    state = getattr(cause, "sqlstate", None)
    if not isinstance(state, str):
        # an error of SQLAlchemy's adapter that stands for one of the system's
        for behind in (cause, cause.__cause__):
            if isinstance(behind, (OSError, EOFError)):
                return _transport(behind)
        return _without_state(cause)
    fault = _BY_STATE.get(state) or _BY_CLASS.get(state[:2]) or _OTHER
    if state == "0A000" and _is_stale_plan(cause):
        fault = _STALE_PLAN
    severity = _severity(cause)
    if lost or severity in ("FATAL", "PANIC"):
        fault = _deadly(fault)
    elif state == "22000" and severity is None:
        # asyncpg's own, of an argument that it cannot encode
        fault = replace(fault, transaction=Transaction.INTACT)
    return replace(fault, code=state, constraint=_constraint(cause))


def _innermost(error: BaseException) -> tuple[BaseException, bool]:
    """The error that knows most, and whether the connection ended with it."""
    if type(error).__module__.startswith("sqlalchemy."):
        # SQLAlchemy's InvalidCachedStatementError keeps its original only as the cause
        error = getattr(error, "orig", None) or error.__cause__ or error
    if getattr(error, "sqlstate", None) == "08003":
        # asyncpg 0.32 puts the server's last word under its own "closed in the middle of operation"
        last = error.__cause__
        if isinstance(getattr(last, "sqlstate", None), str):
            assert last is not None
            return last, True
    return error, False


def _deadly(fault: Fault) -> Fault:
    """The same fault where the session ended with it."""
    if fault.wire is Wire.DEAD:
        return fault
    # A standby ends a session with FATAL 40001; there is nothing to commit on a standby.
    ambiguous = fault.kind is not FaultKind.SERIALIZATION
    return replace(
        fault, transaction=Transaction.GONE, wire=Wire.DEAD, ambiguous_at_commit=ambiguous
    )


def _severity(error: BaseException) -> str | None:
    diag: Any = getattr(error, "diag", error)
    for name in ("severity_nonlocalized", "severity_en", "severity"):
        value = getattr(diag, name, None)
        if isinstance(value, str):
            return value
    return None


def _constraint(error: BaseException) -> str | None:
    name = getattr(getattr(error, "diag", error), "constraint_name", None)
    return name if isinstance(name, str) else None


def _is_stale_plan(error: BaseException) -> bool:
    if type(error).__name__ == "InvalidCachedStatementError":
        return True
    function = getattr(getattr(error, "diag", error), "source_function", None)
    return function == "RevalidateCachedQuery" or "cached plan" in str(error)


def _without_state(error: BaseException) -> Fault | None:
    text = str(error).lower()
    for cls in type(error).__mro__:
        fault = _BY_NAME.get(cls.__name__)
        if fault is None:
            continue
        if cls.__name__ == "OperationalError":
            return _operational(error, text)
        if cls.__name__ == "InterfaceError":
            return _interface(text, fault)
        return fault
    return None


def _operational(error: BaseException, text: str) -> Fault:
    """psycopg's OperationalError without SQLSTATE: a connect failed, or a connection was lost."""
    connecting = getattr(error, "pgconn", None) is not None or text.startswith(_CONNECTING)
    if not connecting:
        # "the connection is closed" included: it may have been closed under a COMMIT on its way
        return _LOST
    return next((fault for words, fault in _REFUSALS if words in text), _CANNOT_CONNECT)


def _interface(text: str, usual: Fault) -> Fault:
    if "connection is closed" in text or "connection has been released" in text:
        return _UNSENT_ON_CLOSED
    # "another operation is in progress" stays what it is: two at once on one connection
    return _CREDENTIALS if "authentication" in text else usual


def _transport(error: OSError | EOFError) -> Fault:
    """What asyncpg lets through: errors of the connect, and its command_timeout."""
    if isinstance(error, TimeoutError) and not error.errno:
        # asyncio's; the kernel's has a number
        return _COMMAND_TIMEOUT
    if isinstance(error, (ConnectionRefusedError, FileNotFoundError, socket.gaierror)):
        return _CANNOT_CONNECT
    if type(error).__name__ == "SSLCertVerificationError" or "rejected SSL upgrade" in str(error):
        return _NO_TRUST
    return _LOST
