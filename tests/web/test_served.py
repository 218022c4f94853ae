"""On a real server: clients that go away, servers that fail at a COMMIT, and more requests than
there are connections and threads.
"""

import asyncio
import socket
import threading
from typing import Annotated, Any

import anyio.to_thread
import httpx
from fastapi import Depends
from sqlalchemy import make_url

from hermetic import AsyncSession, Session
from tests.behaviour.aftermath import eventually, lent, on
from tests.models import User
from tests.proxy import COMMIT, Proxy
from tests.web.conftest import Site
from tests.web.sites import client_of, served, usernames
from tests.worlds import PATIENCE

on_postgresql_and_sqlite = on(
    lambda backend: backend.name in ("sqlite", "aiosqlite", "psycopg", "psycopg_async", "asyncpg")
)
on_the_servers = on(lambda backend: backend.family != "sqlite")
on_postgresql = on(lambda backend: backend.name in ("psycopg", "asyncpg", "psycopg_async"))
on_sleeping = on(
    lambda backend: backend.name in ("psycopg", "asyncpg", "psycopg_async", "pymysql", "asyncmy")
)


# ---------------------------------------------------------------- at the COMMIT


@on_the_servers
async def test_a_commit_of_which_nothing_is_known_is_a_500(site: Site, proxied: Proxy) -> None:
    shop = site.shop()
    async with client_of(shop.app, shop.database) as client:
        # to connect is a COMMIT too, on MariaDB
        await client.post("/users/zed", params={"then": "400"})
        proxied.cut_after(COMMIT)
        answer = await client.post("/users/ann")
        assert answer.status_code == 500
        assert answer.json()["outcome"] == "unknown"
        assert shop.done == ["zed"]
        # the next one is as before
        assert (await client.post("/users/bob")).status_code == 200
        assert lent(shop.database) == []
    assert usernames(site.world) == ["ann", "bob"]


@on_the_servers
async def test_a_commit_that_is_found_out_is_answered_for_what_it_was(
    site: Site, proxied: Proxy
) -> None:
    shop = site.shop({"resolve_commits": "token"})
    if site.world.is_async:
        await shop.database.acreate_commit_table()
    else:
        shop.database.create_commit_table()
    async with client_of(shop.app, shop.database) as client:
        await client.post("/users/zed", params={"then": "400"})
        proxied.cut_after(COMMIT)
        assert (await client.post("/users/ann")).status_code == 200
        await client.post("/users/zed", params={"then": "400"})
        proxied.cut_before(COMMIT)
        answer = await client.post("/users/bob")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["outcome"] == "not committed"
    assert usernames(site.world) == ["ann"]


@on(lambda backend: backend.name in ("psycopg", "asyncpg"))
async def test_what_stays_unknown_has_its_token(site: Site, proxied: Proxy) -> None:
    shop = site.shop({"resolve_commits": "token", "resolve_timeout": 0.2})
    if site.world.is_async:
        await shop.database.acreate_commit_table()
    else:
        shop.database.create_commit_table()
    async with client_of(shop.app, shop.database) as client:
        await client.post("/users/zed", params={"then": "400"})
        trap = proxied.freeze_at(COMMIT)
        request = asyncio.create_task(client.post("/users/ann"))
        assert await asyncio.to_thread(trap.reached.wait, PATIENCE)
        proxied.cut_all()
        answer = await request
        assert answer.status_code == 500
        token = answer.json()["commit"]
        assert answer.headers["hermetic-commit"] == token
        assert len(token) == 32
        proxied.thaw()


@on_postgresql
async def test_a_lost_conflict_is_a_409_where_it_is_not_run_again(site: Site) -> None:
    shop = site.shop(isolation="SERIALIZABLE")
    site.world.do("INSERT INTO users (username, balance) VALUES ('ann', 0)")
    both = asyncio.Barrier(2)
    Given = Annotated[AsyncSession, Depends(shop.sessions.asession)]  # noqa: N806

    @shop.app.post("/add")
    async def add(session: Given) -> None:
        balance = await session.scalar("SELECT balance FROM users")
        await both.wait()
        await session.execute("UPDATE users SET balance = :b", {"b": (balance or 0) + 1})

    async with client_of(shop.app, shop.database) as client:
        answers = await asyncio.gather(client.post("/add"), client.post("/add"))
        assert sorted(each.status_code for each in answers) == [200, 409]


# ---------------------------------------------------------------- clients that go away


def _send_and_leave(url: str, path: str, begun: Any) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
        assert begun.wait(PATIENCE)


