"""The first read of a process is as every other one, though nobody has met the server before it."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from tests.worlds import World


class Base(DeclarativeBase):
    pass


class Marked(Base):
    """MariaDB has a type for its key, and MySQL, whose dialect a URL may name, has none."""

    __tablename__ = "marked"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


_KEY = uuid.UUID(int=7)


async def _got(session: Any) -> Any:
    return await session.get(Marked, _KEY)


async def _selected(session: Any) -> Any:
    return (await session.scalars(select(Marked).where(Marked.id == _KEY))).one()


@pytest.mark.parametrize("first", [_got, _selected])
async def test_keys_are_of_their_type_in_the_first_read_and_later(world: World, first: Any) -> None:
    Base.metadata.create_all(world.observer)
    with Session(world.observer) as session:
        session.add(Marked(id=_KEY))
        session.commit()

    for read in (first, _got, _selected):
        async with world.session() as session:
            assert (await read(session)).id == _KEY
