"""Which fault is behind an exception, whatever it was wrapped in.

No driver is imported: an exception is known by the module that its class comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

from sqlalchemy import exc as sa_exc

from ..errors import CommitUnknown, DeadlineExceeded, FaultError
from ..faults import Fault, FaultKind, Rerun, Transaction, Wire
from . import mysql_faults, postgresql_faults, sqlite_faults

__all__ = ["classify"]

Classifier: TypeAlias = Callable[[BaseException], Fault | None]

# A new database: its file, and a line in each of these.
_BY_FAMILY: dict[str, Classifier] = {
    "postgresql": postgresql_faults.classify,
    "cockroachdb": postgresql_faults.classify,
    "mysql": mysql_faults.classify,
    "mariadb": mysql_faults.classify,
    "sqlite": sqlite_faults.classify,
}
_BY_MODULE: dict[str, Classifier] = {
    "psycopg": postgresql_faults.classify,
    "asyncpg": postgresql_faults.classify,
    "sqlalchemy.dialects.postgresql.asyncpg": postgresql_faults.classify,
    "pymysql": mysql_faults.classify,
    "MySQLdb": mysql_faults.classify,
    "asyncmy": mysql_faults.classify,
    "sqlite3": sqlite_faults.classify,
    "aiosqlite": sqlite_faults.classify,
}


def classify(error: BaseException, *, family: str | None = None) -> Fault | None:
    """The fault behind ``error``, or ``None`` where no database has a part in it.

    What an exception wraps, was raised from, or was raised in the handling of counts too, unless
    ``raise … from None`` disowned it. Of an exception group, the first fault if a re-run mends
    every leaf; else the first that it does not mend; else, with a leaf that is no fault, ``None``.

    Cancellation, KeyboardInterrupt and SystemExit are nobody's fault, whatever they interrupted;
    nor are CommitUnknown and DeadlineExceeded, whatever caused them: a re-run does not mend those.

    :param family: name it where ``error`` came out of a driver of that family. Only then are the
        exceptions that drivers let through (OSError, TimeoutError, EOFError, aiosqlite's
        ValueError) taken for the database's; raised by anything else, they are the application's.
    """
    return _of_chain(error, family, frozenset())


def _of_chain(
    error: BaseException | None, family: str | None, seen: frozenset[int]
) -> Fault | None:
    while isinstance(error, (Exception, BaseExceptionGroup)) and id(error) not in seen:
        if isinstance(error, (CommitUnknown, DeadlineExceeded)):
            return None
        seen |= {id(error)}
        if isinstance(error, BaseExceptionGroup):
            return _of_group(error, family, seen)
        fault = _of_one(error, family)
        if fault is not None:
            return fault
        # what led to the driver's error need not have come out of the driver
        family = None
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def _of_group(
    group: BaseExceptionGroup[BaseException], family: str | None, seen: frozenset[int]
) -> Fault | None:
    # a leaf that was raised out of its own group has the group as its context: hence `seen`
    faults = [_of_chain(leaf, family, seen) for leaf in group.exceptions]
    lasting = next((fault for fault in faults if fault is not None and not fault.retryable), None)
    if lasting is not None or None in faults:
        return lasting
    return faults[0]


def _of_one(error: BaseException, family: str | None) -> Fault | None:
    if isinstance(error, FaultError):
        known = getattr(error, "fault", None)
        return known if isinstance(known, Fault) else None
    if isinstance(error, sa_exc.StatementError):
        return _of_statement_error(error, family)
    known_classifier = _classifier_of(type(error))
    if known_classifier is not None:
        fault = known_classifier(error)
    elif family is not None and _came_through_driver(error):
        fault = _BY_FAMILY[family](error) if family in _BY_FAMILY else None
    else:
        return None
    return _while_connecting(fault, error) if fault is not None else None


def _of_statement_error(error: sa_exc.StatementError, family: str | None) -> Fault | None:
    if error.orig is None:
        return None
    if family is None and isinstance(error, sa_exc.DBAPIError):
        # of a driver for certain; asyncpg is the one that lets the system's errors through
        family = "postgresql"
    fault = _of_one(error.orig, family)
    closed = isinstance(error, sa_exc.DBAPIError) and error.connection_invalidated
    if fault is not None and closed and fault.wire is Wire.USABLE:
        return replace(fault, wire=Wire.DEAD, transaction=Transaction.GONE)
    return fault


def _classifier_of(cls: type[BaseException]) -> Classifier | None:
    for base in cls.__mro__:
        classifier = _by_module(base.__module__)
        if classifier is not None:
            return classifier
    return None


def _by_module(module: str) -> Classifier | None:
    while module:
        if module in _BY_MODULE:
            return _BY_MODULE[module]
        module = module.rpartition(".")[0]
    return None


def _frames(error: BaseException) -> Iterator[tuple[str, str]]:
    step = error.__traceback__
    while step is not None:
        yield str(step.tb_frame.f_globals.get("__name__", "")), step.tb_frame.f_code.co_name
        step = step.tb_next


def _is_connect(module: str, function: str) -> bool:
    """SQLAlchemy's pool makes a connection, and sets it up, in this one function."""
    return module == "sqlalchemy.pool.base" and function == "__connect"


def _came_through_driver(error: BaseException) -> bool:
    """Not so: the OSError of a type that reads a file while it converts a parameter."""
    if error.__traceback__ is None:
        return True
    return any(
        _by_module(module) is not None or _is_connect(module, function)
        for module, function in _frames(error)
    )


def _while_connecting(fault: Fault, error: BaseException) -> Fault:
    """A connection that breaks while it is made was never there; no code tells it apart."""
    lost = fault.kind is FaultKind.CONNECTION_LOST and fault.retryable
    late = fault.kind is FaultKind.STATEMENT_TIMEOUT and not fault.code
    if not (lost or late) or not any(_is_connect(*frame) for frame in _frames(error)):
        return fault
    return replace(
        fault, kind=FaultKind.CANNOT_CONNECT, rerun=Rerun.CONNECT, ambiguous_at_commit=False
    )
