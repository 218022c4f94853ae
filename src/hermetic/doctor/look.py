"""A connection that only looks: nothing is set up on it, and every question is asked by itself in a
transaction that cannot write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy import exc as sa_exc
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from ..clock import monotonic
from ..credentials import Credentials
from ..dialects.drivers import driver_of, url_for
from ..engine import Server
from ..errors import HermeticError
from ..redaction import is_secret, without_secrets
from ..watchdog import watchdog

# of the application's own engine, what says how to reach the server
_REACHING = ("creator", "async_creator", "module")
# whose text may be shown
_TELLING = (sa_exc.SQLAlchemyError, HermeticError, OSError, ImportError)
# a pooler that nobody was told of may be there: without a name a statement meets no other's
_UNPREPARED: dict[str, dict[str, Any]] = {
    "asyncpg": {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": str,
    }
}


def takes_asyncio(server: Server) -> bool:
    """Whether a server is reached by asyncio: by the driver that the URL names, or for want of
    another. It is looked at on SQLAlchemy's bridge then.
    """
    threads, asyncio = taken(server)
    if threads is None:
        return asyncio is not None
    # SQLAlchemy also takes psycopg_async, for psycopg in its asyncio form
    named = server.url.drivername.partition("+")[2].removesuffix("_async")
    return named != threads and named == asyncio


def taken(server: Server) -> tuple[str | None, str | None]:
    """The driver of threads and that of asyncio, where there is one."""
    found: list[str | None] = []
    for asynchronous in (False, True):
        try:
            found.append(driver_of(url_for(server.url, asynchronous=asynchronous)))
        except HermeticError:
            found.append(None)
    return found[0], found[1]


@contextmanager
def connected(
    server: Server, until: float, tame: Callable[[Any, Any], None] = lambda dialect, dbapi: None
) -> Iterator[Connection]:
    """A connection that is made as those of the Database are, and left as the server gives it.

    :param until: monotonic seconds; its socket is shut then.
    :param tame: gets the dialect and a driver's new connection, before anything is sent on that.
    """
    engine = _engine(server, until)
    family, driver = server.family, driver_of(engine.url)
    alarms = []

    def watch(dbapi: Any, _: Any) -> None:
        break_off = family.breaker(dbapi, driver)
        if break_off is not None:
            alarms.append(watchdog.arm(until, break_off))
        tame(engine.dialect, dbapi)

    # before SQLAlchemy's own first look at the server
    event.listen(engine, "connect", watch, insert=True)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        for alarm in alarms:
            alarm.cancel()
        engine.dispose()


def _engine(server: Server, until: float) -> Engine:
    options, family = server.options, server.family
    asynchronous = takes_asyncio(server)
    url = url_for(server.url, asynchronous=asynchronous)
    driver = driver_of(url)
    settings = family.engine_settings(url, driver, options, reader=False, asynchronous=asynchronous)
    bare, secrets = without_secrets(url)
    reaching = {
        name: options.engine_options[name] for name in _REACHING if name in options.engine_options
    }
    make: Any = create_async_engine if asynchronous else create_engine
    told = {**_UNPREPARED.get(driver, {}), **secrets, **settings.connect_args}
    made = make(
        bare,
        poolclass=NullPool,
        connect_args={**told, **options.connect_args},
        hide_parameters=True,
        **reaching,
    )
    engine: Engine = made.sync_engine if asynchronous else made
    dialect: Any = engine.dialect
    plain = dialect.connect
    dialect.connect = lambda *args, **kwargs: family.connect(plain, driver, args, kwargs)
    if options.credentials is not None:
        dialect.connect = Credentials(
            options.credentials, family.name, dialect.connect, asynchronous=asynchronous
        ).connect

    def bound(_dialect: Any, _record: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        family.connect_timeout(driver, kwargs, max(0.001, until - monotonic()))

    event.listen(engine, "do_connect", bound)
    return engine


class Look:
    """Asks questions one by one, and keeps those that were refused, with the reasons.

    :param begins: what begins a transaction that cannot write, where the driver does not.
    """

    def __init__(self, connection: Connection, secrets: Sequence[str], *begins: str) -> None:
        self.connection = connection
        self.refused: list[tuple[str, str]] = []
        self._secrets = secrets
        self._begins = begins

    def rows(self, what: str, question: str) -> list[Any] | None:
        """What the server answers; ``None`` where it may not tell this user.

        :param what: what was asked for, in words.
        :raises sqlalchemy.exc.DBAPIError: the connection is lost.
        """
        try:
            with self.connection.begin() as transaction:
                for statement in self._begins:
                    self.connection.exec_driver_sql(statement)
                found = list(self.connection.exec_driver_sql(question))
                transaction.rollback()
        except sa_exc.DBAPIError as error:
            if error.connection_invalidated or self.connection.closed:
                raise
            self.refuse(what, reason(error, self._secrets))
            return None
        return found

    def needed(self, what: str, question: str) -> Any:
        """The first row of an answer without which nothing else makes sense.

        :raises HermeticError: it was refused.
        """
        found = self.rows(what, question)
        if not found:
            raise HermeticError(f"The server does not tell of {what}: {self.refused[-1][1]}")
        return found[0]

    def row(self, what: str, question: str) -> Any:
        """The first row, or ``None``."""
        found = self.rows(what, question)
        return found[0] if found else None

    def refuse(self, what: str, why: str) -> None:
        """Note what was not looked at."""
        self.refused.append((what, why))


def reason(error: BaseException, secrets: Sequence[str]) -> str:
    """What an error says, in a line, where it has none of the secrets in it. Of one that is neither
    a driver's nor hermetic's, as of a function that gives credentials, its class has to do.
    """
    if not isinstance(error, _TELLING):
        return type(error).__name__
    inner: BaseException = getattr(error, "orig", None) or error
    # those of MariaDB's drivers are a number and a text
    arguments: tuple[object, ...] = inner.args
    said = str(arguments[-1] if len(arguments) > 1 else inner).strip()
    line = re.sub(r"\s+", " ", said.partition("\n")[0])
    name = type(inner).__name__
    if not line or any(secret in said for secret in secrets):
        return name
    return f"{name}: {line}"


def secrets_of(server: Server) -> tuple[str, ...]:
    """Everything that may not be shown of how a server is connected to."""
    found = [server.url.password, *_inside(server.url.query), *_inside(server.options.connect_args)]
    return tuple({str(each) for each in found if each})


def _inside(mapping: Any) -> Iterator[Any]:
    for name, value in mapping.items():
        if is_secret(name):
            yield value
