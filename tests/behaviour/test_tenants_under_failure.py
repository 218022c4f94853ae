"""Many tenants through few connections, while everything goes wrong: nobody sees another's rows.

``HERMETIC_TENANTS=1000`` in the environment runs the whole of it, in minutes; a file for each of a
fifth as many.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select

from hermetic import (
    NO_TENANT,
    DatabasePerTenant,
    DeadlineExceeded,
    FaultError,
    Outcome,
    RowSecurity,
    SchemaPerTenant,
)
from tests.behaviour import shops
from tests.behaviour.aftermath import lent, on
from tests.behaviour.own import OwnServer
from tests.behaviour.shops import Shop
from tests.worlds import World

pytestmark = pytest.mark.slow
logger = logging.getLogger(__name__)

_TENANTS = int(os.environ.get("HERMETIC_TENANTS", "50"))
_SCOPES_EACH = 12
_CLIENTS = 30
# scopes of a client in a batch, which has the time of a test's patience
_BATCH = 12
_CONNECTIONS = 20
_SLEEP = {
    "postgresql": "SELECT pg_sleep(30)",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    " SELECT count(*) FROM n",
}


class Boom(Exception):
    pass


async def _succeed(proof: Proof, session: Any, name: str) -> None:
    pass


async def _raise(proof: Proof, session: Any, name: str) -> None:
    raise Boom


async def _be_cancelled(proof: Proof, session: Any, name: str) -> None:
    raise asyncio.CancelledError


async def _fail(proof: Proof, session: Any, name: str) -> None:
    await session.execute("SELECT * FROM nowhere_at_all")


async def _take_back(proof: Proof, session: Any, name: str) -> None:
    session.rollback_only()


async def _last_too_long(proof: Proof, session: Any, name: str) -> None:
    await session.execute(_SLEEP[proof.world.backend.family])


async def _lose_the_connection(proof: Proof, session: Any, name: str) -> None:
    if proof.world.backend.family == "postgresql":
        await session.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    else:
        session.scope.connection.break_off()
        raise Boom


async def _go_back_to_a_savepoint(proof: Proof, session: Any, name: str) -> None:
    try:
        async with proof.shop.session(propagation="nested") as inner:
            inner.add(proof.shop.note(tenant=name))
            await inner.flush()
            await inner.execute("SELECT * FROM nowhere_at_all")
    except FaultError:
        await proof.look(session, name)


async def _visit_another(proof: Proof, session: Any, name: str) -> None:
    other = proof.chance.choice(proof.names)
    async with proof.shop.session(
        tenant=other, propagation="requires_new", readonly=True, timeout=0.5
    ) as inner:
        await proof.look(inner, other)
    await proof.look(session, name)


_ENDS = (
    *(_succeed, _succeed, _succeed, _raise, _be_cancelled, _fail, _take_back, _last_too_long),
    *(_lose_the_connection, _go_back_to_a_savepoint, _visit_another),
)


class Proof:
    """What the clients do and see."""

    def __init__(self, shop: Shop, names: list[str]) -> None:
        self.shop = shop
        self.world = shop.world
        self.names = names
        self.chance = random.Random(7)
        self.looks = 0
        self.foreign: list[tuple[str, list[str]]] = []
        self.ends: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()

    async def look(self, session: Any, name: str) -> None:
        """All rows that a scope sees, by a string and as objects."""
        seen = [*(await session.scalars(f"SELECT tenant FROM {self.shop.table}")).all()]
        seen += [note.tenant for note in (await session.scalars(select(self.shop.note))).all()]
        self.looks += 1
        if any(tenant != name for tenant in seen):
            self.foreign.append((name, seen))

    async def client(self) -> None:
        for _ in range(_BATCH):
            end, name = self.chance.choice(_ENDS), self.chance.choice(self.names)
            # aiosqlite's connect keeps its file open, now and then, where it is cancelled itself
            struck = self.world.is_async and self.world.backend.family != "sqlite"
            if not struck or self.chance.random() < 0.8:
                await self.scope(end, name)
                continue
            task = asyncio.ensure_future(self.scope(end, name))
            asyncio.get_running_loop().call_later(self.chance.uniform(0, 0.05), task.cancel)
            await asyncio.wait([task])

    async def scope(self, end: Callable[..., Awaitable[None]], name: str) -> None:
        readonly = True if self.chance.random() < 0.3 else None
        timeout = 0.05 if end is _last_too_long else 10.0
        session = None
        came = "nothing"
        try:
            async with self.shop.session(
                tenant=name, readonly=readonly, timeout=timeout, retry=None
            ) as session:
                if readonly is None:
                    session.add(self.shop.note(tenant=name))
                    await session.flush()
                await self.look(session, name)
                await end(self, session, name)
        except (Exception, asyncio.CancelledError) as error:
            came = type(error).__name__
        self.ends[f"{end.__name__.strip('_')}: {came}"] += 1
        if session is not None and readonly is None:
            self.written[name] += session.outcome is Outcome.COMMITTED
            self.unknown[name] += session.outcome is Outcome.UNKNOWN

    async def run(self, scopes: int) -> None:
        for _ in range(1 + scopes // (_CLIENTS * _BATCH)):
            ends = await self.world.together(*[self.client] * _CLIENTS)
            assert [end for end in ends if end is not None] == []

    def check(self, found: dict[str, list[str]]) -> None:
        """:param found: what an administrator sees in the place of each tenant."""
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        logger.info("%d scopes looked %d times: %s", self.ends.total(), self.looks, ends)
        assert self.foreign == []
        assert lent(self.shop.db) == []
        assert sum(self.written.values()) > 0
        assert {end for end in self.ends if DeadlineExceeded.__name__ in end} != set()
        for name in self.names:
            assert set(found.get(name, ())) <= {name}
            count, sure = len(found.get(name, ())), self.written[name]
            assert sure <= count <= sure + self.unknown[name]


on_postgresql = on(lambda backend: backend.family == "postgresql")
on_sqlite = on(lambda backend: backend.family == "sqlite")
_half = _CONNECTIONS // 2
_pools: dict[str, Any] = {"pool_size": _half, "reader_pool_size": _half}


def options_of(world: World) -> dict[str, Any]:
    """Twenty connections; asyncpg asks for TLS by a future that nobody reads after a cancelled
    connect, which its loop complains of.
    """
    plain = {"connect_args": {"ssl": False}} if world.backend.name == "asyncpg" else {}
    return {**_pools, **plain}


_scopes = _TENANTS * _SCOPES_EACH


@on_postgresql
async def test_rows_stay_with_their_tenants(own: OwnServer, own_world: World) -> None:
    names = [f"t{number}" for number in range(_TENANTS)]
    shop = await shops.rows(own_world, own, **options_of(own_world))
    assert isinstance(shop.db.tenants, RowSecurity)
    proof = Proof(shop, names)

    await proof.run(_scopes)

    async with shop.session(tenant=NO_TENANT) as session:
        assert await session.scalar("SELECT count(*) FROM notes_of_all") == 0
    found: dict[str, list[str]] = {}
    for (name,) in own_world.seen("SELECT tenant FROM notes_of_all"):
        found.setdefault(name, []).append(name)
    assert set(found) <= set(names)
    proof.check(found)


@on_postgresql
async def test_schemas_stay_with_their_tenants(own: OwnServer, own_world: World) -> None:
    names = [f"t{number}" for number in range(_TENANTS)]
    make = "CREATE SCHEMA of_{0}; CREATE TABLE of_{0}.notes (id serial PRIMARY KEY, tenant text)"
    grant = "GRANT ALL ON SCHEMA of_{0} TO app; GRANT ALL ON ALL TABLES IN SCHEMA of_{0} TO app"
    also = "GRANT ALL ON ALL SEQUENCES IN SCHEMA of_{0} TO app"
    for name in names:
        own_world.do("; ".join((make, grant, also)).format(name))
    # what a scope would find that has lost its tenant
    own_world.do("CREATE TABLE public.notes (id serial PRIMARY KEY, tenant text)")
    own_world.do("INSERT INTO public.notes (tenant) VALUES ('nobody')")
    own_world.do("GRANT ALL ON public.notes, public.notes_id_seq TO app")
    tenants = SchemaPerTenant(schema="of_{tenant}", shared=("public",))
    shop = Shop(own_world, own_world.database(tenants=tenants, **options_of(own_world)), shops.Note)
    proof = Proof(shop, names)

    await proof.run(_scopes)

    assert own_world.seen("SELECT tenant FROM public.notes") == [("nobody",)]
    proof.check(
        {
            name: [row[0] for row in own_world.seen(f"SELECT tenant FROM of_{name}.notes")]
            for name in names
        }
    )
    own.do(*(f"DROP SCHEMA of_{name} CASCADE" for name in names))


@on_sqlite
async def test_files_stay_with_their_tenants(world: World, fresh_url: Any) -> None:
    names = [f"t{number}" for number in range(max(50, _TENANTS // 5))]
    few = {"open_at_once": 30, "connections": _CONNECTIONS}
    urls = {name: fresh_url(world.backend, name) for name in names}
    shop = await shops.databases(world, urls.__getitem__, tuple(names), tenants=few)
    assert isinstance(shop.db.tenants, DatabasePerTenant)
    proof = Proof(shop, names)

    await proof.run(len(names) * _SCOPES_EACH)

    assert len(list(shop.db.tenant_servers or ())) <= few["open_at_once"]
    proof.check({name: await shop.names(name, timeout=5.0) for name in names})
