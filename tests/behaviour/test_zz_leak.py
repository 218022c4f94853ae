import gc, asyncio
import pytest
from tests.behaviour.test_cancellation import *
from tests.behaviour.cancelling import cancel_at
from tests.behaviour.aftermath import on_asyncio

@on_asyncio
async def test_leak(world):
    for n in range(1, 40):
        db = world.database(pool_size=2)
        run = Run(world, db, f"u{n}")
        v = await cancel_at(n, lambda: commit(run))
        world.do("DELETE FROM users")
        await asyncio.sleep(0.05)
        def conns():
            if world.backend.family == "postgresql":
                return world.seen("select pid, state, query from pg_stat_activity where datname=current_database() and pid<>pg_backend_pid() and backend_type='client backend'")
            if world.backend.family == "mariadb":
                return world.seen("select id, command, info from information_schema.processlist where db=database() and id<>connection_id()")
            return []
        a = conns(); k = len(db.snapshot().connections)
        gc.collect(); await asyncio.sleep(0.05)
        b = conns()
        print(n, v.cancelled, run.outcome, "server", a, "known", k, "after gc", len(b))
        await db.aclose()
        if not v.cancelled: break
