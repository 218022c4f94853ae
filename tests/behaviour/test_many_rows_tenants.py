"""Many rows of a tenant's: where they go, and that nobody else's are reached."""

from __future__ import annotations

import pytest

from hermetic import FaultError, ForeignTenant
from tests.behaviour import shops
from tests.behaviour.own import OwnServer
from tests.behaviour.test_tenants import Make, on_postgresql
from tests.worlds import World


@on_postgresql
@pytest.mark.parametrize("make", [shops.schemas, shops.rows])
async def test_many_rows_are_the_tenants(own: OwnServer, own_world: World, make: Make) -> None:
    shop = await make(own_world, own, pool_size=1)
    keys: dict[str, list[int]] = {}
    before = {name: len(await shop.names(name)) for name in ("ann", "bob")}
    for name in ("ann", "bob"):
        async with shop.session(tenant=name) as session:
            rows = [{"tenant": name}] * 150
            keys[name] = await session.insert_many(shop.note, rows, returning=True)
            await session.insert_many(shop.note, rows)
    mine, others = set(keys["ann"]), set(keys["bob"]) - set(keys["ann"])
    async with shop.session(tenant="ann") as session:
        assert await session.delete_many(shop.note, mine) == 150
        assert await session.delete_many(shop.note, others) in range(151)
    assert len(await shop.names("bob")) == before["bob"] + 300
    assert set(await shop.names("bob")) == {"bob"}


@on_postgresql
async def test_a_row_of_another_tenant_is_refused(own: OwnServer, own_world: World) -> None:
    shop = await shops.rows(own_world, own, pool_size=1)
    before = await shop.names("bob")
    async with shop.session(tenant="ann") as session:
        with pytest.raises(FaultError, match="row-level security"):
            await session.insert_many(shop.note, [{"tenant": "bob"}] * 150)
        note = shop.note(tenant="ann")
        session.add(note)
    async with shop.session(tenant="bob") as session:
        with pytest.raises(ForeignTenant):
            await session.delete_many(shop.note, [note])
    assert await shop.names("bob") == before
