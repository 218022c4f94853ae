"""What a request receives while it is watched: its body, the client's end, and its own turn."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, Request
from sqlalchemy import text
from starlette.middleware.base import BaseHTTPMiddleware

from hermetic import AsyncSession, RetryRequested, ScopeRefused, Session
from hermetic.integrations.asgi import RequestUnits, request_unit
from tests.behaviour.aftermath import lent, on
from tests.models import User
from tests.web.conftest import Site
from tests.web.sites import served, usernames
from tests.worlds import PATIENCE

on_aiosqlite = on(lambda backend: backend.name == "aiosqlite")
on_sqlite = on(lambda backend: backend.name == "sqlite")

START = {"type": "http.response.start", "status": 200, "headers": []}
EMPTY = {"type": "http.request", "body": b"", "more_body": False}


class Client:
    """One that a server would have: it sends its body, and is gone when it is told to be."""

    def __init__(self, *body: Any) -> None:
        self.body = list(body)
        self.gone = asyncio.Event()
        self.told_gone = asyncio.Event()
        self.told: list[Any] = []

    async def receive(self) -> Any:
        if self.body:
            await asyncio.sleep(0)  # it comes a little later
            return self.body.pop(0)
        await self.gone.wait()
        self.told_gone.set()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.told.append(message.get("status"))

    async def ask(self, app: Any, **scope: Any) -> None:
        given = {"type": "http", "method": "GET", "path": "/", "headers": [], **scope}
        async with asyncio.timeout(PATIENCE):
            await app(given, self.receive, self.send)


@contextlib.asynccontextmanager
async def units_of(site: Site, app: Any, **options: Any) -> AsyncIterator[RequestUnits]:
    """An application with its middleware; its Database is closed with it."""
    database = site.world.database()
    try:
        yield RequestUnits(app, database, **options)
    finally:
        await database.aclose()


@on_aiosqlite
async def test_a_body_is_received_after_the_session(site: Site) -> None:
    shop = site.shop(drain=5.0)

    @shop.app.api_route("/body", methods=["GET", "POST", "DELETE"])
    async def body(
        request: Request, session: Annotated[AsyncSession, Depends(shop.sessions.asession)]
    ) -> int:
        return len(await request.body())

    with served(shop.app) as url:
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
            for method, sent in (("GET", b""), ("DELETE", b""), ("POST", b"abc")):
                answer = await client.request(method, "/body", content=sent)
                assert (method, answer.json()) == (method, len(sent))


@pytest.mark.parametrize("pieces", [[b"ab"], [b"a", b"b"]])
@on_aiosqlite
async def test_a_body_of_unknown_length_may_come_late(site: Site, pieces: list[bytes]) -> None:
    received: list[bytes] = []

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        await request_unit(scope).asession()
        while len(received) < len(pieces):
            received.append((await receive())["body"])
        await send(START)

    last = len(pieces) - 1
    body = [{**EMPTY, "body": each, "more_body": at < last} for at, each in enumerate(pieces)]
    client = Client(*body)
    async with units_of(site, bare) as units:
        await client.ask(units, method="POST")
    assert (received, client.told) == (pieces, [200])


@on_aiosqlite
async def test_whoever_asks_again_is_told_again_that_the_client_is_gone(site: Site) -> None:
    told: list[str] = []

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        await request_unit(scope).asession()
        told.append((await receive())["type"])
        await send(START)
        client.gone.set()
        told.extend([(await receive())["type"] for _ in range(3)])

    client = Client(EMPTY)
    async with units_of(site, bare) as units:
        await client.ask(units)
    assert told == ["http.request"] + ["http.disconnect"] * 3


@on_aiosqlite
async def test_a_request_is_not_run_again_without_its_client(site: Site) -> None:
    runs: list[int] = []

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        runs.append(len(runs))
        session = await request_unit(scope).asession()

        async def leave() -> None:
            # the unit has ended: nothing is left of the request that could be cancelled
            client.gone.set()
            await client.told_gone.wait()

        session.on_rollback(leave)
        session.add(User(username="ann"))
        await session.flush()
        raise RetryRequested

    client = Client(EMPTY)
    async with units_of(site, bare, safe={"GET"}) as units:
        await client.ask(units)
        assert (runs, client.told, lent(units.database)) == ([0], [499, None], [])


@on_aiosqlite
async def test_middleware_that_waits_for_a_response_hears_of_a_client_that_is_gone(
    site: Site,
) -> None:
    heard: list[int] = []

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        session = await request_unit(scope).asession()
        session.add(User(username="ann"))
        await session.flush()
        client.gone.set()
        await asyncio.Event().wait()

    async def look(request: Request, go_on: Any) -> Any:
        response = await go_on(request)
        heard.append(response.status_code)
        return response

    client = Client(EMPTY)
    async with units_of(site, bare) as units:
        await client.ask(BaseHTTPMiddleware(units, look))
        assert (heard, lent(units.database)) == ([499], [])
    assert await asyncio.to_thread(usernames, site.world) == []


@on_sqlite
async def test_a_session_is_asked_for_in_a_thread(site: Site) -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        unit = request_unit(scope)
        await asyncio.to_thread(lambda: unit.session_here().add(User(username=scope["path"][1:])))
        if scope["path"] == "/gone":
            client.gone.set()
            await asyncio.Event().wait()
        await send(START)

    async with units_of(site, bare) as units:
        for path in ("/ann", "/gone"):
            client = Client(EMPTY)
            await client.ask(units, path=path)
    assert await asyncio.to_thread(usernames, site.world) == ["ann"]


@on_sqlite
async def test_a_request_takes_one_turn_however_often_it_asks(site: Site) -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        unit = request_unit(scope)
        both = asyncio.gather(unit.session(), unit.session())
        await asyncio.sleep(0)  # both wait for a turn
        for _ in range(2):
            turns.release()
        first, second = await both
        assert first is second
        await send(START)

    async with units_of(site, bare, threads=2, cancel=False) as units:
        turns = units.turns()
        for _ in range(2):
            await turns.acquire()
        client = Client(EMPTY)
        await client.ask(units)
        assert client.told == [200]
        async with asyncio.timeout(PATIENCE):
            for _ in range(2):
                await turns.acquire()


@on_sqlite
async def test_a_turn_that_comes_too_late_is_given_back(site: Site) -> None:
    late: list[asyncio.Task[Any]] = []

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        late.append(asyncio.create_task(request_unit(scope).session()))
        await asyncio.sleep(0)
        await send(START)

    async with units_of(site, bare, threads=1, cancel=False) as units:
        turns = units.turns()
        await turns.acquire()
        await Client(EMPTY).ask(units)
        turns.release()
        with pytest.raises(ScopeRefused, match="has ended"):
            await late[0]
        assert not turns.locked()


@on_sqlite
async def test_a_request_that_outlasts_the_drain_ends_its_unit(site: Site) -> None:
    database = site.world.database()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.shutdown.complete"})
            return
        session = await request_unit(scope).session()
        await asyncio.to_thread(_add, session)
        begun.set()
        await go_on.wait()
        await send(START)

    units = RequestUnits(bare, database, drain=0.0)
    assert units.ends is units.ends  # as an earlier request has left it
    client = Client(EMPTY)
    request = asyncio.create_task(client.ask(units))
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
    await Client().ask(units, type="lifespan")
    go_on.set()
    await request
    assert client.told[0] == 503
    await asyncio.to_thread(_write, site)
    assert await asyncio.to_thread(usernames, site.world) == ["bob"]


def _add(session: Session) -> None:
    session.add(User(username="ann"))
    session.flush()


def _write(site: Site) -> None:
    with site.world.observer.begin() as connection:
        connection.execute(text("INSERT INTO users (username, balance) VALUES ('bob', 0)"))
