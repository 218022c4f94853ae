"""Read-only scopes: refused by the server, and before the flush with the object named."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import column, delete, insert, select, table, text, update

from hermetic import Outcome, ReadOnlyScope, ScopeControls
from tests.behaviour.aftermath import check_nothing_left, on_postgresql, on_servers
from tests.behaviour.watching import Boom, Sent
from tests.models import Order, User
from tests.worlds import World


@pytest.fixture
def ann(world: World) -> World:
    world.do("INSERT INTO users (id, username, balance) VALUES (71, 'ann', 7)")
    world.do("INSERT INTO orders (id, user_id, item) VALUES (81, 71, 'pen')")
    return world


# ---------------------------------------------------------------- reading


@pytest.mark.usefixtures("ann")
async def test_reading_works(world: World) -> None:
    async with world.session(readonly=True) as session:
        user = await session.get(User, 71)
        names = list(await session.scalars(select(User.username)))
        items = await session.run_sync(lambda _: [order.item for order in user.orders])
        raw = await session.scalar("SELECT balance FROM users WHERE id = :id", {"id": 71})

    assert (user.username, names, items, raw) == ("ann", ["ann"], ["pen"], 7)
    assert session.outcome is Outcome.COMMITTED
    assert session.scope.readonly


@pytest.mark.usefixtures("ann")
async def test_reads_of_one_scope_agree_with_each_other_at_that_level(
    world: World,
) -> None:
    level = "SERIALIZABLE" if world.backend.family == "sqlite" else "REPEATABLE READ"

    async with world.session(readonly=True, isolation=level) as session:
        before = await session.scalar("SELECT balance FROM users")
        world.do("UPDATE users SET balance = 8")
        after = await session.scalar("SELECT balance FROM users")

    assert (before, after) == (7, 7)


async def test_a_reader_and_a_writer_work_beside_each_other(world: World) -> None:
    async with world.session() as writer:
        writer.add(User(username="ann"))
        await writer.flush()
        async with world.session(propagation="requires_new", readonly=True) as reader:
            seen = await reader.scalar("SELECT count(*) FROM users")

    assert seen == 0
    assert world.usernames() == ["ann"]


async def test_many_readers_share_few_connections(world: World) -> None:
    sent = Sent(world)

    for _ in range(10):
        async with world.session(readonly=True) as session:
            await session.execute("SELECT 1")

    assert sent.connected == 1


# ---------------------------------------------------------------- refused by the server


@pytest.mark.usefixtures("ann")
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO users (username, balance) VALUES ('bob', 0)",
        "UPDATE users SET balance = 1000",
        "DELETE FROM orders",
    ],
)
async def test_a_raw_write_is_refused_by_the_database(world: World, statement: str) -> None:
    with pytest.raises(ReadOnlyScope) as caught:
        async with world.session(readonly=True, name="reading") as session:
            await session.execute(text(statement))

    assert caught.value.__cause__ is not None
    assert statement in caught.value.subject
    assert caught.value.scope is not None
    assert caught.value.scope.name == "reading"
    assert world.usernames() == ["ann"]
    assert world.seen("SELECT balance FROM users") == [(7,)]
    assert world.seen("SELECT item FROM orders") == [("pen",)]
    await check_nothing_left(world)


@pytest.mark.usefixtures("ann")
@pytest.mark.parametrize(
    "statement", ["CREATE TABLE things (id INTEGER PRIMARY KEY)", "DROP TABLE orders"]
)
async def test_a_change_of_the_schema_is_refused(world: World, statement: str) -> None:
    # MariaDB's would commit, so that no scope takes it
    refusal = ScopeControls if world.backend.family == "mariadb" else ReadOnlyScope

    with pytest.raises(refusal):
        async with world.session(readonly=True) as session:
            await session.execute(statement)
    with pytest.raises(ReadOnlyScope):
        async with world.session(readonly=True, propagation="supports") as session:
            await session.execute(statement)

    assert world.seen("SELECT item FROM orders") == [("pen",)]
    await check_nothing_left(world)


@pytest.mark.usefixtures("ann")
async def test_a_write_hidden_in_a_bulk_call_is_refused_by_the_database(world: World) -> None:
    with pytest.raises(ReadOnlyScope):
        async with world.session(readonly=True) as session:
            await session.run_sync(lambda s: s.bulk_save_objects([User(username="bob")]))

    assert world.usernames() == ["ann"]


@on_postgresql
async def test_a_write_hidden_in_a_select_is_refused_by_the_database(world: World) -> None:
    world.do("CREATE SEQUENCE numbers")

    for statement in (
        "SELECT nextval('numbers')",
        (
            "WITH new AS (INSERT INTO users (username, balance) VALUES ('bob', 0) RETURNING id) "
            "SELECT * FROM new"
        ),
        "SELECT * FROM users FOR UPDATE",
    ):
        with pytest.raises(ReadOnlyScope):
            async with world.session(readonly=True) as session:
                await session.execute(statement)

    assert world.usernames() == []


async def test_a_raw_write_in_a_plain_read_only_scope_is_refused(world: World) -> None:
    with pytest.raises(ReadOnlyScope):
        async with world.session(readonly=True, propagation="supports") as session:
            await session.execute("INSERT INTO users (username, balance) VALUES ('bob', 0)")

    assert world.usernames() == []


async def test_a_write_refused_by_the_database_costs_no_connection(world: World) -> None:
    sent = Sent(world)

    for _ in range(3):
        with pytest.raises(ReadOnlyScope):
            async with world.session(readonly=True) as session:
                await session.execute("INSERT INTO users (username, balance) VALUES ('bob', 0)")

    assert sent.connected == 1
    assert world.db.snapshot().counters["destroyed"] == 0


# ---------------------------------------------------------------- refused before the flush


@pytest.mark.usefixtures("ann")
async def test_a_new_object_is_refused_before_the_flush(world: World) -> None:
    sent = Sent(world)

    with pytest.raises(ReadOnlyScope, match="the new object User") as caught:
        async with world.session(readonly=True) as session:
            session.add(User(username="bob"))

    assert sent.nothing
    assert caught.value.subject == "the new object User"
    assert session.outcome is Outcome.NOT_COMMITTED


@pytest.mark.usefixtures("ann")
async def test_a_deleted_object_is_refused_before_the_flush(world: World) -> None:
    with pytest.raises(ReadOnlyScope, match="the deleted object Order 81"):
        async with world.session(readonly=True) as session:
            sent = Sent(world)
            await session.delete(await session.get(Order, 81))
            await session.flush()

    assert [word for word in sent.statements if word.startswith("DELETE")] == []
    assert world.seen("SELECT item FROM orders") == [("pen",)]


@pytest.mark.usefixtures("ann")
async def test_a_changed_object_is_refused_before_the_flush(world: World) -> None:
    with pytest.raises(ReadOnlyScope, match="the changed object User 71"):
        async with world.session(readonly=True) as session:
            sent = Sent(world)
            user = await session.get(User, 71)
            user.balance = 1000

    assert [word for word in sent.statements if word.startswith("UPDATE")] == []
    assert world.seen("SELECT balance FROM users") == [(7,)]


@pytest.mark.usefixtures("ann")
async def test_an_autoflush_is_refused_with_the_object_named(world: World) -> None:
    with pytest.raises(ReadOnlyScope, match="the changed object User 71"):
        async with world.session(readonly=True) as session:
            user = await session.get(User, 71)
            user.balance = 1000
            await session.execute(select(User))


@pytest.mark.usefixtures("ann")
async def test_an_object_set_to_what_it_was_is_no_change(world: World) -> None:
    async with world.session(readonly=True) as session:
        user = await session.get(User, 71)
        user.balance = 1000
        user.balance = 7

    assert session.outcome is Outcome.COMMITTED


@pytest.mark.parametrize(
    ("statement", "verb"),
    [
        (insert(User).values(username="bob"), "INSERT"),
        (update(User).values(balance=1000), "UPDATE"),
        (delete(Order), "DELETE"),
        (insert(table("users", column("username"))).values(username="bob"), "INSERT"),
    ],
    ids=["insert", "update", "delete", "core"],
)
@pytest.mark.usefixtures("ann")
async def test_a_bulk_statement_is_refused_before_it_is_sent(
    world: World, statement: Any, verb: str
) -> None:
    sent = Sent(world)

    with pytest.raises(ReadOnlyScope, match=verb):
        async with world.session(readonly=True) as session:
            await session.execute(statement)

    assert sent.nothing


@pytest.mark.usefixtures("ann")
async def test_an_old_style_bulk_query_is_refused(world: World) -> None:
    with pytest.raises(ReadOnlyScope, match="UPDATE"):
        async with world.session(readonly=True) as session:
            await session.run_sync(lambda s: s.query(User).update({"balance": 1000}))

    assert world.seen("SELECT balance FROM users") == [(7,)]


async def test_what_was_refused_can_be_taken_back(world: World) -> None:
    async with world.session(readonly=True) as session:
        user = User(username="bob")
        session.add(user)
        with pytest.raises(ReadOnlyScope):
            await session.flush()
        session.expunge(user)
        answer = await session.scalar("SELECT 1")

    assert answer == 1
    assert session.outcome is Outcome.COMMITTED


async def test_a_refused_write_in_a_joined_scope_dooms_nothing_by_itself(world: World) -> None:
    async with world.session(readonly=True) as outer:
        async with world.session() as inner:
            inner.add(User(username="bob"))
            with pytest.raises(ReadOnlyScope):
                await inner.flush()
            await inner.run_sync(lambda s: s.expunge_all())
        answer = await outer.scalar("SELECT 1")

    assert answer == 1


# ---------------------------------------------------------------- inside others, afterwards


@pytest.mark.usefixtures("ann")
@pytest.mark.parametrize("propagation", ["required", "nested", "mandatory", "supports"])
async def test_a_read_only_unit_may_be_called_from_a_writer(world: World, propagation: str) -> None:
    @world.unit(propagation=propagation, readonly=True)
    async def names(session: Any) -> list[str]:
        return list(await session.scalars(select(User.username).order_by(User.username)))

    async with world.session() as outer:
        outer.add(User(username="pending"))
        seen = await names()
        outer.add(User(username="later"))

    assert seen == ["ann", "pending"]
    assert outer.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann", "later", "pending"]


@on_servers
@pytest.mark.usefixtures("ann")
async def test_writers_and_readers_of_one_database_are_different_connections(
    world: World,
) -> None:
    for _ in range(3):
        async with world.session(readonly=True) as session:
            await session.execute("SELECT 1")
        async with world.session() as session:
            session.add(User(username=f"user{session.scope.number}"))

    roles = sorted(connection.role for connection in world.db.snapshot().connections)
    assert roles == ["reader", "writer"]
    assert len(world.usernames()) == 4


@pytest.mark.usefixtures("ann")
async def test_a_database_may_be_read_only_by_default(world: World) -> None:
    world.database(readonly=True)

    with pytest.raises(ReadOnlyScope):
        async with world.session() as session:
            session.add(User(username="bob"))
    async with world.session(readonly=False) as session:
        session.add(User(username="cid"))

    assert world.usernames() == ["ann", "cid"]


async def test_a_failure_in_a_read_only_scope_is_raised_as_it_is(world: World) -> None:
    with pytest.raises(Boom):
        async with world.session(readonly=True) as session:
            await session.execute("SELECT 1")
            raise Boom

    assert session.outcome is Outcome.NOT_COMMITTED
    await check_nothing_left(world)
