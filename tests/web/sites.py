"""A small FastAPI application in either world, and clients for it."""

import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import httpx
import uvicorn
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Response
from sqlalchemy import text

from hermetic import AsyncSession, Database, RetryRequested, Session
from hermetic.integrations.fastapi import Sessions, retried
from tests.models import User
from tests.servers.process import wait_until
from tests.worlds import PATIENCE, World


class Left(Exception):
    """An exception that the application answers with a redirect."""


class Shop:
    """Endpoints that write a user and then do something; all in one world."""

    def __init__(self, database: Database, *, is_async: bool, **options: Any) -> None:
        self.database = database
        self.sessions = Sessions(database, **options)
        self.app = FastAPI()
        self.sessions.install(self.app)
        # what endpoints and background tasks have done, in order
        self.done: list[Any] = []
        # how often an endpoint that is safe to be run again still fails
        self.stumbles = 0
        self.app.exception_handler(Left)(_redirected)
        (self._async_endpoints if is_async else self._sync_endpoints)(self.app)

    def _sync_endpoints(self, app: FastAPI) -> None:
        Given = Annotated[Session, Depends(self.sessions.session)]  # noqa: N806

        def count(session: Given) -> int:
            return int(session.scalar("SELECT count(*) FROM users") or 0)

        @app.post("/users/{name}")
        def create(
            name: str,
            session: Given,
            before: Annotated[int, Depends(count)],
            behind: BackgroundTasks,
            then: str = "",
        ) -> Any:
            session.add(User(username=name))
            behind.add_task(self.done.append, name)
            assert self.database.current is session
            return _then(then, session.flush) or {"before": before, "after": count(session)}

        @app.post("/again/{name}")
        @retried(3)
        def again(name: str, session: Given, body: dict[str, Any]) -> Any:
            self.done.append(body)
            session.add(User(username=name))
            session.flush()
            self._stumble()
            return {"runs": len(self.done)}

    def _stumble(self) -> None:
        if self.stumbles:
            self.stumbles -= 1
            raise RetryRequested

    def _async_endpoints(self, app: FastAPI) -> None:
        Given = Annotated[AsyncSession, Depends(self.sessions.asession)]  # noqa: N806

        async def count(session: Given) -> int:
            return int(await session.scalar("SELECT count(*) FROM users") or 0)

        @app.post("/users/{name}")
        async def create(
            name: str,
            session: Given,
            before: Annotated[int, Depends(count)],
            behind: BackgroundTasks,
            then: str = "",
        ) -> Any:
            session.add(User(username=name))
            behind.add_task(self.done.append, name)
            assert self.database.current is session
            await session.flush()
            return _then(then, lambda: None) or {"before": before, "after": await count(session)}

        @app.post("/again/{name}")
        @retried(3)
        async def again(name: str, session: Given, body: dict[str, Any]) -> Any:
            self.done.append(body)
            session.add(User(username=name))
            await session.flush()
            self._stumble()
            return {"runs": len(self.done)}


def _then(what: str, flush: Callable[[], None]) -> Any:
    """How an endpoint goes on that has written."""
    flush()
    if what.isdigit():
        return Response(status_code=int(what))
    if what == "redirect":
        raise HTTPException(302, headers={"location": "/"})
    if what == "leave":
        raise Left
    if what == "fail":
        raise ValueError("a mistake of the program")
    return None


async def _redirected(request: Any, error: Exception) -> Response:
    return Response(status_code=303)


@contextlib.asynccontextmanager
async def client_of(
    app: Any, *databases: Database, raising: bool = False
) -> AsyncIterator[httpx.AsyncClient]:
    """A client in this process and loop; the Databases are closed with it."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=raising)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            yield client
    finally:
        for database in databases:
            await database.aclose()


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """A real server, in a thread, on a port of its own; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", ws="none", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        assert wait_until(lambda: server.started, PATIENCE)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listener.close()
        assert not thread.is_alive()


def usernames(world: World) -> list[str]:
    with world.observer.connect() as connection:
        return list(connection.scalars(text("SELECT username FROM users ORDER BY username")))
