"""Small units under asyncio go straight to the driver, and SQLAlchemy can go on at any point."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.ext.asyncio import async_object_session, async_session

from hermetic import Database, Outcome, PoolTimeout
from hermetic.fast.counts import counts
from tests.behaviour.aftermath import check_nothing_left, on
from tests.models import User
from tests.worlds import World

on_wires: Final = on(
    lambda backend: backend.is_async and backend.family in ("sqlite", "postgresql")
)
on_postgresql: Final = on(lambda backend: backend.is_async and backend.family == "postgresql")
ANN: Final = 71


def insert_ann(world: World) -> None:
    world.do(f"INSERT INTO users (id, username, balance) VALUES ({ANN}, 'ann', 7)")


async def connect(world: World, db: Database) -> None:
    """Have a writer's connection in the pool, and the plan of the class made."""
    async with world.session(db) as session:
        await session.get(User, ANN)


def how_many(name: str) -> int:
    return counts.get(name, 0)


def in_hand(session: Any) -> bool:
    answer: bool = session.scope.in_hand
    return answer


# ---------------------------------------------------------------- which way


@on_wires
async def test_a_get_is_the_drivers_own_from_the_second_scope_on(world: World) -> None:
    insert_ann(world)
    await connect(world, world.db)

    before = how_many("read:awaited")
    async with world.session() as session:
        found = await session.get(User, ANN)
        again = await session.get(User, ANN)
        nothing = await session.get(User, 4711)
        direct = in_hand(session)
        scope = session.scope

    assert direct
    assert how_many("read:awaited") == before + 2
    assert found is again
    assert (found.username, found.balance, nothing) == ("ann", 7, None)
    assert session.outcome is Outcome.COMMITTED
    assert scope.statements == 2
    await check_nothing_left(world)


@on_wires
@pytest.mark.parametrize("what", ["options", "listener", "isolation", "by name"])
async def test_what_a_plan_does_not_know_is_sqlalchemys(world: World, what: str) -> None:
    insert_ann(world)
    await connect(world, world.db)
    isolation = "SERIALIZABLE" if what == "isolation" else None

    heard: list[Any] = []
    async with world.session(isolation=isolation) as session:
        if what == "listener":
            event.listen(session.sync_session, "do_orm_execute", heard.append)
        more: dict[str, Any] = {"populate_existing": True} if what == "options" else {}
        ident = {"id": ANN} if what == "by name" else ANN
        found = await session.get(User, ident, **more)
        direct = in_hand(session)

    assert not direct
    assert found.username == "ann"
    assert bool(heard) is (what == "listener")
    await check_nothing_left(world)


@on_wires
async def test_asyncios_sessions_are_found_by_their_objects(world: World) -> None:
    insert_ann(world)
    await connect(world, world.db)

    async with world.session() as session:
        found = await session.get(User, ANN)
        of_object, of_session = async_object_session(found), async_session(session.sync_session)
        bind = session.bind
        words = repr(session)

    assert of_object is of_session is session
    assert async_object_session(found) is None
    assert bind is not None
    assert "AsyncSession" in words
    assert "test_asyncios_sessions" in words


@on_wires
async def test_small_selects_are_the_drivers_own_too(world: World) -> None:
    insert_ann(world)
    await connect(world, world.db)

    before = how_many("read:awaited")
    async with world.session() as session:
        found = (await session.scalars(select(User).where(User.username == "ann"))).one()
        same = (await session.execute(select(User).order_by(User.id))).scalars().all()
        nobody = await session.scalar(select(User).where(User.id == 4711))
        direct = in_hand(session)

    assert direct
    assert how_many("read:awaited") == before + 3
    assert same == [found]
    assert nobody is None
    await check_nothing_left(world)


@on_wires
async def test_a_read_only_scope_reads_and_keeps_from_writing(world: World) -> None:
    insert_ann(world)
    async with world.session(readonly=True) as first:
        await first.get(User, ANN)

    async with world.session(readonly=True) as session:
        found = await session.get(User, ANN)
        direct = in_hand(session)
    with pytest.raises(Exception, match="read-only"):
        async with world.session(readonly=True) as refused:
            await refused.get(User, ANN)
            await refused.execute(text("UPDATE users SET balance = 0"))

    assert direct
    assert found.balance == 7
    assert session.outcome is Outcome.COMMITTED
    assert refused.outcome is Outcome.NOT_COMMITTED
    assert world.seen("SELECT balance FROM users") == [(7,)]
    await check_nothing_left(world)


# ---------------------------------------------------------------- SQLAlchemy goes on


@on_wires
async def test_what_follows_a_get_goes_on_in_its_transaction(world: World) -> None:
    insert_ann(world)
    await connect(world, world.db)

    async with world.session() as session:
        ann = await session.get(User, ANN)
        first = in_hand(session)
        ann.balance = 8
        session.add(User(id=72, username="bob"))
        await session.flush()
        unseen = world.usernames()
        both = (await session.scalars(select(User).order_by(User.id))).all()
        bob = await session.get(User, 72)
        carl = await session.get(User, 73)

    assert first
    assert unseen == ["ann"]
    assert both == [ann, bob]
    assert carl is None
    assert world.seen("SELECT username, balance FROM users ORDER BY id") == [("ann", 8), ("bob", 0)]
    await check_nothing_left(world)


