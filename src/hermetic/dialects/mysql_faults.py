"""MariaDB's and MySQL's errors, by PyMySQL, mysqlclient and asyncmy: errno → fault.

Measured on MariaDB 10.11.19; MySQL's own numbers from its manual. An errno that is not listed is
judged by the class of its SQLSTATE, which mysqlclient does not tell.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from ..faults import Fault, FaultKind, Pool, Rerun, Transaction, Wire

__all__ = ["classify"]


def _error(
    kind: FaultKind,
    rerun: Rerun = Rerun.NEVER,
    transaction: Transaction = Transaction.INTACT,
    *,
    ambiguous: bool = False,
) -> Fault:
    """What a statement met: InnoDB rolls back that statement, and nothing else, unless told."""
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
# The drivers see that there is no socket before they send.
_UNSENT_ON_CLOSED = _fatal(FaultKind.CONNECTION_LOST, ambiguous=False)
_CANNOT_CONNECT = _fatal(FaultKind.CANNOT_CONNECT, Rerun.CONNECT, ambiguous=False)
_NOT_SERVED = _fatal(FaultKind.CANNOT_CONNECT, Rerun.NEVER, ambiguous=False)
_NO_TRUST = _fatal(FaultKind.TLS, Rerun.NEVER, ambiguous=False)
_TOO_MANY = _fatal(FaultKind.TOO_MANY_CONNECTIONS, Rerun.CONNECT, ambiguous=False)
_CREDENTIALS = _fatal(FaultKind.AUTHENTICATION, Rerun.NEVER, ambiguous=False)
_NOT_READY = _fatal(FaultKind.NOT_READY, pool=Pool.EVICT)
_IDLE = _fatal(FaultKind.IDLE_TIMEOUT)

_DEADLOCK = _error(FaultKind.DEADLOCK, Rerun.TRANSACTION, Transaction.GONE)
_CONFLICT = _error(FaultKind.SERIALIZATION, Rerun.TRANSACTION, Transaction.GONE)
_LOCK_TIMEOUT = _error(FaultKind.LOCK_TIMEOUT, Rerun.TRANSACTION, Transaction.DOOMED)
_STALE_PLAN = _error(FaultKind.STALE_PLAN, Rerun.TRANSACTION, Transaction.DOOMED)
_NO_TRANSACTION = _error(FaultKind.TRANSACTION_ABORTED, transaction=Transaction.GONE)
_INTERRUPTED = _error(FaultKind.STATEMENT_TIMEOUT, ambiguous=True)
_READ_ONLY = _error(FaultKind.READ_ONLY)
_RESOURCES = _error(FaultKind.RESOURCES)
_UNIQUE = _error(FaultKind.UNIQUE)
_FOREIGN_KEY = _error(FaultKind.FOREIGN_KEY)
_NOT_NULL = _error(FaultKind.NOT_NULL)
_CHECK = _error(FaultKind.CHECK)
_DATA = _error(FaultKind.DATA)
_PERMISSION = _error(FaultKind.PERMISSION)
_UNSUPPORTED = _error(FaultKind.UNSUPPORTED)
_PROGRAMMING = _error(FaultKind.PROGRAMMING)
_CORRUPT = _error(FaultKind.CORRUPT)
_OTHER = _error(FaultKind.OTHER)

_GROUPS: tuple[tuple[Fault, tuple[int, ...]], ...] = (
    # 1213 is also Galera's certification failure, on COMMIT too. Either way all is rolled back, the
    # savepoints with it: the next ROLLBACK TO gets 1305.
    (_DEADLOCK, (1213, 1614)),
    # innodb_snapshot_isolation, on by default since MariaDB 11.6.2; on 10.11.19 @@in_transaction is
    # 0 afterwards. 3101 is the same in MySQL's group replication.
    (_CONFLICT, (1020, 3101)),
    # Earlier statements stay, unless innodb_rollback_on_timeout says otherwise: to commit them
    # would be half the work. 10.11 also answers NOWAIT with 1205, MySQL 8 with 3572.
    (_LOCK_TIMEOUT, (1205, 3572)),
    # the XA branch is rolled back because of 1205
    (replace(_LOCK_TIMEOUT, transaction=Transaction.GONE), (1613,)),
    # GET_LOCK's own deadlock rolls back nothing
    (replace(_DEADLOCK, transaction=Transaction.DOOMED), (3058,)),
    (_NO_TRANSACTION, (1402,)),
    (_STALE_PLAN, (1412, 1615)),
    (_INTERRUPTED, (1317, 1969, 3024)),
    (_READ_ONLY, (1036, 1792, 1836, 1874)),
    # row_mysql_handle_errors() of InnoDB rolls back all when its table of locks is full
    (replace(_RESOURCES, transaction=Transaction.GONE), (1206,)),
    (_RESOURCES, (1021, 1037, 1038, 1041, 1114, 1135, 2008)),
    # Not of COMMIT alone: with unique_checks and foreign_key_checks off, 10.11 answers a duplicate
    # in an INSERT into an empty table with it, and what the transaction did before is gone.
    (_error(FaultKind.AMBIGUOUS, Rerun.RESOLVE, Transaction.GONE, ambiguous=True), (1180,)),
    (_error(FaultKind.OTHER, Rerun.RESOLVE, Transaction.DOOMED, ambiguous=True), (1030,)),
    (_CORRUPT, (1034, 1035, 1194, 1195, 1712, 1877)),
    (_TOO_MANY, (1040, 1203)),
    (_CREDENTIALS, (1045, 1130, 1251, 1275, 1524, 1698, 1820, 1862, 2059, 2061)),
    # 1129: the server blocks this host for its failed connects; more of them do not help
    (_NOT_SERVED, (1129, 2007)),
    (_CANNOT_CONNECT, (1042, 1043, 1081, 2001, 2002, 2004, 2005, 2009, 2011, 2012, 2026)),
    (_fatal(FaultKind.CONNECTION_LOST, pool=Pool.EVICT), (1053, 1077, 1079)),
    (_LOST, (1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 2014, 2027, 2045, 2055)),
    # The server refuses the packet and closes; SQLAlchemy 2.1.9 takes the connection for good.
    (_fatal(FaultKind.DATA, Rerun.NEVER, ambiguous=False), (1153, 2020)),
    (_UNIQUE, (1022, 1062, 1169, 1557, 1586, 1761, 1762, 1859)),
    (_FOREIGN_KEY, (1216, 1217, 1451, 1452, 1701, 1834)),
    # 1364: left out, without a default, which PostgreSQL and SQLite call a NULL
    (_NOT_NULL, (1048, 1263, 1364)),
    # PyMySQL and asyncmy raise 4025 as OperationalError; 3819 is MySQL's
    (_CHECK, (1369, 3819, 4025)),
    (_DATA, (1264, 1265, 1292, 1365, 1366, 1367, 1406, 1411, 1416, 1426, 1441, 1690, 3140)),
    (_PERMISSION, (1044, 1142, 1143, 1211, 1227, 1370, 1410, 1419)),
    (_UNSUPPORTED, (1178, 1235, 1286, 1289, 1295)),
    (_PROGRAMMING, (1046, 1049, 1050, 1051, 1052, 1054, 1060, 1061, 1064, 1065, 1091, 1093)),
    (_PROGRAMMING, (1096, 1099, 1100, 1103, 1109, 1111, 1136, 1146, 1149, 1193, 1210, 1231)),
    (_PROGRAMMING, (1232, 1238, 1248, 1318, 1327, 1399, 1400, 1568)),
)
_BY_ERRNO: dict[int, Fault] = {errno: fault for fault, group in _GROUPS for errno in group}

# The same number for different things, told apart by words that are in no other language.
_BY_WORDS: dict[int, tuple[re.Pattern[str], Fault, Fault]] = {
    # both drivers make it of every error of the connect, TLS included: a certificate
    # that is not trusted, and an answer that is none of TLS
    2003: (
        re.compile("CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER"),
        _NO_TRUST,
        _CANNOT_CONNECT,
    ),
    2026: (re.compile("SSL is required"), _NO_TRUST, _CANNOT_CONNECT),
    # also: an unknown command
    1047: (re.compile("wsrep", re.IGNORECASE), _NOT_READY, _PROGRAMMING),
    # also: an account's limit of statements in an hour
    1226: (re.compile("connections"), _TOO_MANY, _RESOURCES),
    # Also: --secure-file-priv and other options. 10.11 answers COMMIT with it, too, and rolls back.
    1290: (re.compile("read[-_]only"), _READ_ONLY, _UNSUPPORTED),
    # also: a stored procedure that does not exist
    1305: (re.compile("^SAVEPOINT "), _NO_TRANSACTION, _PROGRAMMING),
    # MySQL 8.0.24 says it before it ends an idle session; MariaDB means a trigger that is missing
    4031: (re.compile("[Tt]rigger"), _PROGRAMMING, _IDLE),
}

_BY_CLASS: dict[str, Fault] = {
    "08": _LOST,
    "0A": _UNSUPPORTED,
    "21": _PROGRAMMING,
    "22": _DATA,
    "23": _error(FaultKind.INTEGRITY),
    "25": _PROGRAMMING,
    "28": _CREDENTIALS,
    "3D": _PROGRAMMING,
    "40": _CONFLICT,
    "42": _PROGRAMMING,
    "70": _INTERRUPTED,
}

# Without a number: what the drivers raise themselves.
_BY_TEXT: tuple[tuple[str, Fault], ...] = (
    ("packet sequence number wrong", _LOST),
    ("truncated", _LOST),
    ("invalid length encoded integer", _LOST),
    ("network operation failed", _LOST),  # SQLAlchemy, for asyncmy's AttributeError
    ("already closed", _UNSENT_ON_CLOSED),
    ("auth", _CREDENTIALS),
    ("public key", _CREDENTIALS),
)
_BY_NAME: dict[str, Fault] = {
    "ProgrammingError": _PROGRAMMING,
    "NotSupportedError": _UNSUPPORTED,
    "DataError": _DATA,
    "InterfaceError": _PROGRAMMING,
    "MySQLError": _OTHER,
}

# asyncmy's and uvloop's RuntimeErrors, and PyMySQL's AttributeError, on a transport that is gone
_NO_TRANSPORT = ("Transport does not expose", "unable to perform operation", "'NoneType' object")

_FAILED_CONSTRAINT = re.compile(r"CONSTRAINT `((?:[^`]|``)+)`")
_LAST_QUOTED = re.compile(r"'([^']+)'[^']*$")


def classify(error: BaseException) -> Fault | None:
    """The fault behind a driver's error.

    OSError, EOFError and the errors of a transport that is gone are taken for the connection's:
    only a caller who knows that they came from the driver passes them.
    """
    if isinstance(error, (OSError, EOFError)):
        return _CANNOT_CONNECT if isinstance(error, ConnectionRefusedError) else _LOST
    if isinstance(error, (AttributeError, RuntimeError)):
        return _LOST if str(error).startswith(_NO_TRANSPORT) else None
    errno = _errno(error)
    if errno is None:
        # what asyncmy lets through while it connects comes wrapped, as what it was raised from
        cause = error.__cause__
        known = isinstance(cause, (OSError, EOFError))
        return classify(cause) if known and cause is not None else _without_errno(error)
    if errno == 0:
        # InterfaceError(0, ""), or in asyncmy with the reason why it was closed
        return _UNSENT_ON_CLOSED
    text = str(error.args[1]) if len(error.args) > 1 else ""
    fault = _by_errno(errno, text, error)
    return replace(fault, code=str(errno), constraint=_constraint(fault.kind, text))


def _errno(error: BaseException) -> int | None:
    first: Any = error.args[0] if error.args else None
    if isinstance(first, BaseException):
        # as SQLAlchemy's PyMySQL dialect looks for it
        first = first.args[0] if first.args else None
    return first if isinstance(first, int) else None


def _by_errno(errno: int, text: str, error: BaseException) -> Fault:
    words = _BY_WORDS.get(errno)
    if words is not None:
        pattern, found, otherwise = words
        return found if pattern.search(text) else otherwise
    state = getattr(error, "sqlstate", None)
    by_class = _BY_CLASS.get(state[:2]) if isinstance(state, str) else None
    return _BY_ERRNO.get(errno) or by_class or _OTHER


def _without_errno(error: BaseException) -> Fault | None:
    text = str(error).lower()
    for words, fault in _BY_TEXT:
        if words in text:
            return fault
    names = (cls.__name__ for cls in type(error).__mro__)
    return next((_BY_NAME[name] for name in names if name in _BY_NAME), None)


def _constraint(kind: FaultKind, text: str) -> str | None:
    """The constraint's name, or the key's; the words around it may be in any language."""
    if kind not in (FaultKind.UNIQUE, FaultKind.FOREIGN_KEY, FaultKind.CHECK):
        return None
    match = _FAILED_CONSTRAINT.search(text)
    if match is not None:
        return match[1].replace("``", "`")
    match = _LAST_QUOTED.search(text)
    return match[1] if match is not None else None
