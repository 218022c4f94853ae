"""A request has one unit of work, and its commit comes before its response."""

import asyncio
import contextlib
import os
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from sqlalchemy import select

from hermetic import (
    AsyncSession,
    ConcurrentUse,
    Database,
    ForeignOwner,
    HermeticError,
    InvalidOption,
    ScopeRefused,
    Session,
    UniqueViolation,
)
from hermetic.integrations.asgi import RequestUnits, request_unit
from hermetic.integrations.fastapi import Sessions, retried
from tests.behaviour.aftermath import lent, on
from tests.models import Base, User
from tests.web.conftest import Site
from tests.web.sites import client_of, usernames

on_two = on(lambda backend: backend.name in ("sqlite", "aiosqlite"))
on_four = on(lambda backend: backend.name in ("sqlite", "aiosqlite", "psycopg", "asyncpg"))


async def test_the_commit_is_done_when_the_response_begins(site: Site) -> None:
    shop = site.shop()
    seen: list[list[str]] = []

    async def watching(scope: Any, receive: Any, send: Any) -> None:
        async def look(message: Any) -> None:
            if message["type"] == "http.response.start":
                seen.append(usernames(site.world))
            await send(message)

        await shop.app(scope, receive, look)

    async with client_of(watching, shop.database) as client:
        answer = await client.post("/users/ann")
        assert answer.json() == {"before": 0, "after": 1}
        assert seen == [["ann"]]
        assert lent(shop.database) == []


@pytest.mark.parametrize("then", ["redirect", "leave", "400", "503", "fail"])
@on_four
async def test_what_failed_is_rolled_back(site: Site, then: str) -> None:
    shop = site.shop()
    async with client_of(shop.app, shop.database) as client:
        answer = await client.post("/users/ann", params={"then": then})
        assert answer.status_code == {"redirect": 302, "leave": 303, "fail": 500}.get(
            then, int(then) if then.isdigit() else 0
        )
        assert usernames(site.world) == []
        assert (await client.post("/users/ann", params={"then": "303"})).status_code == 303
        assert usernames(site.world) == ["ann"]
        assert lent(shop.database) == []


@on_two
async def test_which_statuses_commit_is_to_choose(site: Site) -> None:
    shop = site.shop(commits=lambda status: status != 201)
    async with client_of(shop.app, shop.database) as client:
        await client.post("/users/ann", params={"then": "404"})
        await client.post("/users/bob", params={"then": "201"})
        assert usernames(site.world) == ["ann"]


async def test_a_conflict_is_a_409(site: Site) -> None:
    shop = site.shop()
    async with client_of(shop.app, shop.database) as client:
        await client.post("/users/ann")
        answer = await client.post("/users/ann")
        assert answer.status_code == 409
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["outcome"] == "not committed"
        # a background task is of a response that has left
        assert shop.done == ["ann"]


@on_four
async def test_a_request_that_is_safe_is_run_again_as_a_whole(site: Site) -> None:
    shop = site.shop()
    shop.stumbles = 2
    async with client_of(shop.app, shop.database) as client:
        answer = await client.post("/again/ann", json={"a": 1})
        assert answer.json() == {"runs": 3}
        assert shop.done == [{"a": 1}] * 3
        assert usernames(site.world) == ["ann"]
        # no more than it may: there are three attempts
        shop.stumbles = 9
        assert (await client.post("/again/bob", json={})).status_code == 409
        assert shop.stumbles == 6
        assert usernames(site.world) == ["ann"]


@on_two
async def test_a_body_that_is_not_kept_is_run_once(site: Site) -> None:
    shop = site.shop(body_limit=8)
    shop.stumbles = 1
    async with client_of(shop.app, shop.database) as client:
        assert (await client.post("/again/ann", json={"a": "a long body"})).status_code == 409
        shop.stumbles = 1
        assert (await client.post("/again/ann", json={})).json() == {"runs": 3}


@on_two
async def test_what_is_not_retried_is_answered_by_its_handler(site: Site) -> None:
    shop = site.shop()

    @shop.app.post("/missing")
    @retried()
    async def missing(session: Annotated[Any, Depends(shop.sessions.asession)]) -> None:
        session.add(User(username="ann"))
        await session.flush()
        raise HTTPException(404, "nobody")

    async with client_of(shop.app, shop.database) as client:
        answer = await client.post("/missing")
        assert (answer.status_code, answer.json()) == (404, {"detail": "nobody"})
        assert usernames(site.world) == []


