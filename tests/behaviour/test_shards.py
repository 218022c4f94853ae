"""Shards: one scope has one shard, and all of them are read side by side."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, create_engine, make_url, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.pool import NullPool

from hermetic import (
    Database,
    DatabaseClosed,
    DeadlineExceeded,
    InvalidOption,
    InvalidStatement,
    Outcome,
    ReadOnlyScope,
)
from hermetic.shards import ForeignShard, ShardFailed, Shards, by_hash, merged
from tests.backends import FAMILY_SCHEMES, Backend
from tests.databases import FamilyUrl, FreshUrl
from tests.worlds import PATIENCE, Block, Face, drive

NAMES = ("east", "north", "west")


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(50))
    bills: Mapped[list[Bill]] = relationship(back_populates="customer")


class Bill(Base):
    __tablename__ = "bills"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))
    amount: Mapped[int] = mapped_column(default=0)
    customer: Mapped[Customer] = relationship(back_populates="bills")


def by_rest(key: int) -> str:
    return NAMES[key % 3]


class Ground:
    """Three databases with the tables, and what is made of them in a test."""

    def __init__(self, backend: Backend, urls: dict[str, str], plain: dict[str, str]) -> None:
        self.is_async = backend.is_async
        self.family = backend.family
        self.urls = urls
        self._plain = plain
        self._made: list[Shards] = []
        for url in plain.values():
            engine = create_engine(url, poolclass=NullPool)
            Base.metadata.create_all(engine)
            engine.dispose()

    def shards(self, **options: Any) -> Shards:
        made = Shards(self.urls, **{"key": by_rest, **options})
        self._made.append(made)
        return made

    def session(self, shards: Shards, key: Any = ..., **options: Any) -> Any:
        unit = shards.session(key, **options)
        return unit if self.is_async else Block(unit)

    async def gather(self, among: Shards, work: Any, **options: Any) -> dict[str, Any]:
        if self.is_async:
            return await among.agather(work, **options)
        if callable(work):
            inner: Callable[..., Any] = work
            return among.gather(lambda session: drive(inner(Face(session))), **options)
        return among.gather(work, **options)

    def seen(self, name: str, sql: str) -> list[Any]:
        engine = create_engine(self._plain[name], poolclass=NullPool)
        with engine.connect() as connection:
            found = list(connection.scalars(text(sql)))
        engine.dispose()
        return found

    def close(self) -> None:
        for each in self._made:
            if not self.is_async:
                each.close()

    async def aclose(self) -> None:
        for each in self._made:
            await each.aclose()


@pytest.fixture
def ground(backend: Backend, fresh_url: FreshUrl, family_url: FamilyUrl) -> Iterator[Ground]:
    urls = {name: fresh_url(backend, name) for name in NAMES}
    plain = {name: family_url(backend.family, name) for name in NAMES}
    if backend.family == "mariadb":
        plain = {
            name: make_url(url)
            .set(drivername="mysql+pymysql")
            .render_as_string(hide_password=False)
            for name, url in plain.items()
        }
    assert FAMILY_SCHEMES
    made = Ground(backend, urls, plain)
    yield made
    made.close()


def on_shards(case: Any) -> Any:
    """Run a case in the world of its driver, and close what it has made."""

    async def closing(ground: Ground) -> None:
        try:
            await case(ground)
        finally:
            await ground.aclose()

    def run(ground: Ground) -> None:
        if ground.is_async:
            asyncio.run(closing(ground))
        else:
            drive(case(ground))

    run.__name__ = case.__name__
    run.__doc__ = case.__doc__
    return run


async def fill(ground: Ground, shards: Shards) -> None:
    for number in range(6):
        async with ground.session(shards, number) as session:
            session.add(Customer(id=number, name=f"customer {number}"))


# ---------------------------------------------------------------- one scope, one shard


@on_shards
async def test_a_key_says_which_shard_has_a_scope(ground: Ground) -> None:
    shards = ground.shards()
    await fill(ground, shards)

    assert {name: ground.seen(name, "SELECT id FROM customers ORDER BY id") for name in NAMES} == {
        "east": [0, 3],
        "north": [1, 4],
        "west": [2, 5],
    }
    async with ground.session(shards, 4, readonly=True) as session:
        assert (await session.get(Customer, 4)).name == "customer 4"
        assert await session.get(Customer, 3) is None
    async with ground.session(shards, shard="west") as session:
        assert (await session.get(Customer, 5)).name == "customer 5"
    assert session.outcome is Outcome.COMMITTED
    assert shards.of(5) == "west"
    assert shards.databases["west"].name == "west"


@on_shards
async def test_a_scope_keeps_the_promises_of_its_database(ground: Ground) -> None:
    shards = ground.shards()

    with pytest.raises(ZeroDivisionError):
        async with ground.session(shards, 1) as session:
            session.add(Customer(id=1, name="ann"))
            await session.flush()
            1 / 0  # noqa: B018
    with pytest.raises(ReadOnlyScope):
        async with ground.session(shards, 1, readonly=True) as session:
            session.add(Customer(id=1, name="ann"))

    assert ground.seen("north", "SELECT id FROM customers") == []
    runs = 0
    loop = shards.attempts(1, retry=3)
    if ground.is_async:
        async for attempt in loop:
            async with attempt as session:
                runs += 1
                session.add(Customer(id=1, name="ann"))
    else:
        for attempt in loop:
            with attempt as session:
                runs += 1
                session.add(Customer(id=1, name="ann"))
    assert runs == 1
    assert ground.seen("north", "SELECT id FROM customers") == [1]


@on_shards
async def test_a_unit_of_a_shard_decorates(ground: Ground) -> None:
    shards = ground.shards()
    if ground.is_async:

        @shards.session(1, retry=3)
        async def add(session: Any, number: int) -> int:
            session.add(Customer(id=number, name="ann"))
            return number

        assert await add(7) == 7
    else:

        @shards.session(1, retry=3)
        def add_plainly(session: Any, number: int) -> int:
            session.add(Customer(id=number, name="ann"))
            return number

        assert add_plainly(7) == 7
    assert ground.seen("north", "SELECT id FROM customers") == [7]


# ---------------------------------------------------------------- writes that span shards


@on_shards
async def test_a_writing_scope_inside_one_of_another_shard_is_refused(ground: Ground) -> None:
    shards = ground.shards()

    with pytest.raises(ForeignShard, match=r"'north'.*'east'") as caught:
        async with ground.session(shards, 0) as outer:
            outer.add(Customer(id=0, name="ann"))
            async with ground.session(shards, 1):
                raise AssertionError("it was opened")

    assert (caught.value.shard, caught.value.owner) == ("east", "north")
    assert ground.seen("east", "SELECT id FROM customers") == []

    @shards.session(1)
    def write(session: Any) -> None:
        raise AssertionError("it was called")

    async with ground.session(shards, 0) as outer:
        outer.add(Customer(id=0, name="ann"))
        # the same shard, a reader, and one that is a unit of its own
        async with ground.session(shards, 3) as same:
            same.add(Customer(id=3, name="cid"))
        async with ground.session(shards, 1, readonly=True) as reader:
            assert await reader.get(Customer, 1) is None
        async with ground.session(shards, 1, propagation="requires_new") as own:
            own.add(Customer(id=1, name="bob"))
        with pytest.raises(ForeignShard):
            shards.attempts(1)
        with pytest.raises(ForeignShard):
            write()
    assert ground.seen("east", "SELECT id FROM customers ORDER BY id") == [0, 3]
    assert ground.seen("north", "SELECT id FROM customers") == [1]
    # a reader outside is in nobody's way
    async with (
        ground.session(shards, 2, readonly=True),
        ground.session(shards, 4) as session,
    ):
        session.add(Customer(id=4, name="dot"))
    assert ground.seen("north", "SELECT id FROM customers ORDER BY id") == [1, 4]


@on_shards
async def test_an_object_of_another_shard_is_not_written(ground: Ground) -> None:
    shards = ground.shards(keys={Customer: Customer.id, Bill: "customer_id"})
    await fill(ground, shards)

    for wrong in (
        Customer(id=4, name="dot"),
        Bill(customer_id=1, amount=3),
        Bill(amount=3),
        Bill(amount=1, customer=Customer(id=7, name="joy")),
    ):
        with pytest.raises(ForeignShard, match="'east'") as caught:
            async with ground.session(shards, 0) as session:
                session.add(wrong)
        assert caught.value.shard == "east"
        assert caught.value.scope is not None
        # a key is a value, and those are shown to nobody
        assert "customer 4" not in str(caught.value)
    with pytest.raises(ForeignShard):
        async with ground.session(shards, 0) as session:
            (await session.get(Customer, 3)).id = 4
            await session.flush()
    assert ground.seen("east", "SELECT id FROM customers ORDER BY id") == [0, 3]
    assert ground.seen("east", "SELECT id FROM bills") == []

    async with ground.session(shards, 0) as session:
        customer = await session.get(Customer, 3)
        session.add(Bill(customer=customer, amount=5))
        session.add(Customer(id=6, name="fay", bills=[Bill(amount=7)]))
        customer.name = "new"
        await session.delete(await session.get(Customer, 0))
    assert ground.seen("east", "SELECT name FROM customers ORDER BY id") == ["new", "fay"]
    assert ground.seen("east", "SELECT amount FROM bills ORDER BY amount") == [5, 7]


# ---------------------------------------------------------------- all of them


@on_shards
async def test_all_shards_are_read(ground: Ground) -> None:
    shards = ground.shards()
    await fill(ground, shards)

    async def count(session: Any) -> int:
        return int(await session.scalar(text("SELECT count(*) FROM customers")))

    rows = await ground.gather(shards, select(Customer.id).order_by(Customer.id.desc()))
    assert list(rows) == list(NAMES)
    assert [tuple(row) for row in rows["north"]] == [(4,), (1,)]
    assert await ground.gather(shards, count) == dict.fromkeys(NAMES, 2)
    some = await ground.gather(shards, "SELECT id FROM customers", shards=("west", "east"))
    assert list(some) == ["east", "west"]
    found = await ground.gather(shards, select(Customer).order_by(Customer.name))
    assert [c.name for (c,) in merged(found, lambda row: row[0].name)] == [
        f"customer {number}" for number in range(6)
    ]
    ordered = merged(rows, lambda row: row[0], reverse=True, limit=4)
    assert [row[0] for row in ordered] == [5, 4, 3, 2]
    assert len(merged(rows)) == 6


@on_shards
async def test_a_gathering_does_not_write(ground: Ground) -> None:
    shards = ground.shards()

    async def write(session: Any) -> None:
        session.add(Customer(id=1, name="ann"))
        await session.flush()

    with pytest.raises(ShardFailed) as caught:
        await ground.gather(shards, write)

    assert {type(each) for each in caught.value.errors.values()} == {ReadOnlyScope}
    with pytest.raises(InvalidOption):
        await ground.gather(shards, write, readonly=False)


@on_shards
async def test_a_shard_that_fails_is_named(ground: Ground) -> None:
    shards = ground.shards()
    await fill(ground, shards)

    async def work(session: Any) -> int:
        wrong = session.scope.registry.name == "north"
        sql = "SELECT nothing FROM nowhere" if wrong else "SELECT count(*) FROM customers"
        return int(await session.scalar(text(sql)))

    with pytest.raises(ShardFailed, match="'north' of 3 failed") as caught:
        await ground.gather(shards, work)

    error = caught.value
    assert error.shard == "north"
    assert list(error.errors) == ["north"]
    assert error.results == {"east": 2, "west": 2}
    assert isinstance(error.__cause__, InvalidStatement)
    assert all(not db.snapshot().scopes for db in shards.databases.values())
    again = pickle.loads(pickle.dumps(error))
    assert (again.shard, str(again)) == ("north", str(error))


@on_shards
async def test_they_are_read_side_by_side(ground: Ground) -> None:
    shards = ground.shards()
    meeting: Any = asyncio.Barrier(3) if ground.is_async else threading.Barrier(3)

    async def work(session: Any) -> bool:
        await session.execute(text("SELECT 1"))
        # nobody comes past it before all three are there
        if ground.is_async:
            async with asyncio.timeout(PATIENCE):
                await meeting.wait()
        else:
            meeting.wait(PATIENCE)
        return True

    assert await ground.gather(shards, work) == dict.fromkeys(NAMES, True)


@on_shards
async def test_one_deadline_is_for_all(ground: Ground) -> None:
    if ground.family == "sqlite":
        return  # it has nothing that takes time
    shards = ground.shards()
    sleep = "SELECT pg_sleep(30)" if ground.family == "postgresql" else "SELECT sleep(30)"

    with pytest.raises(ShardFailed) as caught:
        await ground.gather(shards, sleep, timeout=0.3)

    assert set(caught.value.errors) == set(NAMES)
    assert {type(each) for each in caught.value.errors.values()} == {DeadlineExceeded}


@on_shards
async def test_a_scope_around_is_left_alone(ground: Ground) -> None:
    shards = ground.shards()
    await fill(ground, shards)

    async with ground.session(shards, 0) as session:
        session.add(Customer(id=6, name="fay"))
        if ground.family != "sqlite":
            await session.flush()
        rows = await ground.gather(shards, "SELECT id FROM customers")
        assert len(merged(rows)) == 6
    assert len(merged(await ground.gather(shards, "SELECT id FROM customers"))) == 7


async def test_a_gathering_that_is_cancelled_leaves_nothing(
    async_backend: Backend, fresh_url: FreshUrl
) -> None:
    there = {name: asyncio.Event() for name in NAMES}

    async def work(session: Any) -> None:
        await session.execute(text("SELECT 1"))
        there[session.scope.registry.name].set()
        await asyncio.Event().wait()

    async with Shards({name: fresh_url(async_backend, name) for name in NAMES}) as shards:
        gathering = asyncio.ensure_future(shards.agather(work))
        async with asyncio.timeout(PATIENCE):
            for each in there.values():
                await each.wait()
            gathering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gathering
        for db in shards.databases.values():
            assert not db.snapshot().scopes
            assert {each.state for each in db.snapshot().connections} <= {"idle"}
        rows = await shards.agather("SELECT 1")
        assert len(merged(rows)) == 3


_FORKS = """
import os, sys
from hermetic.shards import Shards, merged
shards = Shards({"one": sys.argv[1], "two": sys.argv[2]})
assert len(merged(shards.gather("SELECT 1"))) == 2
child = os.fork()
answer = len(merged(shards.gather("SELECT 1", timeout=20)))
shards.close()
if child == 0:
    os._exit(answer)
