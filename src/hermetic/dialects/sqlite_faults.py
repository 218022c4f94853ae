"""SQLite's errors, by sqlite3 and aiosqlite: extended result code → fault.

Whether an error rolled the whole transaction back, no code tells (SQLITE_FULL, IOERR, NOMEM, BUSY
and INTERRUPT may, or not; so do RAISE(ROLLBACK) and ON CONFLICT ROLLBACK). They all say INTACT
here; the caller looks at the connection's ``in_transaction``.
"""

from __future__ import annotations

from dataclasses import replace

from ..faults import Fault, FaultKind, Pool, Rerun, Transaction, Wire

__all__ = ["classify"]


def _fault(
    kind: FaultKind,
    rerun: Rerun = Rerun.NEVER,
    transaction: Transaction = Transaction.INTACT,
    *,
    ambiguous: bool = False,
) -> Fault:
    return Fault(kind, "", rerun, transaction, ambiguous_at_commit=ambiguous)


_BUSY = _fault(FaultKind.LOCK_TIMEOUT, Rerun.TRANSACTION)
_OUT = _fault(FaultKind.RESOURCES)
_READ_ONLY = _fault(FaultKind.READ_ONLY)
_PERMISSION = _fault(FaultKind.PERMISSION)
_PROGRAMMING = _fault(FaultKind.PROGRAMMING)
_DATA = _fault(FaultKind.DATA)
_INTEGRITY = _fault(FaultKind.INTEGRITY)
_UNIQUE = _fault(FaultKind.UNIQUE)
_UNSUPPORTED = _fault(FaultKind.UNSUPPORTED)
_OTHER = _fault(FaultKind.OTHER)
_NO_TRANSACTION = _fault(FaultKind.TRANSACTION_ABORTED, transaction=Transaction.GONE)
_UNUSABLE = Fault(FaultKind.CORRUPT, "", Rerun.NEVER, Transaction.GONE, Wire.DEAD, pool=Pool.EVICT)
# Closed on this side: both modules look before they do anything.
_CLOSED = Fault(FaultKind.CONNECTION_LOST, "", Rerun.TRANSACTION, Transaction.GONE, Wire.DEAD)

# By number, and with its own name: Python 3.11 calls the codes that it does not know "unknown".
_BY_CODE: dict[int, tuple[str, Fault]] = {
    1: ("SQLITE_ERROR", _PROGRAMMING),
    2: ("SQLITE_INTERNAL", _OTHER),
    3: ("SQLITE_PERM", _PERMISSION),
    4: ("SQLITE_ABORT", _OTHER),
    5: ("SQLITE_BUSY", _BUSY),
    6: ("SQLITE_LOCKED", _BUSY),
    7: ("SQLITE_NOMEM", _OUT),
    8: ("SQLITE_READONLY", _READ_ONLY),
    9: ("SQLITE_INTERRUPT", _fault(FaultKind.STATEMENT_TIMEOUT)),
    # a COMMIT whose journal is removed, but whose directory cannot be synced, may stand or fall
    10: ("SQLITE_IOERR", _fault(FaultKind.RESOURCES, ambiguous=True)),
    11: ("SQLITE_CORRUPT", _UNUSABLE),
    12: ("SQLITE_NOTFOUND", _UNSUPPORTED),
    13: ("SQLITE_FULL", _OUT),
    14: ("SQLITE_CANTOPEN", _UNUSABLE),
    15: ("SQLITE_PROTOCOL", _BUSY),
    17: ("SQLITE_SCHEMA", _fault(FaultKind.STALE_PLAN, Rerun.TRANSACTION)),
    18: ("SQLITE_TOOBIG", _DATA),
    19: ("SQLITE_CONSTRAINT", _INTEGRITY),
    20: ("SQLITE_MISMATCH", _DATA),
    21: ("SQLITE_MISUSE", _PROGRAMMING),
    22: ("SQLITE_NOLFS", _OUT),
    23: ("SQLITE_AUTH", _PERMISSION),
    24: ("SQLITE_FORMAT", _UNUSABLE),
    25: ("SQLITE_RANGE", _PROGRAMMING),
    26: ("SQLITE_NOTADB", _UNUSABLE),
    # A pending statement met a transaction that another one had rolled back.
    516: ("SQLITE_ABORT_ROLLBACK", _NO_TRANSACTION),
    # Only a new transaction sees what was committed since, however long this one waits.
    517: (
        "SQLITE_BUSY_SNAPSHOT",
        _fault(FaultKind.SERIALIZATION, Rerun.TRANSACTION, Transaction.DOOMED),
    ),
    # Not in WAL mode: there SQLite 3.40 goes on writing to the file that was moved.
    1032: ("SQLITE_READONLY_DBMOVED", _UNUSABLE),
    3082: ("SQLITE_IOERR_NOMEM", _OUT),
    275: ("SQLITE_CONSTRAINT_CHECK", _fault(FaultKind.CHECK)),
    # The commit hook turned the COMMIT into a ROLLBACK.
    531: (
        "SQLITE_CONSTRAINT_COMMITHOOK",
        _fault(FaultKind.INTEGRITY, transaction=Transaction.GONE),
    ),
    787: ("SQLITE_CONSTRAINT_FOREIGNKEY", _fault(FaultKind.FOREIGN_KEY)),
    1299: ("SQLITE_CONSTRAINT_NOTNULL", _fault(FaultKind.NOT_NULL)),
    1555: ("SQLITE_CONSTRAINT_PRIMARYKEY", _UNIQUE),
    1811: ("SQLITE_CONSTRAINT_TRIGGER", _INTEGRITY),
    2067: ("SQLITE_CONSTRAINT_UNIQUE", _UNIQUE),
    2579: ("SQLITE_CONSTRAINT_ROWID", _UNIQUE),
    # A STRICT table; other databases call this invalid data.
    3091: ("SQLITE_CONSTRAINT_DATATYPE", _DATA),
}