@on_two
async def test_what_nobody_called_safe_is_run_once(site: Site) -> None:
    shop = site.shop()
    app, sessions, runs = shop.app, shop.sessions, []

    @app.get("/once")
    async def once(unit: Annotated[Any, Depends(sessions.asession)]) -> None:
        runs.append(1)
        shop.stumbles = 1
        shop._stumble()

    async with client_of(app, shop.database) as client:
        assert (await client.get("/once")).status_code == 409
        assert runs == [1]


@on_two
async def test_a_method_may_be_called_safe(site: Site) -> None:
    shop = site.shop(safe={"get"})
    runs: list[int] = []

    @shop.app.get("/twice")
    async def twice(unit: Annotated[Any, Depends(shop.sessions.asession)]) -> int:
        runs.append(1)
        shop.stumbles = 2 - len(runs)
        shop._stumble()
        return len(runs)

    async with client_of(shop.app, shop.database) as client:
        assert (await client.get("/twice")).json() == 2


@on_two
async def test_middleware_that_answers_through_a_task_of_its_own_changes_nothing(
    site: Site,
) -> None:
    shop = site.shop()

    @shop.app.middleware("http")
    async def around(request: Any, go_on: Any) -> Any:
        return await go_on(request)

    async with client_of(shop.app, shop.database) as client:
        assert (await client.post("/users/ann")).status_code == 200
        assert (await client.post("/users/ann")).status_code == 409
        assert usernames(site.world) == ["ann"]


@on_two
async def test_an_applications_own_handler_answers_for_a_failed_commit(site: Site) -> None:
    shop = site.shop()

    @shop.app.exception_handler(HermeticError)
    async def handled(request: Any, error: HermeticError) -> Any:
        from starlette.responses import PlainTextResponse

        return PlainTextResponse(type(error).__name__, status_code=418)

    @shop.app.get("/late")
    async def late(session: Annotated[Any, Depends(shop.sessions.asession)]) -> None:
        session.add(User(username="ann"))

    async with client_of(shop.app, shop.database) as client:
        assert (await client.get("/late")).status_code == 200
        answer = await client.get("/late")
        assert (answer.status_code, answer.text) == (418, "UniqueViolation")


@on_two
async def test_a_mounted_applications_own_handler_answers_first(site: Site) -> None:
    shop, part = site.shop(), FastAPI()

    @part.exception_handler(UniqueViolation)
    async def handled(request: Request, error: Exception) -> Any:
        return PlainTextResponse(request.url.path, status_code=422)

    @part.get("/late")
    async def late(session: Annotated[Any, Depends(shop.sessions.asession)]) -> None:
        session.add(User(username="ann"))

    shop.app.mount("/part", part)
    async with client_of(shop.app, shop.database) as client:
        assert (await client.get("/part/late")).status_code == 200
        answer = await client.get("/part/late")
        assert (answer.status_code, answer.text) == (422, "/part/late")


# ---------------------------------------------------------------- whose session it is


@on_two
async def test_a_session_of_threads_is_refused_in_an_event_loop(site: Site) -> None:
    shop = site.shop()

    @shop.app.get("/blocks")
    async def blocks(session: Annotated[Session, Depends(shop.sessions.session)]) -> str:
        try:
            session.scalar("SELECT 1")
        except ForeignOwner as refused:
            return str(refused)
        return ""

    async with client_of(shop.app, shop.database) as client:
        assert "belongs to the threads" in (await client.get("/blocks")).text


@on_two
async def test_a_request_has_a_session_of_one_kind(site: Site) -> None:
    shop = site.shop()
    sessions = shop.sessions

    @shop.app.get("/both")
    async def both(
        one: Annotated[AsyncSession, Depends(sessions.asession)],
        other: Annotated[Session, Depends(sessions.session)],
    ) -> None: ...

    async with client_of(shop.app, shop.database, raising=True) as client:
        with pytest.raises(ScopeRefused, match="threads was asked for in a unit of work"):
            await client.get("/both")
        assert lent(shop.database) == []


