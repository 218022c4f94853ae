"""Models with relationships of every direction, way of loading and cascade."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, String, Table
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tests.differential.pool.base import Base

member_tags = Table(
    "member_tags",
    Base.metadata,
    Column("member_id", ForeignKey("members.id"), primary_key=True),
    Column("tag_id", ForeignKey("tags.id"), primary_key=True),
)


class Team(Base):
    """The other side of Member, loaded when asked for; its leaves go with it by the server."""

    __tablename__ = "teams"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    members: Mapped[list[Member]] = relationship(
        back_populates="team", order_by=lambda: Member.id, cascade="save-update, merge"
    )
    leaves: Mapped[list[Leaf]] = relationship(
        back_populates="team",
        order_by=lambda: Leaf.id,
        cascade="all, delete-orphan",
        passive_deletes=True,
    )
    elders: Mapped[list[Member]] = relationship(
        primaryjoin=lambda: (Member.team_id == Team.id) & (Member.rank >= 5),
        order_by=lambda: Member.id,
        viewonly=True,
    )


class Member(Base):
    __tablename__ = "members"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    rank: Mapped[int] = mapped_column(default=0)
    team_id: Mapped[int | None] = mapped_column(ForeignKey("teams.id"))
    team: Mapped[Team | None] = relationship(back_populates="members")
    tags: Mapped[set[Tag]] = relationship(secondary=member_tags, back_populates="members")
    passport: Mapped[Passport | None] = relationship(
        back_populates="member", cascade="all, delete-orphan"
    )


class Passport(Base):
    """One to one, seen from the many side."""

    __tablename__ = "passports"

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(String(20))
    member_id: Mapped[int] = mapped_column(ForeignKey("members.id"))
    member: Mapped[Member] = relationship(back_populates="passport", lazy="raise")


class Tag(Base):
    __tablename__ = "tags"

    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(String(20))
    members: Mapped[set[Member]] = relationship(secondary=member_tags, back_populates="tags")


class Leaf(Base):
    __tablename__ = "leaves"

    id: Mapped[int] = mapped_column(primary_key=True)
    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"))
    shade: Mapped[str] = mapped_column(String(20))
    team: Mapped[Team] = relationship(back_populates="leaves")


class Node(Base):
    """Its own parent."""

    __tablename__ = "nodes"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("nodes.id"))
    parent: Mapped[Node | None] = relationship(
        back_populates="children", remote_side=lambda: Node.id
    )
    children: Mapped[list[Node]] = relationship(
        back_populates="parent", order_by=lambda: Node.id, cascade="all, delete-orphan"
    )


class Author(Base):
    """Its books are loaded with it, by a second statement."""

    __tablename__ = "authors"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    books: Mapped[list[Book]] = relationship(
        back_populates="author",
        lazy="selectin",
        order_by=lambda: Book.id,
        cascade="all, delete-orphan",
    )


class Book(Base):
    """Its author is loaded with it, by a join."""

    __tablename__ = "books"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(50))
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))
    author: Mapped[Author] = relationship(back_populates="books", lazy="joined")
