"""Several Databases at once: the scopes of each are independent of the others'."""

from __future__ import annotations

import pytest

from hermetic import NoScope, Outcome, ScopeRefused
from tests.behaviour.aftermath import lent
from tests.behaviour.watching import Boom, another, plain_session
from tests.databases import FreshUrl
from tests.models import User
from tests.worlds import World


async def test_each_database_has_a_current_scope_of_its_own(
    world: World, fresh_url: FreshUrl
) -> None:
    first = world.db
    async with another(world, fresh_url(world.backend, "second")) as second:
        async with world.session() as one:
            async with world.session(second) as two:
                currents = (world.face(first.current), world.face(second.current))
                await two.execute("SELECT 1")
            with pytest.raises(NoScope):
                _ = second.current
            after = world.face(first.current)
            one.add(User(username="ann"))

        assert plain_session(currents[0]) is plain_session(after) is plain_session(one)
        assert plain_session(currents[1]) is plain_session(two)
        assert lent(second) == []
    assert world.usernames() == ["ann"]


async def test_a_scope_inside_another_databases_scope_is_outermost(
    world: World, fresh_url: FreshUrl
) -> None:
    async with another(world, fresh_url(world.backend, "second")) as second, world.session():
        async with world.session(second) as two:
            root = two.scope.root is two.scope
        outcome = two.outcome

    assert (root, outcome) == (True, Outcome.COMMITTED)


async def test_a_failure_in_one_database_dooms_no_other(world: World, fresh_url: FreshUrl) -> None:
    async with (
        another(world, fresh_url(world.backend, "second")) as second,
        world.session() as one,
    ):
        one.add(User(username="ann"))
        with pytest.raises(Boom):
            async with world.session(second) as two:
                await two.execute("SELECT 1")
                raise Boom

    assert one.outcome is Outcome.COMMITTED
    assert two.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == ["ann"]


async def test_mandatory_is_not_met_by_another_databases_scope(
    world: World, fresh_url: FreshUrl
) -> None:
    async with another(world, fresh_url(world.backend, "second")) as second, world.session():
        with pytest.raises(ScopeRefused):
            async with world.session(second, propagation="mandatory"):
                pass


async def test_scopes_of_two_databases_may_end_in_any_order(
    world: World, fresh_url: FreshUrl
) -> None:
    async with another(world, fresh_url(world.backend, "second")) as second:
        one, two = world.session(), world.session(second)

        await one.__aenter__()
        session = await two.__aenter__()
        await one.__aexit__(None, None, None)
        current = world.face(second.current)
        with pytest.raises(NoScope):
            _ = world.db.current
        await two.__aexit__(None, None, None)

        assert plain_session(current) is plain_session(session)
        assert session.outcome is Outcome.COMMITTED
        with pytest.raises(NoScope):
            _ = second.current


async def test_interleaved_scopes_find_the_one_that_is_open(
    world: World, fresh_url: FreshUrl
) -> None:
    async with (
        another(world, fresh_url(world.backend, "second")) as second,
        world.session() as one,
        world.session(second) as two,
        world.session() as joined,
        world.session(second) as joined_too,
    ):
        same = (
            plain_session(joined) is plain_session(one),
            plain_session(joined_too) is plain_session(two),
        )

    assert same == (True, True)
    assert (one.outcome, two.outcome) == (Outcome.COMMITTED, Outcome.COMMITTED)
