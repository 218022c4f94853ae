"""FastAPI: the session of a request as a dependency, shared by all that ask for it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from ..async_session import AsyncSession
from ..errors import ConfigurationError, MissingDriver
from ..options import ScopeOptions
from ..session import Session
from .asgi import RequestUnit, RequestUnits, Respond, request_unit, retried
from .settings import WebOptions

try:
    from fastapi import FastAPI
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.requests import HTTPConnection, Request
except ImportError as missing:
    raise MissingDriver("FastAPI is not installed.", extra="fastapi") from missing

if TYPE_CHECKING:
    from ..database import Database

__all__ = ["Sessions", "retried"]


class Sessions:
    """The sessions of a Database's requests, as dependencies::

        sessions = Sessions(db)
        app = FastAPI()
        sessions.install(app)

        @app.post("/users")
        async def create(session: Annotated[AsyncSession, Depends(sessions.asession)]): ...

    Every dependency and endpoint of a request shares one session and one transaction. It commits
    before the response leaves, and rolls back where an exception left the endpoint or a dependency,
    also one that is answered, or the response's status is 400 or more.

    :param options: the fields of WebOptions and ScopeOptions.
    :raises InvalidOption: an option is unknown, or its value outside its limits.
    """

    def __init__(self, database: Database, **options: Any) -> None:
        self.database = database
        WebOptions.build(options)  # what is wrong is said here, not at the first request
        self._options = options

    def install(self, app: FastAPI) -> None:
        """Put the middleware next to the application, inside of all other middleware.

        Its exception handlers are asked for an answer where a commit has failed.

        :raises ConfigurationError: the application runs already.
        """
        if app.middleware_stack is not None:
            raise ConfigurationError(
                "The application has started, and takes no middleware any more.",
                hint="Call install() where the application is made.",
            )
        more: Any = {"database": self.database, "respond": _by_handlers(app), **self._options}
        middleware: Any = RequestUnits  # Starlette's type for one knows no further keywords
        app.user_middleware.append(Middleware(middleware, **more))

    async def unit(self, connection: HTTPConnection) -> AsyncIterator[RequestUnit]:
        """Dependency: the request's unit of work itself."""
        unit = request_unit(connection.scope, self.database)
        with unit.watching():
            yield unit

    async def asession(self, connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
        """Dependency: the request's session, for ``async def`` endpoints."""
        unit = request_unit(connection.scope, self.database)
        with unit.watching():
            yield await unit.asession()

    async def session(self, connection: HTTPConnection) -> AsyncIterator[Session]:
        """Dependency: the request's session, for ``def`` endpoints, which run in threads."""
        unit = request_unit(connection.scope, self.database)
        with unit.watching():
            yield await unit.session()

    def asession_with(self, **options: Any) -> Callable[..., AsyncIterator[AsyncSession]]:
        """``asession`` with options of the scope: ``Depends(sessions.asession_with(…))``.

        Where the request has a session already they are demands, which that has to meet.

        :raises InvalidOption: an option is unknown, or its value outside its limits.
        """
        ScopeOptions().updated(options, place="asession_with()")

        async def asession(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
            unit = request_unit(connection.scope, self.database)
            with unit.watching():
                yield await unit.asession(**options)

        return asession

    def session_with(self, **options: Any) -> Callable[..., AsyncIterator[Session]]:
        """``session`` with options of the scope, as ``asession_with``."""
        ScopeOptions().updated(options, place="session_with()")

        async def session(connection: HTTPConnection) -> AsyncIterator[Session]:
            unit = request_unit(connection.scope, self.database)
            with unit.watching():
                yield await unit.session(**options)

        return session


def _by_handlers(app: FastAPI) -> Respond:
    """Has an application's own exception handlers answer a request whose commit has failed."""

    async def respond(scope: Any, receive: Any, send: Any, error: BaseException) -> bool:
        # a mounted application's, where that was to answer
        handler = _handler_of(scope.get("app"), error) or _handler_of(app, error)
        if handler is None:
            return False
        request: Any = Request(scope, receive)
        if inspect.iscoroutinefunction(handler):
            response: Any = await handler(request, error)
        else:
            response = await run_in_threadpool(handler, request, error)
        if response is None:
            return False
        await response(scope, receive, send)
        return True

    return respond


def _handler_of(app: Any, error: BaseException) -> Any:
    """An application's handler of an error's class."""
    handlers = getattr(app, "exception_handlers", {})
    # that of Exception is the outermost middleware's, for what nobody else has answered
    kinds = (kind for kind in type(error).__mro__ if kind is not Exception)
    return next((handlers[kind] for kind in kinds if kind in handlers), None)
