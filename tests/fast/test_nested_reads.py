"""Reads inside a savepoint that was not sent: it waits for more, where an error harms nothing."""

from __future__ import annotations

from typing import Final

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hermetic import Outcome
from hermetic.fast.counts import counts
from tests.behaviour.aftermath import check_nothing_left, on
from tests.models import User
from tests.worlds import World

ANN: Final = 71
# where a savepoint waits: MariaDB's is sent, and is SQLAlchemy's
on_waiting: Final = on(lambda backend: backend.family in ("sqlite", "postgresql"))
on_all: Final = on(lambda backend: True)


async def connect(world: World) -> None:
    """Have a row, a writer's connection in the pool, and the plan of the class made."""
    world.do(f"INSERT INTO users (id, username, balance) VALUES ({ANN}, 'ann', 7)")
    async with world.session() as session:
        await session.get(User, 4711)


def reads() -> int:
    return counts.get("read:in hand", 0) + counts.get("read:awaited", 0)


class _Base(DeclarativeBase):
    pass


class Missing(_Base):
    """Its table was never made."""

    __tablename__ = "missing"
    id: Mapped[int] = mapped_column(primary_key=True)


@on_waiting
async def test_a_nested_scope_that_only_reads_sends_no_savepoint(world: World) -> None:
    await connect(world)
    before = reads()

    async with world.session() as outer:
        async with world.session(propagation="nested") as session:
            ann = await session.get(User, ANN)
            nobody = await session.get(User, 4711)
        in_hand, nested = outer.scope.in_hand, outer.in_nested_transaction()
        statements = outer.scope.statements
        again = await outer.get(User, ANN)

    assert reads() == before + 2
    assert in_hand
    assert not nested
    assert statements == 2
    assert ann is again
    assert nobody is None
    assert outer.outcome is Outcome.COMMITTED
    await check_nothing_left(world)


@on_all
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("fails", [True, False])
async def test_what_follows_the_read_is_inside_the_savepoint(
    world: World, first: bool, fails: bool
) -> None:
    await connect(world)

    async with world.session() as outer:
        outer.add(User(id=72, username="bob"))
        if first:
            await outer.get(User, ANN)
        try:
            async with world.session(propagation="nested") as session:
                ann = await session.get(User, ANN)
                ann.balance = 8
                session.add(User(id=73, username="carl"))
                await session.flush()
                seen = await session.get(User, 73)
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        balance = (await outer.get(User, ANN)).balance
        outer.add(User(id=74, username="dora"))

    assert seen.id == 73
    assert balance == (7 if fails else 8)
    expected = ["ann", "bob", *([] if fails else ["carl"]), "dora"]
    assert sorted(world.usernames()) == expected
    assert world.seen(f"SELECT balance FROM users WHERE id = {ANN}") == [(balance,)]
    await check_nothing_left(world)


@on_all
@pytest.mark.parametrize("first", [True, False])
async def test_a_read_that_fails_inside_leaves_the_outer_scope(world: World, first: bool) -> None:
    await connect(world)
    async with world.session() as outer:
        if first:
            await outer.get(User, ANN)
        with pytest.raises(Exception, match="missing"):
            async with world.session(propagation="nested") as session:
                await session.get(Missing, 1)
        ann = await outer.get(User, ANN)
        outer.add(User(id=72, username="bob"))

    assert ann.username == "ann"
    assert outer.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann", "bob"]
    await check_nothing_left(world)
