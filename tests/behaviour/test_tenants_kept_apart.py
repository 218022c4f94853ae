"""Tenants: the ways by which something of one could come into the scope of another."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from hermetic import (
    NO_TENANT,
    DatabasePerTenant,
    ForeignTenant,
    InvalidOption,
    PoolSelfDeadlock,
    PoolTimeout,
    SchemaPerTenant,
    ScopeRefused,
    UnknownTenant,
)
from hermetic.dialects.positions import Sight
from hermetic.routes import Route
from hermetic.routing import ServerState
from tests.behaviour import shops
from tests.behaviour.aftermath import lent, on
from tests.behaviour.cluster import Cluster
from tests.behaviour.own import OwnServer
from tests.behaviour.shops import Shop
from tests.behaviour.test_tenants import at, on_postgresql
from tests.worlds import PATIENCE, World

Use = Callable[[Any, Any], Any]


# ---------------------------------------------------------------- objects


def _bulk(session: Any, note: Any) -> Any:
    note.tenant = "overwritten"
    return session.bulk_save_objects([note])


_USES: dict[str, Use] = {
    "merge": lambda session, note: session.merge(note),
    "merge_all": lambda session, note: session.merge_all([note]),
    "delete_all": lambda session, note: session.delete_all([note]),
    "bulk_save_objects": _bulk,
    "add_all": lambda session, note: session.add_all([note]),
    "enable_relationship_loading": lambda s, note: s.enable_relationship_loading(note),
}


@pytest.mark.parametrize("use", _USES.values(), ids=_USES)
async def test_no_way_into_a_session_is_open_to_anothers_object(
    world: World, fresh_url: Any, use: Use
) -> None:
    shop = await at(world, fresh_url)
    await shop.write("ann")
    await shop.write("bob")
    async with shop.session(tenant="ann") as session:
        note = await session.get(shop.note, 1)

    with pytest.raises(ForeignTenant) as caught:
        async with shop.session(tenant="bob") as session:
            await session.run_sync(use, note)

    assert (caught.value.owner, caught.value.tenant) == ("ann", "bob")
    assert await shop.names("bob") == ["bob"]


async def test_an_object_of_an_open_scope_is_its_tenants(world: World, fresh_url: Any) -> None:
    shop = await at(world, fresh_url)
    await shop.write("ann")
    await shop.write("bob")

    async with shop.session(tenant="ann", readonly=True) as outer:
        note = await outer.get(shop.note, 1)
        with pytest.raises(ForeignTenant):
            async with shop.session(tenant="bob", propagation="requires_new") as inner:
                await inner.merge(note)

    assert await shop.names("bob") == ["bob"]


async def test_an_object_that_was_let_go_is_its_tenants(world: World, fresh_url: Any) -> None:
    shop = await at(world, fresh_url)
    await shop.write("ann")
    await shop.write("bob")
    async with shop.session(tenant="ann") as session:
        first = await session.get(shop.note, 1)
        session.expunge(first)
    async with shop.session(tenant="ann") as session:
        second = await session.get(shop.note, 1)
        session.expunge_all()

    for note in (first, second):
        with pytest.raises(ForeignTenant):
            async with shop.session(tenant="bob") as session:
                session.add(note)


# ---------------------------------------------------------------- names and places


@on_postgresql
async def test_no_tenant_has_a_schema_of_others(own: OwnServer, own_world: World) -> None:
    shop = await shops.schemas(own_world, own)
    plain = own_world.database(tenants=SchemaPerTenant(shared=("of_ann",)))

    for name in ("public", "information_schema", "of_ann", "pg_temp"):
        with pytest.raises(UnknownTenant, match="of its own"):
            async with own_world.session(plain, tenant=name):
                pass
    assert await shop.names("ann") == []


async def test_no_tenant_has_the_databases_own(world: World, fresh_url: Any) -> None:
    shop = await at(world, fresh_url)
    db = world.database(tenants=DatabasePerTenant(url=lambda name: world.url))

    with pytest.raises(InvalidOption, match="own for tenant 'ann'"):
        async with world.session(db, tenant="ann"):
            pass
    assert await shop.names("ann") == []


@on(lambda backend: backend.family != "sqlite")
async def test_a_tenants_database_has_no_position(world: World, fresh_url: Any) -> None:
    shop = await at(world, fresh_url)

    with pytest.raises(ScopeRefused, match="position"):
        async with shop.session(tenant="ann", position=True):
            pass
    async with shop.session(tenant=NO_TENANT, position=True) as session:
        await session.execute("SELECT 1")
    async with shop.session(tenant="ann"):
        _ = await shop.db.aposition() if world.is_async else shop.db.position()


@pytest.mark.parametrize(
    "name",
    ["", " ann", "ann\n", "a" * 64, "änn", "ann'", 'ann"', "a.b", "a/b", "-ann", "%61", "\0"],
)
async def test_a_name_has_nothing_that_would_have_to_be_escaped(
    world: World, fresh_url: Any, name: str
) -> None:
    given = [name]
    shop = await at(world, fresh_url, names=(), tenants={"current": lambda: given[0]})

    with pytest.raises(UnknownTenant):
        async with shop.session():
            pass
    with pytest.raises(InvalidOption):
        shop.session(tenant=name)
    assert list(shop.db.tenant_servers or ()) == []


# ---------------------------------------------------------------- pools


async def test_a_tenant_that_comes_later_is_suspended_too(world: World, fresh_url: Any) -> None:
    shop = await at(world, fresh_url, pool_timeout=0.05)
    await shop.db.aclose() if world.is_async else shop.db.close()
    db = shop.db = world.database(tenants=shop.db.tenants, pool_timeout=0.05)
    db.suspend()

    with pytest.raises(PoolTimeout, match="suspended"):
        await shop.names("ann")
    db.resume()
    assert await shop.names("ann") == []
    assert await shop.names("bob") == []


@on(lambda backend: backend.family != "sqlite")
async def test_a_tenant_that_comes_later_has_the_new_size(world: World, fresh_url: Any) -> None:
    shop = await at(world, fresh_url, names=("ann",), pool_size=3)
    shop.db.resize(pool_size=2)

    await shop.names("ann")
    async with shop.session(tenant="bob") as session:
        await session.execute("SELECT 1")
    limits = {pool.name: pool.limit for pool in shop.db.snapshot().pools}
    tenants = {name: limit for name, limit in limits.items() if {"ann", "bob"} & {*name.split()}}
    assert len(tenants) >= 2
    assert set(tenants.values()) == {2}
    assert len(shop.db.snapshot().pools) == len(limits)


async def test_a_scope_that_would_wait_for_itself_at_another_tenant_is_told(
    world: World, fresh_url: Any
) -> None:
    shop = await at(world, fresh_url, tenants={"connections": 1}, pool_timeout=4 * PATIENCE)

    with pytest.raises(PoolSelfDeadlock, match="budget"):
        async with shop.session(tenant="ann") as outer:
            await outer.execute(f"SELECT * FROM {shop.table}")
            async with shop.session(tenant="bob", propagation="requires_new") as inner:
                await inner.execute(f"SELECT * FROM {shop.table}")

    assert lent(shop.db) == []
    assert await shop.names("bob") == []


async def test_scopes_that_would_wait_for_each_other_at_other_tenants_are_told(
    world: World, fresh_url: Any
) -> None:
    shop = await at(world, fresh_url, tenants={"connections": 2}, pool_timeout=4 * PATIENCE)
    ready = {"ann": world.signal(), "bob": world.signal()}

    async def client(first: str, second: str) -> None:
        async with shop.session(tenant=first) as outer:
            await outer.execute(f"SELECT * FROM {shop.table}")
            ready[first].set()
            await ready[second].wait()
            async with shop.session(tenant=second, propagation="requires_new") as inner:
                await inner.execute(f"SELECT * FROM {shop.table}")

    ends = await world.together(
        functools.partial(client, "ann", "bob"), functools.partial(client, "bob", "ann")
    )

    # the other one had its turn then
    assert [type(end) for end in ends if end is not None] == [PoolSelfDeadlock]
    assert lent(shop.db) == []


async def test_a_database_that_is_made_for_a_tenant_is_not_closed_meanwhile(
    world: World, fresh_url: Any
) -> None:
    shop = await at(world, fresh_url, names=("ann",), tenants={"open_at_once": 1})
    servers = shop.db.tenant_servers
    assert servers is not None

    with servers.held("bob") as server:
        await shop.names("ann")
        await shop.names("ann", readonly=True)
        assert not server.closed
    assert await shop.names("ann") == []
    assert server.closed


@on(lambda backend: not backend.is_async)
async def test_a_child_closes_what_only_its_parent_uses(world: World, fresh_url: Any) -> None:
    shop = await at(world, fresh_url, tenants={"open_at_once": 1})
    servers = shop.db.tenant_servers
    assert servers is not None

    async with shop.session(tenant="ann"), shop.session(tenant="bob", propagation="requires_new"):
        assert len(list(servers)) == 2
        servers._start_anew()
        with servers.held("bob"):
            assert [server.tenant for server in servers] == ["bob"]


# ---------------------------------------------------------------- replicas


@on_postgresql
async def test_a_scope_that_goes_to_another_server_has_its_tenant_there_too(
    replicated: World, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = cluster.replicas[0]
    tenants = SchemaPerTenant(schema="of_{tenant}", required=False)
    options = {"tenants": tenants, "reader_pool_size": 1, "pool_timeout": 0.1}
    db = cluster.database(replicated, replicas=cluster.urls(replicated)[:1], **options)
    shop = Shop(replicated, db, shops.Note)
    for name in shops.TENANTS:
        await shops.make_room(replicated, db, name)
    await shop.write("ann")
    replicated.do("CREATE TABLE public.notes (id int PRIMARY KEY, tenant text)")
    replicated.do("INSERT INTO public.notes VALUES (1, 'nobody')")
    cluster.catch_up()
    await shop.names("ann", readonly=True)  # its pool has a connection now
    with cluster.paused(replica):
        async with shop.session(tenant="ann", position=True) as session:
            await session.execute("CREATE TABLE later (id int)")
        after = session.position
        assert after is not None
        there = db.family.positions.parse(after)
        (gate,) = [gate for gate in db.registry.gates if f":{replica.port}/" in gate.name]

        def look(route: Route, scope: object, state: ServerState) -> None:
            route.routes.seen(state, Sight(there, there, True))

        async with shop.session(tenant="ann", readonly=True, after=after) as session:
            monkeypatch.setattr(Route, "_look", look)
            held = gate.enter_if_free("another", lambda: "another", 0.0)
            assert held is not None
            with pytest.raises(PoolTimeout):
                await session.get(shops.Note, 1)
            gate.leave(held, 0.0)

            found = await session.get(shops.Note, 1)
            seen = await session.scalar("SELECT tenant FROM notes")
            path = await session.scalar("SHOW search_path")

    assert (found.tenant, seen, path) == ("ann", "ann", '"of_ann"')
