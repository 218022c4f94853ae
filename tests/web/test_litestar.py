"""Litestar: a request has one unit of work, and its commit comes before its response."""

# Litestar reads annotations when a handler is made: they are not put off here

from typing import Any

import pytest
from litestar import Litestar, Response, get, post
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery, JSONBody

from hermetic import AsyncSession, RetryRequested, Session, UniqueViolation
from hermetic.integrations.litestar import Sessions, retried
from tests.behaviour.aftermath import lent, on
from tests.models import User
from tests.proxy import COMMIT, Proxy
from tests.web.conftest import Site
from tests.web.sites import client_of, usernames
from tests.worlds import World

on_some = on(lambda backend: backend.name in ("sqlite", "aiosqlite", "psycopg", "asyncpg"))
on_sqlite = on(lambda backend: backend.name in ("sqlite", "aiosqlite"))


class Shop:
    def __init__(self, world: World, **web: Any) -> None:
        self.database = world.database()
        self.runs: list[Any] = []

        @post("/users/{name:str}", status_code=201)
        async def create(
            name: FromPath[str], session: NamedDependency[AsyncSession], then: FromQuery[str] = ""
        ) -> Any:
            session.add(User(username=name))
            return _then(then)

        @post("/users/{name:str}", status_code=201, sync_to_thread=True)
        def create_in_a_thread(
            name: FromPath[str], thread_session: NamedDependency[Session], then: FromQuery[str] = ""
        ) -> Any:
            thread_session.add(User(username=name))
            return _then(then)

        @post("/again/{name:str}", status_code=201)
        @retried(3)
        async def again(
            name: FromPath[str],
            session: NamedDependency[AsyncSession],
            data: JSONBody[dict[str, Any]],
        ) -> Any:
            self.runs.append(data)
            session.add(User(username=name))
            await session.flush()
            if len(self.runs) < 3:
                raise RetryRequested
            return {"runs": len(self.runs)}

        @get("/")
        async def nothing() -> str:
            return "nothing"

        @post("/again/{name:str}", status_code=201, sync_to_thread=True)
        @retried(3)
        def again_in_a_thread(
            name: FromPath[str],
            thread_session: NamedDependency[Session],
            data: JSONBody[dict[str, Any]],
        ) -> Any:
            self.runs.append(data)
            thread_session.add(User(username=name))
            thread_session.flush()
            if len(self.runs) < 3:
                raise RetryRequested
            return {"runs": len(self.runs), "scope": str(thread_session.scope)}

        ours = [create, again] if world.is_async else [create_in_a_thread, again_in_a_thread]
        handlers: list[Any] = [*ours, nothing]
        self.app: Any = Litestar(handlers, plugins=[Sessions(self.database, **web)])


def _then(what: str) -> Any:
    if what == "raise":
        raise NotFoundException("nobody")
    if what == "fail":
        raise ValueError("a mistake of the program")
    return Response({}, status_code=int(what or 201))


@on_some
async def test_the_commit_is_done_when_the_response_begins(site: Site) -> None:
    world = site.world
    shop = Shop(world)
    seen: list[list[str]] = []

    async def watching(scope: Any, receive: Any, send: Any) -> None:
        async def look(message: Any) -> None:
            if message["type"] == "http.response.start":
                seen.append(usernames(world))
            await send(message)

        await shop.app(scope, receive, look)

    async with client_of(watching, shop.database) as client:
        assert (await client.post("/users/ann")).status_code == 201
        assert seen == [["ann"]]
        answer = await client.post("/users/ann")
        assert (answer.status_code, answer.json()["outcome"]) == (409, "not committed")
        assert answer.headers["content-type"] == "application/problem+json"
        assert (await client.get("/")).text == "nothing"
        assert lent(shop.database) == []


@pytest.mark.parametrize(("then", "status"), [("raise", 404), ("fail", 500), ("400", 400)])
@on_sqlite
async def test_what_failed_is_rolled_back(site: Site, then: str, status: int) -> None:
    world = site.world
    shop = Shop(world)
    async with client_of(shop.app, shop.database) as client:
        answer = await client.post("/users/ann", params={"then": then})
        assert answer.status_code == status
        assert usernames(world) == []


@on_sqlite
async def test_a_handler_that_is_safe_is_run_again_as_a_whole(site: Site) -> None:
    world = site.world
    shop = Shop(world)
    async with client_of(shop.app, shop.database) as client:
        answer = await client.post("/again/ann", json={"a": 1})
        assert (answer.status_code, answer.json()["runs"]) == (201, 3)
        # the line is the handler's, not that of whoever calls it
        assert "again" in answer.json().get("scope", "in again").rpartition(" in ")[2]
        assert shop.runs == [{"a": 1}] * 3
        assert usernames(world) == ["ann"]


@on_sqlite
async def test_handlers_of_the_application_and_the_route_answer_for_a_failed_commit(
    site: Site,
) -> None:
    database = site.world.database()

    def of_the_application(request: Any, error: Exception) -> Response[str]:
        return Response(type(error).__name__, status_code=418)

    def of_the_route(request: Any, error: Exception) -> Response[str]:
        return Response(type(error).__name__, status_code=422)

    async def create(session: NamedDependency[AsyncSession]) -> None:
        session.add(User(username="ann"))

    app = Litestar(
        [
            post("/one")(create),
            post("/two", exception_handlers={UniqueViolation: of_the_route})(create),
        ],
        plugins=[Sessions(database)],
        exception_handlers={UniqueViolation: of_the_application},
    )
    async with client_of(app, database) as client:
        assert (await client.post("/one")).status_code == 201
        answers = [await client.post(path) for path in ("/one", "/two")]
        assert [each.status_code for each in answers] == [418, 422]
        assert {each.text for each in answers} == {"UniqueViolation"}
        assert usernames(site.world) == ["ann"]


@on(lambda backend: backend.name in ("psycopg", "asyncpg"))
async def test_a_commit_that_fails_reaches_the_client(site: Site) -> None:
    world = site.world
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        shop = Shop(world)
        async with client_of(shop.app, shop.database) as client:
            assert (await client.post("/users/zed")).status_code == 201
            proxy.cut_after(COMMIT)
            answer = await client.post("/users/ann")
            assert (answer.status_code, answer.json()["outcome"]) == (500, "unknown")
