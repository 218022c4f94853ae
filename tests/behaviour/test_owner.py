"""Owner only: other threads and tasks are told whose a session is, or open their own."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hermetic import ForeignOwner, NoScope, Outcome
from tests.behaviour.aftermath import lent, on_asyncio
from tests.behaviour.watching import Boom, elsewhere, on_threads, plain_session
from tests.models import User
from tests.worlds import PATIENCE, World


def here(world: World) -> str:
    """The caller, in the words that an error uses."""
    thread = threading.current_thread().name
    if not world.is_async:
        return f"thread {thread!r}"
    task = asyncio.current_task()
    assert task is not None
    return f"task {task.get_name()!r} of thread {thread!r}"


# ---------------------------------------------------------------- db.current


async def test_the_current_session_is_the_callers_own(world: World) -> None:
    async with world.session() as session:
        current = world.face(world.db.current)

    assert plain_session(current) is plain_session(session)


async def test_a_child_that_asks_for_the_current_session_is_told_whose_it_is(
    world: World,
) -> None:
    db = world.db
    me = here(world)
    child: list[str] = []

    async def ask() -> None:
        child.append(here(world))
        _ = db.current

    async with world.session(name="parent") as session:
        error = await elsewhere(world, ask)
        session.add(User(username="ann"))

    assert isinstance(error, ForeignOwner)
    assert (error.owner, error.user) == (me, child[0])
    assert error.owner != error.user
    assert error.owner in str(error)
    assert error.user in str(error)
    assert error.scope is not None
    assert error.scope.name == "parent"
    assert world.usernames() == ["ann"]


async def test_a_scope_opened_by_a_child_is_its_own(world: World) -> None:
    db = world.db

    async def open_one() -> Any:
        async with world.session(readonly=True) as own:
            current = world.face(db.current)
            await own.execute("SELECT 1")
            return plain_session(own), plain_session(current), own.scope.root is own.scope

    async with world.session() as parent:
        parent.add(User(username="ann"))
        await parent.flush()
        own, current, outermost = await elsewhere(world, open_one)
        still = world.face(db.current)

    assert own is current
    assert own is not plain_session(parent)
    assert outermost
    assert plain_session(still) is plain_session(parent)
    assert world.usernames() == ["ann"]


async def test_a_childs_failure_dooms_nothing_of_its_parents(world: World) -> None:
    async def fail() -> None:
        async with world.session(readonly=True) as own:
            await own.execute("SELECT 1")
            raise Boom

    async with world.session() as parent:
        error = await elsewhere(world, fail)
        parent.add(User(username="ann"))

    assert isinstance(error, Boom)
    assert parent.outcome is Outcome.COMMITTED


@pytest.mark.parametrize("propagation", ["required", "nested", "supports", "never", "requires_new"])
async def test_no_propagation_joins_a_scope_of_somebody_else(
    world: World, propagation: str
) -> None:
    async def open_one() -> Any:
        async with world.session(propagation=propagation, readonly=True) as own:
            return plain_session(own)

    async with world.session() as parent:
        own = await elsewhere(world, open_one)
        mine = plain_session(parent)

    assert not isinstance(own, BaseException)
    assert own is not mine


async def test_mandatory_in_a_child_is_refused_naming_both(world: World) -> None:
    async def demand() -> None:
        async with world.session(propagation="mandatory"):
            pass

    async with world.session():
        me = here(world)
        error = await elsewhere(world, demand)

    assert isinstance(error, ForeignOwner)
    assert error.owner == me
    assert error.user != me


async def test_with_nothing_open_nobody_has_a_current_session(world: World) -> None:
    db = world.db

    async def ask() -> None:
        _ = db.current

    with pytest.raises(NoScope, match="open here"):
        await ask()
    error = await elsewhere(world, ask)

    assert isinstance(error, NoScope)


async def test_after_the_scope_its_child_has_no_current_session_either(world: World) -> None:
    db = world.db
    ended = world.signal()

    async def ask_later() -> None:
        await ended.wait()
        _ = db.current

    if world.is_async:
        async with world.session():
            task = asyncio.ensure_future(ask_later())
            await asyncio.sleep(0)
        ended.set()
        with pytest.raises(NoScope):
            await task
    else:
        async with world.session():
            context = contextvars.copy_context()
        with pytest.raises(NoScope):
            context.run(lambda: db.current)


# ---------------------------------------------------------------- asyncio's own ways


@on_asyncio
async def test_every_task_of_a_gather_gets_a_scope_of_its_own(world: World) -> None:
    db = world.db

    async def child(number: int) -> Any:
        with pytest.raises(ForeignOwner):
            _ = db.current
        async with db.session(readonly=True) as own:
            await own.execute("SELECT 1")
            assert db.current is own
            return own

    async with db.session() as parent:
        children = await asyncio.gather(*(child(number) for number in range(5)))
        parent.add(User(username="ann"))

    assert len({id(own) for own in children}) == 5
    assert parent not in children
    assert parent.outcome is Outcome.COMMITTED


@on_asyncio
async def test_the_tasks_of_a_group_are_foreign_to_their_parents_session(world: World) -> None:
    async with world.db.session() as parent:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(parent.execute("SELECT 1"), name=f"child {number}")
        parent.add(User(username="ann"))

    errors = caught.value.exceptions
    assert errors
    assert all(isinstance(error, ForeignOwner) for error in errors)
    assert any("child 0" in str(error) for error in errors)
    assert world.usernames() == ["ann"]


@on_asyncio
async def test_a_coroutine_awaited_in_the_same_task_is_no_stranger(world: World) -> None:
    async def inner() -> Any:
        async with world.db.session() as joined:
            joined.add(User(username="ann"))
            return joined

    async with world.db.session() as parent:
        joined = await inner()

    assert joined is parent
    assert world.usernames() == ["ann"]


@on_asyncio
async def test_a_task_of_wait_for_and_shield_is_a_stranger(world: World) -> None:
    async with world.db.session() as parent:
        with pytest.raises(ForeignOwner):
            await asyncio.shield(parent.execute("SELECT 1"))
        answer = await parent.scalar("SELECT 2")

    assert answer == 2


@on_asyncio
async def test_to_thread_is_foreign_to_the_tasks_scope(world: World) -> None:
    db = world.db

    def ask() -> None:
        _ = db.current

    def use(session: Any) -> None:
        session.sync_session.execute("SELECT 1")

    def own() -> Any:
        with db.session(readonly=True) as session:
            return session.scalar("SELECT 3")

    async with db.session() as parent:
        with pytest.raises(ForeignOwner, match="thread"):
            await asyncio.to_thread(ask)
        with pytest.raises(ForeignOwner):
            await asyncio.to_thread(use, parent)
        answer = await asyncio.to_thread(own)

    assert answer == 3


@on_threads
def test_a_worker_of_an_executor_is_foreign_to_the_submitters_scope(world: World) -> None:
    db = world.db

    def own() -> Any:
        with db.session(readonly=True) as session:
            return session.scalar("SELECT 3")

    with ThreadPoolExecutor(2, thread_name_prefix="worker") as pool, db.session() as parent:
        foreign = pool.submit(parent.execute, "SELECT 1").exception(PATIENCE)
        inherited = pool.submit(contextvars.copy_context().run, lambda: db.current)
        told = inherited.exception(PATIENCE)
        bare = pool.submit(lambda: db.current).exception(PATIENCE)
        answer = pool.submit(own).result(PATIENCE)

    assert isinstance(foreign, ForeignOwner)
    assert "worker" in foreign.user
    assert isinstance(told, ForeignOwner)
    assert isinstance(bare, NoScope)
    assert answer == 3


@on_threads
def test_a_thread_that_gets_a_dead_threads_number_is_no_owner(world: World) -> None:
    sessions: list[Any] = []

    def leave_open() -> None:
        unit = world.db.session()
        sessions.extend((unit, unit.__enter__()))

    thread = threading.Thread(target=leave_open)
    thread.start()
    thread.join(PATIENCE)
    unit, session = sessions
    refused: list[BaseException] = []

    def use() -> None:
        try:
            session.execute("SELECT 1")
        except ForeignOwner as error:
            refused.append(error)

    for _ in range(20):
        successor = threading.Thread(target=use)
        successor.start()
        successor.join(PATIENCE)
    unit.__exit__(None, None, None)

    assert len(refused) == 20
    assert session.outcome is Outcome.COMMITTED
    assert lent(world.db) == []


@on_asyncio
async def test_a_finished_task_is_not_kept_alive_by_its_scope(world: World) -> None:
    async def work() -> Any:
        async with world.db.session() as session:
            await session.execute("SELECT 1")
            return session

    task = asyncio.ensure_future(work())
    session = await task
    name = task.get_name()

    del task
    gc.collect()

    assert "finished task" in repr(session) or name in repr(session)
    assert session.outcome is Outcome.COMMITTED
