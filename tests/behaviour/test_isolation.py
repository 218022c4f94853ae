"""Isolation per scope: really in force, for that scope alone, and refused where it is lacking."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from hermetic import FaultError, FaultKind, Isolation, Outcome
from hermetic import InvalidOption as Refused
from tests.behaviour.aftermath import (
    check_nothing_left,
    on_mariadb,
    on_postgresql,
    on_servers,
    on_sqlite,
)
from tests.behaviour.watching import Boom, Sent
from tests.models import User
from tests.worlds import World

MARKS = count()
LEVELS = ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


@pytest.fixture
def ann(world: World) -> World:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 7)")
    return world


async def level_of(world: World, session: Any) -> str:
    """The level of the session's transaction, as its server tells."""
    if world.backend.family == "postgresql":
        told = await session.scalar("SHOW transaction_isolation")
    else:
        # The server's own record of the transaction, which exists once it has read something. The
        # view is up to 0.1 s old, older while anybody else keeps looking at it, and then tells of
        # the connection's last transaction: the mark says that this one is told of.
        mark = f"level_{next(MARKS)}"
        told = None
        for pause in (0.15, *[0.3] * 30):
            await session.execute(f"SELECT count(*), SLEEP({pause}), '{mark}' FROM users")
            told = await session.scalar(
                "SELECT trx_isolation_level FROM information_schema.innodb_trx"
                f" WHERE trx_mysql_thread_id = connection_id() AND locate('{mark}', trx_query) > 0"
            )
            if told is not None:
                break
    return str(told).upper()


# ---------------------------------------------------------------- in force


@on_servers
@pytest.mark.usefixtures("ann")
@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("level", LEVELS)
async def test_the_server_runs_the_scope_at_its_level(
    world: World, level: str, readonly: bool
) -> None:
    async with world.session(isolation=level, readonly=readonly) as session:
        told = await level_of(world, session)

    assert told == level


@on_servers
@pytest.mark.usefixtures("ann")
@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("ends_with", [None, Boom])
async def test_the_next_scope_on_the_connection_has_the_default_again(
    world: World, ends_with: type[Exception] | None, readonly: bool
) -> None:
    default = world.db.family.default_isolation.value
    sent = Sent(world)

    for level in ("SERIALIZABLE", "READ COMMITTED"):
        try:
            async with world.session(isolation=level, readonly=readonly) as session:
                await session.execute("SELECT 1")
                if ends_with is not None:
                    raise ends_with
        except Boom:
            pass
        # a reader that names no level is in no transaction that could have one
        named = default if readonly else None
        async with world.session(readonly=readonly, isolation=named) as session:
            told = await level_of(world, session)
        assert told == default

    assert sent.connected == 1


@on_servers
@pytest.mark.usefixtures("ann")
async def test_a_level_is_not_used_up_by_a_scope_that_sent_nothing(world: World) -> None:
    default = world.db.family.default_isolation.value
    async with world.session() as session:
        await session.execute("SELECT 1")

    async with world.session(isolation="SERIALIZABLE"):
        pass

    async with world.session() as session:
        assert await level_of(world, session) == default


@on_servers
@pytest.mark.usefixtures("ann")
async def test_a_level_of_the_database_holds_for_every_scope(world: World) -> None:
    world.database(isolation="SERIALIZABLE")

    async with world.session() as session:
        by_default = await level_of(world, session)
    async with world.session(isolation="READ COMMITTED") as session:
        by_scope = await level_of(world, session)

    assert (by_default, by_scope) == ("SERIALIZABLE", "READ COMMITTED")


@on_servers
@pytest.mark.usefixtures("ann")
async def test_a_joined_scope_keeps_the_level_of_the_whole(world: World) -> None:
    async with world.session(isolation="SERIALIZABLE") as session:
        await session.execute("SELECT 1")
        async with world.session(isolation="READ COMMITTED"):
            pass
        async with world.session(propagation="nested", isolation="READ COMMITTED") as nested:
            told = await level_of(world, nested)

    assert told == "SERIALIZABLE"


@on_servers
@pytest.mark.usefixtures("ann")
async def test_a_scope_with_a_level_commits_and_rolls_back_as_any(world: World) -> None:
    async with world.session(isolation="SERIALIZABLE") as session:
        session.add(User(username="bob"))
    with pytest.raises(Boom):
        async with world.session(isolation="SERIALIZABLE") as session:
            session.add(User(username="cid"))
            await session.flush()
            raise Boom

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == ["ann", "bob"]
    await check_nothing_left(world)


