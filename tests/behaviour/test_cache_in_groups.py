"""A group's unit whose databases have caches: what is decided is committed, whoever is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from hermetic import Cache, CacheAway, Outcome
from hermetic.execution import KEY
from hermetic.touched import touched_by
from tests.behaviour.aftermath import lent, on
from tests.behaviour.ledgers import Entry, Pair, do, pair
from tests.behaviour.test_cache_in_redis import server as server  # noqa: PLC0414 - a fixture
from tests.behaviour.watching import Boom
from tests.databases import FreshUrl
from tests.models import User
from tests.servers.redis import RedisServer
from tests.worlds import World

FEW = on(lambda backend: backend.name in ("psycopg", "asyncpg"))


@pytest.fixture
def audit_url(world: World, fresh_url: FreshUrl) -> str:
    return fresh_url(world.backend, "audit")


def cache(redis: RedisServer, **options: Any) -> dict[str, Any]:
    given = {"lease": 0.01, "pause": 0.05, **options}
    return {"cache": Cache(region=redis.url, entities=(User,), **given)}


@asynccontextmanager
async def decided_in(
    log: Path, world: World, audit_url: str, **options: Any
) -> AsyncIterator[Pair]:
    """A pair whose units are decided in a file."""
    async with pair(world, world.url, audit_url, two_phase=log, **options) as both:
        if world.is_async:
            await both.group.acreate_log()
        else:
            both.group.create_log()
        yield both


async def unit(
    world: World, both: Pair, flushed: Callable[[], object] = list, said: str = "ann came"
) -> Any:
    async with world.session(both.group) as session:
        session.add_all([User(username="ann"), Entry(said=said)])
        await session.flush()
        flushed()
    return session


@FEW
@pytest.mark.parametrize("phases", [1, 2])
async def test_a_unit_is_refused_as_a_whole(
    world: World, server: RedisServer, audit_url: str, tmp_path: Path, phases: int
) -> None:
    """The second one's cache is away; the first one could be committed."""
    given = cache(server, on_failure="refuse")
    made = (
        pair(world, world.url, audit_url, audit=given)
        if phases == 1
        else decided_in(tmp_path / "log", world, audit_url, audit=given)
    )
    async with made as both:
        try:
            with pytest.raises(CacheAway):
                await unit(world, both, server.stop)
        finally:
            server.start()

        assert (both.users(), both.entries(), both.prepared()) == ([], [], [])
        assert [*lent(both.main), *lent(both.audit), *lent(both.group)] == []


@FEW
@pytest.mark.parametrize("step", ["preparing audit", "decided"])
async def test_what_is_decided_is_committed_whoever_is_told(
    world: World, server: RedisServer, audit_url: str, tmp_path: Path, step: str
) -> None:
    """Redis goes away when the unit was announced already."""
    given = cache(server, on_failure="refuse")
    async with decided_in(tmp_path / "log", world, audit_url, audit=given) as both:
        coordinator = both.group.coordinator

        def reached(what: str, unit: str) -> None:
            if what == step:
                server.stop()

        coordinator.reached = reached
        try:
            session = await unit(world, both)
        finally:
            server.start()

        assert session.outcome is Outcome.COMMITTED
        assert (both.users(), both.entries(), both.prepared()) == (["ann"], ["ann came"], [])


@FEW
@pytest.mark.parametrize("struck", [CacheAway, KeyboardInterrupt])
async def test_nothing_takes_back_what_was_decided(
    world: World,
    audit_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    struck: type[BaseException],
) -> None:
    """Something more is to be announced after the decision, and that fails."""
    given = {"cache": Cache(shared=tmp_path / "audit.cache")}
    async with decided_in(tmp_path / "log", world, audit_url, audit=given) as both:
        store = both.audit.cache.store
        begin = store.begin

        def broken(names: frozenset[str], *args: Any) -> Any:
            if "more" in names:
                raise struck("struck while it was announced")
            return begin(names, *args)

        def more(connection: Any) -> None:
            touched = touched_by(connection.info, connection.info[KEY])
            assert touched is not None
            touched.names.add("more")

        monkeypatch.setattr(store, "begin", broken)
        engine = both.audit.async_engine.sync_engine if world.is_async else both.audit.engine
        event.listen(engine, "commit", more)
        before = store.tokens.look(store.tokens.places(frozenset({"more"})))
        if struck is CacheAway:
            await unit(world, both)
        else:
            with pytest.raises(KeyboardInterrupt):
                await unit(world, both)

        assert (both.users(), both.entries(), both.prepared()) == (["ann"], ["ann came"], [])
        assert store.tokens.look(store.tokens.places(frozenset({"more"}))) not in (None, before)


@FEW
async def test_a_unit_that_is_rolled_back_leaves_no_mark(
    world: World, audit_url: str, tmp_path: Path
) -> None:
    given = {"cache": Cache(shared=tmp_path / "main.cache")}
    async with decided_in(tmp_path / "log", world, audit_url, main=given) as both:
        tokens = both.main.cache.store.tokens
        do(audit_url, "INSERT INTO entries (id, said) VALUES (7, 'ann came')")

        def reached(what: str, unit: str) -> None:
            if what == "prepared main":
                assert tokens.look(tokens.places(frozenset({"users"}))) is None
                raise Boom

        both.group.coordinator.reached = reached
        with pytest.raises(Boom):
            await unit(world, both, said="bob came")

        assert both.users() == []
        assert tokens.look(tokens.places(frozenset({"users"}))) is not None
