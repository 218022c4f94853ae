"""A cache of reads, on every database and in both worlds: what is in it, and what empties it."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from dogpile.cache import make_region
from sqlalchemy import delete, event, func, insert, literal, select, text, update
from sqlalchemy.orm import selectinload

from hermetic import Cache, Database, DeadlineExceeded, Group, Isolation, SchemaPerTenant
from hermetic.cache.shared import SharedTokens
from hermetic.cache.store import Store
from hermetic.tenants import acreate_tenant, create_tenant
from hermetic.touched import note
from tests.backends import BACKENDS
from tests.models import Base, Order, User
from tests.servers.process import wait_until
from tests.worlds import World

CACHED = {"cache": True}
# for what does not differ from one database to the next
FEW = pytest.mark.parametrize(
    "backend",
    [
        pytest.param(backend, id=backend.name, marks=pytest.mark.postgresql)
        for backend in BACKENDS
        if backend.name in ("psycopg", "asyncpg")
    ],
    indirect=True,
)


SLOW = "SELECT pg_sleep(2)"


async def pause(world: World) -> None:
    """Give others a turn."""
    if world.is_async:
        await asyncio.sleep(0.005)
    else:
        threading.Event().wait(0.005)


class Name(NamedTuple):
    id: int
    username: str


# by itself, the file would be where all of this user's are
FOLDER = TemporaryDirectory(prefix="hermetic-cache-")
atexit.register(FOLDER.cleanup)


def cached_database(world: World, **options: Any) -> Database:
    shared = Path(FOLDER.name) / f"{uuid4()}.cache"
    return world.database(cache=Cache(entities=(User,), shared=shared, **options))


async def filled(world: World) -> None:
    """Ann and Bob, each read once by their key, and so in the cache."""
    async with world.session() as session:
        session.sync_session.add_all([User(id=1, username="ann"), User(id=2, username="bob")])
    for key in (1, 2):
        assert await name_of(world, key) in ("ann", "bob")


async def name_of(world: World, key: int = 1) -> str | None:
    async with world.session(readonly=True) as session:
        found = await session.get(User, key)
        return None if found is None else str(found.username)


async def sent(world: World, key: int = 1) -> tuple[str | None, int]:
    """Somebody's name, and how many statements it took."""
    async with world.session(readonly=True) as session:
        found = await session.get(User, key)
        return None if found is None else found.username, session.scope.statements


async def test_what_was_read_once_is_not_asked_for_again(world: World) -> None:
    cached_database(world)
    await filled(world)

    async with world.session(readonly=True) as session:
        found = await session.get(User, 1)
        again = await session.get(User, 1)

        assert (found.username, found is again) == ("ann", True)
        assert found in session.sync_session
        assert (session.scope.statements, session.scope.connection) == (0, None)
        assert session.cache_hits == 1
    assert world.db.snapshot().cache["hits"] == 1


@FEW
async def test_what_is_found_is_tracked_and_can_be_changed(world: World) -> None:
    cached_database(world)
    await filled(world)

    async with world.session(isolation=None) as session:
        found = (await session.scalars(select(User).where(User.id == 1))).one()
        found.username = "anna"
    await name_of(world)

    assert world.usernames() == ["anna", "bob"]
    assert await name_of(world) == "anna"


async def test_a_commit_empties_what_it_has_changed_and_no_sooner(world: World) -> None:
    cached_database(world)
    await filled(world)

    async with world.session() as session:
        (await session.get(User, 1)).username = "anna"
        await session.flush()
        inside = world.db.cache.counters().get("invalidations", 0)
    after = world.db.cache.counters()["invalidations"]

    assert after == inside + 1
    assert await sent(world) == ("anna", 1)
    assert await sent(world) == ("anna", 0)


@FEW
async def test_a_rollback_empties_nothing(world: World) -> None:
    cached_database(world)
    await filled(world)

    async with world.session() as session:
        (await session.get(User, 1)).username = "anna"
        await session.flush()
        session.rollback_only()

    assert await sent(world) == ("ann", 0)


@FEW
async def test_a_scope_reads_what_it_has_changed_itself(world: World) -> None:
    cached_database(world)
    await filled(world)

    async with world.session() as session:
        await session.execute(update(User).where(User.id == 1).values(username="anna"))
        session.sync_session.expire_all()
        found = await session.get(User, 1)
        assert found.username == "anna"
        session.rollback_only()

    # and what it has read then is not kept
    assert await sent(world) == ("ann", 0)


