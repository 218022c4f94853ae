"""Objects after their scope: what was loaded is usable, what was not says so and says where."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import defer, selectinload
from sqlalchemy.orm.exc import DetachedInstanceError

from hermetic import DetachedAccess
from tests.behaviour.watching import Boom, Sent
from tests.models import Order, User
from tests.worlds import World


def add_ann(world: World) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (1, 'ann', 7)")
    world.do("INSERT INTO orders (id, user_id, item) VALUES (1, 1, 'pen')")


async def loaded(world: World, *options: Any) -> User:
    add_ann(world)
    async with world.session(name="loading") as session:
        user: User = (await session.scalars(select(User).options(*options))).one()
    return user


# ---------------------------------------------------------------- usable


async def test_a_loaded_object_is_readable_after_its_scope(world: World) -> None:
    user = await loaded(world)

    sent = Sent(world)

    assert (user.id, user.username, user.balance) == (1, "ann", 7)
    assert sent.nothing


async def test_a_new_object_is_readable_after_its_scope_with_its_key(world: World) -> None:
    async with world.session() as session:
        user = User(username="ann")
        session.add(user)

    assert (user.id, user.username, user.balance) == (1, "ann", 0)


async def test_a_changed_object_keeps_its_new_value(world: World) -> None:
    add_ann(world)

    async with world.session() as session:
        user = await session.get(User, 1)
        user.balance = 8

    assert user.balance == 8
    assert world.seen("SELECT balance FROM users") == [(8,)]


async def test_a_relationship_that_was_loaded_is_readable(world: World) -> None:
    user = await loaded(world, selectinload(User.orders))

    assert [order.item for order in user.orders] == ["pen"]


async def test_a_loaded_object_of_a_read_only_scope_is_readable(world: World) -> None:
    add_ann(world)

    async with world.session(readonly=True) as session:
        user = await session.get(User, 1)

    assert user.username == "ann"


async def test_a_detached_object_can_be_changed_in_memory(world: World) -> None:
    user = await loaded(world)

    user.username = "anna"

    assert user.username == "anna"


# ---------------------------------------------------------------- not loaded


async def test_a_lazy_relationship_after_the_scope_says_where_it_was(world: World) -> None:
    user = await loaded(world)

    with pytest.raises(DetachedAccess) as caught:
        _ = user.orders

    error = caught.value
    assert isinstance(error, DetachedInstanceError)
    assert error.attribute == "orders"
    assert error.scope is not None
    assert error.scope.name == "loading"
    assert ".py:" in error.scope.opened_at
    assert "'orders' of User 1" in str(error)
    assert "loading" in str(error)
    assert error.scope.opened_at in str(error)


async def test_a_lazy_scalar_relationship_says_so_too(world: World) -> None:
    add_ann(world)
    async with world.session(name="loading") as session:
        order = await session.get(Order, 1)

    with pytest.raises(DetachedAccess, match="'user' of Order 1"):
        _ = order.user


async def test_a_deferred_column_after_the_scope_says_where_it_was(world: World) -> None:
    user = await loaded(world, defer(User.balance))

    with pytest.raises(DetachedAccess) as caught:
        _ = user.balance

    assert caught.value.attribute == "balance"
    assert "loading" in str(caught.value)


async def test_an_expired_attribute_after_the_scope_says_where_it_was(world: World) -> None:
    add_ann(world)
    async with world.session(name="loading") as session:
        user = await session.get(User, 1)
        session.expire(user, ["balance"])

    assert user.username == "ann"
    with pytest.raises(DetachedAccess) as caught:
        _ = user.balance
    assert "balance" in caught.value.attribute
    assert "loading" in str(caught.value)


async def test_an_expired_object_after_the_scope_says_where_it_was(world: World) -> None:
    add_ann(world)
    async with world.session(name="loading") as session:
        user = await session.get(User, 1)
        session.expire(user)

    with pytest.raises(DetachedAccess) as caught:
        _ = user.username

    assert "username" in caught.value.attribute


async def test_an_object_of_a_scope_rolled_back_never_shows_what_was_not_written(
    world: World,
) -> None:
    add_ann(world)
    with pytest.raises(Boom):
        async with world.session(name="failing") as session:
            user = await session.get(User, 1)
            user.balance = 1000
            await session.flush()
            raise Boom

    with pytest.raises(DetachedAccess) as caught:
        _ = user.balance

    assert "failing" in str(caught.value)


async def test_an_untouched_object_of_a_scope_rolled_back_is_readable(world: World) -> None:
    add_ann(world)

    with pytest.raises(Boom):
        async with world.session() as session:
            user = await session.get(User, 1)
            raise Boom

    assert user.username == "ann"


async def test_a_new_object_of_a_scope_rolled_back_is_new_again(world: World) -> None:
    user = User(username="ann")
    with pytest.raises(Boom):
        async with world.session() as session:
            session.add(user)
            await session.flush()
            raise Boom

    async with world.session() as session:
        session.add(user)

    assert world.usernames() == ["ann"]
    assert user.username == "ann"


async def test_the_scope_named_is_the_last_one_the_object_was_in(world: World) -> None:
    user = await loaded(world)
    async with world.session(name="second") as session:
        session.add(user)

    with pytest.raises(DetachedAccess) as caught:
        _ = user.orders

    assert caught.value.scope is not None
    assert caught.value.scope.name == "second"


# ---------------------------------------------------------------- in another session


async def test_a_detached_object_added_to_another_scope_works_as_ever(world: World) -> None:
    user = await loaded(world)

    async with world.session() as session:
        session.add(user)
        items = await session.run_sync(lambda _: [order.item for order in user.orders])
        user.balance = 9

    assert items == ["pen"]
    assert [order.item for order in user.orders] == ["pen"]
    assert world.seen("SELECT balance FROM users") == [(9,)]


async def test_a_deferred_column_loads_in_another_scope(world: World) -> None:
    user = await loaded(world, defer(User.balance))

    async with world.session() as session:
        session.add(user)
        balance = await session.run_sync(lambda _: user.balance)

    assert balance == 7
    assert user.balance == 7


async def test_an_expired_object_loads_in_another_scope(world: World) -> None:
    add_ann(world)
    async with world.session() as session:
        user = await session.get(User, 1)
        session.expire(user)

    async with world.session() as session:
        session.add(user)
        await session.refresh(user)

    assert (user.username, user.balance) == ("ann", 7)


async def test_a_detached_change_is_written_by_merging(world: World) -> None:
    user = await loaded(world)
    user.balance = 10

    async with world.session() as session:
        merged = await session.merge(user)
        items = await session.run_sync(lambda _: [order.item for order in merged.orders])

    assert merged is not user
    assert (merged.balance, items) == (10, ["pen"])
    assert world.seen("SELECT balance FROM users") == [(10,)]


async def test_merging_without_loading_gives_an_object_that_loads(world: World) -> None:
    user = await loaded(world)

    async with world.session() as session:
        merged = await session.merge(user, load=False)
        items = await session.run_sync(lambda _: [order.item for order in merged.orders])

    assert (merged.username, items) == ("ann", ["pen"])


# ---------------------------------------------------------------- copies


async def test_a_pickled_object_is_what_it_was(world: World) -> None:
    user = await loaded(world, selectinload(User.orders))

    again: User = pickle.loads(pickle.dumps(user))

    assert (again.id, again.username, again.balance) == (1, "ann", 7)
    assert [order.item for order in again.orders] == ["pen"]


async def test_a_pickled_object_says_what_was_not_loaded(world: World) -> None:
    user = await loaded(world, defer(User.balance))

    again: User = pickle.loads(pickle.dumps(user))

    with pytest.raises(DetachedInstanceError):
        _ = again.orders
    with pytest.raises(DetachedInstanceError):
        _ = again.balance


async def test_a_pickled_object_works_in_another_scope(world: World) -> None:
    user = await loaded(world, defer(User.balance))
    again: User = pickle.loads(pickle.dumps(user))

    async with world.session() as session:
        session.add(again)
        read = await session.run_sync(lambda _: (again.balance, [o.item for o in again.orders]))
        again.username = "anna"

    assert read == (7, ["pen"])
    assert world.usernames() == ["anna"]


async def test_a_pickle_holds_no_url_and_no_password(world: World) -> None:
    user = await loaded(world)

    data = pickle.dumps(user)

    assert b"://" not in data
    assert b"password" not in data


async def test_a_new_object_of_the_same_class_is_not_marked(world: World) -> None:
    await loaded(world)

    fresh = User(username="bob")

    assert fresh.orders == []
    assert copy.copy(fresh.__dict__)["username"] == "bob"
    assert fresh.balance is None
