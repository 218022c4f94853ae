"""Comments on statements: whose they are, where the server lists them, and what they change not."""

from __future__ import annotations

import logging
import re
from typing import Any
from urllib.parse import unquote

import pytest
from sqlalchemy import event, insert, select

from hermetic import InvalidOption, ScopeControls
from hermetic.sinks import ScopeView, Sink, attach, sqlcommenter
from hermetic.watching import commenting
from hermetic.watching.commenting import rendered
from tests.behaviour.aftermath import check_nothing_left, on, on_postgresql
from tests.models import Order, User
from tests.optional import optional
from tests.worlds import World

on_servers = on(lambda backend: backend.family != "sqlite")
one_of_each_family = on(lambda backend: backend.name in ("psycopg", "pymysql"))
in_threads = on(lambda backend: backend.name == "sqlite")

# what the server has of the connection that asks
OWN_STATEMENT = {
    "postgresql": "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    "mariadb": "SELECT info FROM information_schema.processlist WHERE id = connection_id()",
}
_PAIR = re.compile(r"([^=,]+)='([^']*)'")


def comment_of(statement: str) -> dict[str, str]:
    """The keys and values of a statement's last comment."""
    found = re.search(r"/\*([^*]*)\*/\s*;?\s*$", statement)
    assert found, statement
    return {unquote(key): unquote(value) for key, value in _PAIR.findall(found.group(1))}


async def own(world: World, session: Any) -> dict[str, str]:
    return comment_of(await session.scalar(OWN_STATEMENT[world.backend.family]))


NASTY = "a'; DROP TABLE users; -- */ %s %(x)s ? :y \\ \x00 ä"


@on_servers
async def test_the_servers_list_names_the_scope(world: World) -> None:
    sqlcommenter.attach(world.db)
    for name in ("page", NASTY):
        async with world.session(name=name.replace("\x00", "")) as session:
            found = await own(world, session)
        assert found == {"db_driver": "hermetic", "scope": name.replace("\x00", "")}
    assert world.usernames() == []
    await check_nothing_left(world)


@one_of_each_family
async def test_a_scope_with_a_deadline_is_named_too(world: World) -> None:
    sqlcommenter.attach(world.db)
    async with world.session(name="page", timeout=30) as session:
        assert (await own(world, session))["scope"] == "page"
    async with world.session(name="page", propagation="not_supported") as session:
        assert (await own(world, session))["scope"] == "page"


@one_of_each_family
async def test_the_line_that_opened_the_scope_is_told_if_wanted(world: World) -> None:
    sqlcommenter.attach(world.db, place=True, more=lambda scope: {"attempt of": NASTY})
    async with world.session(name="page") as session:
        found = await own(world, session)
    assert ".py:" in found["opened_at"]
    assert found["attempt of"] == NASTY
    assert list(found) == sorted(found)


@on_servers
async def test_everything_works_as_without(world: World) -> None:
    sqlcommenter.attach(world.db, more=lambda scope: {"odd": "100 % ? :x %s"})
    async with world.session(name="writing") as session:
        for number in range(3):
            session.add(User(username=f"user {number} % ?", orders=[Order(item="a")]))
    async with world.session(name="many") as session:
        await session.insert_many(User, [{"username": f"m{n}"} for n in range(50)])
        await session.execute(insert(User), [{"username": f"n{n}"} for n in range(50)])
    async with world.session(name="small") as session:
        user = await session.get(User, 1) or (await session.scalars(select(User))).first()
        assert user is not None
        user.balance = 5
    async with world.session(name="reading", readonly=True) as session:
        for _ in range(7):  # what is prepared is prepared meanwhile
            users = (await session.scalars(select(User).where(User.balance == 5))).all()
            assert len(users) == 1
            assert await session.scalar("SELECT count(*) FROM users;") == 103
            assert await session.scalar("SELECT '100 %%' -- a word") in ("100 %", "100 %%")
    async with world.session(name="changing") as session, session.begin_nested():
        session.add(User(username="last"))
    assert len(world.usernames()) == 104
    await check_nothing_left(world)


@on_servers
async def test_what_is_known_of_a_statement_is_its_text_without(world: World) -> None:
    sqlcommenter.attach(world.db)
    compiled: list[str] = []
    async with world.session(name="page") as session:
        connection = await session.connection()
        sync = getattr(connection, "sync_connection", connection)
        event.listen(sync, "before_cursor_execute", lambda *given: compiled.append(given[2]))
        for _ in range(3):
            await session.execute(select(User.id))
        with pytest.raises(ScopeControls):
            await session.execute("COMMIT")
        seen = world.db.registry.snapshot().scopes[0]

    assert not [statement for statement in compiled if "/*" in statement]
    assert "/*" not in (seen.last_statement or "")


@on_postgresql
async def test_fast_paths_and_prepared_statements_serve_as_without(world: World) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))

    async def taken() -> dict[str, int]:
        before = world.db.snapshot().paths
        async with world.session(name="page") as session:
            user = await session.get(User, 1)
            user.balance += 1
        async with world.session(name="page", readonly=True) as session:
            for _ in range(7):
                await session.scalars(select(User).where(User.username == "ann"))
        after = world.db.snapshot().paths
        return {path: count - before.get(path, 0) for path, count in after.items()}

    await taken()
    without = await taken()
    sqlcommenter.attach(world.db)
    await taken()
    assert await taken() == without
    async with world.session(readonly=True) as session:
        prepared = await session.scalars(
            "SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%FROM users%'"
        )
        carried = [statement for statement in prepared if "scope='page'" in statement]
    assert len(carried) == 1