@on_servers
@pytest.mark.usefixtures("ann")
async def test_a_scope_with_level_deadline_and_savepoint_works(world: World) -> None:
    async with world.session(isolation="SERIALIZABLE", timeout=30) as session:
        async with world.session(propagation="nested") as nested:
            nested.add(User(username="bob"))
        told = await level_of(world, session)

    assert told == "SERIALIZABLE"
    assert world.usernames() == ["ann", "bob"]


@on_servers
async def test_a_level_in_any_spelling_is_the_same(world: World) -> None:
    for spelling in ("serializable", "SERIALIZABLE", Isolation.SERIALIZABLE):
        async with world.session(isolation=spelling) as session:
            assert await level_of(world, session) == "SERIALIZABLE"
    async with world.session(isolation="repeatable_read") as session:
        assert await level_of(world, session) == "REPEATABLE READ"


# ---------------------------------------------------------------- what it does


@on_servers
@pytest.mark.usefixtures("ann")
@pytest.mark.parametrize(
    ("level", "reads"),
    [("READ COMMITTED", (7, 8)), ("REPEATABLE READ", (7, 7))],
)
async def test_a_second_read_sees_what_the_level_allows(
    world: World, level: str, reads: tuple[int, int]
) -> None:
    async with world.session(isolation=level) as session:
        before = await session.scalar("SELECT balance FROM users")
        world.do("UPDATE users SET balance = 8")
        after = await session.scalar("SELECT balance FROM users")

    assert (before, after) == reads


@on_sqlite
@pytest.mark.usefixtures("ann")
async def test_reads_of_sqlite_are_repeatable(world: World) -> None:
    async with world.session(readonly=True) as session:
        before = await session.scalar("SELECT balance FROM users")
        world.do("UPDATE users SET balance = 8")
        after = await session.scalar("SELECT balance FROM users")
    async with world.session(readonly=True) as session:
        later = await session.scalar("SELECT balance FROM users")

    assert (before, after, later) == (7, 7, 8)


@on_mariadb
@pytest.mark.usefixtures("ann")
async def test_uncommitted_work_is_read_at_the_level_that_allows_it(world: World) -> None:
    async with world.session() as writer:
        await writer.execute("UPDATE users SET balance = 8")
        async with world.session(
            propagation="requires_new", isolation="READ UNCOMMITTED", readonly=True
        ) as reader:
            dirty = await reader.scalar("SELECT balance FROM users")
        async with world.session(propagation="requires_new", readonly=True) as reader:
            clean = await reader.scalar("SELECT balance FROM users")

    assert (dirty, clean) == (8, 7)


@on_postgresql
@pytest.mark.usefixtures("ann")
async def test_a_write_against_a_changed_row_conflicts_at_repeatable_read(world: World) -> None:
    with pytest.raises(FaultError) as caught:
        async with world.session(isolation="REPEATABLE READ") as session:
            await session.scalar("SELECT balance FROM users")
            world.do("UPDATE users SET balance = 8")
            await session.execute("UPDATE users SET balance = 9")

    assert caught.value.kind is FaultKind.SERIALIZATION
    assert world.seen("SELECT balance FROM users") == [(8,)]
    await check_nothing_left(world)


# ---------------------------------------------------------------- refused


@on_sqlite
@pytest.mark.parametrize("level", LEVELS[:3])
async def test_a_level_that_sqlite_lacks_is_refused_when_it_is_given(
    world: World, level: str
) -> None:
    with pytest.raises(Refused, match="SERIALIZABLE") as caught:
        world.db.session(isolation=level)

    assert caught.value.option == "isolation"
    assert caught.value.value == level
    assert "sqlite" in str(caught.value)


@on_sqlite
async def test_a_database_refuses_a_level_that_it_lacks(world: World) -> None:
    with pytest.raises(Refused, match="READ COMMITTED"):
        world.database(isolation="READ COMMITTED")


@on_sqlite
async def test_the_one_level_of_sqlite_may_be_asked_for(world: World) -> None:
    async with world.session(isolation="SERIALIZABLE") as session:
        session.add(User(username="ann"))

    assert world.usernames() == ["ann"]


@pytest.mark.parametrize("level", ["CHAOS", "", "AUTOCOMMIT", 3, True])
async def test_an_unknown_level_is_refused_when_it_is_given(world: World, level: Any) -> None:
    with pytest.raises(Refused, match="isolation"):
        world.db.session(isolation=level)