@FEW
async def test_pending_changes_are_written_before_a_read(world: World) -> None:
    cached_database(world)
    async with world.session() as session:
        session.sync_session.add(User(id=1, username="ann"))
    everybody = select(User).order_by(User.id)
    async with world.session(readonly=True) as session:
        assert len((await session.scalars(everybody)).all()) == 1

    async with world.session() as session:
        session.sync_session.add(User(id=2, username="bob"))
        found = (await session.scalars(everybody)).all()

    assert [each.username for each in found] == ["ann", "bob"]


@FEW
async def test_bulk_statements_empty_it(world: World) -> None:
    cached_database(world)
    await filled(world)

    async with world.session() as session:
        await session.execute(insert(User), [{"id": 3, "username": "cy"}])
        await session.execute(delete(User).where(User.id == 2))

    assert await name_of(world, 2) is None
    assert await name_of(world, 3) == "cy"


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE users SET username = 'anna' WHERE id = 1",
        "WITH a AS (SELECT 1 AS b) UPDATE users SET username = 'anna' WHERE id = (SELECT b FROM a)",
    ],
    ids=["plain", "with"],
)
async def test_raw_sql_empties_it(world: World, sql: str) -> None:
    if world.backend.family == "mariadb" and sql.startswith("WITH"):
        pytest.skip("this server has no WITH before UPDATE")
    cached_database(world)
    await filled(world)

    async with world.session() as session:
        await session.execute(sql)

    assert await name_of(world) == "anna"


async def test_a_write_outside_of_any_scope_empties_it(world: World) -> None:
    cached_database(world)
    await filled(world)

    if world.is_async:
        async with world.db.async_engine.begin() as connection:
            await connection.execute(text("UPDATE users SET username = 'anna' WHERE id = 1"))
    else:
        with world.db.engine.begin() as plain:
            plain.execute(text("UPDATE users SET username = 'anna' WHERE id = 1"))

    assert await name_of(world) == "anna"


async def test_a_scope_without_a_transaction_empties_it_with_each_statement(world: World) -> None:
    cached_database(world)
    await filled(world)

    async with world.session(propagation="not_supported") as session:
        await session.execute("UPDATE users SET username = 'anna' WHERE id = 1")
        assert await name_of(world) == "anna"


async def test_statements_of_any_form_are_cached_where_they_say_so(world: World) -> None:
    cached_database(world)
    await filled(world)
    statements: list[Any] = [
        select(User.id, User.username).order_by(User.id),
        select(func.count()).select_from(User),
        select(User, Order).outerjoin(Order, Order.user_id == User.id).order_by(User.id),
        "SELECT id, username FROM users ORDER BY id",
    ]

    for statement in statements:
        found = []
        for _ in range(2):
            async with world.session(readonly=True) as session:
                rows = (await session.execute(statement, execution_options=CACHED)).all()
                found.append([tuple(getattr(v, "username", v) for v in row) for row in rows])
                statements_sent = session.scope.statements
        assert found[0] == found[1]
        assert statements_sent == 0


@FEW
async def test_plain_objects_come_from_the_cache_too(world: World) -> None:
    cached_database(world)
    await filled(world)
    statement = select(User.id, User.username).order_by(User.id)

    for _ in range(2):
        async with world.session(readonly=True) as session:
            found = (
                await session.rows(statement, into=Name, execution_options=CACHED)
                if (world.is_async)
                else session.sync_session.rows(statement, into=Name, execution_options=CACHED)
            )
            statements_sent = session.scope.statements

    assert found == [Name(1, "ann"), Name(2, "bob")]
    assert statements_sent == 0


@FEW
async def test_loader_options_do_what_they_do(world: World) -> None:
    cached_database(world)
    await filled(world)
    async with world.session() as session:
        session.sync_session.add(Order(id=1, user_id=1, item="tea"))
    statement = select(User).options(selectinload(User.orders)).order_by(User.id)

    for _ in range(3):
        async with world.session(readonly=True) as session:
            found = (await session.scalars(statement, execution_options=CACHED)).all()
            items = [[order.item for order in user.orders] for user in found]
            assert items == [["tea"], []]


@FEW
async def test_a_named_level_above_read_committed_is_not_answered(world: World) -> None:
    cached_database(world)
    await filled(world)

    async with world.session(readonly=True, isolation="SERIALIZABLE") as session:
        await session.get(User, 1)
        assert session.cache_hits == 0


@FEW
async def test_locks_are_taken(world: World) -> None:
    cached_database(world)
    await filled(world)

    async with world.session() as session:
        statement = select(User).where(User.id == 1).with_for_update()
        await session.scalars(statement, execution_options=CACHED)
        assert session.cache_hits == 0
        assert session.scope.statements == 1


