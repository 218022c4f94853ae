"""Units of several Databases in one request, and what its client is told of them together."""

import json
from typing import Annotated, Any

from fastapi import Depends
from sqlalchemy import select

from hermetic import AsyncSession, Database, RetryRequested
from hermetic.integrations import asgi, wsgi
from hermetic.integrations.fastapi import Sessions, retried
from tests.behaviour.aftermath import on
from tests.models import Base, User
from tests.web.conftest import Site
from tests.web.sites import Left, Shop, client_of, usernames
from tests.web.test_wsgi import ask
from tests.worlds import World

on_sqlite = on(lambda backend: backend.name == "sqlite")
on_aiosqlite = on(lambda backend: backend.name == "aiosqlite")


def another(tmp_path: Any) -> Database:
    database = Database(f"sqlite:///{tmp_path}/other.db")
    Base.metadata.create_all(database.engine)
    return database


def users_of(database: Database) -> list[str]:
    with Database(database.server.url) as apart, apart.session() as session:
        return list(session.scalars(select(User.username)))


class Both:
    """An endpoint that writes to both Databases; which of them loses its commit is to choose."""

    def __init__(self, shop: Shop, other: Database, loses: str, times: int) -> None:
        self.runs = 0
        self.left = times
        inner = Sessions(other)
        inner.install(shop.app)  # the last one stands next to the application, and ends first

        @shop.app.post("/both")
        @retried(5)
        async def both(
            one: Annotated[AsyncSession, Depends(shop.sessions.asession)],
            two: Annotated[AsyncSession, Depends(inner.asession)],
        ) -> None:
            self.runs += 1
            one.add(User(username="ann"))
            two.add(User(username="bob"))
            {"outer": one, "inner": two}[loses].before_commit(self.lose)

    def lose(self) -> None:
        if self.left:
            self.left -= 1
            raise RetryRequested


@on_aiosqlite
async def test_where_one_has_committed_the_request_is_not_run_again(
    site: Site, tmp_path: Any
) -> None:
    shop, other = site.shop(), another(tmp_path)
    both = Both(shop, other, "outer", 1)
    async with client_of(shop.app, shop.database, other) as client:
        answer = await client.post("/both")
    assert (both.runs, usernames(site.world), users_of(other)) == (1, [], ["bob"])
    assert (answer.status_code, answer.json()["outcome"]) == (500, "partly committed")
    assert "Nothing was changed" not in answer.text


@on_aiosqlite
async def test_where_none_has_committed_all_are_run_again(site: Site, tmp_path: Any) -> None:
    shop, other = site.shop(), another(tmp_path)
    both = Both(shop, other, "inner", 1)
    async with client_of(shop.app, shop.database, other) as client:
        assert (await client.post("/both")).status_code == 200
        # the outer one's first run was rolled back too
        assert (both.runs, usernames(site.world), users_of(other)) == (2, ["ann"], ["bob"])
        both.left = 9
        answer = await client.post("/both")
    assert (answer.status_code, answer.json()["outcome"], both.runs) == (409, "not committed", 7)


@on_aiosqlite
async def test_one_that_only_reads_keeps_none_from_being_run_again(
    site: Site, tmp_path: Any
) -> None:
    other = another(tmp_path)
    runs: list[Any] = []

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        reads = await asgi.request_unit(scope, other).session(readonly=True)
        writes = await asgi.request_unit(scope, database).asession()
        writes.add(User(username="ann"))
        runs.append(reads)
        if len(runs) == 1:
            writes.before_commit(_lose)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    database = site.world.database()
    inner = asgi.RequestUnits(bare, other)
    app = asgi.RequestUnits(inner, database, safe={"PUT"})
    async with client_of(app, database, other) as client:
        assert (await client.put("/")).status_code == 200
    assert (len(runs), usernames(site.world)) == (2, ["ann"])


def _lose() -> None:
    raise RetryRequested


@on_sqlite
def test_wsgi_units_know_of_each_other(world: World, tmp_path: Any) -> None:
    other = another(tmp_path)
    runs: list[str] = []
    losing = {"PUT": world.db, "PATCH": other}

    def bare(environ: Any, start_response: Any) -> Any:
        runs.append(environ["REQUEST_METHOD"])
        for database in (world.db, other):
            session = wsgi.request_unit(environ, database).session()
            session.add(User(username=environ["PATH_INFO"][1:]))
            if runs.count(runs[-1]) == 1 and losing[runs[-1]] is database:
                session.before_commit(_lose)
        start_response("200 OK", [])
        return [b"done"]

    inner = wsgi.RequestUnits(bare, other, safe=set(losing))
    app = wsgi.RequestUnits(inner, world.db, safe=set(losing))
    status, body = ask(app, "/ann", "PUT")  # the outer one loses, when the inner one has committed
    assert (status, json.loads(body[0])["outcome"]) == (
        "500 Internal Server Error",
        "partly committed",
    )
    assert (runs, users_of(other), usernames(world)) == (["PUT"], ["ann"], [])
    assert ask(app, "/bob", "PATCH") == ("200 OK", [b"done"])
    assert runs == ["PUT", "PATCH", "PATCH"]
    assert (users_of(other), usernames(world)) == (["ann", "bob"], ["bob"])
    other.close()


# ---------------------------------------------------------------- one, told otherwise than it ended


@on_aiosqlite
async def test_the_unit_as_a_dependency_hears_of_what_is_answered(site: Site) -> None:
    shop = site.shop()

    @shop.app.post("/unit")
    async def unit(unit: Annotated[asgi.RequestUnit, Depends(shop.sessions.unit)]) -> None:
        (await unit.asession()).add(User(username="ann"))
        raise Left

    async with client_of(shop.app, shop.database) as client:
        assert (await client.post("/unit")).status_code == 303
    assert usernames(site.world) == []


@on_aiosqlite
async def test_what_commits_with_an_exception_is_told_as_made(site: Site) -> None:
    shop = site.shop(commit_on=(RetryRequested,), statuses={RetryRequested: 503})

    @shop.app.post("/made")
    async def made(session: Annotated[AsyncSession, Depends(shop.sessions.asession)]) -> None:
        session.add(User(username="ann"))
        raise RetryRequested

    async with client_of(shop.app, shop.database) as client:
        answer = await client.post("/made")
    assert (answer.status_code, answer.json()["outcome"]) == (503, "committed")
    assert "Nothing was changed" not in answer.text
    assert "retry-after" not in answer.headers
    assert usernames(site.world) == ["ann"]
