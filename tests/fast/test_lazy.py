"""Lazy loads of relationships, the second and later ones by a prepared plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Column, Engine, ForeignKey, Table, create_engine, event, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    joinedload,
    lazyload,
    mapped_column,
    object_session,
    relationship,
    selectinload,
)

import hermetic
from hermetic.fast.counts import counts
from tests.fast.comparing import compare


class Base(DeclarativeBase):
    pass


LINKS = Table(
    "lazy_links",
    Base.metadata,
    Column("node", ForeignKey("lazy_nodes.id"), primary_key=True),
    Column("tag", ForeignKey("lazy_tags.id"), primary_key=True),
)


class Tag(Base):
    __tablename__ = "lazy_tags"
    id: Mapped[int] = mapped_column(primary_key=True)
    nodes: Mapped[list[Node]] = relationship(secondary=LINKS, back_populates="tags")
    # tags are never loaded alone
    eager: Mapped[list[Node]] = relationship(secondary=LINKS, lazy="joined", viewonly=True)


class Node(Base):
    """Points at others of its kind, by more than one way."""

    __tablename__ = "lazy_nodes"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("lazy_nodes.id"))
    friend_id: Mapped[int | None] = mapped_column(ForeignKey("lazy_nodes.id"))
    name: Mapped[str]
    parent: Mapped[Node | None] = relationship(
        foreign_keys=parent_id, remote_side="Node.id", back_populates="children"
    )
    friend: Mapped[Node | None] = relationship(foreign_keys=friend_id, remote_side="Node.id")
    children: Mapped[list[Node]] = relationship(
        foreign_keys=parent_id, back_populates="parent", order_by="Node.name.desc()"
    )
    even: Mapped[list[Node]] = relationship(
        primaryjoin=lambda: (Node.id == Node.parent_id) & (Node.name != "n3"),
        remote_side=parent_id,
        foreign_keys=parent_id,
        viewonly=True,
    )
    tags: Mapped[list[Tag]] = relationship(secondary=LINKS, back_populates="nodes")
    refused: Mapped[Node | None] = relationship(
        foreign_keys=parent_id, remote_side="Node.id", lazy="raise_on_sql", viewonly=True
    )
    one: Mapped[Node | None] = relationship(
        foreign_keys=parent_id, remote_side=parent_id, uselist=False, viewonly=True
    )


@pytest.fixture(scope="module", name="nodes")
def _nodes() -> Iterator[Engine]:
    yield from _filled()


@pytest.fixture(scope="module", name="unheard")
def _unheard() -> Iterator[Engine]:
    """An engine that nobody has ever listened to: then the rows are the driver's own."""
    yield from _filled()


