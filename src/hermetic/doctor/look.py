"""A connection that only looks: nothing is set up on it, and every question is asked by itself in a
transaction that cannot write.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy import exc as sa_exc
from sqlalchemy.pool import NullPool

from ..credentials import Credentials
from ..dialects.drivers import driver_of, url_for
from ..engine import Server
from ..redaction import is_secret, without_secrets
from ..watchdog import watchdog

# of the application's own engine, what says how to reach the server
_REACHING = ("creator", "module")


@contextmanager
def connected(
    server: Server, until: float, tame: Callable[[Any], None] = lambda dbapi: None
) -> Iterator[Connection]:
    """A connection that is made as those of the Database are, and left as the server gives it.

    :param until: monotonic seconds; its socket is shut then.
    :param tame: what a driver's new connection is told, before anything is sent on it.
    """
    engine = _engine(server, until)
    family, driver = server.family, driver_of(engine.url)
    alarms = []

    def watch(dbapi: Any, _: Any) -> None:
        break_off = family.breaker(dbapi, driver)
        if break_off is not None:
            alarms.append(watchdog.arm(until, break_off))
        tame(dbapi)

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
    url = url_for(server.url, asynchronous=False)
    driver = driver_of(url)
    settings = family.engine_settings(url, driver, options, reader=False, asynchronous=False)
    bare, secrets = without_secrets(url)
    reaching = {
        name: options.engine_options[name] for name in _REACHING if name in options.engine_options
    }
    engine = create_engine(
        bare,
        poolclass=NullPool,
        connect_args={**secrets, **settings.connect_args, **options.connect_args},
        hide_parameters=True,
        **reaching,
    )
    dialect: Any = engine.dialect
    plain = dialect.connect
    dialect.connect = lambda *args, **kwargs: family.connect(plain, driver, args, kwargs)
    if options.credentials is not None:
        dialect.connect = Credentials(
            options.credentials, family.name, dialect.connect, asynchronous=False
        ).connect

    def bound(_dialect: Any, _record: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        family.connect_timeout(driver, kwargs, max(0.001, until - time.monotonic()))

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

    def row(self, what: str, question: str) -> Any:
        """The first row, or ``None``."""
        found = self.rows(what, question)
        return found[0] if found else None

    def refuse(self, what: str, why: str) -> None:
        """Note what was not looked at."""
        self.refused.append((what, why))


def reason(error: BaseException, secrets: Sequence[str]) -> str:
    """What an error says, in a line, where it has none of the secrets in it."""
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