@FEW
async def test_one_says_no_for_a_statement(world: World) -> None:
    cached_database(world)
    await filled(world)

    async with world.session(readonly=True) as session:
        statement = select(User).where(User.id == 1).execution_options(cache=False)
        for _ in range(2):
            (await session.scalars(statement)).one()
        assert session.cache_hits == 0


@FEW
async def test_what_another_program_has_written_is_told(world: World) -> None:
    cached_database(world)
    await filled(world)
    world.do("UPDATE users SET username = 'anna' WHERE id = 1")
    before = await name_of(world)

    world.db.cache.invalidate(User)

    assert (before, await name_of(world)) == ("ann", "anna")


async def test_many_who_ask_for_the_same_send_it_once(world: World) -> None:
    cached_database(world)
    await filled(world)
    world.db.cache.invalidate()
    misses = world.db.snapshot().cache["fills"]

    found = await world.together(*[lambda: name_of(world)] * 8)

    assert found == ["ann"] * 8
    assert world.db.snapshot().cache["fills"] - misses <= 2


@FEW
async def test_a_waiter_waits_no_longer_than_its_deadline(world: World) -> None:
    """Somebody reads what another wants to read, and is not done in time."""
    db = cached_database(world, wait=30.0)
    await filled(world)
    reading = world.signal()

    async def slow() -> None:
        async with world.session() as session:
            await session.execute(SLOW, execution_options={**CACHED, "depends": ["users"]})

    async def impatient() -> float:
        while not db.cache.fillings:
            await pause(world)
        reading.set()
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            async with world.session(timeout=0.3) as session:
                await session.execute(SLOW, execution_options={**CACHED, "depends": ["users"]})
        return time.monotonic() - begun

    _, waited = await world.together(slow, impatient)

    assert reading.is_set()
    assert 0.25 < waited < 1.8


@FEW
async def test_a_function_of_ones_own_may_read_anything(world: World) -> None:
    cached_database(world)
    await filled(world)
    world.do("CREATE FUNCTION first_name() RETURNS text LANGUAGE sql AS "
             "'SELECT username FROM users WHERE id = 1'")  # fmt: skip

    for _ in range(2):
        async with world.session(readonly=True) as session:
            await session.execute("SELECT first_name()", execution_options=CACHED)
            assert session.cache_hits == 0
    for hits in range(2):
        async with world.session(readonly=True) as session:
            options = {**CACHED, "depends": ["users"]}
            await session.execute("SELECT first_name()", execution_options=options)
            assert session.cache_hits == hits


@FEW
async def test_what_a_trigger_writes_is_declared(world: World) -> None:
    cached_database(world)
    await filled(world)
    world.do("CREATE TABLE visits (id int)")

    async with world.session() as session:
        await session.execute("INSERT INTO visits VALUES (1)")
    assert await sent(world) == ("ann", 0)
    async with world.session() as session:
        declared = {"touches": ["users"]}
        await session.execute("INSERT INTO visits VALUES (2)", execution_options=declared)

    assert await sent(world) == ("ann", 1)


@FEW
async def test_equal_parameters_of_other_types_are_others(world: World) -> None:
    cached_database(world)
    options = {**CACHED, "depends": ["users"]}

    found = []
    for value in (1, True, Decimal("1")):
        async with world.session(readonly=True) as session:
            statement = select(literal(value))
            found.append(await session.scalar(statement, execution_options=options))

    assert [type(each) for each in found] == [int, bool, Decimal]


@FEW
async def test_a_bulk_writer_that_passes_no_engine_says_what_it_writes(world: World) -> None:
    cached_database(world)
    await filled(world)

    async with world.session() as session:
        await session.run_sync(lambda plain: note(plain, User.__tablename__))

    assert await sent(world) == ("ann", 1)


async def test_a_scope_that_may_write_is_answered_at_read_committed_alone(world: World) -> None:
    cached_database(world)
    await filled(world)
    strict = world.db.family.default_isolation is not Isolation.READ_COMMITTED

    # the first row of a kind is sent on each engine: the driver tells of its types
    for _ in range(2):
        async with world.session() as session:
            await session.get(User, 1)

    assert session.cache_hits == (0 if strict else 1)


def test_a_lost_answer_keeps_the_table_out_until_the_lease_is_over() -> None:
    store = Store(Cache(lease=1.0), "a", alone=True)
    asked = store.tokens.places(frozenset({"a"}))

    store.lost(store.begin(frozenset({"a"})))
    before = store.tokens.look(asked)

    assert before is None
    assert wait_until(lambda: store.tokens.look(asked) is not None, 5)


@FEW
async def test_a_refresh_asks_the_database(world: World) -> None:
    cached_database(world)
    await filled(world)
    async with world.session(readonly=True) as session:
        found = await session.get(User, 1)
        world.do("UPDATE users SET username = 'anna' WHERE id = 1")

        await session.refresh(found)

        assert found.username == "anna"


