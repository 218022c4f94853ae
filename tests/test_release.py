"""What the series of SQLAlchemy have differently is made good in one place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from hermetic import release
from hermetic.dialects.drivers import oldest_sound
from tests.models import Base, User


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([User(username="ann"), User(username="bob")])
        session.commit()
        yield session
    engine.dispose()


def names(session: Session) -> list[str]:
    return list(session.scalars(select(User.username).order_by(User.username)))


@pytest.mark.parametrize("delete_all", [release.delete_all, release._delete_all])
def test_many_objects_are_deleted_on_every_series(session: Session, delete_all: Any) -> None:
    delete_all(session, session.scalars(select(User)).all())

    assert names(session) == []


@pytest.mark.parametrize("merge_all", [release.merge_all, release._merge_all])
def test_many_objects_are_merged_on_every_series(session: Session, merge_all: Any) -> None:
    session.add(User(id=3, username="eve"))

    merged = merge_all(session, [User(id=3, username="eva"), User(id=1, username="anna")])

    assert [user.id for user in merged] == [3, 1]
    assert names(session) == ["anna", "bob", "eva"]


@pytest.mark.parametrize("is_2_0", {release.IS_2_0, True})
def test_a_transactions_connections_are_known(
    session: Session, is_2_0: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2.1 keeps them where 2.0 has them."""
    monkeypatch.setattr(release, "IS_2_0", is_2_0)
    connection = session.connection()
    transaction = session.get_transaction()
    assert transaction is not None

    assert list(release.connections_of(transaction)) == [connection]


@pytest.mark.parametrize(
    ("found", "oldest"),
    [
        ((2, 0, 55), (2, 0, 56)),
        ((2, 0, 58), (2, 0, 56)),
        ((2, 1, 6), (2, 1, 7)),
        ((2, 2, 0), (2, 1, 7)),
    ],
)
def test_each_series_has_its_first_release_without_the_bug_that_loses_places(
    found: tuple[int, ...], oldest: tuple[int, ...]
) -> None:
    assert oldest_sound(found) == oldest


def test_the_fast_paths_are_off_without_a_warning_on_2_0_alone() -> None:
    assert (release.NO_FAST_PATHS is None) is not release.IS_2_0
