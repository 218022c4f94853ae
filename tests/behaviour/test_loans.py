"""Handing a session over to another thread or task, and getting it back."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from hermetic import ForeignOwner, NoScope, Outcome, RolledBack, ScopeEnded
from tests.behaviour.aftermath import check_nothing_left, lent, on_asyncio
from tests.behaviour.watching import Boom, on_threads, plain_session
from tests.models import User
from tests.worlds import World


async def borrow(world: World, loan: Any, work: Any) -> Any:
    """What another thread or task gets that takes the loan and works with it."""

    async def borrower() -> Any:
        async with loan as session:
            return await work(session)

    (result,) = await world.together(borrower)
    return result


async def add_bob(session: Any) -> Any:
    session.add(User(username="bob"))
    await session.flush()
    return session


async def test_a_lent_session_works_where_it_was_lent_to(world: World) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))
        borrowed = await borrow(world, session.lend(), add_bob)
        session.add(User(username="cid"))

    assert plain_session(borrowed) is plain_session(session)
    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann", "bob", "cid"]
    await check_nothing_left(world)


async def test_the_borrower_is_given_the_same_kind_of_session(world: World) -> None:
    kinds: list[type] = []

    async def look(session: Any) -> None:
        kinds.append(type(session))

    async with world.session() as session:
        error = await borrow(world, session.lend(), look)

    assert error is None
    assert kinds == [type(session)]


async def test_a_lent_session_is_the_borrowers_current_one(world: World) -> None:
    db = world.db

    async def ask(session: Any) -> Any:
        async with world.session() as joined:
            return plain_session(world.face(db.current)), plain_session(joined)

    async with world.session() as session:
        current, joined = await borrow(world, session.lend(), ask)
        mine = plain_session(world.face(db.current))

    assert current is joined is mine is plain_session(session)


async def test_the_lender_is_refused_meanwhile(world: World) -> None:
    lent_out, taken, done, back = (world.signal() for _ in range(4))
    loans: list[Any] = []

    async def borrower() -> None:
        await lent_out.wait()
        async with loans[0] as borrowed:
            taken.set()
            await done.wait()
            await add_bob(borrowed)
        back.set()

    async def lender() -> Any:
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            loans.append(session.lend())
            lent_out.set()
            await taken.wait()
            try:
                for refused in (session.execute("SELECT 1"), session.get(User, 1)):
                    with pytest.raises(ForeignOwner):
                        await refused
                with pytest.raises(ForeignOwner):
                    session.add(User(username="never"))
            finally:
                done.set()
            await back.wait()
            session.add(User(username="cid"))
        return session.outcome

    results = await world.together(borrower, lender)

    assert results == [None, Outcome.COMMITTED]
    assert world.usernames() == ["ann", "bob", "cid"]


async def test_a_session_on_loan_cannot_be_taken_again(world: World) -> None:
    async with world.session() as session:
        loan = session.lend()

        async def second_taker() -> None:
            async with loan:
                pass

        async def take_twice(borrowed: Any) -> Any:
            (error,) = await world.together(second_taker)
            await add_bob(borrowed)
            return error

        error = await borrow(world, loan, take_twice)

    assert isinstance(error, ForeignOwner)
    assert "on loan" in str(error)
    assert world.usernames() == ["bob"]


async def test_a_session_on_loan_cannot_be_taken_through_a_second_loan(world: World) -> None:
    async with world.session() as session:
        first, second = session.lend(), session.lend()

        async def second_taker() -> None:
            async with second:
                pass

        async def take_both(borrowed: Any) -> Any:
            (error,) = await world.together(second_taker)
            await add_bob(borrowed)
            return error

        error = await borrow(world, first, take_both)
        session.add(User(username="ann"))

    assert isinstance(error, ForeignOwner)
    assert world.usernames() == ["ann", "bob"]


async def test_a_borrower_cannot_lend_what_is_on_loan_to_it_behind_its_own_back(
    world: World,
) -> None:
    async with world.session() as session:

        async def lend_on(borrowed: Any) -> Any:
            onward = borrowed.lend()
            return await borrow(world, onward, add_bob)

        result = await borrow(world, session.lend(), lend_on)
        session.add(User(username="ann"))

    # a loan of a loan is a hand-over like any other, and comes back the same way
    assert plain_session(result) is plain_session(session)
    assert world.usernames() == ["ann", "bob"]


async def test_a_returned_loan_can_be_taken_again(world: World) -> None:
    async def add(session: Any) -> None:
        session.add(User(username=f"user{len(list(plain_session(session).new))}"))

    async with world.session() as session:
        loan = session.lend()
        first = await borrow(world, loan, add)
        second = await borrow(world, loan, add)

    assert (first, second) == (None, None)
    assert world.usernames() == ["user0", "user1"]


async def test_a_borrower_that_fails_gives_the_session_back(world: World) -> None:
    async def fail(session: Any) -> None:
        session.add(User(username="bob"))
        await session.flush()
        raise Boom

    async with world.session() as session:
        error = await borrow(world, session.lend(), fail)
        session.add(User(username="ann"))

    assert isinstance(error, Boom)
    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann", "bob"]


async def test_a_joined_scope_that_fails_at_the_borrowers_dooms_the_lenders(
    world: World,
) -> None:
    async def fail(session: Any) -> None:
        async with world.session():
            raise Boom

    with pytest.raises(RolledBack) as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            await borrow(world, session.lend(), fail)

    assert isinstance(caught.value.__cause__, Boom)
    assert world.usernames() == []


async def test_a_borrower_can_use_a_savepoint(world: World) -> None:
    async def savepoint(session: Any) -> None:
        try:
            async with world.session(propagation="nested") as nested:
                nested.add(User(username="undone"))
                await nested.flush()
                raise Boom
        except Boom:
            pass
        await add_bob(session)

    async with world.session() as session:
        error = await borrow(world, session.lend(), savepoint)

    assert error is None
    assert world.usernames() == ["bob"]


async def test_a_borrower_who_left_cannot_use_the_session_any_more(world: World) -> None:
    kept: list[Any] = []

    async def keep(session: Any) -> None:
        kept.append(session)

    async with world.session() as session:
        loan = session.lend()

        async def use_after() -> None:
            async with loan as borrowed:
                kept.append(borrowed)
            await kept[0].execute("SELECT 1")

        (error,) = await world.together(use_after)

    assert isinstance(error, ForeignOwner)


async def test_a_loan_taken_after_the_end_says_that_it_is_over(world: World) -> None:
    async with world.session() as session:
        loan = session.lend()

    result = await borrow(world, loan, add_bob)

    assert isinstance(result, ScopeEnded)
    assert world.usernames() == []


async def test_a_scope_that_ends_while_it_is_on_loan_is_rolled_back_and_says_so(
    world: World,
) -> None:
    taken, ended, lent_out = world.signal(), world.signal(), world.signal()
    kept: list[Any] = []

    async def borrower() -> None:
        await lent_out.wait()
        async with kept[0] as borrowed:
            taken.set()
            await ended.wait()
            await borrowed.execute("SELECT 1")

    async def lender() -> None:
        try:
            async with world.session() as session:
                session.add(User(username="ann"))
                kept.extend((session.lend(), session))
                lent_out.set()
                await taken.wait()
        finally:
            ended.set()

    told_borrower, told_lender = await world.together(borrower, lender)

    assert isinstance(told_borrower, ScopeEnded)
    assert isinstance(told_lender, RolledBack)
    assert isinstance(told_lender.__cause__, ForeignOwner)
    assert "on loan" in str(told_lender)
    assert kept[1].outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    assert lent(world.db) == []


async def test_a_loan_of_a_session_outside_any_scope_is_refused(world: World) -> None:
    async with world.session() as session:
        kind = type(plain_session(session))

    with pytest.raises(NoScope):
        kind().lend()


async def test_a_loan_says_what_it_is(world: World) -> None:
    reprs: list[str] = []

    async with world.session(name="lending") as session:
        loan = plain_session(session).lend()
        reprs.append(repr(loan))
        with loan:
            reprs.append(repr(loan))

    assert "lending" in reprs[0]
    assert "not taken" in reprs[0]
    assert "taken by" in reprs[1]


@on_asyncio
async def test_a_gathered_task_can_borrow_one_after_the_other(world: World) -> None:
    async with world.db.session() as session:
        loan = session.lend()
        turn = asyncio.Lock()

        async def child(number: int) -> None:
            async with turn, loan as borrowed:
                borrowed.add(User(username=f"user{number}"))
                await borrowed.flush()

        await asyncio.gather(*(child(number) for number in range(4)))

    assert len(world.usernames()) == 4


@on_threads
def test_a_thread_can_borrow_with_an_ordinary_block(world: World) -> None:
    errors: list[BaseException] = []

    with world.db.session() as session:
        loan = session.lend()

        def work() -> None:
            try:
                with loan as borrowed:
                    borrowed.add(User(username="bob"))
                    borrowed.flush()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        session.add(User(username="ann"))

    assert errors == []
    assert world.usernames() == ["ann", "bob"]
