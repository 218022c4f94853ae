"""The front door: one logical database, its servers, pools, options and rules."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from . import current
from .attempts import Attempts, Unit
from .configuration import options_from_environment, options_from_toml
from .dialects.drivers import driver_of, family_of, parse_url, url_for
from .engine import Server
from .errors import (
    DatabaseClosed,
    ForeignOwner,
    HermeticError,
    InvalidOption,
    MissingDriver,
    NoScope,
)
from .events import Listener, ScopeInfo, Snapshot
from .explain import explain
from .options import DatabaseOptions, Retry, ScopeOptions
from .owner import describe_current
from .place import Place, caller_frame
from .registry import Registry
from .retry import RetryBudget

_REMEMBERED = 256


class Database:
    """One logical database, for threads and asyncio alike.

    Nothing is connected until the first statement of the first scope. Engines are made when first
    needed, from the same options, for each world with the best driver that is installed.

    :param url: any SQLAlchemy URL. A bare ``postgresql://``, ``mysql://``, ``mariadb://`` or
        ``sqlite://`` takes the best installed driver.
    :param options: the fields of DatabaseOptions, and those of ScopeOptions as defaults of all
        scopes.
    :raises InvalidURL: the URL cannot be used.
    :raises InvalidOption: an option is unknown, or its value outside its limits.
    """

    def __init__(self, url: str | URL, **options: Any) -> None:
        self._start(parse_url(url), DatabaseOptions.build(options, place="Database()"))

    def _start(self, url: URL, options: DatabaseOptions) -> None:
        self.options = options
        self.name = options.name or _name_of(url)
        self.registry = Registry(self.name, family_of(url))
        self.server = Server(url, options, self.registry)
        self.family = self.server.family
        self.retry_budget = RetryBudget(options.retries_per_second, options.retry_burst)
        self._closing = False
        # options that were given before, with what they come to; callers repeat themselves
        self._merges: dict[tuple[Any, ...] | None, ScopeOptions] = {}
        self._check_isolation(options.scope, place="Database()")
        self._plain = Unit(self, options.scope, retry_given=False)

    @classmethod
    def from_env(
        cls, prefix: str = "HERMETIC_", environ: Mapping[str, str] | None = None, **options: Any
    ) -> Self:
        """A Database from environment variables: ``HERMETIC_URL``, ``HERMETIC_POOL_SIZE``, and so
        on.

        Without ``HERMETIC_URL``, ``DATABASE_URL`` is taken. Keywords win over variables.

        :raises InvalidOption: a variable is unknown or wrong; the error names it.
        """
        url, found = options_from_environment(prefix, environ)
        return cls._from(url, found, options, place=f"environment {prefix}*")

    @classmethod
    def from_toml(cls, path: str | Path, table: str = "hermetic", **options: Any) -> Self:
        """A Database from a table of a TOML file: ``url``, and options by their names.

        Dots in ``table`` lead into tables within tables (``"tool.hermetic"``). Keywords win.

        :raises InvalidOption: a key is unknown or wrong; the error names file and table.
        """
        url, found, place = options_from_toml(Path(path), table)
        return cls._from(url, found, options, place=place)

    @classmethod
    def _from(cls, url: str, found: dict[str, Any], given: dict[str, Any], *, place: str) -> Self:
        DatabaseOptions.build(given, place=f"{cls.__name__} keywords")
        options = DatabaseOptions.build({**found, **given}, place=place)
        database = cls.__new__(cls)
        database._start(parse_url(url), options)
        return database

    def __repr__(self) -> str:
        state = "closed" if self.server.closed else "draining" if self._closing else "open"
        url = self.server.url.set(query={}).render_as_string(hide_password=True)
        return f"<Database {self.name!r} {state}, {len(self.registry.scopes)} scopes, {url}>"

    # ------------------------------------------------------------ scopes

    def session(self, **options: Any) -> Unit:
        """A unit of work: ``with``, ``async with``, or a decorator that supplies the session.

        :param options: the fields of ScopeOptions.
        :raises InvalidOption: an option is unknown, or its value outside its limits.
        """
        if not options:
            return self._plain  # a unit may be used many times at once
        merged = self._merged(options, "db.session()")
        return Unit(self, merged, retry_given="retry" in options)

    def attempts(self, **options: Any) -> Attempts:
        """A unit of work as a loop of blocks; ``async for`` and ``async with`` under asyncio::

            for attempt in db.attempts(retry=5):
                with attempt as session: ...

        :param options: the fields of ScopeOptions; ``retry`` defaults to 5 attempts here.
        """
        merged = self._merged(options, "db.attempts()")
        if merged.retry is None and "retry" not in options:
            merged = merged.updated({"retry": Retry()}, place="db.attempts()")
        return Attempts(self, merged, Place(caller_frame()))

    def _merged(self, given: Mapping[str, Any], place: str) -> ScopeOptions:
        if not given:
            return self.options.scope
        key: tuple[Any, ...] | None = (place, *given.items())
        try:
            found = self._merges.get(key)
        except TypeError:  # a value that cannot be hashed
            key = found = None
        if found is None:
            found = self.options.scope.updated(given, place=place)
            self._check_isolation(found, place=place)
            if key is not None and len(self._merges) < _REMEMBERED:
                self._merges[key] = found
        return found

    def _check_isolation(self, options: ScopeOptions, *, place: str) -> None:
        level, known = options.isolation, self.family.isolation_levels
        if level is not None and level not in known:
            levels = ", ".join(sorted(known))
            problem = f"is a level that {self.family.name} lacks; it has {levels}"
            raise InvalidOption("isolation", level.value, problem, place=place)

    @property
    def current(self) -> Any:
        """The session of the innermost scope of this thread or task.

        :raises NoScope: none is open here.
        :raises ForeignOwner: one is, but it belongs to the task or thread that started this one.
        """
        scope = current.open_scope(self.registry)
        if scope is None:
            raise NoScope(
                f"No scope of Database {self.name!r} is open here.",
                hint="Open one with db.session() around this call.",
            )
        if not scope.owner.is_current():
            user = describe_current()
            raise ForeignOwner(
                f"The scope that is open here belongs to {scope.owner}, and {user} asked for its "
                "session.",
                owner=str(scope.owner),
                user=user,
                scope=scope.ref,
                hint="Open a scope of your own there, or hand this one over with session.lend().",
            )
        scope.check_owner()
        return scope.facade

    # ------------------------------------------------------------ engines

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine for threads, the writer's; for migrations and ``create_all``."""
        return self.server.engine(reader=False)

    @property
    def async_engine(self) -> AsyncEngine:
        """SQLAlchemy's engine for the running event loop, the writer's."""
        return self.server.async_engine(reader=False)

    def driver(self, *, asynchronous: bool = False) -> str | None:
        """The name of the driver that a world uses, or ``None`` when none is installed for it."""
        try:
            return driver_of(url_for(self.server.url, asynchronous=asynchronous))
        except (MissingDriver, HermeticError):
            return None

    # ------------------------------------------------------------ what is seen

    def snapshot(self) -> Snapshot:
        """Every open scope, connection and pool: who holds what, since when, opened where."""
        return self.registry.snapshot()

    def explain(self) -> str:
        """Every setting in force, by name, without secrets."""
        return explain(self.server, self.options, self.name)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have a function called with every event; returns what takes it off again.

        It is called in the thread or task in which the event happened, under no lock; what it
        raises is logged and changes nothing.
        """
        registry = self.registry
        registry.listeners = (*registry.listeners, listener)

        def stop() -> None:
            registry.listeners = tuple(
                known for known in registry.listeners if known is not listener
            )

        return stop

    # ------------------------------------------------------------ the end

    def check_open(self) -> None:
        """:raises DatabaseClosed: it takes no new scopes."""
        if self._closing or self.server.closed:
            state = "closed" if self.server.closed else "draining"
            raise DatabaseClosed(
                f"Database {self.name!r} is {state} and takes no new scopes.",
                hint="Make a new Database.",
            )

    def check_not_closed(self) -> None:
        """:raises DatabaseClosed: it takes no scopes at all, also none inside an open one."""
        if self.server.closed:
            self.check_open()

    def close(self) -> None:
        """Close every connection of threads, and cut those of event loops that no longer run.

        :raises HermeticError: an event loop still uses it; there, ``await db.aclose()``.
        """
        if self.server.async_in_use():
            raise HermeticError(
                f"Database {self.name!r} has connections in a running event loop.",
                hint="Use 'await db.aclose()' there.",
            )
        self._closing = True
        self.server.close()

    async def aclose(self) -> None:
        """Close everything, the running event loop's connections in good order."""
        self._closing = True
        await self.server.aclose()

    def drain(self, timeout: float = 30.0) -> tuple[ScopeInfo, ...]:
        """Take no new scopes, wait for the open ones, and close.

        :param timeout: seconds to wait.
        :return: who was still inside when the time was over; their connections are cut.
        """
        self._closing = True
        empty = threading.Event()
        self.registry.on_empty.append(empty.set)
        if self.registry.scopes:
            empty.wait(timeout)
        inside = self.registry.snapshot().scopes
        self.server.close()
        self._cut(inside)
        return inside

    async def adrain(self, timeout: float = 30.0) -> tuple[ScopeInfo, ...]:
        """As ``drain``, under asyncio."""
        self._closing = True
        empty = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell() -> None:
            loop.call_soon_threadsafe(empty.set)

        self.registry.on_empty.append(tell)
        if self.registry.scopes:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await empty.wait()
        inside = self.registry.snapshot().scopes
        self._cut(inside)
        await self.server.aclose()
        return inside

    def _cut(self, inside: tuple[ScopeInfo, ...]) -> None:
        closed = DatabaseClosed(f"Database {self.name!r} was drained and did not wait any longer.")
        for scope in list(self.registry.scopes.values()):
            scope.boundary.doom(closed)
        for info in inside:
            connection = self.registry.connections.get(info.connection or 0)
            if connection is not None and connection.break_off is not None:
                connection.break_off()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _name_of(url: URL) -> str:
    database = url.database or url.get_backend_name()
    return database.rpartition("/")[2][-63:] or url.get_backend_name()