@on_servers
async def test_a_statement_with_a_comment_stays_as_it_is(world: World) -> None:
    sqlcommenter.attach(world.db)
    asked = OWN_STATEMENT[world.backend.family].replace("SELECT", "SELECT /* mine */", 1)
    async with world.session() as session:
        found = await session.scalar(asked)
    assert found == asked


@in_threads
async def test_sqlite_has_nobody_to_tell(world: World) -> None:
    sqlcommenter.attach(world.db)
    sent: list[str] = []
    async with world.session(name="page") as session:
        raw = session.sync_session.connection().connection.driver_connection
        raw.set_trace_callback(sent.append)
        await session.execute("SELECT 1")
        raw.set_trace_callback(None)
    assert sent == ["SELECT 1"]


@one_of_each_family
async def test_a_sink_that_fails_leaves_statements_as_they_are(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Sink):
        def comment(self, scope: ScopeView) -> dict[str, str]:
            raise ZeroDivisionError

    detach = attach(world.db, Failing())
    async with world.session() as session:
        found = await session.scalar(OWN_STATEMENT[world.backend.family])
    assert "/*" not in found
    with caplog.at_level(logging.ERROR, "hermetic"):
        assert "failed to comment" in caplog.text
    caplog.clear()
    detach()
    attach(world.db, sqlcommenter.Comments())
    async with world.session(name="page") as session:
        assert (await own(world, session))["scope"] == "page"


@one_of_each_family
async def test_the_current_span_is_told_if_wanted(world: World) -> None:
    optional("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider

    from hermetic.sinks import opentelemetry

    provider = TracerProvider()
    opentelemetry.attach(world.db, provider)
    sqlcommenter.attach(world.db, traceparent=True)
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("request") as request:
        async with world.session(name="page") as session:
            found = await own(world, session)
    version, trace_id, span_id, flags = found["traceparent"].split("-")
    assert (version, trace_id) == ("00", f"{request.get_span_context().trace_id:032x}")
    assert span_id != f"{request.get_span_context().span_id:016x}"  # it is the scope's
    assert (len(span_id), int(flags, 16) & 1) == (16, 1)


@in_threads
async def test_a_wrong_option_is_refused(world: World) -> None:
    with pytest.raises(InvalidOption, match="place"):
        sqlcommenter.attach(world.db, place="yes")  # type: ignore[arg-type]


def test_nothing_in_a_comment_ends_it() -> None:
    said = rendered((("k'/*", "*/; DROP --\n"), ("ü", "%%")))
    assert said == "/*k%27%2F%2A='%2A%2F%3B%20DROP%20--%0A',%C3%BC='%25%25'*/"
    assert rendered(()) == ""


@on_servers
async def test_frames_and_streams_go_on_as_without(world: World) -> None:
    pyarrow = optional("pyarrow")
    from hermetic import frames

    sqlcommenter.attach(world.db, more=lambda scope: {"odd": "100 % ? :x %s"})
    rows = pyarrow.table({"username": [f"u{n}" for n in range(20)]})

    asked = "SELECT username FROM users WHERE username LIKE :first ORDER BY 1"

    async def done(given: Any) -> Any:
        return await given if world.is_async else given

    async with world.session(name="frames") as session:
        user: Any = session if world.is_async else session.sync_session
        assert await done(frames.write(user, rows, User)) == 20
    async with world.session(name="frames", readonly=True) as session:
        user = session if world.is_async else session.sync_session
        table = await done(frames.read(user, asked, "arrow", params={"first": "u1%"}))
        found = table.column("username").to_pylist()
    assert found == sorted(f"u{n}" for n in range(20) if str(n).startswith("1"))
    async with world.session(name="streams") as session:
        options = {"stream_results": True, "yield_per": 7}
        asked_for = select(User.username).execution_options(**options)
        if world.is_async:
            result = await session.stream(asked_for)
            streamed = [row async for row in result.scalars()]
        else:
            streamed = list((await session.execute(asked_for)).scalars())
    assert len(streamed) == 20
    await check_nothing_left(world)


@on_servers
async def test_neither_long_statements_nor_those_of_a_span_are_remembered(world: World) -> None:
    class Traced(Sink):
        def comment(self, scope: ScopeView) -> dict[str, str]:
            return {"traceparent": "00-1-1-01"} if scope.name == "traced" else {"of": scope.name}

    detach = attach(world.db, Traced())
    commenting._remembered.cache_clear()
    long = "SELECT 1" + " " * 5000 + "+ 1"
    for name, statement, kept in (
        ("plain", long, 0),
        ("traced", "SELECT 1", 0),
        ("plain", "SELECT 1", 1),
    ):
        async with world.session(name=name) as session:
            await session.execute(statement)
        assert commenting._remembered.cache_info().currsize == kept, name
    detach()
