"""What travels between hermetic and a server: each request is one that the client waits for."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import bindparam, func, select

from hermetic import Outcome, UniqueViolation
from hermetic.fast.counts import counts
from tests.models import User
from tests.proxy import Proxy
from tests.worlds import World

Work = Callable[[Any], Awaitable[None]]

_PSYCOPG = ("psycopg", "psycopg_async")


@pytest.fixture
def wire(world: World) -> Iterator[Proxy]:
    if world.backend.family == "sqlite":
        pytest.skip("there is no wire")
    world.do("INSERT INTO users (id, username, balance) VALUES (71, 'ann', 7), (72, 'bob', 8)")
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        yield proxy


async def requests(world: World, wire: Proxy, work: Work, **options: Any) -> list[str]:
    """What a scope asks of the server once connections are open and statements prepared."""
    for _ in range(8):
        async with world.session(**options) as session:
            await work(session)
    wire.forget()
    async with world.session(**options) as session:
        await work(session)
    assert session.outcome is Outcome.COMMITTED
    return [request.decode(errors="replace") for request in wire.requests]


async def get(session: Any) -> None:
    assert (await session.get(User, 71)).username == "ann"


async def query(session: Any) -> None:
    assert await session.scalar(select(User.username).where(User.id == 71)) == "ann"


async def both(session: Any) -> None:
    await get(session)
    await query(session)


async def insert(session: Any) -> None:
    number = await session.scalar(select(func.count(User.id)))
    session.add(User(username=f"user {number}"))


_numbers = itertools.count()


async def only_insert(session: Any) -> None:
    session.add(User(username=f"another {next(_numbers)}"))


async def change(session: Any) -> None:
    user = await session.get(User, 71)
    user.balance += 1


async def nested(world: World, session: Any) -> None:
    async with world.session(propagation="nested") as inner:
        await query(inner)


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("work", [get, query])
async def test_a_read_only_scope_of_one_statement_is_one_round_trip(
    world: World, wire: Proxy, work: Work
) -> None:
    assert len(await requests(world, wire, work, readonly=True)) == 1


async def test_a_read_only_scope_has_a_round_trip_for_each_statement_and_no_more(
    world: World, wire: Proxy
) -> None:
    assert len(await requests(world, wire, both, readonly=True)) == 2


@pytest.mark.parametrize("work", [get, query])
async def test_a_deadline_costs_a_read_only_scope_as_little_as_the_driver_allows(
    world: World, wire: Proxy, work: Work
) -> None:
    # asyncpg sends one statement at a time: BEGIN, SET LOCAL (prepared, unless the same number of
    # milliseconds has come before, and executed), the statement, COMMIT
    least = (4, 5) if world.backend.name == "asyncpg" else (1,)

    assert len(await requests(world, wire, work, readonly=True, timeout=30)) in least


async def test_a_snapshot_is_a_real_transaction(world: World, wire: Proxy) -> None:
    sent = await requests(world, wire, query, readonly=True, isolation="REPEATABLE READ")

    assert "COMMIT" in sent[-1]
    least = 2 if world.backend.name in _PSYCOPG else 4 if world.backend.family == "mariadb" else 3
    assert len(sent) == least


# ---------------------------------------------------------------- writing


async def test_a_writing_scope_that_only_gets_is_one_round_trip_where_begin_is_put_off(
    world: World, wire: Proxy
) -> None:
    sent = await requests(world, wire, get)

    if world.backend.family == "postgresql":
        assert len(sent) == 1
    else:
        assert len(sent) == 2
        assert "COMMIT" in sent[-1]


@pytest.mark.parametrize("work", [query, only_insert])
async def test_a_writing_scope_of_one_statement_is_two_round_trips(
    world: World, wire: Proxy, work: Work
) -> None:
    # asyncpg sends BEGIN by itself
    least = 3 if world.backend.name == "asyncpg" else 2

    sent = await requests(world, wire, work)

    assert len(sent) == least
    assert "COMMIT" in sent[-1]


@pytest.mark.parametrize("work", [change, insert])
async def test_a_scope_that_reads_and_writes_has_no_round_trip_of_its_own_but_commit(
    world: World, wire: Proxy, work: Work
) -> None:
    least = 4 if world.backend.name == "asyncpg" else 3

    assert len(await requests(world, wire, work)) == least


async def test_a_deadline_travels_with_the_statement(world: World, wire: Proxy) -> None:
    least = (4, 5) if world.backend.name == "asyncpg" else (2,)

    assert len(await requests(world, wire, query, timeout=30)) in least


@pytest.mark.parametrize("readonly", [True, False])
async def test_a_deadline_keeps_a_get_as_fast_as_it_is(
    world: World, wire: Proxy, readonly: bool
) -> None:
    if world.backend.name == "asyncpg":
        pytest.skip("it has no way to send a setting together with a statement")
    apart = readonly or world.backend.family == "postgresql"
    before = counts.get("read:over a Connection", 0)

    sent = await requests(world, wire, get, readonly=readonly, timeout=30)

    assert len(sent) == (1 if apart else 2)
    if world.backend.name != "asyncmy":
        # the first one finds no connection in the pool
        assert counts.get("read:over a Connection", 0) - before <= 1


async def test_a_statement_for_many_rows_takes_begin_along(world: World, wire: Proxy) -> None:
    async def work(session: Any) -> None:
        connection = await session.connection()
        await _execute(connection, world)

    if world.backend.name not in _PSYCOPG:
        pytest.skip("a matter of psycopg's pipelines")
    assert len(await requests(world, wire, work, timeout=30)) == 2


async def _execute(connection: Any, world: World) -> None:
    table: Any = User.__table__
    statement = (
        table.update().where(table.c.id == bindparam("number")).values(balance=bindparam("amount"))
    )
    rows = [{"number": 71, "amount": 1}, {"number": 72, "amount": 2}]
    answer = connection.execute(statement, rows)
    if world.is_async:
        await answer


async def test_an_empty_scope_sends_nothing(world: World, wire: Proxy) -> None:
    async def work(session: Any) -> None:
        pass

    assert await requests(world, wire, work) == []
    assert await requests(world, wire, work, readonly=True) == []


async def test_a_scope_that_fails_sends_one_rollback(world: World, wire: Proxy) -> None:
    async with world.session() as session:
        await get(session)
    wire.forget()

    with pytest.raises(UniqueViolation):
        async with world.session() as session:
            session.add(User(username="ann"))

    sent = [request for request in wire.requests if b"ROLLBACK" in request]
    assert len(sent) == 1


async def test_a_connection_that_was_just_used_is_not_asked_whether_it_is_alive(
    world: World, wire: Proxy
) -> None:
    sent = await requests(world, wire, get)

    assert not any("SELECT 1" in request or request in ("", ";") for request in sent)
    assert not any("ROLLBACK" in request for request in sent)
