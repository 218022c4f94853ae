"""What can be made a unit of work, as a function or a block, and what is refused."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from hermetic import (
    AsyncSession,
    ConfigurationError,
    HermeticError,
    Outcome,
    Retry,
    RetryRequested,
    ScopeControls,
    Session,
)
from tests.behaviour.aftermath import check_nothing_left, on, on_asyncio
from tests.models import User
from tests.worlds import World

FAST = Retry(attempts=3, base=0.001)

on_threads = on(lambda backend: not backend.is_async)


# ---------------------------------------------------------------- what can be decorated


@on_threads
def test_a_method_runs_again_with_itself_and_its_arguments(world: World) -> None:
    db = world.db

    class Shop:
        def __init__(self) -> None:
            self.bodies = 0

        @db.session(retry=FAST)
        def add(self, session: Session, name: str, *, balance: int = 0) -> tuple[str, int]:
            self.bodies += 1
            session.add(User(username=name, balance=balance))
            if self.bodies == 1:
                raise RetryRequested
            return name, balance

        @classmethod
        @db.session(retry=FAST)
        def of_class(cls, session: Session) -> str:
            return cls.__name__

        @staticmethod
        @db.session(retry=FAST)
        def of_none(session: Session) -> Outcome | None:
            return session.outcome

    shop = Shop()

    assert shop.add("ann", balance=3) == ("ann", 3)
    assert shop.bodies == 2
    assert Shop.of_class() == "Shop"
    assert Shop.of_none() is None
    assert world.seen("SELECT username, balance FROM users") == [("ann", 3)]


@on_asyncio
async def test_an_async_method_runs_again_with_itself_and_its_arguments(world: World) -> None:
    db = world.db

    class Shop:
        def __init__(self) -> None:
            self.bodies = 0

        @db.session(retry=FAST)
        async def add(
            self, session: AsyncSession, name: str, *, balance: int = 0
        ) -> tuple[str, int]:
            self.bodies += 1
            session.add(User(username=name, balance=balance))
            if self.bodies == 1:
                raise RetryRequested
            return name, balance

        @classmethod
        @db.session(retry=FAST)
        async def of_class(cls, session: AsyncSession) -> str:
            return cls.__name__

    shop = Shop()

    assert await shop.add("ann", balance=3) == ("ann", 3)
    assert shop.bodies == 2
    assert await Shop.of_class() == "Shop"
    assert world.seen("SELECT username, balance FROM users") == [("ann", 3)]


@on_threads
def test_a_decorated_function_keeps_its_name_and_hides_its_session(world: World) -> None:
    @world.db.session(retry=FAST)
    def rename(session: Session, name: str, *, to: str) -> None:
        """Give a user another name."""

    assert rename.__name__ == "rename"
    assert rename.__doc__ == "Give a user another name."
    assert list(inspect.signature(rename).parameters) == ["name", "to"]


@on_threads
def test_a_session_may_stand_anywhere_when_it_is_called_or_annotated_so(world: World) -> None:
    @world.db.session()
    def by_name(first: int, session: Any, second: int) -> tuple[int, int]:
        assert session.scope is not None
        return first, second

    @world.db.session()
    def by_annotation(first: int, where: Session, second: int) -> tuple[int, int]:
        assert where.scope is not None
        return first, second

    assert by_name(1, 2) == by_annotation(1, 2) == (1, 2)


@on_threads
def test_generator_functions_are_refused_with_a_reason(world: World) -> None:
    def generator(session: Session) -> Iterator[int]:
        yield 1

    async def async_generator(session: AsyncSession) -> AsyncIterator[int]:
        yield 1

    for function in (generator, async_generator):
        unit: Any = world.db.session(retry=3)
        with pytest.raises(ConfigurationError, match="generator function"):
            unit(function)


@on_threads
def test_what_is_no_function_is_refused(world: World) -> None:
    unit: Any = world.db.session()

    class Thing:
        def __init__(self, session: Session) -> None: ...

    with pytest.raises(ConfigurationError, match="not a function"):
        unit(Thing)
    with pytest.raises(ConfigurationError, match="not a function"):
        unit(3)


@on_threads
@pytest.mark.parametrize("wrapper", [classmethod, staticmethod])
def test_the_wrong_order_with_classmethod_is_refused_with_the_right_one(
    world: World, wrapper: Any
) -> None:
    def function(session: Session) -> None: ...

    with pytest.raises(ConfigurationError, match=f"@{wrapper.__name__} above"):
        world.db.session()(wrapper(function))


@on_threads
def test_a_function_without_a_parameter_for_the_session_is_refused(world: World) -> None:
    unit: Any = world.db.session()

    def nothing() -> None: ...

    class Shop:
        def only_self(self) -> None: ...

    for function in (nothing, Shop.only_self):
        with pytest.raises(ConfigurationError, match="session"):
            unit(function)


# ---------------------------------------------------------------- blocks


async def test_a_block_with_retry_is_refused(world: World) -> None:
    with pytest.raises(ScopeControls, match="attempts"):
        async with world.session(retry=3):
            pass

    async with world.session(retry=None) as session:
        await session.execute("SELECT 1")


@on_threads
def test_a_loop_that_was_gone_through_is_refused(world: World) -> None:
    loop = world.db.attempts()
    for attempt in loop:
        with attempt as session:
            session.execute("SELECT 1")

    with pytest.raises(ScopeControls, match="gone through"):
        next(iter(loop))


async def test_an_attempt_that_is_not_entered_is_refused(world: World) -> None:
    with pytest.raises(HermeticError, match="not entered"):
        async for _ in world.attempts():
            pass


async def test_an_attempt_that_is_left_early_commits(world: World) -> None:
    async def add() -> str:
        async for attempt in world.attempts():
            async with attempt as session:
                session.add(User(username="ann"))
                return "left"
        raise AssertionError("the loop ended by itself")

    assert await add() == "left"
    assert world.usernames() == ["ann"]
    await check_nothing_left(world)