@on_two
async def test_two_threads_at_once_are_refused(site: Site) -> None:
    shop = site.shop()

    @shop.app.get("/both")
    async def both(session: Annotated[Session, Depends(shop.sessions.session)]) -> list[str]:
        barrier = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slowly() -> Any:
            loop.call_soon_threadsafe(barrier.set)
            asyncio.run_coroutine_threadsafe(second_done.wait(), loop).result(15)
            yield from ()

        def first() -> None:
            session.add_all(slowly())  # is in the middle of it, until it has what it adds

        second_done = asyncio.Event()
        running = asyncio.create_task(asyncio.to_thread(first))
        await barrier.wait()
        try:
            await asyncio.to_thread(session.scalar, "SELECT 1")
        except ConcurrentUse as refused:
            return [type(refused).__name__]
        finally:
            second_done.set()
            await running
        return []

    async with client_of(shop.app, shop.database) as client:
        assert (await client.get("/both")).json() == ["ConcurrentUse"]


@on_two
async def test_options_of_a_scope_are_the_first_ones_and_then_demands(site: Site) -> None:
    shop = site.shop()
    sessions = shop.sessions

    @shop.app.get("/read")
    async def read(
        one: Annotated[AsyncSession, Depends(sessions.asession_with(readonly=True))],
        two: Annotated[AsyncSession, Depends(sessions.asession)],
    ) -> bool:
        assert one is two
        return one.scope is not None and one.scope.readonly

    @shop.app.get("/more")
    async def more(
        one: Annotated[AsyncSession, Depends(sessions.asession_with(readonly=True))],
        two: Annotated[AsyncSession, Depends(sessions.asession_with(readonly=False))],
    ) -> None: ...

    with pytest.raises(InvalidOption):
        sessions.asession_with(readonly="no")
    async with client_of(shop.app, shop.database, raising=True) as client:
        assert (await client.get("/read")).json() is True
        with pytest.raises(ScopeRefused, match="read-only"):
            await client.get("/more")


# ---------------------------------------------------------------- what outlives the response


@on_two
async def test_a_streamed_body_opens_a_scope_of_its_own(site: Site) -> None:
    shop = site.shop()
    database: Database = shop.database

    @shop.app.get("/stream")
    async def stream(
        session: Annotated[AsyncSession, Depends(shop.sessions.asession)],
        unit: Annotated[Any, Depends(shop.sessions.unit)],
    ) -> StreamingResponse:
        session.add(User(username="ann"))

        async def rows() -> Any:
            try:
                await unit.asession()
            except ScopeRefused as refused:
                yield f"{type(refused).__name__} "
            async with database.session(readonly=True) as own:
                for user in await own.scalars(select(User)):
                    yield user.username

        return StreamingResponse(rows())

    async with client_of(shop.app, database) as client:
        assert (await client.get("/stream")).text == "ScopeRefused ann"
        assert lent(database) == []


@on_two
async def test_a_background_task_opens_a_scope_of_its_own(site: Site) -> None:
    shop = site.shop()
    database: Database = shop.database
    seen: list[Any] = []

    async def look() -> None:
        async with database.session() as own:
            seen.append(await own.scalar("SELECT count(*) FROM users"))

    @shop.app.get("/later")
    async def later(
        session: Annotated[AsyncSession, Depends(shop.sessions.asession)],
        behind: BackgroundTasks,
    ) -> None:
        session.add(User(username="ann"))
        behind.add_task(look)

    async with client_of(shop.app, database) as client:
        await client.get("/later")
        assert seen == [1]
        # its commit fails: nothing of it is behind any more
        assert (await client.get("/later")).status_code == 409
        assert seen == [1]


@on_two
async def test_a_websocket_has_no_unit_of_work(site: Site) -> None:
    shop = site.shop()
    refused: list[str] = []

    @shop.app.websocket("/socket")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        try:
            request_unit(socket.scope)
        except ScopeRefused as error:
            refused.append(str(error))
        async with shop.database.session() as own:
            own.add(User(username=await socket.receive_text()))
        await socket.send_text("done")

    said = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "ann"}]
    heard: list[Any] = []

    async def receive() -> Any:
        return said.pop(0) if said else {"type": "websocket.disconnect", "code": 1000}

    async def send(message: Any) -> None:
        heard.append(message)

    scope = {"type": "websocket", "path": "/socket", "headers": [], "query_string": b""}
    async with client_of(shop.app, shop.database):
        await shop.app({**scope, "subprotocols": []}, receive, send)
    assert heard[1]["text"] == "done"
    assert "for each message" in refused[0]
    assert usernames(site.world) == ["ann"]


