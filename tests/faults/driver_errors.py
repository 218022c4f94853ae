"""Errors as the drivers make them from a server's answer."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import asyncmy.errors
import asyncpg
import psycopg
import pymysql.err
from psycopg.pq import DiagnosticField
from sqlalchemy.dialects.postgresql.asyncpg import (
    AsyncAdapt_asyncpg_connection,
    AsyncAdapt_asyncpg_dbapi,
)

from hermetic.release import IS_2_0

_ASYNCPG_DBAPI: Final[Any] = AsyncAdapt_asyncpg_dbapi(asyncpg)  # type: ignore[no-untyped-call]


def raised(raising: Callable[[], object]) -> BaseException:
    """What a call raises."""
    try:
        raising()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def psycopg_error(
    state: str,
    message: str = "",
    *,
    severity: str = "ERROR",
    constraint: str | None = None,
    function: str | None = None,
) -> BaseException:
    info: dict[int, bytes | None] = {
        DiagnosticField.SQLSTATE: state.encode(),
        DiagnosticField.SEVERITY_NONLOCALIZED: severity.encode(),
        # a server that speaks German
        DiagnosticField.SEVERITY: b"FEHLER",
    }
    if constraint is not None:
        info[DiagnosticField.CONSTRAINT_NAME] = constraint.encode()
    if function is not None:
        info[DiagnosticField.SOURCE_FUNCTION] = function.encode()
    try:
        cls = psycopg.errors.lookup(state)
    except KeyError:
        cls = psycopg.DatabaseError
    return cls(message, info=info)


def asyncpg_error(
    state: str,
    message: str = "",
    *,
    severity: str = "ERROR",
    constraint: str | None = None,
    function: str | None = None,
) -> BaseException:
    fields = {"S": "FEHLER", "V": severity, "C": state, "M": message}
    if constraint is not None:
        fields["n"] = constraint
    if function is not None:
        fields["R"] = function
    error = asyncpg.PostgresError.new(fields)
    assert isinstance(error, BaseException)
    return error


def adapted(error: BaseException) -> BaseException:
    """What SQLAlchemy's dialect makes of an error of asyncpg."""

    def adapt() -> object:
        connection: Any = AsyncAdapt_asyncpg_connection
        if not IS_2_0:
            return connection._handle_exception_no_connection(_ASYNCPG_DBAPI, error)
        # there it is a method of a connection, which this one is as far as is asked for
        closed = SimpleNamespace(is_closed=lambda: False)
        made = SimpleNamespace(_connection=closed, dbapi=_ASYNCPG_DBAPI)
        return connection._handle_exception(made, error)

    return raised(adapt)


def _packet(errno: int, message: str, state: str) -> bytes:
    return b"\xff" + struct.pack("<h", errno) + b"#" + state.encode() + message.encode()


def pymysql_error(errno: int, message: str = "", state: str = "HY000") -> BaseException:
    return raised(lambda: pymysql.err.raise_mysql_exception(_packet(errno, message, state)))


def asyncmy_error(errno: int, message: str = "", state: str = "HY000") -> BaseException:
    raise_exception: Any = asyncmy.errors.raise_mysql_exception
    return raised(lambda: raise_exception(_packet(errno, message, state)))


def mysqlclient_class(name: str) -> type[Exception]:
    """A stand-in: mysqlclient compiles against a library that is not there everywhere."""
    namespace = {"__module__": "MySQLdb._exceptions"}
    base = type("MySQLError", (Exception,), namespace)
    return type(name, (type("Error", (base,), namespace),), namespace)


def mysqlclient_error(errno: int, message: str = "", state: str = "") -> BaseException:
    return mysqlclient_class("OperationalError")(errno, message)


def sqlite_error(code: int, name: str, message: str = "") -> BaseException:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    error.sqlite_errorname = name
    return error


POSTGRESQL: Final[tuple[Callable[..., BaseException], ...]] = (
    psycopg_error,
    asyncpg_error,
    lambda *args, **kw: adapted(asyncpg_error(*args, **kw)),
)
MYSQL: Final[tuple[Callable[..., BaseException], ...]] = (
    pymysql_error,
    asyncmy_error,
    mysqlclient_error,
)
