"""The works of ``tools.stood_in_for``: prints how often each of SQLAlchemy's functions was called.

python -m tools.stood_in_for_works FOLDER
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from collections import Counter
from types import FrameType
from typing import Any, NamedTuple

from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from hermetic import Database

_calls: Counter[str] = Counter()


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    pets: Mapped[list[Pet]] = relationship(back_populates="owner")


class Pet(Base):
    __tablename__ = "pets"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    owner: Mapped[User] = relationship(back_populates="pets")


class Row(NamedTuple):
    id: int
    name: str


_WITH_PETS = select(User).options(selectinload(User.pets))
_WITH_OWNERS = select(Pet).options(selectinload(Pet.owner))
_ROWS = select(User.id, User.name)


def in_threads(db: Database) -> None:
    with db.session() as session:
        session.add_all(User(name=f"user {number}") for number in range(30))
        session.flush()
        session.add_all(Pet(user_id=1 + number % 3) for number in range(30))
    with db.session() as session:
        user = session.get(User, 1)
        assert user is not None
        user.name = "changed"
        assert user.pets
        pet = session.get(Pet, 2)
        assert pet is not None
        assert pet.owner.name
        session.scalars(select(User).where(User.id == 2)).one()
        with db.session(propagation="nested"):
            session.add(User(name="nested"))
    with db.session(readonly=True) as session:
        for statement in (select(User), _WITH_PETS, _WITH_OWNERS):
            session.scalars(statement).all()
        session.rows(_ROWS, into=Row)
        session.execute(_ROWS).all()
    with db.session() as session:
        for each in session.scalars(select(User)).all():
            each.name += "!"
    with contextlib.suppress(KeyError), db.session() as session:
        session.add(User(name="rolled back"))
        session.flush()
        raise KeyError


async def in_asyncio(db: Database) -> None:
    async with db.session() as session:
        session.add(User(name="async"))
        await session.flush()
        session.add_all(User(name=f"async {number}") for number in range(30))
    async with db.session() as session:
        user = await session.get(User, 1)
        assert user is not None
        user.name = "changed again"
        (await session.scalars(select(User).where(User.id == 2))).one()
        (await session.scalars(_WITH_PETS)).all()
        async with db.session(propagation="nested"):
            session.add(User(name="nested"))
    async with db.session(readonly=True) as session:
        await session.rows(_ROWS, into=Row)


def works(db: Database) -> None:
    in_threads(db)
    asyncio.run(in_asyncio(db))


def note(frame: FrameType, event: str, argument: Any) -> None:
    file = frame.f_code.co_filename
    if event == "call" and "/sqlalchemy/" in file:
        name = frame.f_code.co_qualname.partition(".<locals>")[0]
        _calls[f"{file.partition('/sqlalchemy/')[2]} {name}"] += 1


def main(folder: str) -> None:
    with Database(f"sqlite:///{folder}/works.db") as db:
        Base.metadata.create_all(db.engine)
        # what is prepared once is there the third time
        works(db)
        works(db)
        threading.setprofile(note)
        sys.setprofile(note)
        works(db)
        sys.setprofile(None)
        threading.setprofile(None)
    sys.stdout.write(json.dumps(_calls))


if __name__ == "__main__":
    main(*sys.argv[1:])
