"""Session: SQLAlchemy's arguments and transactions."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from sqlalchemy import Engine, QueuePool, orm, select, text
from sqlalchemy.exc import InvalidRequestError, PendingRollbackError, UnboundExecutionError
from sqlalchemy.orm import Query, make_transient, object_session
from sqlalchemy.orm.exc import DetachedInstanceError

from hermetic import Session
from hermetic.release import IS_2_0
from tests.dropin.conftest import Library
from tests.dropin.ground import Ground
from tests.models import Order, User


def lent(engine: Engine) -> int:
    pool = engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


def test_it_is_a_session_of_sqlalchemys(engine: Engine) -> None:
    session = Session(engine)

    assert isinstance(session, orm.Session)
    assert inspect.signature(Session.__init__) == inspect.signature(orm.Session.__init__)


# Transactions


def test_it_begins_by_itself_and_is_reused_after_commit_and_rollback(
    ground: Ground, engine: Engine, library: Library
) -> None:
    session = library.Session(engine)
    begun = session.in_transaction()
    session.add(User(username="ann"))
    session.commit()
    session.add(User(username="bob"))
    session.flush()
    session.rollback()
    session.add(User(username="cid"))
    session.commit()
    session.close()

    assert not begun
    assert ground.usernames() == ["ann", "cid"]
    assert lent(engine) == 0


def test_with_closes_and_rolls_back_what_was_not_committed(
    ground: Ground, engine: Engine, library: Library
) -> None:
    with library.Session(engine) as session:
        session.add(User(username="ann"))
        session.flush()

    assert ground.usernames() == []
    assert lent(engine) == 0


def test_with_begin_commits_and_closes(ground: Ground, engine: Engine, library: Library) -> None:
    with library.Session(engine) as session, session.begin():
        session.add(User(username="ann"))

    assert ground.usernames() == ["ann"]
    assert lent(engine) == 0


def test_with_begin_rolls_back_on_an_error(
    ground: Ground, engine: Engine, library: Library
) -> None:
    def fail() -> None:
        with library.Session(engine) as session, session.begin():
            session.add(User(username="ann"))
            raise LookupError

    with pytest.raises(LookupError):
        fail()

    assert ground.usernames() == []
    assert lent(engine) == 0


def test_without_autobegin_it_waits_for_begin(
    ground: Ground, engine: Engine, library: Library
) -> None:
    session = library.Session(engine, autobegin=False)
    with pytest.raises(InvalidRequestError, match="Autobegin is disabled"):
        session.execute(text("SELECT 1"))
    with pytest.raises(InvalidRequestError, match="Autobegin is disabled"):
        session.add(User(username="ann"))

    with session.begin():
        session.add(User(username="ann"))

    assert ground.usernames() == ["ann"]
    session.close()


def test_savepoints_roll_back_their_part(ground: Ground, library: Library) -> None:
    # the engine of a Database: SQLite's driver by itself begins too late for savepoints
    with library.Session(ground.database().engine) as session:
        session.add(User(username="ann"))
        with session.begin_nested() as savepoint:
            session.add(User(username="bob"))
            savepoint.rollback()
        with session.begin_nested():
            session.add(User(username="cid"))
        session.commit()

    assert ground.usernames() == ["ann", "cid"]


def test_a_failed_flush_waits_for_a_rollback(
    ground: Ground, engine: Engine, library: Library
) -> None:
    with library.Session(engine) as session:
        session.add(User(username="ann"))
        session.commit()
        session.add(User(username="ann"))
        with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
            session.flush()
        with pytest.raises(PendingRollbackError):
            session.execute(text("SELECT 1"))
        session.rollback()

        assert session.scalar(text("SELECT count(*) FROM users")) == 1


def test_nobody_else_is_kept_waiting_by_a_closed_session(engine: Engine, library: Library) -> None:
    session = library.Session(engine)
    session.execute(text("SELECT 1"))
    held = lent(engine)

    session.close()

    assert (held, lent(engine)) == (1, 0)


# Arguments


def test_objects_expire_at_a_commit_unless_told_otherwise(engine: Engine, library: Library) -> None:
    def read_after(session: Any) -> str:
        user = User(username="ann")
        session.add(user)
        session.commit()
        session.close()
        username: str = user.username
        return username

    with pytest.raises(DetachedInstanceError):
        read_after(library.Session(engine))
    with library.Session(engine) as session:
        session.execute(text("DELETE FROM users"))
        session.commit()

    assert read_after(library.Session(engine, expire_on_commit=False)) == "ann"


def test_autoflush_can_be_turned_off(engine: Engine, library: Library) -> None:
    with library.Session(engine) as flushing, library.Session(engine, autoflush=False) as patient:
        patient.add(User(username="bob"))
        unseen = patient.query(User).all()
        patient.rollback()
        flushing.add(User(username="ann"))
        seen = flushing.query(User).all()
        with flushing.no_autoflush:
            flushing.add(User(username="cid"))
            still = flushing.query(User).all()

    assert (len(unseen), len(seen), len(still)) == (0, 1, 1)


def test_closing_can_be_made_final(engine: Engine, library: Library) -> None:
    reusable = library.Session(engine)
    final = library.Session(engine, close_resets_only=False)

    reusable.close()
    final.close()

    assert reusable.scalar(text("SELECT 1")) == 1
    with pytest.raises(InvalidRequestError, match="closed"):
        final.execute(text("SELECT 1"))
    reusable.close()


def test_reset_makes_it_new(ground: Ground, engine: Engine, library: Library) -> None:
    session = library.Session(engine, close_resets_only=False)
    session.add(User(username="ann"))
    session.flush()

    session.reset()

    assert session.scalar(text("SELECT count(*) FROM users")) == 0
    session.close()


def test_info_is_kept(engine: Engine, library: Library) -> None:
    session = library.Session(engine, info={"request": 7})

    session.info["user"] = "ann"

    assert session.info == {"request": 7, "user": "ann"}


def test_a_query_class_is_used(engine: Engine, library: Library) -> None:
    class Named(Query[Any]):
        def named(self, username: str) -> Any:
            return self.filter_by(username=username).one_or_none()

    with library.Session(engine, query_cls=Named) as session:
        session.add(User(username="ann"))
        query: Any = session.query(User)

        assert query.named("ann") is not None
        assert query.named("bob") is None


@pytest.mark.skipif(IS_2_0, reason="sessions have execution options since SQLAlchemy 2.1")
def test_execution_options_reach_every_statement(engine: Engine, library: Library) -> None:
    with library.Session(engine, execution_options={"note": "here"}) as session:
        result = session.execute(text("SELECT 1"))

        assert result.context.execution_options["note"] == "here"


def test_without_a_bind_it_says_so(library: Library) -> None:
    session = library.Session()

    with pytest.raises(UnboundExecutionError):
        session.execute(text("SELECT 1"))


# Binds


def test_every_mapper_can_have_a_bind_of_its_own(ground: Ground, library: Library) -> None:
    main, other = ground.engine(), ground.engine(database="other")
    session = library.Session(binds={User: main, Order: other})

    with session:
        session.add(User(username="ann"))
        session.commit()
        users = session.scalars(select(User)).all()
        orders = session.scalars(select(Order)).all()
        binds = session.get_bind(User), session.get_bind(Order)

    assert (len(users), len(orders)) == (1, 0)
    assert binds == (main, other)


def test_a_bind_can_be_named_with_the_statement(ground: Ground, library: Library) -> None:
    main, other = ground.engine(), ground.engine(database="other")

    with library.Session(main) as session:
        statement = text("INSERT INTO users (username, balance) VALUES ('ann', 0)")
        session.execute(statement, bind_arguments={"bind": other})
        session.commit()
        here = session.scalar(text("SELECT count(*) FROM users"))
        there = session.scalar(text("SELECT count(*) FROM users"), bind_arguments={"bind": other})

    assert (here, there) == (0, 1)


def test_get_bind_can_be_overridden(ground: Ground, library: Library) -> None:
    main, other = ground.engine(), ground.engine(database="other")

    class Routing(library.Session):  # type: ignore[misc, name-defined]
        def get_bind(self, mapper: Any = None, **kw: Any) -> Engine:
            return other if self._flushing else main

    with Routing() as session:
        session.add(User(username="ann"))
        session.commit()
        found = session.scalars(select(User)).all()

    assert found == []
    with library.Session(other) as session:
        assert session.query(User).count() == 1


# Objects


def test_objects_know_their_session(engine: Engine, library: Library) -> None:
    with library.Session(engine) as session:
        user = User(username="ann")
        session.add(user)
        inside = object_session(user)
        session.expunge(user)

        assert inside is session
        assert object_session(user) is None


def test_objects_move_through_their_states(engine: Engine, library: Library) -> None:
    with library.Session(engine) as session:
        user = User(username="ann")
        session.add(user)
        new = list(session.new)
        session.flush()
        clean = list(session)
        user.balance = 5
        dirty = list(session.dirty)
        session.delete(user)
        deleted = list(session.deleted)
        session.flush()

        assert new == clean == dirty == deleted == [user]
        assert user not in session


def test_objects_are_merged_refreshed_and_expired(engine: Engine, library: Library) -> None:
    with library.Session(engine) as session:
        user = User(username="ann")
        session.add(user)
        session.commit()
        merged = session.merge(User(id=user.id, username="bea"))
        session.flush()
        session.execute(text("UPDATE users SET balance = 9"))
        before = user.balance
        session.refresh(user)
        after = user.balance
        session.execute(text("UPDATE users SET balance = 10"))
        session.expire(user)

        assert merged is user
        assert (user.username, before, after, user.balance) == ("bea", 0, 9, 10)


def test_bulk_methods_work(ground: Ground, engine: Engine, library: Library) -> None:
    with library.Session(engine) as session:
        session.bulk_save_objects([User(username="ann"), User(username="bob")])
        session.bulk_insert_mappings(User, [{"username": "cid"}])
        session.commit()

    assert ground.usernames() == ["ann", "bob", "cid"]


def test_transient_objects_are_added_anew(ground: Ground, engine: Engine, library: Library) -> None:
    with library.Session(engine) as session:
        user = User(username="ann")
        session.add(user)
        session.commit()
        session.refresh(user)
        session.expunge(user)
        make_transient(user)
        user.id, user.username = None, "bob"  # type: ignore[assignment]
        session.add(user)
        session.commit()

    assert ground.usernames() == ["ann", "bob"]
