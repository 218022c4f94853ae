"""Row 6: explicit begin, commit and rollback, with the error raised again."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, QueuePool
from sqlalchemy.exc import IntegrityError, InvalidRequestError

from hermetic import Database, Outcome, ScopeControls, async_sessionmaker, sessionmaker
from tests.dropin.ground import Ground
from tests.models import User


class Failure(Exception):
    pass


def transact(session: Any, work: Any) -> None:
    """The articles' form: begin, work, commit; roll back and raise again; close."""
    session.begin()
    try:
        work(session)
        session.commit()
    except:
        session.rollback()
        raise
    finally:
        session.close()


def test_begin_work_commit(ground: Ground, engine: Engine) -> None:
    Session = sessionmaker(bind=engine)  # noqa: N806

    transact(Session(), lambda session: session.add(User(username="ann")))

    assert ground.usernames() == ["ann"]


def test_begin_work_rollback_raises_the_same_error(ground: Ground, engine: Engine) -> None:
    Session = sessionmaker(bind=engine)  # noqa: N806
    failure = Failure("the work failed")

    def work(session: Any) -> None:
        session.add(User(username="ann"))
        session.flush()
        raise failure

    with pytest.raises(Failure) as raised:
        transact(Session(), work)

    assert raised.value is failure
    assert ground.usernames() == []


def test_an_error_of_the_commit_is_raised_again(ground: Ground, engine: Engine) -> None:
    Session = sessionmaker(bind=engine)  # noqa: N806
    transact(Session(), lambda session: session.add(User(username="ann")))

    with pytest.raises(IntegrityError):
        transact(Session(), lambda session: session.add(User(username="ann")))

    assert ground.usernames() == ["ann"]


def test_a_session_goes_on_after_a_rollback(ground: Ground, engine: Engine) -> None:
    session = sessionmaker(bind=engine)()
    session.add(User(username="ann"))
    session.flush()
    session.rollback()

    session.add(User(username="bob"))
    session.commit()
    session.close()

    assert ground.usernames() == ["bob"]


def test_a_session_goes_on_after_a_failed_flush_was_rolled_back(
    ground: Ground, engine: Engine
) -> None:
    session = sessionmaker(bind=engine)()
    session.add(User(username="ann"))
    session.commit()
    session.add(User(username="ann"))
    with pytest.raises(IntegrityError):
        session.commit()

    session.rollback()
    session.add(User(username="bob"))
    session.commit()
    session.close()

    assert ground.usernames() == ["ann", "bob"]


def test_begin_is_a_block_too(ground: Ground, engine: Engine) -> None:
    Session = sessionmaker(bind=engine)  # noqa: N806

    def fail() -> None:
        with Session() as session, session.begin():
            session.add(User(username="bob"))
            raise Failure

    with Session() as session, session.begin():
        session.add(User(username="ann"))
    with pytest.raises(Failure):
        fail()

    assert ground.usernames() == ["ann"]


def test_a_second_begin_is_refused(engine: Engine) -> None:
    session = sessionmaker(bind=engine)()
    session.begin()

    with pytest.raises(InvalidRequestError, match="already begun"):
        session.begin()

    session.close()


def test_a_rollback_gives_the_connection_back(engine: Engine) -> None:
    session = sessionmaker(bind=engine)()
    session.execute("SELECT 1")
    pool = engine.pool
    assert isinstance(pool, QueuePool)
    held = pool.checkedout()

    session.rollback()

    assert (held, pool.checkedout()) == (1, 0)
    session.close()


async def test_it_is_the_same_under_asyncio(ground: Ground) -> None:
    failure = Failure()

    async def fail(session: Any) -> None:
        await session.begin()
        try:
            session.add(User(username="bob"))
            await session.flush()
            raise failure
        except Failure:
            await session.rollback()
            raise
        finally:
            await session.close()

    async with ground.async_engine() as engine:
        Session = async_sessionmaker(bind=engine)  # noqa: N806
        session = Session()
        _ = await session.begin()
        session.add(User(username="ann"))
        await session.commit()
        with pytest.raises(Failure) as raised:
            await fail(session)

    assert raised.value is failure
    assert ground.usernames() == ["ann"]


# In a scope, which ends once and by itself


def test_a_scope_keeps_its_end_to_itself(ground: Ground, db: Database) -> None:
    with db.session() as session:
        session.add(User(username="ann"))
        for control in (session.begin, session.commit, session.rollback, session.close):
            with pytest.raises(ScopeControls, match=control.__name__):
                control()

    assert session.outcome is Outcome.COMMITTED
    assert ground.usernames() == ["ann"]


def test_a_scope_is_rolled_back_without_an_error_when_asked(ground: Ground, db: Database) -> None:
    with db.session() as session:
        session.add(User(username="ann"))
        session.flush()
        session.rollback_only()

    assert session.outcome is Outcome.NOT_COMMITTED
    assert ground.usernames() == []
