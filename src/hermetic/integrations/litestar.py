"""Litestar: the session of a request as a dependency, by a plugin."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm.exc import StaleDataError

from ..async_session import AsyncSession
from ..errors import ConfigurationError, HermeticError, MissingDriver
from ..session import Session
from .asgi import RequestUnits, request_unit, retried
from .settings import WebOptions

try:
    from litestar import Request, Response
    from litestar.di import Provide
    from litestar.exceptions.responses import create_exception_response
    from litestar.middleware import DefineMiddleware
    from litestar.plugins import InitPlugin
    from litestar.types import Scope
except ImportError as missing:
    raise MissingDriver("Litestar is not installed.", extra="litestar") from missing

if TYPE_CHECKING:
    from litestar.config.app import AppConfig

    from ..database import Database

__all__ = ["Sessions", "retried"]


class Sessions(InitPlugin):
    """The sessions of a Database's requests: ``session`` in ``async def`` handlers, and
    ``thread_session`` in those that run in threads::

        app = Litestar([create], plugins=[Sessions(db)])

        @post("/users/{name:str}")
        async def create(name: str, session: AsyncSession) -> None: ...

    :param name: what the dependency for asyncio is called.
    :param thread_name: what the one for threads is called.
    :param options: the fields of WebOptions and ScopeOptions.
    :raises InvalidOption: an option is unknown, or its value outside its limits.
    """

    def __init__(
        self,
        database: Database,
        *,
        name: str = "session",
        thread_name: str = "thread_session",
        **options: Any,
    ) -> None:
        self.database = database
        self._names = name, thread_name
        # handlers run in asyncio's own threads
        threads = min(32, (os.cpu_count() or 1) + 4) - 1
        self._options = {"threads": threads, **options}
        self._web = WebOptions.build(self._options)

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """As Litestar calls it."""
        units: Any = RequestUnits  # Litestar's type for one knows no further keywords
        more: dict[str, Any] = {
            "database": self.database,
            "respond": self._by_handlers,
            **self._options,
        }
        middleware = DefineMiddleware(units, **more)
        # the last one is next to the handler
        app_config.middleware.append(middleware)
        for kind in (HermeticError, StaleDataError):
            app_config.exception_handlers.setdefault(kind, self._answer)
        name, thread_name = self._names
        app_config.dependencies[name] = Provide(self.asession)
        app_config.dependencies[thread_name] = Provide(self.session)
        app_config.signature_namespace.update({"AsyncSession": AsyncSession, "Session": Session})
        return app_config

    async def asession(self, scope: Scope) -> AsyncIterator[AsyncSession]:
        """Dependency: the request's session, for ``async def`` handlers."""
        unit = request_unit(scope, self.database)  # type: ignore[arg-type]
        with unit.watching():
            yield await unit.asession()

    async def session(self, scope: Scope) -> AsyncIterator[Session]:
        """Dependency: the request's session, for handlers that run in threads."""
        unit = request_unit(scope, self.database)  # type: ignore[arg-type]
        with unit.watching():
            yield await unit.session()

    async def _by_handlers(self, scope: Any, receive: Any, send: Any, error: BaseException) -> bool:
        """Has the handlers of the route, or of what is around it, answer for a failed commit."""
        route = scope.get("route_handler")
        if route is None:
            return False
        known: Any = route.resolve_exception_handlers()
        kinds = [kind for kind in type(error).__mro__ if kind in known]
        handler: Any = known[kinds[0]] if kinds else known.get(500)
        if handler is None or handler == self._answer:
            return False  # what there is without them is the same, and is logged
        request: Any = scope["litestar_app"].request_class(scope=scope, receive=receive, send=send)
        response = handler(request, error)
        encoders = route.resolve_type_encoders()
        answered = response.to_asgi_response(app=None, request=request, type_encoders=encoders)
        await answered(scope, receive, send)
        return True

    def _answer(self, request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        try:
            unit = request_unit(request.scope, self.database)  # type: ignore[arg-type]
        except ConfigurationError:
            answer = self._web.answer(error)  # it came from further out
        else:
            answer = unit.answer(error)
        if answer is None:
            return create_exception_response(request, error)
        given = dict(answer.headers)
        kind = given.pop("content-type")
        return Response(answer.body, status_code=answer.status, headers=given, media_type=kind)