def _filled() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        tags = [Tag(id=n) for n in range(1, 4)]
        session.add_all(
            Node(id=n, parent_id=n // 2 or None, friend_id=17 - n, name=f"n{n}", tags=tags[: n % 4])
            for n in range(1, 17)
        )
        session.commit()
    yield engine
    engine.dispose()


ALL = select(Node).order_by(Node.id)
NAMES = ["parent", "friend", "children", "even", "tags", "refused"]


def _each(session: Session, name: str) -> list[Any]:
    found = []
    for node in session.scalars(ALL).unique().all():
        try:
            found.append(getattr(node, name))
        except Exception as error:
            found.append(type(error).__name__)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_relationship_is_loaded_as_by_sqlalchemy(
    name: str, nodes: Engine, unheard: Engine
) -> None:
    compare(nodes, lambda session: _each(session, name))
    compare(nodes, lambda session: _each(session, name))
    compare(unheard, lambda session: _each(session, name), listening=False)
    compare(unheard, lambda session: _each(session, name), listening=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_relationship_is_loaded_of_one_object_after_the_other(
    name: str, nodes: Engine, unheard: Engine
) -> None:
    """The identity map does not answer."""

    def loads(engine: Engine, listening: bool) -> dict[str, int]:
        compare(engine, program, listening=listening)
        return compare(engine, program, listening=listening)

    def program(session: Session) -> Any:
        found = []
        for number in range(1, 17):
            found.append(getattr(session.get(Node, number), name, None))
            session.expunge_all()
        return found

    if name == "refused":
        return
    expected = {"tags": 0, "parent": 15}.get(name, 16)
    assert loads(nodes, True).get("lazy:fast", 0) == expected
    taken = loads(unheard, False)
    assert taken.get("lazy:fast", 0) == expected
    # one more for each that is asked for by its key
    assert taken.get("read:over a Connection", 0) >= 16 + expected - 1


def test_plans_are_used(engine: Engine) -> None:
    from tests.fast.models import Child

    def program(session: Session) -> Any:
        children = session.scalars(select(Child).where(Child.id < 8)).all()
        parents = [child.parent for child in children]
        return [parents, [parent.children for parent in parents if parent is not None]]

    compare(engine, program)
    taken = compare(engine, program)

    assert taken["lazy:fast"] == 14


def test_what_was_learned_of_a_translated_schema_is_not_used_without_one(unheard: Engine) -> None:
    """Engines of one dialect, as each tenant has one, may have schemas of their own."""
    translated = unheard.execution_options(schema_translate_map={None: "main"})

    def loaded(engine: Engine) -> tuple[list[str], str]:
        with hermetic.sessionmaker(engine)() as session:
            node = session.get_one(Node, 3)
            return [child.name for child in node.children], getattr(node.parent, "name", "")

    with _unlearned(Node.children), _unlearned(Node.parent):
        for engine in (translated, unheard, translated, unheard):
            assert loaded(engine) == (["n7", "n6"], "n1")


@contextmanager
def _unlearned(attribute: Any) -> Iterator[None]:
    """As before the first load of a relationship in this process."""
    implementation = attribute.impl
    known = implementation.callable_
    implementation.callable_ = getattr(known, "original", known)
    yield
    implementation.callable_ = known


def test_other_sessions_are_served_by_sqlalchemy(engine: Engine) -> None:
    from tests.fast.models import Child

    with hermetic.Session(engine) as session:
        children = session.scalars(select(Child).where(Child.id < 4)).all()
        assert [child.parent.name for child in children if child.parent] == ["p1", "p2", "p3"]
    before = dict(counts)
    with Session(engine) as plain:
        children = plain.scalars(select(Child).where(Child.id < 4)).all()
        assert [child.parent.name for child in children if child.parent] == ["p1", "p2", "p3"]

    assert counts == before


def _options(session: Session) -> Any:
    loaded = session.scalars(ALL.options(lazyload(Node.children).joinedload(Node.friend))).unique()
    return [node.children for node in loaded.all()]


def _changed(session: Session) -> Any:
    loaded = session.scalars(ALL).unique().all()
    loaded[4].parent_id = 7
    loaded[5].parent_id = None
    loaded[6].name = "changed"
    found = [loaded[4].parent, loaded[5].parent, loaded[6].children, loaded[1].children]
    session.flush()
    session.expire_all()
    return [found, [node.children for node in loaded], [node.parent for node in loaded]]


def _expired(session: Session) -> Any:
    loaded = session.scalars(ALL).unique().all()
    session.expire(loaded[0])
    session.expire(loaded[2], ["parent_id"])
    return [[node.parent for node in loaded], [node.children for node in loaded]]


def _deleted(session: Session) -> Any:
    last = session.get(Node, 16)
    assert last is not None
    session.delete(last)
    return [node.children for node in session.scalars(ALL).unique().all()]


def _detached(session: Session) -> Any:
    loaded = session.scalars(ALL).unique().all()
    session.expunge(loaded[3])
    return loaded[3].parent


def _pending(session: Session) -> Any:
    node = Node(id=50, parent_id=3, name="new", tags=[])
    session.add(node)
    return [node.parent, node.children, object_session(node) is session]


def _without_autoflush(session: Session) -> Any:
    loaded = session.scalars(ALL).unique().all()
    with session.no_autoflush:
        loaded[3].name = "later"
        return [node.children for node in loaded]


def _appended(session: Session) -> Any:
    loaded = session.scalars(ALL).unique().all()
    loaded[2].children.append(Node(id=60, name="added"))
    loaded[9].parent = loaded[0]
    return [loaded[2].children, loaded[0].children, loaded[4].children]


def _deep(session: Session) -> Any:
    loaded = session.scalars(ALL.options(selectinload(Node.children), joinedload(Node.parent)))
    return [[node.tags, node.friend] for node in loaded.unique().all()]


def _by_options(session: Session) -> Any:
    session.connection(execution_options={"schema_translate_map": {None: "main"}})
    return _each(session, "children")


def _heard(session: Session) -> Any:
    asked: list[bool] = []
    event.listen(session, "do_orm_execute", lambda state: asked.append(state.is_relationship_load))
    return [_each(session, "children"), asked]


def _refreshed(session: Session) -> Any:
    loaded = session.scalars(ALL).unique().all()
    session.refresh(loaded[3], ["children", "parent"])
    return loaded[3]


PROGRAMS = [
    *(_options, _changed, _expired, _deleted, _detached, _pending, _without_autoflush),
    *(_appended, _deep, _by_options, _heard, _refreshed),
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_program_ends_as_by_sqlalchemy(program: Any, nodes: Engine, unheard: Engine) -> None:
    compare(nodes, program)
    compare(nodes, program)
    compare(unheard, program, listening=False)
    compare(unheard, program, listening=False)
