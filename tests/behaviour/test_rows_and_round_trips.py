"""What a scope costs its server: the rows of its statements, and how often it was waited for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import bindparam, func, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite

from hermetic import Database, InvalidStatement, UniqueViolation, frames
from tests.models import User
from tests.optional import optional
from tests.proxy import Proxy
from tests.worlds import PATIENCE, World

pyarrow = optional("pyarrow")

USERS: Any = User.__table__


@pytest.fixture
def wire(world: World) -> Iterator[Proxy]:
    if world.backend.family == "sqlite":
        pytest.skip("there is no wire")
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        yield proxy


async def get(session: Any) -> None:
    assert (await session.get(User, 71)).username == "ann"


async def query(session: Any) -> None:
    assert await session.scalar(select(User.username).where(User.id == 71)) == "ann"


async def both(session: Any) -> None:
    await get(session)
    await query(session)
    await session.execute(text("SELECT 1"))


async def change(session: Any) -> None:
    user = await session.get(User, 71)
    user.balance += 1


async def add_one(session: Any) -> None:
    session.add(User(username=f"user {await session.scalar(select(func.max(User.id)))}"))


async def add_many(session: Any) -> None:
    first = await session.scalar(select(func.max(User.id)))
    session.add_all(User(username=f"many {first + number}") for number in range(30))


async def execute_many(session: Any) -> None:
    rows = [{"number": 71, "amount": 1}, {"number": 72, "amount": 2}]
    statement = USERS.update().where(USERS.c.id == bindparam("number"))
    connection: Any = await session.connection()
    answer = connection.execute(statement.values(balance=bindparam("amount")), rows)
    if hasattr(answer, "__await__"):
        await answer


async def savepoint(session: Any) -> None:
    async with session.begin_nested():
        await query(session)
    with suppress(ZeroDivisionError):
        async with session.begin_nested():
            await query(session)
            raise ZeroDivisionError


async def fail(session: Any) -> None:
    await query(session)
    session.add(User(username="ann"))
    await session.flush()


async def give_up(session: Any) -> None:
    await query(session)
    raise ZeroDivisionError


async def be_refused(session: Any) -> None:
    with suppress(InvalidStatement):
        async with session.begin_nested():
            await session.execute(text("SELECT no_such_column FROM users"))
    await get(session)


async def stream(session: Any) -> None:
    statement = select(User.id).execution_options(yield_per=1)
    if hasattr(session, "stream"):
        assert [row async for row in await session.stream(statement)]
    else:
        assert list(await session.execute(statement))


WORKS = [
    *(
        get,
        query,
        be_refused,
        both,
        change,
        add_one,
        stream,
        savepoint,
        add_many,
        execute_many,
        fail,
        give_up,
    ),
    *(get, query, both, change, add_one, add_many, execute_many, savepoint, fail, give_up),
]
PROMISES: list[dict[str, Any]] = [
    {},
    {"timeout": 30},
    {"isolation": "SERIALIZABLE"},
]


async def test_the_round_trips_of_a_scope_are_those_that_a_proxy_counts(
    world: World, wire: Proxy
) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (71, 'ann', 7), (72, 'bob', 8)")
    async with world.session() as session:
        await session.execute(text("SELECT 2"))  # a connection is made
    told = {}

    for options in PROMISES:
        for number, work in enumerate(WORKS):
            wire.forget()
            with world.db.record() as record, suppress(UniqueViolation, ZeroDivisionError):
                async with world.session(**options) as session:
                    await work(session)
            (scope,) = record.scopes
            sent = wire.requests
            if scope.round_trips != len(sent):
                told[work.__name__, str(options), number] = scope.round_trips, sent

    assert told == {}


async def test_many_rows_and_frames_are_counted_as_everything_else(
    world: World, wire: Proxy
) -> None:
    def work(session: Any) -> None:
        session.insert_many(User, [{"username": f"user {number}"} for number in range(40)])
        assert len(frames.read(session, select(User.id, User.username))) == 40
        written = pyarrow.table({"username": [f"other {number}" for number in range(20)]})
        assert frames.write(session, written, User) == 20

    async with world.session() as session:
        await session.execute(text("SELECT 2"))  # a connection is made
    wire.forget()
    with world.db.record() as record:
        async with world.session() as session:
            await session.run_sync(work)

    (scope,) = record.scopes
    sent = wire.requests
    # what resets the connection comes after that
    ended = 1 + max(at for at, request in enumerate(sent) if b"COMMIT" in request)
    assert scope.round_trips == ended, sent[:ended]
    assert 40 + 40 + 20 <= scope.rows <= 40 + 40 + 20 + 4  # some ask the server first


@pytest.mark.parametrize("work", [get, query])
async def test_a_read_only_scope_is_one_round_trip_that_is_counted(
    world: World, wire: Proxy, work: Any
) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (71, 'ann', 0)")
    with world.db.record() as record:
        for _ in range(8):
            async with world.session(readonly=True) as session:
                await work(session)

    assert record.scopes[-1].round_trips == 1


async def test_rows_are_those_that_statements_return_and_change(world: World) -> None:
    world.do("INSERT INTO users VALUES (71, 'ann', 0), (72, 'bob', 0), (73, 'cy', 0)")
    found = []

    with world.db.record() as record:
        async with world.session(name="read") as session:
            found.append(await session.get(User, 71))
            found += await session.scalars(select(User).order_by(User.id))
            found += (await session.execute(select(User.id, User.username))).all()
            found += await session.scalars(select(User.id).where(User.id < 0))
        async with world.session(name="change") as session:
            await session.execute(USERS.update().values(balance=2))
            await session.execute(USERS.update().where(USERS.c.id == 71).values(balance=3))
        async with world.session(name="write") as session:
            (await session.get(User, 72)).balance = 4
            session.add(User(username="dan"))
        async with world.session(name="many") as session:
            session.add_all(User(username=f"user {number}") for number in range(40))
        async with world.session(name="core") as session:
            await session.execute(insert(User), [{"username": f"core {n}"} for n in range(5)])
        async with world.session(name="nothing"):
            pass

    assert len(found) == 7
    assert {scope.name: scope.rows for scope in record.scopes} == {
        "read": 7,
        "change": 4,
        "write": 3,
        "many": 40,
        "core": 5,
        "nothing": 0,
    }
    read, change_, *_ = record.scopes
    assert [step.rows for step in read.steps] == [1, 3, 3, 0]
    assert [step.rows for step in change_.steps] == [3, 1]
    for scope in record.scopes:
        assert sum(step.rows or 0 for step in scope.steps) == scope.rows


async def test_rows_that_many_inserts_return_are_counted_where_some_are_there(
    world: World,
) -> None:
    if world.backend.family == "mariadb":
        pytest.skip("it says nothing of the rows that it leaves out")
    world.do("INSERT INTO users VALUES (71, 'ann', 0)")
    dialect = sqlite if world.backend.family == "sqlite" else postgresql
    made = dialect.insert(User).on_conflict_do_nothing().returning(User.id)

    with world.db.record() as record:
        async with world.session() as session:
            await session.execute(made, [{"username": name} for name in ("ann", "bob", "cy")])

    assert [scope.rows for scope in record.scopes] == [2]


def test_a_cursor_whose_rows_are_counted_goes_on_as_the_driver_s_does() -> None:
    with Database("sqlite://") as db, db.record() as record, db.session() as session:
        result: Any = session.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
        cursor = result.cursor
        assert (next(cursor), list(cursor)) == ((1,), [(2,), (3,)])
        with pytest.raises(StopIteration):
            next(cursor)

    assert [scope.rows for scope in record.scopes] == [3]


async def test_rows_that_are_streamed_are_counted_as_they_come(world: World) -> None:
    values = ", ".join(f"({number}, 'user {number}', 0)" for number in range(1, 101))
    world.do(f"INSERT INTO users (id, username, balance) VALUES {values}")

    with world.db.record() as record:
        async with world.session() as session:
            statement = select(User.id).execution_options(stream_results=True, yield_per=10)
            if world.is_async:
                result = await session.stream(statement)
                taken = [await anext(result.scalars()) for _ in range(3)]
            else:
                result = await session.execute(statement)
                taken = [next(result) for _ in range(3)]
            (now,) = record.scopes
            await result.close() if world.is_async else result.close()

    assert len(taken) == 3
    assert now.rows >= 3
    if world.backend.family != "sqlite" or not world.is_async:
        assert now.rows < 100


async def test_a_snapshot_has_rows_and_round_trips_where_somebody_watches(world: World) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (71, 'ann', 0)")
    async with world.session() as session:
        await get(session)
        (unwatched,) = world.db.snapshot().scopes

        with world.db.record() as record:
            await session.execute(select(User.id))
            await session.execute(select(User.username))
            (watched,) = world.db.snapshot().scopes
        (scope,) = record.scopes

    embedded = world.backend.family == "sqlite"
    assert (unwatched.rows, unwatched.round_trips) == (None, None)
    assert watched.rows == scope.rows == (0 if embedded and not world.is_async else 2)
    trips = 4 if world.backend.name == "asyncpg" else 0 if embedded else 2
    assert watched.round_trips == scope.round_trips
    assert scope.round_trips is not None
    assert scope.round_trips in (trips, trips + 1)  # a BEGIN that was put off


async def test_a_snapshot_says_since_when_a_connection_is_in_a_transaction(world: World) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (71, 'ann', 0)")
    with world.db.record():
        async with world.session() as session:
            await change(session)
            await session.flush()
            (scope,) = world.db.snapshot().scopes
            (inside,) = [each for each in world.db.snapshot().connections if each.scope]
        (after,) = [each for each in world.db.snapshot().connections if each.role == "writer"]

    assert inside.in_transaction_for is not None
    assert 0 < inside.in_transaction_for <= scope.age + PATIENCE
    assert after.in_transaction_for is None