@FEW
async def test_tenants_do_not_see_each_others(world: World) -> None:
    shared = Path(FOLDER.name) / f"{uuid4()}.cache"
    db = world.database(cache=Cache(entities=(User,), shared=shared), tenants=SchemaPerTenant())
    for tenant in ("ann", "bob"):
        if world.is_async:
            await acreate_tenant(db, tenant, Base.metadata)
        else:
            create_tenant(db, tenant, Base.metadata)
        async with world.session(tenant=tenant) as session:
            session.sync_session.add(User(id=1, username=f"{tenant}'s"))

    found = []
    for tenant in ("ann", "bob", "ann", "bob"):
        async with world.session(tenant=tenant, readonly=True) as session:
            user = await session.get(User, 1)
            found.append((user.username, session.cache_hits))

    assert found == [("ann's", 0), ("bob's", 0), ("ann's", 1), ("bob's", 1)]


@FEW
async def test_a_group_empties_the_caches_of_its_databases(world: World) -> None:
    cached_database(world)
    await filled(world)
    other = world.database()
    group: Any = Group(main=world.db, other=other)

    async with world.session(group) as session:
        await session.execute(update(User).where(User.id == 1).values(username="anna"))

    assert await name_of(world) == "anna"


@pytest.mark.sqlite
@pytest.mark.parametrize("backend", ["dogpile.cache.memory", "dogpile.cache.memory_pickle"])
def test_a_region_that_was_configured_elsewhere_will_do(backend: str, tmp_path: Path) -> None:
    region = make_region(name="ours").configure(backend)
    cache = Cache(region=region, entities=(User,), shared=tmp_path / "ours.cache")
    with Database(f"sqlite:///{tmp_path}/users.db", cache=cache) as db:
        Base.metadata.create_all(db.engine)
        with db.session() as session:
            session.add(User(id=1, username="ann"))
        for hits in range(2):
            with db.session(readonly=True) as session:
                assert session.get_one(User, 1).username == "ann"
                assert session.cache_hits == hits
        with db.session() as session:
            session.get_one(User, 1).username = "anna"
        with db.session(readonly=True) as session:
            assert session.get_one(User, 1).username == "anna"


@pytest.mark.sqlite
def test_a_file_that_is_deleted_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "shared.cache"
    first, second = SharedTokens(path, 1.0), SharedTokens(path, 1.0)
    places = first.places(frozenset({"a"}))
    before = first.look(places)
    path.unlink()

    third = SharedTokens(path, 1.0)
    third.forget(places)

    assert wait_until(lambda: second.look(places) == third.look(places), 5)
    assert second.look(places) != before
    for each in (first, second, third):
        each.close()


@pytest.mark.sqlite
def test_a_forked_child_tells_its_parent(tmp_path: Path) -> None:
    cache = Cache(entities=(User,), shared=tmp_path / "shared.cache")
    with Database(f"sqlite:///{tmp_path}/users.db", cache=cache) as db:
        Base.metadata.create_all(db.engine)
        with db.session() as session:
            session.add(User(id=1, username="ann"))
        for _ in range(2):
            with db.session(readonly=True) as session:
                assert session.get_one(User, 1).username == "ann"

        child = os.fork()
        if child == 0:
            with db.session() as session:
                session.get_one(User, 1).username = "anna"
            os._exit(0)
        os.waitpid(child, 0)

        with db.session(readonly=True) as session:
            assert session.get_one(User, 1).username == "anna"


@FEW
@pytest.mark.parametrize("invokes", [False, True])
async def test_listeners_are_told_once_of_what_is_not_there_and_of_what_is(
    world: World, invokes: bool
) -> None:
    """``do_orm_execute``: they may execute the statement themselves, or change what it finds."""
    cached_database(world)
    await filled(world)
    told: list[str] = []
    for number, name in enumerate(("ann", "bob", "ann", "bob")):
        async with world.session(readonly=True) as session:

            def listener(state: Any, name: str = name) -> Any:
                told.append(name)
                state.statement = state.statement.where(User.username == name)
                return state.invoke_statement() if invokes else None

            event.listen(session.sync_session, "do_orm_execute", listener)
            statement = select(User.username)
            found = await session.scalars(statement, execution_options=CACHED)
            assert list(found) == [name]
            assert session.sync_session.cache_hits == (number > 1)
            found = await session.execute(select(User).order_by(User.id))
            assert [row.username for row in found.scalars()] == [name]
            assert session.sync_session.cache_hits == 2 * (number > 1)

    assert told == ["ann", "ann", "bob", "bob"] * 2
