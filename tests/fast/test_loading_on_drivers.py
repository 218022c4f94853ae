"""The compiled loops with the rows of every driver."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from hermetic.fast.counts import counts
from tests.models import Order, User
from tests.worlds import World


class Row(NamedTuple):
    id: int
    username: str
    balance: int


def _loaded(session: Any) -> Any:
    users = session.scalars(select(User).order_by(User.id)).all()
    return [(user.id, user.username, user.balance) for user in users]


def _lazy(session: Any) -> Any:
    found = []
    for number in range(1, 5):
        order = session.scalars(select(Order).where(Order.id == number)).one()
        found.append((order.user.username, [each.item for each in order.user.orders]))
        session.expunge_all()
    return found


def _eager(session: Any) -> Any:
    users = session.scalars(select(User).options(selectinload(User.orders)).order_by(User.id))
    return [[order.item for order in user.orders] for user in users.all()]


def _rows(session: Any) -> Any:
    return session.rows(select(User).order_by(User.id), into=Row)


async def test_the_rows_of_every_driver_are_read(world: World) -> None:
    for number in range(1, 9):
        world.do(f"INSERT INTO users (id, username, balance) VALUES ({number}, 'u{number}', 7)")
        world.do(f"INSERT INTO orders (id, user_id, item) VALUES ({number}, {number}, 'pen')")
    before = dict(counts)

    async with world.session() as session:
        loaded, lazy, eager, rows = [
            await session.run_sync(read) for read in (_loaded, _lazy, _eager, _rows)
        ]

    users = [(number, f"u{number}", 7) for number in range(1, 9)]
    assert loaded == rows == users
    assert lazy == [(f"u{number}", ["pen"]) for number in range(1, 5)]
    assert eager == [["pen"]] * 8
    taken = {name for name, number in counts.items() if number > before.get(name, 0)}
    assert {"load:fast", "lazy:fast", "rows:fast"} <= taken
