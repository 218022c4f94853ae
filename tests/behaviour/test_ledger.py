"""Features of the ledger (docs/features.md) that no other case shows."""

from __future__ import annotations

import contextvars
from typing import Any

import pytest
from sqlalchemy import NullPool, select
from sqlalchemy.exc import InvalidRequestError

from hermetic import (
    Event,
    NoScope,
    Outcome,
    ReadOnlyServer,
    ScopeFinished,
    ScopeOpened,
    async_sessionmaker,
    sessionmaker,
)
from tests.behaviour.aftermath import on_servers
from tests.behaviour.watching import Boom, another, engine_of
from tests.databases import FreshUrl
from tests.models import Base, Order, User
from tests.worlds import Block, World

_CONNECTION_ID = {"postgresql": "SELECT pg_backend_pid()", "mariadb": "SELECT connection_id()"}
_KILL = {"postgresql": "SELECT pg_terminate_backend(:id)", "mariadb": "KILL :id"}
_DEMOTE = {
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}


def factory(world: World, **arguments: Any) -> Any:
    """A factory of the import line, bound to the case's Database."""
    if world.is_async:
        return async_sessionmaker(world.db.async_engine, **arguments)
    make = sessionmaker(world.db.engine, **arguments)
    return lambda: Block(make())


# ---------------------------------------------------------------- scopes


async def test_one_object_is_a_block_and_a_decorator(world: World) -> None:
    unit = world.db.session()

    async with unit if world.is_async else Block(unit) as session:
        session.add(User(username="ann"))
    if world.is_async:

        @unit
        async def add_soon(session: Any, username: str) -> None:
            session.add(User(username=username))

        await add_soon("bob")
    else:

        @unit
        def add_now(session: Any, username: str) -> None:
            session.add(User(username=username))

        add_now("bob")

    assert world.usernames() == ["ann", "bob"]


async def test_the_open_scope_is_kept_in_the_context(world: World) -> None:
    db = world.db

    async with world.session() as session:
        in_a_copy = contextvars.copy_context().run(lambda: db.current)
        with pytest.raises(NoScope):
            contextvars.Context().run(lambda: db.current)

    assert in_a_copy is (session if world.is_async else session.sync_session)


async def test_a_scope_reads_what_it_wrote(world: World) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))
        pending = await session.scalar("SELECT count(*) FROM users")
        await session.execute("UPDATE users SET balance = 7")
        written = await session.scalar("SELECT balance FROM users")

        assert world.usernames() == []

    assert (pending, written) == (1, 7)


async def test_a_scope_that_only_reads_says_so_and_gets_a_readers_connection(world: World) -> None:
    async with world.session() as session:
        await session.execute("SELECT 1")
        writing = world.db.snapshot()
    async with world.session(readonly=True) as session:
        await session.execute("SELECT 1")
        reading = world.db.snapshot()

    assert _role_of_holder(writing) == "writer"
    assert _role_of_holder(reading) == "reader"


def _role_of_holder(snapshot: Any) -> str:
    (scope,) = snapshot.scopes
    (role,) = (c.role for c in snapshot.connections if c.number == scope.connection)
    return str(role)


async def test_events_tell_a_scope_from_its_opening_to_its_outcome(world: World) -> None:
    told: list[Event] = []
    stop = world.db.listen(told.append)

    async with world.session(name="good") as session:
        await session.execute("SELECT 1")
    with pytest.raises(Boom):
        async with world.session(name="bad"):
            raise Boom
    stop()
    async with world.session(name="unheard"):
        pass

    opened = [event.scope.name for event in told if isinstance(event, ScopeOpened)]
    finished = [
        (event.scope.name, event.outcome, event.error)
        for event in told
        if isinstance(event, ScopeFinished)
    ]
    assert opened == ["good", "bad"]
    assert finished == [
        ("good", Outcome.COMMITTED, None),
        ("bad", Outcome.NOT_COMMITTED, "Boom"),
    ]


# ---------------------------------------------------------------- factories


async def test_autobegin_can_be_off(world: World) -> None:
    make = factory(world, autobegin=False)

    async with make() as session:
        with pytest.raises(InvalidRequestError, match="Autobegin is disabled"):
            await session.execute("SELECT 1")
        begun = session.begin()
        async with begun if world.is_async else Block(begun):
            session.add(User(username="ann"))

    assert world.usernames() == ["ann"]


async def test_a_model_can_have_a_database_of_its_own(world: World, fresh_url: FreshUrl) -> None:
    async with another(world, fresh_url(world.backend, "orders")) as orders:
        async with world.session(orders, propagation="supports") as session:
            await session.run_sync(lambda sync: Base.metadata.create_all(sync.connection()))
        async with world.session(orders) as session:
            session.add(User(username="elsewhere", orders=[Order(item="pen")]))
        binds = {Order: orders.async_engine if world.is_async else orders.engine}
        make = factory(world, binds=binds)

        async with make() as session:
            session.add(User(username="here"))
            await session.commit()
            users = (await session.scalars(select(User.username))).all()
            items = (await session.scalars(select(Order.item))).all()

    assert (users, items) == (["here"], ["pen"])
    assert world.usernames() == ["here"]
    assert world.seen("SELECT item FROM orders") == []


# ---------------------------------------------------------------- pools


@on_servers
async def test_a_connection_that_died_while_it_was_idle_is_replaced(world: World) -> None:
    world.database(ping_after=0)
    first = await _connection_id(world)
    world.do(_KILL[world.backend.family], id=first)

    second = await _connection_id(world)

    assert second != first


async def _connection_id(world: World) -> int:
    async with world.session() as session:
        found: int = await session.scalar(_CONNECTION_ID[world.backend.family])
        return found


@pytest.mark.parametrize(("ping_after", "pings"), [(0, 1), (60, 0), (None, 0)])
async def test_a_connection_is_tested_only_after_it_was_idle(
    world: World, ping_after: float | None, pings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.database(ping_after=ping_after)
    dialect = engine_of(world).dialect
    ping = dialect.do_ping
    pinged = []

    def count(dbapi: Any) -> bool:
        pinged.append(dbapi)
        return bool(ping(dbapi))

    monkeypatch.setattr(dialect, "do_ping", count)

    for _ in range(2):
        async with world.session() as session:
            await session.execute("SELECT 1")

    assert len(pinged) == pings


async def test_the_number_of_connections_is_bounded_without_a_pool(world: World) -> None:
    world.database(poolclass=NullPool, pool_size=1)
    out = []

    async def read() -> None:
        async with world.session() as session:
            await session.execute("SELECT 1")
            out.append(len(world.db.snapshot().connections))

    results = await world.together(read, read, read)

    assert results == [None, None, None]
    assert out == [1, 1, 1]
    assert world.db.snapshot().connections == ()


@on_servers
async def test_a_server_that_became_read_only_loses_all_its_connections(world: World) -> None:
    demote = _DEMOTE[world.backend.family]
    async with world.session() as session:
        await session.execute(demote)
        async with world.session(propagation="requires_new") as second:
            await second.execute(demote)

    with pytest.raises(ReadOnlyServer):
        async with world.session() as session:
            session.add(User(username="lost"))
    async with world.session() as session:
        session.add(User(username="ann"))
        await session.flush()
        async with world.session(propagation="requires_new") as second:
            second.add(User(username="bob"))

    assert world.usernames() == ["ann", "bob"]
