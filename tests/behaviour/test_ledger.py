"""Features of the ledger (docs/features.md) that no other case shows."""

from __future__ import annotations

import contextvars
import multiprocessing
from multiprocessing.connection import Connection
from typing import Any

import pytest
from sqlalchemy import NullPool, select

from hermetic import (
    Database,
    Event,
    HermeticError,
    NoScope,
    Outcome,
    ReadOnlyServer,
    ScopeFinished,
    ScopeOpened,
    Session,
    async_sessionmaker,
    sessionmaker,
)
from hermetic.release import IS_2_0
from tests.behaviour.aftermath import on, on_servers
from tests.behaviour.watching import Boom, another
from tests.databases import FreshUrl
from tests.models import Base, Order, User
from tests.worlds import PATIENCE, Block, World

_CONNECTION_ID = {"postgresql": "SELECT pg_backend_pid()", "mariadb": "SELECT connection_id()"}
_DEMOTE = {
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}

_SETTINGS = {
    "sqlite": ("PRAGMA cache_size = 123", "PRAGMA cache_size"),
    "postgresql": ("SET search_path = pg_catalog", "SHOW search_path"),
    "mariadb": ("SET SESSION sort_buffer_size = 123456", "SELECT @@sort_buffer_size"),
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
        if IS_2_0:  # where text does not flush
            await session.flush()
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


async def test_what_a_scope_set_on_its_connection_ends_with_it(world: World) -> None:
    change, ask = _SETTINGS[world.backend.family]
    async with world.session() as session:
        before = await session.scalar(ask)
        (clean,) = world.db.snapshot().connections

    async with world.session() as session:
        await session.execute(change)
        changed = await session.scalar(ask)
        (dirty,) = world.db.snapshot().connections
    async with world.session() as session:
        after = await session.scalar(ask)
        (fresh,) = world.db.snapshot().connections

    assert changed != before
    assert after == before
    assert dirty.number == clean.number
    assert fresh.number != dirty.number


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
    world.database(reset_connections="never")  # or they would be replaced before
    async with world.session() as session:
        await session.run_sync(_demote, world.backend.family)
        async with world.session(propagation="requires_new") as second:
            await second.run_sync(_demote, world.backend.family)

    with pytest.raises(ReadOnlyServer):
        async with world.session() as session:
            session.add(User(username="lost"))
    async with world.session() as session:
        session.add(User(username="ann"))
        await session.flush()
        async with world.session(propagation="requires_new") as second:
            second.add(User(username="bob"))

    assert world.usernames() == ["ann", "bob"]


def _demote(session: Session, family: str) -> None:
    """Have the server behind a connection refuse writes, as one does that became a replica."""
    session.execute("SELECT 1")
    cursor = session.connection().connection.cursor()
    cursor.execute(_DEMOTE[family])
    cursor.close()


# ---------------------------------------------------------------- processes


@on(lambda backend: backend.family != "sqlite" and not backend.is_async)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_a_forked_child_gets_connections_of_its_own(world: World) -> None:
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()

    async with world.session() as session:
        ask = _CONNECTION_ID[world.backend.family]
        mine = await session.scalar(ask)
        child = fork.Process(
            target=_ask_in_a_child, args=(world.db, session.sync_session, ask, there), daemon=True
        )
        child.start()
        assert here.poll(4 * PATIENCE), "the child does not answer"
        refused, childs = here.recv()
        child.join(PATIENCE)
        mine_still = await session.scalar(ask)

    assert refused == "ForkedScope"
    assert childs != mine
    assert mine_still == mine


def _ask_in_a_child(db: Database, inherited: Session, ask: str, answer: Connection) -> None:
    try:
        refused = str(inherited.scalar(ask))
    except HermeticError as error:
        refused = type(error).__name__
    with db.session() as session:
        answer.send((refused, session.scalar(ask)))
    db.close()
