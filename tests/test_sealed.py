"""Objects after their scope: what was loaded stays; what was not says so, and in which scope."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, inspect, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    defer,
    joinedload,
    lazyload,
    mapped_column,
    relationship,
    selectinload,
    undefer,
)
from sqlalchemy.orm.exc import DetachedInstanceError

from hermetic import Database, DetachedAccess, ScopeRef, Session
from hermetic.sealed import Sealed, seal

SCOPE = ScopeRef("loading", 7, "app.py:12 in main")


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    biography: Mapped[str] = mapped_column(String(50), deferred=True)
    books: Mapped[list[Book]] = relationship(back_populates="author")


class Book(Base):
    __tablename__ = "books"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(50))
    author_id: Mapped[int | None] = mapped_column(ForeignKey("authors.id"))
    author: Mapped[Author | None] = relationship(back_populates="books")


@pytest.fixture
def db() -> Iterator[Database]:
    with Database("sqlite://") as database:
        Base.metadata.create_all(database.engine)
        with database.session() as session:
            session.add(Author(id=1, name="ann", biography="long", books=[Book(id=1, title="a")]))
        yield database


def loaded(db: Database, *options: Any) -> Author:
    """An author whose scope is over."""
    with db.session(name="loading") as session:
        return session.scalars(select(Author).options(*options)).one()


# ---------------------------------------------------------------- what was loaded, and what not


def test_what_was_loaded_can_be_read(db: Database) -> None:
    ann = loaded(db, selectinload(Author.books), undefer(Author.biography))

    assert (ann.name, ann.biography) == ("ann", "long")
    assert [book.title for book in ann.books] == ["a"]


@pytest.mark.parametrize("attribute", ["books", "biography"])
def test_what_was_not_loaded_names_itself_its_scope_and_the_line(
    db: Database, attribute: str
) -> None:
    ann = loaded(db)

    with pytest.raises(DetachedAccess) as caught:
        getattr(ann, attribute)

    error = caught.value
    assert isinstance(error, DetachedInstanceError)
    assert error.attribute == attribute
    assert f"{attribute!r} of Author 1 was not loaded when its scope ended." in str(error)
    assert error.scope is not None
    assert error.scope.name == "loading"
    assert error.scope.opened_at.startswith(f"{__file__}:")
    assert error.scope.opened_at.endswith(" in loaded")
    assert "selectinload" in error.hint


def test_what_expired_inside_the_scope_names_itself(db: Database) -> None:
    with db.session(name="loading") as session:
        ann = session.scalars(select(Author)).one()
        session.expire(ann, ["name"])

    assert ann.id == 1
    with pytest.raises(DetachedAccess, match=r"'name' of Author 1 .* In scope 'loading'"):
        _ = ann.name


def test_a_rolled_back_scope_leaves_the_same_words(db: Database) -> None:
    kept: list[Author] = []

    def fail() -> None:
        with db.session(name="failing") as session:
            kept.append(session.scalars(select(Author)).one())
            raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        fail()

    with pytest.raises(DetachedAccess, match="scope 'failing'"):
        _ = kept[0].books


def test_every_object_knows_its_own_scope(db: Database) -> None:
    first = loaded(db)
    with db.session(name="second") as session:
        second = session.scalars(select(Book)).one()

    with pytest.raises(DetachedAccess, match="scope 'loading'"):
        _ = first.books
    with pytest.raises(DetachedAccess, match="scope 'second'"):
        _ = second.author


async def test_an_object_of_an_async_scope_says_the_same() -> None:
    async with Database("sqlite://") as db:
        async with db.session() as session:
            await session.run_sync(lambda sync: Base.metadata.create_all(sync.connection()))
            session.add(Author(id=1, name="ann", biography="long"))
        async with db.session(name="async loading") as session:
            ann = (await session.scalars(select(Author))).one()

        assert ann.name == "ann"
        with pytest.raises(DetachedAccess, match="scope 'async loading'"):
            _ = ann.books


# ---------------------------------------------------------------- as if nothing had happened


def test_an_object_loads_again_in_another_session(db: Database) -> None:
    ann = loaded(db)

    with db.session() as session:
        session.add(ann)
        assert ann.biography == "long"
        assert [book.title for book in ann.books] == ["a"]

    assert ann.books


def test_an_expired_object_loads_again_in_another_session(db: Database) -> None:
    with db.session() as session:
        ann = session.scalars(select(Author)).one()
        session.expire(ann)

    with db.session() as session:
        session.add(ann)
        assert ann.name == "ann"
        session.refresh(ann)


def test_a_second_scope_puts_its_own_name_in_place_of_the_first(db: Database) -> None:
    ann = loaded(db)

    with db.session(name="again") as session:
        session.add(ann)

    with pytest.raises(DetachedAccess, match="scope 'again'"):
        _ = ann.books


def test_loaders_of_one_object_alone_are_kept(db: Database) -> None:
    ann = loaded(db, lazyload(Author.books), defer(Author.name))

    with pytest.raises(DetachedAccess, match="'name'"):
        _ = ann.name
    with db.session() as session:
        session.add(ann)
        assert ann.name == "ann"
        assert len(ann.books) == 1


def test_a_merged_copy_is_as_fresh_as_any(db: Database) -> None:
    ann = loaded(db)

    with db.session() as session:
        merged = session.merge(ann)
        assert merged is not ann
        assert merged.biography == "long"
        assert len(merged.books) == 1
        assert not isinstance(inspect(merged).callables, Sealed)


def test_attributes_can_be_set_that_were_never_loaded(db: Database) -> None:
    ann = loaded(db)

    ann.biography = "short"
    ann.name = "anna"
    book = Book(id=2, title="b", author=ann)

    with db.session() as session:
        session.add_all([ann, book])
    with db.session() as session:
        again = session.scalars(select(Author).options(joinedload(Author.books))).unique().one()
        assert (again.name, len(again.books)) == ("anna", 2)
        assert again.biography == "short"


def test_looking_does_not_load(db: Database) -> None:
    ann = loaded(db)
    state = inspect(ann)

    assert state.unloaded == {"books", "biography"}
    assert not state.attrs.books.history.has_changes()
    assert "books" not in vars(ann)
    assert state.detached


def test_a_new_object_has_defaults_not_errors(db: Database) -> None:
    with db.session():
        bob = Author(name="bob")

    assert bob.books == []
    assert bob.biography is None


def test_an_object_that_was_never_flushed_has_defaults_not_errors(db: Database) -> None:
    with db.session() as session:
        bob = Author(id=9, name="bob", biography="")
        session.add(bob)
        session.rollback_only()

    assert bob.name == "bob"
    assert bob.books == []


# ---------------------------------------------------------------- copies and memory


def test_a_pickled_object_keeps_what_was_loaded_and_the_words(db: Database) -> None:
    ann = loaded(db)

    again = pickle.loads(pickle.dumps(ann))

    assert again.name == "ann"
    with pytest.raises(DetachedInstanceError, match="books"):
        _ = again.books
    with db.session() as session:
        session.add(again)
        assert len(again.books) == 1


def test_a_copied_object_does_not_disturb_the_first(db: Database) -> None:
    ann = loaded(db)

    copy.copy(ann)

    assert ann.name == "ann"
    with pytest.raises(DetachedAccess):
        _ = ann.books


def test_an_object_does_not_keep_its_session_alive(db: Database) -> None:
    with db.session() as session:
        ann = session.scalars(select(Author)).one()
    alive = weakref.ref(session)

    del session
    gc.collect()

    assert alive() is None
    assert ann.name == "ann"


def test_an_object_goes_when_nobody_holds_it(db: Database) -> None:
    gone = weakref.ref(loaded(db))

    gc.collect()

    assert gone() is None


# ---------------------------------------------------------------- Sealed itself


def test_sealed_has_an_answer_for_what_has_a_loader_and_holds_only_its_own() -> None:
    def own(state: Any, passive: Any) -> Any:
        return "own"

    sealed = Sealed(SCOPE, {"name": own}, Author)

    assert "name" in sealed
    assert "books" in sealed
    assert "id" not in sealed
    assert list(sealed) == ["name"]
    assert sealed["name"](None, None) == "own"
    assert callable(sealed["books"])
    assert sealed.copy() == {"name": own}


def test_sealed_survives_a_pickle() -> None:
    again = pickle.loads(pickle.dumps(Sealed(SCOPE, {}, Author)))

    assert isinstance(again, Sealed)
    assert again.scope == SCOPE
    assert dict(again) == {}


def test_objects_of_one_scope_share_what_is_the_same(db: Database) -> None:
    with db.session() as session:
        session.add_all([Book(id=n, title="x") for n in range(10, 20)])
        books = session.scalars(select(Book)).all()

    assert len({id(inspect(book).callables) for book in books}) == 1


def test_sealing_by_hand_words_the_error_of_a_closed_session() -> None:
    with Session() as session:
        author = Author(id=3, name="cy")
        session.add(author)
    inspect(author).key = (Author, (3,), None)

    seal([inspect(author)], SCOPE)

    with pytest.raises(DetachedAccess, match=r"'books' of Author 3 .*#7, opened at app\.py:12"):
        _ = author.books
