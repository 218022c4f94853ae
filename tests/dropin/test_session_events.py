"""Session events: the same ones in the same order as SQLAlchemy's, and the same statements."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, text
from sqlalchemy.orm import ORMExecuteState, with_loader_criteria

from tests.dropin.conftest import HERMETIC, SQLALCHEMY, Library
from tests.dropin.ground import Ground
from tests.models import Order, User

EVENTS = [
    "after_begin",
    "after_bulk_delete",
    "after_bulk_update",
    "after_commit",
    "after_flush",
    "after_flush_postexec",
    "after_rollback",
    "after_soft_rollback",
    "after_transaction_create",
    "after_transaction_end",
    "before_attach",
    "after_attach",
    "before_commit",
    "before_flush",
    "deleted_to_detached",
    "detached_to_persistent",
    "do_orm_execute",
    "loaded_as_persistent",
    "pending_to_persistent",
    "pending_to_transient",
    "persistent_to_deleted",
    "persistent_to_detached",
    "transient_to_pending",
]


def work(session: Any) -> None:
    """A bit of everything."""
    ann = User(username="ann", orders=[Order(item="tea"), Order(item="cup")])
    session.add(ann)
    session.commit()
    session.add(User(username="bob"))
    session.flush()
    session.rollback()
    for user in session.scalars(select(User).order_by(User.id)):
        user.balance += 1
        _ = [order.item for order in user.orders]
    session.query(User).filter(User.balance > 100).update({"balance": 0})
    session.query(Order).filter_by(item="cup").delete()
    session.commit()
    with session.begin_nested():
        session.execute(text("SELECT 1"))
    session.get(User, ann.id)
    session.delete(session.scalars(select(Order)).one())
    session.commit()
    session.close()


def record(target: Any, names: list[str]) -> list[str]:
    heard: list[str] = []
    for name in names:
        # the event's name alone: its arguments are objects of this run
        event.listen(target, name, _recorder(heard, name), named=True)
    return heard


def _recorder(heard: list[str], name: str) -> Callable[..., None]:
    return lambda **unused: heard.append(name)


def statements_of(engine: Engine) -> list[str]:
    heard: list[str] = []

    def listen(conn: Any, cursor: Any, statement: str, *unused: Any) -> None:
        heard.append(statement)

    event.listen(engine, "before_cursor_execute", listen)
    for name in ("begin", "commit", "rollback", "checkout", "checkin"):
        event.listen(engine, name, _recorder(heard, name), named=True)
    return heard


def test_the_same_work_gives_the_same_events_and_statements(ground: Ground) -> None:
    heard: dict[str, tuple[list[str], list[str]]] = {}

    for library in (SQLALCHEMY, HERMETIC):
        engine = ground.engine()
        session = library.Session(engine, expire_on_commit=True)
        events = record(session, EVENTS)
        statements = statements_of(engine)
        work(session)
        with library.Session(engine) as cleaner:
            cleaner.execute(text("DELETE FROM users"))
            cleaner.commit()
        heard[library.name] = events, statements

    assert heard["hermetic"] == heard["sqlalchemy"]
    assert "before_flush" in heard["hermetic"][0]
    assert "commit" in heard["hermetic"][1]


@pytest.mark.parametrize("target", ["class", "factory", "scoped_session", "session"])
def test_events_are_heard_wherever_they_were_asked_for(
    engine: Engine, library: Library, target: str
) -> None:
    class Mine(library.Session):  # type: ignore[misc, name-defined]
        pass

    factory = library.sessionmaker(engine, class_=Mine)
    registry = library.scoped_session(factory)
    session = registry()
    chosen = {"class": Mine, "factory": factory, "scoped_session": registry, "session": session}

    heard = record(chosen[target], ["before_commit"])
    session.add(User(username="ann"))
    session.commit()
    registry.remove()

    assert heard == ["before_commit"]


def test_a_listener_can_change_what_is_flushed(
    ground: Ground, engine: Engine, library: Library
) -> None:
    factory = library.sessionmaker(engine)

    @event.listens_for(factory, "before_flush")
    def shout(session: Any, context: Any, instances: Any) -> None:
        for instance in session.new:
            instance.username = instance.username.upper()

    with factory.begin() as session:
        session.add(User(username="ann"))

    assert ground.usernames() == ["ANN"]


def test_a_listener_can_narrow_every_select(engine: Engine, library: Library) -> None:
    factory = library.sessionmaker(engine)

    @event.listens_for(factory, "do_orm_execute")
    def only_rich(state: ORMExecuteState) -> None:
        if state.is_select:
            criteria = with_loader_criteria(User, User.balance > 10)
            state.statement = state.statement.options(criteria)

    with factory() as session:
        session.add_all([User(username="ann", balance=1), User(username="bob", balance=20)])
        session.commit()
        found = session.scalars(select(User.username)).all()

    assert found == ["bob"]


def test_a_listener_that_raises_stops_the_commit(
    ground: Ground, engine: Engine, library: Library
) -> None:
    session = library.Session(engine)

    @event.listens_for(session, "before_commit")
    def refuse(session: Any) -> None:
        raise LookupError

    session.add(User(username="ann"))
    with pytest.raises(LookupError):
        session.commit()
    session.close()

    assert ground.usernames() == []


async def test_the_events_of_an_async_session_are_its_sync_sessions(
    ground: Ground, library: Library
) -> None:
    async with ground.async_engine() as engine, library.AsyncSession(engine) as session:
        heard = record(session.sync_session, ["after_begin", "before_flush", "after_commit"])
        session.add(User(username="ann"))
        await session.commit()
        # nothing of it happened in another task
        assert asyncio.current_task() is not None

    assert heard == ["before_flush", "after_begin", "after_commit"]