print(answer, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_a_forked_child_gathers_too(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", _FORKS, f"sqlite:///{tmp_path}/1.db", f"sqlite:///{tmp_path}/2.db"],
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    assert (finished.stdout, finished.stderr) == ("2 2\n", "")


# ---------------------------------------------------------------- what is given


def test_wrong_use_is_refused_where_it_is_given() -> None:
    for given in ({}, {"keys": {dict: "id"}}, {"keys": {Customer: "nothing"}}, {"sise": 3}):
        with pytest.raises(InvalidOption):
            Shards({"one": "sqlite://"} if given else {}, **given)
    with Shards({"one": "sqlite://", "two": "sqlite://"}, key=lambda key: "three") as shards:
        for refused in (
            lambda: shards.session(1),
            shards.session,
            lambda: shards.session(1, shard="one"),
            lambda: shards.session(shard="none"),
            lambda: shards.session(shard="one", sise=3),
            lambda: shards.gather("SELECT 1", shards=["none"]),
        ):
            with pytest.raises(InvalidOption):
                refused()


def test_databases_may_be_given() -> None:
    db = Database("sqlite://")
    with Shards({"one": db, "two": "sqlite://"}, pool_timeout=3.0) as shards:
        assert shards.databases["one"] is db
        assert shards.databases["two"].options.pool_timeout == 3.0
        assert merged(shards.gather("SELECT 1")) == [(1,), (1,)]
    assert db.server.closed


def test_keys_are_spread_and_few_move() -> None:
    names = [f"shard {number}" for number in range(4)]
    before, after = by_hash(names), by_hash([*names, "shard 4"])
    keys = [*range(2000), *(f"customer {number}" for number in range(2000))]

    shares = {name: sum(before(key) == name for key in keys) for name in names}
    moved = [key for key in keys if before(key) != after(key)]

    assert all(800 < share < 1200 for share in shares.values()), shares
    assert 600 < len(moved) < 1000
    assert {after(key) for key in moved} == {"shard 4"}
    # the same in every process
    assert [before(key) for key in (1, "ann", b"ann", uuid.UUID(int=7))] == [
        by_hash(names)(key) for key in (1, "ann", b"ann", uuid.UUID(int=7))
    ]
    with pytest.raises(InvalidOption):
        before(1.5)


def test_a_closed_one_checks_nothing_more() -> None:
    shards = Shards({"one": "sqlite://", "two": "sqlite://"}, keys={Customer: "id"})
    shards.close()
    with pytest.raises(DatabaseClosed):
        shards.gather("SELECT 1")
    with Database("sqlite://") as db:
        Base.metadata.create_all(db.engine)
        with db.session() as session:
            session.add(Customer(id=1, name="ann"))