@on_postgresql
async def test_get_and_what_follows_are_one_transaction(world: World) -> None:
    insert_ann(world)
    db = world.database(pool_size=1)
    await connect(world, db)

    async with world.session(db) as session:
        await session.get(User, ANN)
        direct = in_hand(session)
        started = await session.scalar(text("SELECT xact_start FROM pg_stat_activity"
                                            " WHERE pid = pg_backend_pid()"))  # fmt: skip
        xid = await session.scalar(text("SELECT txid_current()"))
        await session.get(User, 72)
        session.add(User(id=73, username="bob"))
        await session.flush()
        later = await session.scalar(text("SELECT txid_current()"))
        (first,) = (
            await session.execute(text("SELECT now() = :started"), {"started": started})
        ).one()

    assert direct
    assert xid == later
    assert first
    assert world.seen("SELECT CAST(CAST(xmin AS text) AS bigint) FROM users WHERE id = 73") == [
        (xid % 2**32,)
    ]


@on_wires
async def test_a_nested_scope_after_a_get_rolls_back_alone(world: World) -> None:
    insert_ann(world)
    await connect(world, world.db)

    async with world.session() as session:
        await session.get(User, ANN)
        with pytest.raises(ZeroDivisionError):
            async with world.session(propagation="nested") as inner:
                inner.add(User(id=72, username="bob"))
                await inner.flush()
                assert (await inner.get(User, 72)).username == "bob"
                raise ZeroDivisionError
        gone = await session.get(User, 72)
        session.add(User(id=73, username="carl"))

    assert gone is None
    assert world.usernames() == ["ann", "carl"]
    await check_nothing_left(world)


@on_wires
async def test_a_scope_that_read_can_be_rolled_back_and_marked(world: World) -> None:
    insert_ann(world)
    await connect(world, world.db)

    with pytest.raises(ZeroDivisionError):
        async with world.session() as failed:
            await failed.get(User, ANN)
            raise ZeroDivisionError
    async with world.session() as marked:
        await marked.get(User, ANN)
        marked.rollback_only()

    assert failed.outcome is marked.outcome is Outcome.NOT_COMMITTED
    await check_nothing_left(world)


@on_wires
async def test_a_lent_session_reads_on_in_the_borrowers_task(world: World) -> None:
    insert_ann(world)
    await connect(world, world.db)

    async with world.session() as session:
        mine = await session.get(User, ANN)

        async def borrow() -> Any:
            async with loan as borrowed:
                return await borrowed.get(User, ANN), await borrowed.get(User, 72)

        loan = session.lend()
        theirs, nobody = await asyncio.create_task(borrow())

    assert mine is theirs
    assert nobody is None
    assert session.outcome is Outcome.COMMITTED
    await check_nothing_left(world)


@on_wires
async def test_hooks_of_a_scope_that_read_are_run(world: World) -> None:
    insert_ann(world)
    await connect(world, world.db)
    heard: list[str] = []

    async with world.session() as session:
        await session.get(User, ANN)
        session.before_commit(lambda: heard.append("before"))
        session.on_commit(lambda: heard.append("after"))

    assert heard == ["before", "after"]
    await check_nothing_left(world)


# ---------------------------------------------------------------- errors


@on_wires
async def test_an_error_of_the_driver_is_as_every_other(world: World) -> None:
    insert_ann(world)
    await connect(world, world.db)
    world.do("ALTER TABLE users RENAME TO people")

    async def fail(direct: bool) -> tuple[BaseException, Any]:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - two of a kind are compared
            async with world.session() as session:
                if direct:
                    await session.get(User, 72)
                else:
                    await session.get(User, 72, populate_existing=True)
        return caught.value, session

    (direct, first), (plain, second) = await fail(True), await fail(False)

    assert type(direct) is type(plain)
    assert type(direct.orig) is type(plain.orig)  # type: ignore[attr-defined]
    assert type(direct.__cause__) is type(plain.__cause__)
    assert "users" in direct.statement  # type: ignore[attr-defined]
    assert first.outcome is second.outcome is Outcome.NOT_COMMITTED
    world.do("ALTER TABLE people RENAME TO users")
    await check_nothing_left(world)


@on_postgresql
async def test_an_error_in_a_get_dooms_the_transaction(world: World) -> None:
    insert_ann(world)
    await connect(world, world.db)
    world.do("ALTER TABLE orders RENAME TO others")
    world.do("ALTER TABLE users RENAME TO people")

    with pytest.raises(Exception, match=r"given up|rolled back|not sent"):
        async with world.session() as session:
            with pytest.raises(Exception, match="users"):
                await session.get(User, 72)
            await session.execute(text("SELECT 1"))

    assert session.outcome is Outcome.NOT_COMMITTED
    await check_nothing_left(world)


# ---------------------------------------------------------------- waiting in line


@on_wires
async def test_many_tasks_take_turns_on_few_connections(world: World) -> None:
    insert_ann(world)
    db = world.database(pool_size=3)

    async def unit(number: int) -> str:
        async with world.session(db) as session:
            found = await session.get(User, ANN)
            if number % 7 == 0:
                await asyncio.sleep(0)
        name: str = found.username
        return name

    found = await asyncio.gather(*(unit(number) for number in range(60)))

    assert found == ["ann"] * 60
    assert all(pool.lent == 0 for pool in db.snapshot().pools)
    assert len(db.snapshot().connections) <= 3
    await check_nothing_left(world, db)


@on_wires
async def test_who_waits_too_long_for_a_connection_is_told(world: World) -> None:
    db = world.database(pool_size=1, pool_timeout=0.05)
    await connect(world, db)
    taken, done = asyncio.Event(), asyncio.Event()

    async def holder() -> None:
        async with world.session(db) as session:
            await session.get(User, ANN)
            taken.set()
            await done.wait()

    holding = asyncio.create_task(holder())
    await taken.wait()
    with pytest.raises(PoolTimeout):
        async with world.session(db) as session:
            await session.get(User, ANN)
    done.set()
    await holding

    await check_nothing_left(world, db)
