"""Tenants: each sees its own rows, whatever happens, and nobody inherits another's."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from hermetic import (
    NO_TENANT,
    ForeignTenant,
    ScopeControls,
    ScopeRefused,
    TenantRequired,
    UnknownTenant,
    UnprotectedTenants,
)
from tests.behaviour import shops
from tests.behaviour.aftermath import check_nothing_left, lent, on
from tests.behaviour.own import OwnServer
from tests.behaviour.shops import Shop
from tests.proxy import Proxy
from tests.worlds import PATIENCE, World

on_postgresql = on(lambda backend: backend.family == "postgresql")
in_one_database = pytest.mark.parametrize("make", [shops.schemas, shops.rows])
Make = Callable[..., Awaitable[Shop]]


class Boom(Exception):
    pass


@on_postgresql
@in_one_database
async def test_each_tenant_sees_its_own(own: OwnServer, own_world: World, make: Make) -> None:
    shop = await make(own_world, own, pool_size=1)
    for name in ("ann", "bob", "ann"):
        await shop.write(name)

    assert await shop.names("ann") == ["ann", "ann"]
    assert await shop.names("bob") == ["bob"]
    assert await shop.names("bob", readonly=True) == ["bob"]
    assert await shop.names("ann", readonly=True, isolation="REPEATABLE READ") == ["ann", "ann"]
    async with shop.session(tenant="bob", readonly=True) as session:
        assert session.tenant == "bob"
        found = await session.scalars(select(shop.note))
        assert [note.tenant for note in found] == ["bob"]


async def _succeeds(shop: Shop, session: Any) -> None:
    await session.execute(f"SELECT * FROM {shop.table}")


async def _fails(shop: Shop, session: Any) -> None:
    await session.execute(f"SELECT * FROM {shop.table}")
    raise Boom


async def _fails_there(shop: Shop, session: Any) -> None:
    await session.execute("SELECT * FROM nowhere_at_all")


async def _is_rolled_back(shop: Shop, session: Any) -> None:
    await session.execute(f"SELECT * FROM {shop.table}")
    session.rollback_only()


async def _goes_back_to_a_savepoint(shop: Shop, session: Any) -> None:
    try:
        async with shop.session(propagation="nested") as inner:
            inner.add(shop.note(tenant="ann"))
            await inner.flush()
            raise Boom
    except Boom:
        pass
    assert await session.scalar(f"SELECT count(*) FROM {shop.table}") == 1


async def _is_cancelled(shop: Shop, session: Any) -> None:
    await session.execute(f"SELECT * FROM {shop.table}")
    raise asyncio.CancelledError


@on_postgresql
@in_one_database
@pytest.mark.parametrize("readonly", [None, True])
@pytest.mark.parametrize(
    "work",
    [
        _succeeds,
        _fails,
        _fails_there,
        _is_rolled_back,
        _goes_back_to_a_savepoint,
        _is_cancelled,
    ],
)
async def test_nobody_inherits_a_tenant(
    own: OwnServer,
    own_world: World,
    make: Make,
    work: Callable[[Shop, Any], Awaitable[None]],
    readonly: bool | None,
) -> None:
    if readonly and work is _goes_back_to_a_savepoint:
        pytest.skip("it writes")
    shop = await make(own_world, own, pool_size=1, reader_pool_size=1)
    await shop.write("ann")
    await shop.write("bob")

    try:
        async with shop.session(tenant="ann", readonly=readonly) as session:
            await work(shop, session)
    except (Boom, asyncio.CancelledError):
        pass
    except Exception:
        assert work is _fails_there

    async with shop.session(tenant=NO_TENANT, readonly=readonly) as session:
        path = await session.scalar("SHOW search_path")
        told = await session.scalar("SELECT current_setting('app.tenant', true)")
        assert (path, told or "") == ('"$user", public', "")
    assert await shop.names("bob", readonly=readonly) == ["bob"]
    assert lent(shop.db) == []


@on_postgresql
@in_one_database
async def test_what_a_tenant_costs(own: OwnServer, own_world: World, make: Make) -> None:
    """In round trips, as docs/tenants.md has it."""
    shop = await make(own_world, own)
    tenants = shop.db.tenants
    with Proxy(own_world.url) as proxy:
        own_world.url = proxy.url
        shop.db = own_world.database(tenants=tenants)
        trips = []
        for readonly in (None, True):
            for _ in range(3):  # the first ones connect, and prepare
                proxy.forget()
                async with shop.session(tenant="ann", readonly=readonly) as session:
                    if readonly:
                        await session.get(shop.note, 1)
                    else:
                        session.add(shop.note(tenant="ann"))
            trips.append(len(proxy.requests))
        if own_world.is_async:
            await shop.db.aclose()
        else:
            shop.db.close()

    assert trips == ([4, 4] if own_world.backend.name == "asyncpg" else [3, 3])


@on_postgresql
async def test_rows_of_everybody_are_nobodys_outside(own: OwnServer, own_world: World) -> None:
    shop = await shops.rows(own_world, own)
    await shop.write("ann")

    async with shop.session(tenant=NO_TENANT) as session:
        assert await session.scalar("SELECT count(*) FROM notes_of_all") == 0
    async with shop.session(tenant="bob") as session:
        await session.execute("INSERT INTO notes_of_all DEFAULT VALUES")
    assert await shop.names("bob") == ["bob"]


@on_postgresql
@in_one_database
async def test_nobody_writes_for_another(own: OwnServer, own_world: World, make: Make) -> None:
    shop = await make(own_world, own)
    await shop.write("ann")

    async with shop.session(tenant="bob") as session:
        changed = await session.execute(f"UPDATE {shop.table} SET tenant = 'bob'")
        assert changed.rowcount == 0

    if make is shops.rows:
        with pytest.raises(Exception, match="row-level security"):
            async with shop.session(tenant="bob") as session:
                session.add(shop.note(tenant="ann"))
    assert await shop.names("ann") == ["ann"]


@on_postgresql
@in_one_database
@pytest.mark.parametrize(
    "statement",
    [
        "SET search_path TO of_bob",
        "set  local search_path = of_bob",
        "SELECT set_config('search_path', 'of_bob', true)",
        "SELECT set_config('app.tenant', 'bob', true)",
        "SET app.tenant = 'bob'",
        "RESET ALL",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "DISCARD ALL",
        "SET SCHEMA 'of_bob'",
        "SELECT 1; SET LOCAL search_path = of_bob",
        '/* ; */ SET LOCAL "app" . "tenant" = \'bob\'',
        "SELECT \"set_config\"('search_path', 'of_bob', true)",
        "SELECT pg_catalog . set_config /* */ (('app' || '.tenant'), 'bob', true)",
        "UPDATE pg_settings SET setting = 'bob' WHERE name = 'app.tenant'",
        "UPDATE pg_settings SET setting = 'of_bob' WHERE name = 'search_path'",
        "DO $$ BEGIN PERFORM set_config('search_path', 'of_bob', true); END $$",
        "DO $$ BEGIN SET LOCAL app.tenant = 'bob'; END $$",
        f"SELECT {'1, ' * 100} set_config('app.tenant', 'bob', true)",
        f"SELECT {'1, ' * 100} set_config('search_path', 'of_bob', true)",
    ],
)
async def test_a_tenant_cannot_be_changed_by_a_statement(
    own: OwnServer, own_world: World, make: Make, statement: str
) -> None:
    shop = await make(own_world, own)
    others = ("of_bob",) if make is shops.rows else ("app.tenant", "'bob'")
    if any(other in statement for other in others):
        pytest.skip("of the other kind")

    with pytest.raises(ScopeControls):
        async with shop.session(tenant="ann") as session:
            await session.execute(statement)


@on_postgresql
@in_one_database
async def test_a_setting_that_is_a_parameter_may_be_any(
    own: OwnServer, own_world: World, make: Make
) -> None:
    shop = await make(own_world, own)
    setting, other = ("app.tenant", "bob") if make is shops.rows else ("search_path", "of_bob")

    with pytest.raises(ScopeControls, match="does not say"):
        async with shop.session(tenant="ann") as session:
            await session.execute(select(func.set_config(setting, other, True)))


@on_postgresql
@in_one_database
@pytest.mark.parametrize(
    "statement",
    [
        "SET LOCAL statement_timeout = 5000",
        "SELECT set_config('work_mem', '5MB', true), 'set role', '; RESET ALL'",
        "SELECT current_setting('search_path'), current_setting('app.tenant', true)",
        "SET LOCAL application_name = 'role, search_path and app.tenant'",
        "UPDATE pg_temp.sets SET role = 'x', search_path = 'of_bob', tenant = 'bob'",
    ],
)
async def test_what_changes_no_tenant_is_let_through(
    own: OwnServer, own_world: World, make: Make, statement: str
) -> None:
    shop = await make(own_world, own)

    async with shop.session(tenant="ann") as session:
        await session.execute(
            "CREATE TEMP TABLE sets (role text, search_path text, tenant text) ON COMMIT DROP"
        )
        await session.execute(statement)


@on_postgresql
@in_one_database
async def test_a_scope_without_a_transaction_has_no_tenant(
    own: OwnServer, own_world: World, make: Make
) -> None:
    shop = await make(own_world, own)

    with pytest.raises(ScopeRefused, match="transaction"):
        async with shop.session(tenant="ann", propagation="not_supported"):
            pass
    async with shop.session(tenant=NO_TENANT, propagation="not_supported") as session:
        assert await session.scalar("SELECT 1") == 1


@on_postgresql
async def test_a_role_that_policies_do_not_bind_is_refused(
    own: OwnServer, own_world: World
) -> None:
    own.do("CREATE ROLE seer LOGIN PASSWORD 'seer' BYPASSRLS")
    shop = await shops.rows(own_world, own)
    own_world.url = own_world.url.replace("app:app@", "seer:seer@")
    shop.db = own_world.database(tenants=shop.db.tenants)
    try:
        with pytest.raises(UnprotectedTenants, match="BYPASSRLS") as caught:
            await shop.names("ann")
        assert caught.value.role == "seer"
        assert lent(shop.db) == []
    finally:
        own.do("DROP ROLE seer")


@on_postgresql
async def test_what_a_tenant_has_no_table_for_is_not_anothers(
    own: OwnServer, own_world: World
) -> None:
    shop = await shops.schemas(own_world, own)
    own.do("CREATE TABLE public.common (id int)", "GRANT ALL ON public.common TO app")

    with pytest.raises(Exception, match="common"):
        async with shop.session(tenant="ann") as session:
            await session.execute("SELECT * FROM common")

    shared = await shops.schemas(own_world, own, tenants={"shared": ("public",)})
    async with shared.session(tenant="ann") as session:
        assert (await session.execute("SELECT * FROM common")).all() == []


# ---------------------------------------------------------------- every database


async def at(world: World, fresh_url: Any, **options: Any) -> Shop:
    return await shops.databases(world, lambda name: fresh_url(world.backend, name), **options)


async def test_each_tenant_has_its_database(world: World, fresh_url: Any) -> None:
    shop = await at(world, fresh_url, tenants={"required": False})
    for name in ("ann", "bob", "ann"):
        await shop.write(name)

    assert await shop.names("ann") == ["ann", "ann"]
    assert await shop.names("bob", readonly=True) == ["bob"]
    async with shop.session(tenant="bob") as session:
        assert (await session.get(shop.note, 1)).tenant == "bob"
        assert await session.get(shop.note, 2) is None
    await check_nothing_left(shop.world, shop.db)


async def test_a_tenant_is_settled_where_a_scope_begins(world: World, fresh_url: Any) -> None:
    shop = await at(world, fresh_url)
    async with shop.session(tenant="ann") as outer:
        async with shop.session() as inner:
            assert inner.tenant == "ann"
        async with shop.session(tenant="ann", propagation="nested") as inner:
            assert inner.tenant == "ann"
        for other in ("bob", NO_TENANT):
            with pytest.raises(ScopeRefused, match="ann"):
                async with shop.session(tenant=other):
                    pass
        assert outer.tenant == "ann"
    async with shop.session(tenant="ann") as outer:
        await outer.execute(f"SELECT * FROM {shop.table}")
        async with shop.session(propagation="requires_new", tenant="bob") as inner:
            assert inner.tenant == "bob"


async def test_objects_stay_with_their_tenant(world: World, fresh_url: Any) -> None:
    shop = await at(world, fresh_url)
    await shop.write("ann")
    await shop.write("bob")
    async with shop.session(tenant="ann") as session:
        note = await session.get(shop.note, 1)

    for use in ("add", "delete", "merge"):
        with pytest.raises(ForeignTenant) as caught:
            async with shop.session(tenant="bob") as session:
                answer = getattr(session, use)(note)
                if asyncio.iscoroutine(answer):
                    await answer
        assert (caught.value.owner, caught.value.tenant) == ("ann", "bob")
    assert await shop.names("bob") == ["bob"]
    async with shop.session(tenant="ann") as session:
        session.add(note)
        note.tenant = "ann again"
    assert await shop.names("ann") == ["ann again"]


async def test_a_tenant_is_required(world: World, fresh_url: Any) -> None:
    shop = await at(world, fresh_url)
    with pytest.raises(TenantRequired, match="NO_TENANT"):
        async with shop.session():
            pass
    async with shop.session(tenant=NO_TENANT) as session:
        assert session.tenant is None
        assert await session.scalar("SELECT 1") == 1


async def test_the_tenant_of_the_moment(world: World, fresh_url: Any) -> None:
    now: list[str | None] = ["ann"]
    options = {"current": lambda: now[0], "known": {"ann", "bob"}}
    shop = await at(world, fresh_url, tenants=options)
    async with shop.session() as session:
        assert session.tenant == "ann"
        now[0] = "bob"
        async with shop.session() as inner:
            assert inner.tenant == "ann"
    async with shop.session() as session:
        assert session.tenant == "bob"
    now[0] = "eve"
    with pytest.raises(UnknownTenant) as caught:
        async with shop.session():
            pass
    assert caught.value.tenant == "eve"
    now[0] = None
    with pytest.raises(TenantRequired):
        async with shop.session():
            pass


async def test_few_tenants_are_open_at_once(world: World, fresh_url: Any) -> None:
    names = tuple(f"t{number}" for number in range(5))
    few = {"open_at_once": 2, "connections": 3, "required": False}
    shop = await at(world, fresh_url, names=names, tenants=few)

    async with shop.session(tenant="t0") as held:
        held.add(shop.note(tenant="t0"))
        await held.flush()
        for name in names[1:]:
            await shop.write(name)
        open_now = [server.tenant for server in shop.db.tenant_servers or ()]
        assert "t0" in open_now
        assert len(open_now) == 2

    assert [await shop.names(name) for name in names] == [[name] for name in names]
    assert len(list(shop.db.tenant_servers or ())) == 2
    words = {word for pool in shop.db.snapshot().pools for word in pool.name.split()}
    assert words & set(names) == {"t3", "t4"}
    assert len(shop.db.snapshot().connections) <= 3
    await check_nothing_left(world, shop.db)


async def test_many_tenants_share_few_connections(world: World, fresh_url: Any) -> None:
    names = tuple(f"t{number}" for number in range(4))
    few = {"connections": 2, "required": False}
    shop = await at(world, fresh_url, names=names, tenants=few, pool_size=1)
    foreign: list[tuple[str, list[str]]] = []
    rounds = 6

    async def client(number: int) -> None:
        for turn in range(rounds):
            name = names[(number + turn) % len(names)]
            try:
                async with shop.session(tenant=name, timeout=PATIENCE) as session:
                    session.add(shop.note(tenant=name))
                    await session.flush()
                    seen = (await session.scalars(f"SELECT tenant FROM {shop.table}")).all()
                    foreign.extend((name, seen) for each in seen if each != name)
                    if (number + turn) % 3 == 0:
                        raise Boom
            except Boom:
                pass

    ends = await world.together(*(functools.partial(client, n) for n in range(4)))

    assert [end for end in ends if end is not None] == []
    assert foreign == []
    written = sum([len(await shop.names(name)) for name in names])
    assert written == sum((n + turn) % 3 != 0 for n in range(4) for turn in range(rounds))
    await check_nothing_left(world, shop.db)