@on_sleeping
async def test_a_client_that_has_gone_cancels_its_request(site: Site) -> None:
    shop = site.shop(drain=5.0)
    begun, cancelled = threading.Event(), []
    sleep = "SELECT sleep(60)" if "my" in site.world.backend.name else "SELECT pg_sleep(60)"
    if site.world.is_async:

        @shop.app.post("/long")
        async def long(
            session: Annotated[AsyncSession, Depends(shop.sessions.asession)],
        ) -> None:
            session.add(User(username="ann"))
            await session.flush()
            begun.set()
            try:
                await session.execute(sleep)
            finally:
                cancelled.append(True)
    else:

        @shop.app.post("/long")
        def in_a_thread(session: Annotated[Session, Depends(shop.sessions.session)]) -> None:
            session.add(User(username="ann"))
            session.flush()
            begun.set()
            try:
                session.execute(sleep)
            finally:
                cancelled.append(True)

    with served(shop.app) as url:
        await asyncio.to_thread(_send_and_leave, url, "/long", begun)
        # it is over long before its statement would be
        assert await eventually(site.world, lambda: cancelled and not lent(shop.database), PATIENCE)
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.post("/users/bob")).status_code == 200
    assert usernames(site.world) == ["bob"]


@on(lambda backend: backend.name in ("sqlite", "aiosqlite"))
async def test_a_request_may_go_on_without_its_client(site: Site) -> None:
    shop = site.shop(cancel=False, drain=5.0)
    begun, go_on = threading.Event(), threading.Event()

    @shop.app.post("/long")
    async def long(session: Annotated[AsyncSession, Depends(shop.sessions.asession)]) -> None:
        session.add(User(username="ann"))
        begun.set()
        await asyncio.to_thread(go_on.wait, PATIENCE)

    with served(shop.app) as url:
        await asyncio.to_thread(_send_and_leave, url, "/long", begun)
        go_on.set()
        assert await eventually(site.world, lambda: usernames(site.world) == ["ann"], PATIENCE)


@on_postgresql_and_sqlite
async def test_a_cancelled_request_is_rolled_back(site: Site) -> None:
    shop = site.shop({"cleanup_timeout": 0.5})
    begun, go_on, over = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    if site.world.is_async:

        @shop.app.post("/long")
        async def long(
            session: Annotated[AsyncSession, Depends(shop.sessions.asession)],
        ) -> None:
            session.add(User(username="ann"))
            await session.flush()
            begun.set()
            await asyncio.Event().wait()
    else:

        @shop.app.post("/long")
        def in_a_thread(session: Annotated[Session, Depends(shop.sessions.session)]) -> None:
            session.add(User(username="ann"))
            session.flush()
            loop.call_soon_threadsafe(begun.set)
            go_on.wait(PATIENCE)
            try:
                session.execute("SELECT 1")
            except Exception as refused:
                shop.done.append(type(refused).__name__)
            over.set()

    async with client_of(shop.app, shop.database) as client:
        request = asyncio.create_task(client.post("/long"))
        await begun.wait()
        request.cancel()
        await asyncio.wait((request,))
        assert request.cancelled()
        assert lent(shop.database) == []
        go_on.set()
        if not site.world.is_async:
            # the thread went on, and could do nothing more
            assert await asyncio.to_thread(over.wait, PATIENCE)
            assert shop.done == ["ScopeEnded"]
    assert usernames(site.world) == []


# ---------------------------------------------------------------- many


@on(lambda backend: backend.name in ("psycopg", "asyncpg", "sqlite"))
async def test_more_threads_than_connections_do_not_lock_up(site: Site) -> None:
    """Every request needs a thread twice, and holds a connection in between."""
    few = {} if site.world.backend.family == "sqlite" else {"pool_size": 2}
    shop = site.shop({**few, "pool_timeout": 20.0})
    async with client_of(shop.app, shop.database) as client:
        limiter = anyio.to_thread.current_default_thread_limiter()
        limiter.total_tokens = 4
        answers = await asyncio.gather(*(client.post(f"/users/u{number}") for number in range(24)))
        assert {each.status_code for each in answers} == {200}
        assert lent(shop.database) == []
    assert len(usernames(site.world)) == 24


@on(lambda backend: backend.name in ("psycopg", "asyncpg"))
async def test_requests_are_served_with_a_small_pool(site: Site) -> None:
    shop = site.shop({"pool_size": 2, "pool_timeout": 60.0}, drain=5.0)
    with served(shop.app) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            answers = await asyncio.gather(
                *(client.post(f"/users/u{number}") for number in range(30))
            )
        assert {each.status_code for each in answers} == {200}
        assert lent(shop.database) == []
    # the server has shut down, and the Database with it
    assert "closed" in repr(shop.database)
    assert len(usernames(site.world)) == 30


# ---------------------------------------------------------------- positions


@on(lambda backend: backend.name in ("psycopg", "asyncpg"))
async def test_a_position_goes_with_the_client(site: Site, proxied: Proxy) -> None:
    # a replica that is none: it follows nobody, and gets no scopes
    server = site.world.observer.url
    replica = make_url(site.world.url).set(host=server.host, port=server.port)
    options = {"replicas": [replica.render_as_string(hide_password=False)]}
    shop = site.shop(options, position_cookie="seen", position_header="Hermetic-Position")
    async with client_of(shop.app, shop.database) as client:
        answer = await client.post("/users/ann")
        position = answer.headers["hermetic-position"]
        assert position.startswith("p")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"seen={position}; Max-Age=300; Path=/; HttpOnly; SameSite=Lax")
        # anybody may change it
        client.cookies.set("seen", "not a position")
        assert (await client.post("/users/bob")).status_code == 200
