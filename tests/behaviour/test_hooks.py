"""Hooks: in order, after the connection is back, outside any scope, and never in the way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from hermetic import (
    NoScope,
    Outcome,
    RolledBack,
    ScopeControls,
    ScopeEnded,
    UniqueViolation,
)
from tests.behaviour.aftermath import lent, on_asyncio
from tests.behaviour.watching import Boom, on_threads, plain_session
from tests.models import User
from tests.worlds import World


def hook(ran: list[str], word: str) -> Any:
    return lambda: ran.append(word)


# ---------------------------------------------------------------- when and in which order


async def test_commit_hooks_run_in_the_order_they_were_added(world: World) -> None:
    ran: list[str] = []

    async with world.session() as session:
        session.add(User(username="ann"))
        for word in ("one", "two", "three"):
            session.on_commit(hook(ran, word))
        session.on_rollback(hook(ran, "rollback"))
        inside = list(ran)

    assert inside == []
    assert ran == ["one", "two", "three"]


async def test_rollback_hooks_run_in_the_order_they_were_added(world: World) -> None:
    ran: list[str] = []

    with pytest.raises(Boom):
        async with world.session() as session:
            session.on_commit(hook(ran, "commit"))
            session.before_commit(hook(ran, "before"))
            session.on_rollback(hook(ran, "one"))
            session.on_rollback(hook(ran, "two"))
            await session.execute("SELECT 1")
            raise Boom

    assert ran == ["one", "two"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_rollback_hooks_run_before_an_exit_goes_on(
    world: World, error: type[BaseException]
) -> None:
    ran: list[str] = []

    with pytest.raises(error):
        async with world.session() as session:
            session.on_rollback(hook(ran, "rollback"))
            raise error

    assert ran == ["rollback"]


async def test_hooks_of_an_empty_scope_run_too(world: World) -> None:
    ran: list[str] = []

    async with world.session() as session:
        session.before_commit(hook(ran, "before"))
        session.on_commit(hook(ran, "commit"))

    assert ran == ["before", "commit"]


async def test_rollback_hooks_run_when_a_rollback_was_asked_for(world: World) -> None:
    ran: list[str] = []

    async with world.session() as session:
        session.on_commit(hook(ran, "commit"))
        session.on_rollback(hook(ran, "rollback"))
        session.rollback_only()

    assert ran == ["rollback"]


async def test_rollback_hooks_run_when_the_commit_fails(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0)")
    ran: list[str] = []

    with pytest.raises(UniqueViolation):
        async with world.session() as session:
            session.add(User(username="ann"))
            session.on_commit(hook(ran, "commit"))
            session.on_rollback(hook(ran, "rollback"))

    assert ran == ["rollback"]


async def test_commit_hooks_run_when_an_error_commits(world: World) -> None:
    ran: list[str] = []

    with pytest.raises(KeyError):
        async with world.session(commit_on=KeyError) as session:
            session.on_commit(hook(ran, "commit"))
            session.on_rollback(hook(ran, "rollback"))
            raise KeyError

    assert ran == ["commit"]


async def test_a_hook_runs_when_the_connection_is_back(world: World) -> None:
    held: list[list[str]] = []
    sent: list[Any] = []

    async with world.session() as session:
        session.add(User(username="ann"))
        session.on_commit(lambda: held.append(lent(world.db)))
        session.on_commit(lambda: sent.extend(world.usernames()))
    with pytest.raises(Boom):
        async with world.session() as session:
            await session.execute("SELECT 1")
            session.on_rollback(lambda: held.append(lent(world.db)))
            raise Boom

    assert held == [[], []]
    assert sent == ["ann"]


async def test_a_hook_runs_outside_any_scope(world: World) -> None:
    found: list[Any] = []

    def look() -> None:
        try:
            found.append(world.db.current)
        except NoScope as error:
            found.append(error)

    async with world.session() as session:
        session.on_commit(look)

    assert isinstance(found[0], NoScope)


async def test_a_hook_sees_how_its_scope_ended(world: World) -> None:
    seen: list[Any] = []

    async with world.session() as session:
        session.on_commit(lambda: seen.append((session.outcome, session.scope.ended)))

    assert seen == [(Outcome.COMMITTED, True)]


async def test_a_hook_cannot_use_the_session_that_has_ended(world: World) -> None:
    async with world.session() as session:
        session.on_commit(lambda: plain_session(session).execute("SELECT 1"))

    (error,) = session.scope.hook_errors
    assert isinstance(error, ScopeEnded)
    assert session.outcome is Outcome.COMMITTED


async def test_a_hook_may_open_a_scope_of_its_own(world: World) -> None:
    async def write() -> None:
        async with world.session() as own:
            own.add(User(username="by hook"))

    def write_in_thread() -> None:
        with world.db.session() as own:
            own.add(User(username="by hook"))

    async with world.session() as session:
        session.add(User(username="ann"))
        session.on_commit(write if world.is_async else write_in_thread)

    assert session.scope.hook_errors == ()
    assert world.usernames() == ["ann", "by hook"]
    assert lent(world.db) == []


# ---------------------------------------------------------------- scopes in scopes


async def test_hooks_of_a_joined_scope_run_when_the_outermost_has_ended(world: World) -> None:
    ran: list[str] = []

    async with world.session() as outer:
        outer.on_commit(hook(ran, "outer first"))
        async with world.session() as inner:
            inner.on_commit(hook(ran, "inner"))
            inner.before_commit(hook(ran, "inner before"))
        between = list(ran)
        outer.on_commit(hook(ran, "outer last"))

    assert between == []
    assert ran == ["inner before", "outer first", "inner", "outer last"]


async def test_hooks_of_a_doomed_scope_are_its_rollback_hooks(world: World) -> None:
    ran: list[str] = []

    with pytest.raises(RolledBack):
        async with world.session() as outer:
            outer.on_commit(hook(ran, "commit"))
            outer.before_commit(hook(ran, "before"))
            outer.on_rollback(hook(ran, "rollback"))
            with pytest.raises(Boom):
                async with world.session() as inner:
                    inner.on_rollback(hook(ran, "inner rollback"))
                    raise Boom

    assert ran == ["rollback", "inner rollback"]


async def test_hooks_of_requires_new_run_at_its_own_end_outside_any_scope(
    world: World,
) -> None:
    ran: list[str] = []
    found: list[Any] = []

    def look() -> None:
        try:
            found.append(world.db.current)
        except NoScope as error:
            found.append(error)

    with pytest.raises(Boom):
        async with world.session() as outer:
            outer.on_commit(hook(ran, "outer"))
            async with world.session(propagation="requires_new", readonly=True) as inner:
                inner.on_commit(hook(ran, "inner"))
                inner.on_commit(look)
            between = list(ran)
            raise Boom

    assert between == ["inner"]
    assert ran == ["inner"]
    assert isinstance(found[0], NoScope)


async def test_hooks_of_every_attempt_but_the_last_are_rollback_hooks(world: World) -> None:
    from hermetic import RetryRequested

    ran: list[str] = []

    async for attempt in world.attempts(retry=5):
        async with attempt as session:
            number = attempt.number if world.is_async else len(ran) + 1
            session.add(User(username="ann"))
            session.on_commit(hook(ran, f"commit {number}"))
            session.on_rollback(hook(ran, f"rollback {number}"))
            session.before_commit(lambda: None)
            await session.flush()
            if number < 3:
                raise RetryRequested

    assert ran == ["rollback 1", "rollback 2", "commit 3"]
    assert world.usernames() == ["ann"]


# ---------------------------------------------------------------- adding them


async def test_a_hook_with_a_known_key_is_not_added_again(world: World) -> None:
    ran: list[str] = []

    async with world.session() as session:
        for number in range(3):
            session.on_commit(hook(ran, f"keyed {number}"), key="mail")
            session.on_commit(hook(ran, f"other {number}"), key=("mail", number))
            session.before_commit(hook(ran, f"before {number}"), key="mail")
            session.on_commit(hook(ran, f"unkeyed {number}"))

    assert [word for word in ran if word.startswith("keyed")] == ["keyed 0"]
    assert [word for word in ran if word.startswith("before")] == ["before 0"]
    assert len([word for word in ran if word.startswith("other")]) == 3
    assert len([word for word in ran if word.startswith("unkeyed")]) == 3


async def test_the_key_of_a_hook_may_be_anything_that_equals_another(world: World) -> None:
    ran: list[str] = []

    async with world.session() as session:
        for key in ([1], [1], {"a": 1}, {"a": 1}, 1, 1.0, True, "1", (1,), (1,)):
            session.on_commit(hook(ran, repr(key)), key=key)

    assert ran == ["[1]", "{'a': 1}", "1", "'1'", "(1,)"]


async def test_a_new_key_is_compared_with_few_others(world: World) -> None:
    class Key:
        compared = 0

        def __init__(self, number: int) -> None:
            self.number = number

        def __eq__(self, other: object) -> bool:
            Key.compared += 1
            return isinstance(other, Key) and other.number == self.number

        def __hash__(self) -> int:
            return self.number

    ran: list[str] = []
    async with world.session() as session:
        for number in range(200):
            session.on_commit(hook(ran, str(number)), key=Key(number % 100))

    assert len(ran) == 100
    assert Key.compared == 100


async def test_adding_a_hook_decorates(world: World) -> None:
    ran: list[str] = []

    async with world.session() as session:

        @session.on_commit  # type: ignore[untyped-decorator]
        def mail() -> None:
            ran.append("mail")

    mail()
    assert ran == ["mail", "mail"]


@pytest.mark.parametrize("method", ["on_commit", "on_rollback", "before_commit"])
async def test_a_hook_must_be_callable_and_in_a_scope(world: World, method: str) -> None:
    async with world.session() as session:
        with pytest.raises(TypeError, match="callable"):
            getattr(session, method)("not a function")
        kind = type(plain_session(session))

    with pytest.raises(NoScope):
        getattr(kind(), method)(lambda: None)
    with pytest.raises(ScopeEnded):
        getattr(session, method)(lambda: None)


# ---------------------------------------------------------------- coroutines


@on_asyncio
async def test_coroutine_hooks_are_awaited_in_their_turn(world: World) -> None:
    ran: list[str] = []
    me = asyncio.current_task()

    async def slowly(word: str) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        ran.append(word)
        assert asyncio.current_task() is me or word == "before"

    async with world.db.session() as session:
        session.before_commit(lambda: slowly("before"))
        session.on_commit(hook(ran, "one"))
        session.on_commit(lambda: slowly("two"))
        session.on_commit(hook(ran, "three"))

    assert ran == ["before", "one", "two", "three"]


@on_asyncio
async def test_a_failing_coroutine_hook_stops_no_other(world: World) -> None:
    ran: list[str] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise Boom

    async with world.db.session() as session:
        session.on_commit(fail)
        session.on_commit(hook(ran, "after it"))

    assert ran == ["after it"]
    assert session.scope is not None
    assert [type(error) for error in session.scope.hook_errors] == [Boom]
    assert session.outcome is Outcome.COMMITTED


@on_asyncio
async def test_a_before_commit_coroutine_may_use_the_session(world: World) -> None:
    counted: list[int] = []

    async with world.db.session() as session:
        session.add(User(username="ann"))

        async def count() -> None:
            counted.append(len((await session.scalars(select(User))).all()))
            session.add(User(username="bob"))

        session.before_commit(count)

    assert counted == [1]
    assert world.usernames() == ["ann", "bob"]


@on_threads
def test_a_coroutine_function_is_refused_as_a_hook_of_threads(world: World) -> None:
    async def mail() -> None:
        raise AssertionError("nobody can await this")

    with world.db.session() as session:
        for add in (session.on_commit, session.on_rollback, session.before_commit):
            with pytest.raises(ScopeControls, match="mail"):
                add(mail)

    assert session.outcome is Outcome.COMMITTED
