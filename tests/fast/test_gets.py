"""``get`` in all its forms, and where somebody waits for a connection first, goes the short way."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import NoResultFound, StatementError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from hermetic import Database, scoped_session, sessionmaker
from tests.servers.process import wait_until


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Marked(Base):
    __tablename__ = "marked"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path}/things.db") as database:
        Base.metadata.create_all(database.engine)
        with database.session() as session:
            session.add(Thing(id=1, name="one"))
        yield database


def shortly(db: Database) -> int:
    """How many reads went the short way."""
    paths = db.snapshot().paths
    names = ("read:in hand", "read:over a Connection", "read:awaited")
    return sum(paths.get(name, 0) for name in names)


def missed(call: Callable[[], Any]) -> str:
    with pytest.raises(NoResultFound) as caught:
        call()
    return str(caught.value)


def test_every_get_of_threads(db: Database) -> None:
    make = scoped_session(sessionmaker(db.engine))
    unknown: Any = {"no_such": None}
    before = shortly(db)

    with db.session() as session:
        assert session.get_one(Thing, 1).name == "one"
        words = missed(lambda: session.get_one(Thing, 2))
    assert make.get_one(Thing, 1) is make.get(Thing, 1)
    make.remove()

    assert shortly(db) == before + 3
    # what is asked for besides is SQLAlchemy's
    with db.session() as session:
        assert session.get_one(Thing, 1, populate_existing=True).name == "one"
        assert missed(lambda: session.get_one(Thing, 2, populate_existing=True)) == words
        session.expunge_all()
        assert session.get(Thing, 1, identity_token=0) is not None
        with pytest.raises(TypeError, match="no_such"):
            session.get(Thing, 1, **unknown)
    assert shortly(db) == before + 3


@pytest.mark.parametrize("key", ["not a uuid", 5])
async def test_a_key_that_its_type_refuses_is_refused_in_sqlalchemys_words(
    tmp_path: Path, db: Database, key: object
) -> None:
    def refused(get: Callable[[Any, Any], Any]) -> str:
        with pytest.raises(StatementError) as caught:
            get(Marked, key)
        return str(caught.value)

    with Session(create_engine("sqlite://", hide_parameters=True)) as plain:
        expected = refused(plain.get)
    with sessionmaker(db.engine)() as loose:
        assert refused(loose.get) == expected
    with db.session() as session:
        assert refused(session.get).endswith(expected)
    async with Database(f"sqlite:///{tmp_path}/things.db") as other, other.session() as of_asyncio:
        with pytest.raises(StatementError, match="has no attribute 'hex'"):
            await of_asyncio.get(Marked, key)


async def test_every_get_of_asyncio(tmp_path: Path, db: Database) -> None:
    async with Database(f"sqlite:///{tmp_path}/things.db") as other, other.session() as session:
        await session.scalar("SELECT 1")  # connects
        before = shortly(db)
        assert (await session.get_one(Thing, 1)).name == "one"
        with pytest.raises(NoResultFound, match="No row was found"):
            await session.get_one(Thing, 2)
        assert shortly(db) == before + 2


@pytest.mark.parametrize("lost", [False, True])
def test_who_waits_for_a_connection_goes_the_short_way(db: Database, lost: bool) -> None:
    """Also where what comes back is none to go on with: the place is kept for another."""
    taken = threading.Event()
    came: list[bool] = []

    def hold() -> None:
        with db.session() as session:
            session.get(Thing, 1)
            taken.set()
            came.append(wait_until(lambda: db.snapshot().pools[0].waiting == 1, 20))
            if lost:
                db.evict()

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(20)
    before = db.snapshot().paths.get("read:in hand", 0)
    with db.session() as session:
        found = session.get(Thing, 1)
        assert db.snapshot().pools[0].lent == 1
    holder.join()

    assert came == [True]
    assert found is not None
    assert (db.snapshot().paths.get("read:in hand", 0) == before + 1) is not lost
    (pool, *_) = db.snapshot().pools
    assert (pool.lent, pool.waiting) == (0, 0)