# ---------------------------------------------------------------- time


@on_two
async def test_a_deadline_from_a_header_is_bounded_by_the_setting(site: Site) -> None:
    shop = site.shop(timeout=30.0, timeout_header="Request-Timeout")
    given: list[float] = []

    @shop.app.get("/time")
    async def time_left(session: Annotated[AsyncSession, Depends(shop.sessions.asession)]) -> None:
        import time

        assert session.scope is not None
        given.append(session.scope.remaining(time.monotonic()) or 0.0)
        await session.execute("SELECT 1")

    async with client_of(shop.app, shop.database) as client:

        async def ask(seconds: str) -> int:
            answer = await client.get("/time", headers={"Request-Timeout": seconds})
            return answer.status_code

        assert [await ask(each) for each in ("20", "9000", "0.000001")] == [200, 200, 504]
        assert 10 < given[0] <= 20 < given[1] <= 30
        assert [await ask(each) for each in ("soon", "-1", "nan")] == [400] * 3
    with pytest.raises(InvalidOption, match="needs timeout"):
        RequestUnits(shop.app, shop.database, timeout_header="Request-Timeout")


# ---------------------------------------------------------------- several, none, and the end


@on_two
async def test_two_databases_have_two_units(site: Site, tmp_path: Any) -> None:
    shop = site.shop()
    other = Database(f"sqlite:///{tmp_path}/other.db")
    Base.metadata.create_all(other.engine)
    more = Sessions(other)
    more.install(shop.app)

    @shop.app.get("/both")
    async def both(
        one: Annotated[AsyncSession, Depends(shop.sessions.asession)],
        two: Annotated[AsyncSession, Depends(more.asession)],
    ) -> None:
        one.add(User(username="ann"))
        two.add(User(username="bob"))

    async with client_of(shop.app, shop.database, other) as client:
        assert (await client.get("/both")).status_code == 200
    with Database(other.server.url) as apart, apart.session() as session:
        assert session.scalars(select(User.username)).all() == ["bob"]
    assert usernames(site.world) == ["ann"]


@on_two
async def test_an_option_that_is_none_is_refused_where_it_is_given(site: Site) -> None:
    shop = site.shop()
    with pytest.raises(InvalidOption, match="timout"):
        Sessions(shop.database, timout=3.0)
    with pytest.raises(InvalidOption, match="timeout"):
        Sessions(shop.database, timeout=-1.0)
    async with client_of(shop.app, shop.database):
        pass


@on_two
async def test_without_a_middleware_a_session_is_refused(site: Site) -> None:
    shop = site.shop()
    bare = FastAPI()

    @bare.get("/")
    async def asks(session: Annotated[Any, Depends(shop.sessions.asession)]) -> None: ...

    async with client_of(bare, shop.database, raising=True) as client:
        with pytest.raises(HermeticError, match="no middleware"):
            await client.get("/")


@on_two
async def test_a_request_that_asks_for_nothing_opens_nothing(site: Site) -> None:
    shop = site.shop()

    @shop.app.get("/")
    async def nothing() -> int:
        return 1

    async with client_of(shop.app, shop.database) as client:
        assert (await client.get("/")).json() == 1
        assert shop.database.snapshot().counters["scopes"] == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@on_two
async def test_a_forked_process_ends_units_in_threads_of_its_own(site: Site) -> None:
    shop = site.shop()
    units = RequestUnits(shop.app, shop.database)
    assert units.ends is units.ends
    # a thread that the child would not have
    units.ends.submit(int).result()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.write(writer, str(units.ends.submit(lambda: 7).result(10)).encode())
        os._exit(0)
    os.close(writer)
    try:
        assert await asyncio.to_thread(os.read, reader, 10) == b"7"
    finally:
        os.close(reader)
        await asyncio.to_thread(os.waitpid, child, 0)
    async with client_of(shop.app, shop.database):
        pass