# SQLITE_ERROR is one code for many things; SQLite has its texts in no other language.
_BY_TEXT: tuple[tuple[str, Fault], ...] = (
    # What COMMIT, ROLLBACK and RELEASE meet after SQLite has rolled back by itself.
    ("no transaction is active", _NO_TRANSACTION),
    ("no such savepoint", _NO_TRANSACTION),
    ("integer overflow", _DATA),
    ("malformed JSON", _DATA),
)

# Of the module, without a code; aiosqlite raises ValueError, SQLAlchemy makes it OperationalError.
_CLOSED_TEXTS = ("Cannot operate on a closed database", "no active connection", "Connection closed")

_BY_NAME: dict[str, Fault] = {
    "ProgrammingError": _PROGRAMMING,
    "InterfaceError": _PROGRAMMING,
    "DataError": _DATA,
    "IntegrityError": _INTEGRITY,
    "NotSupportedError": _UNSUPPORTED,
    "Error": _OTHER,
}


def classify(error: BaseException) -> Fault | None:
    """The fault behind an error of sqlite3 or aiosqlite.

    A bare ValueError is one only with the words of aiosqlite for a closed connection.
    """
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int):
        return _by_code(code, error)
    text = str(error)
    if text.startswith(_CLOSED_TEXTS):
        return _CLOSED
    names = (cls.__name__ for cls in type(error).__mro__)
    return next((_BY_NAME[name] for name in names if name in _BY_NAME), None)


def _by_code(code: int, error: BaseException) -> Fault:
    name, fault = _BY_CODE.get(code) or _BY_CODE.get(code & 0xFF) or ("", _OTHER)
    told = getattr(error, "sqlite_errorname", None)
    if code not in _BY_CODE and isinstance(told, str) and told.startswith("SQLITE_"):
        name = told
    text = str(error)
    if code == 1:
        fault = next((by_text for words, by_text in _BY_TEXT if words in text), fault)
    return replace(fault, code=name, constraint=_constraint(code, text))


def _constraint(code: int, text: str) -> str | None:
    """What SQLite names: columns ("users.name"), an index of expressions, or a CHECK."""
    if code & 0xFF != 19:
        return None
    _, found, named = text.partition(" constraint failed: ")
    if named.startswith("index '"):
        named = named[7:-1]
    return named if found else None
