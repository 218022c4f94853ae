"""A repository: a class that owns a Database, and is all that an application knows of one.

    python examples/repository.py                 # on a SQLite file, repository.db
    python examples/repository.py postgresql://…

Each method is a unit of work of its own. Called inside of another unit, as ``members.one_unit()``
opens one, it is a part of that: it commits nothing for its caller.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from sqlalchemy import String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hermetic import Database, Session, UniqueViolation


class Base(DeclarativeBase):
    pass


class Member(Base):
    __tablename__ = "members"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    credit: Mapped[int] = mapped_column(default=0)


class NameTaken(ValueError):
    """The repository's own error: its users need to know none of SQLAlchemy's or hermetic's."""


class Members:
    """The members of a club, in a database."""

    def __init__(self, url: str) -> None:
        self._db = Database(url)
        Base.metadata.create_all(self._db.engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    def one_unit(self) -> AbstractContextManager[Session]:
        """A block whose calls are committed together, or not at all."""
        return self._db.session()

    def create(self, name: str, credit: int = 0) -> Member:
        member = Member(name=name, credit=credit)
        try:
            # a savepoint, where the caller has a unit: that can go on without this member
            with self._db.session(propagation="nested") as session:
                session.add(member)
        except UniqueViolation:
            raise NameTaken(name) from None
        return member

    def get(self, name: str) -> Member | None:
        """A member; it can be read when its session has long been closed."""
        with self._db.session() as session:
            return session.scalars(select(Member).filter_by(name=name)).one_or_none()

    def all(self) -> Sequence[Member]:
        with self._db.session() as session:
            return session.scalars(select(Member).order_by(Member.name)).all()

    def delete(self, name: str) -> bool:
        with self._db.session() as session:
            found = session.scalars(select(Member).filter_by(name=name)).one_or_none()
            if found is not None:
                session.delete(found)
            return found is not None

    def give(self, giver: str, taker: str, amount: int) -> None:
        """Hand credit over; run again when somebody else was faster, unless in a caller's unit."""
        self._db.session(retry=5)(_give)(giver, taker, amount)


def _give(session: Session, giver: str, taker: str, amount: int) -> None:
    # by name: two that lock the same members lock them in the same order
    statement = select(Member).where(Member.name.in_([giver, taker])).order_by(Member.name)
    members = {each.name: each for each in session.scalars(statement.with_for_update())}
    if members[giver].credit < amount:
        raise ValueError(f"{giver} has {members[giver].credit}")
    members[giver].credit -= amount
    members[taker].credit += amount


def main(url: str) -> None:
    with Members(url) as members:
        for name in ("ann", "bob"):
            members.delete(name)
        members.create("ann", credit=10)
        try:
            with members.one_unit():
                members.create("bob")
                members.give("ann", "bob", 20)
        except ValueError as error:
            print(f"nothing was done: {error}, and bob is {members.get('bob')}")
        with members.one_unit():
            members.create("bob")
            members.give("ann", "bob", 4)
        for member in members.all():
            print(f"{member.name} has {member.credit}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///repository.db")
