"""Replicas that are not there, do not answer, conflict, or are replicas no more."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import func, make_url, select, text

from hermetic import (
    ConnectionLost,
    Database,
    Event,
    NoReplica,
    Outcome,
    ReplicaEjected,
    ReplicaReturned,
)
from tests.behaviour.aftermath import on_postgresql, on_servers
from tests.behaviour.cluster import Cluster, info_of, known_as, port_of, taken
from tests.models import User
from tests.proxy import Proxy
from tests.servers.process import free_port
from tests.worlds import World

pytestmark = pytest.mark.slow


def nobody(url: str) -> str:
    """The URL with a port on which nobody listens."""
    return make_url(url).set(port=free_port()).render_as_string(hide_password=False)


# ---------------------------------------------------------------- not there


@on_servers
async def test_a_replica_that_is_not_there_costs_no_scope_an_error(
    replicated: World, cluster: Cluster
) -> None:
    urls = cluster.urls(replicated)
    away = nobody(urls[0])
    db = cluster.database(replicated, replicas=[away, *urls])
    events: list[Event] = []
    db.listen(events.append)

    for _ in range(20):
        assert await port_of(replicated, db) in cluster.ports

    (info,) = [info for info in db.snapshot().servers if f":{make_url(away).port}/" in info.name]
    assert info.state == "ejected"
    assert info.failures >= 1
    assert info.ejected_for is not None
    assert info.error
    (ejected,) = [event for event in events if isinstance(event, ReplicaEjected)]
    assert ejected.server == info.name
    assert taken(db) == []


@on_servers
async def test_where_none_is_there_scopes_go_to_the_primary(
    replicated: World, cluster: Cluster
) -> None:
    away = nobody(cluster.urls(replicated)[0])
    db = cluster.database(replicated, replicas=[away])
    strict = cluster.database(replicated, replicas=[away], replica_fallback=False)

    for _ in range(3):
        assert await port_of(replicated, db) == cluster.primary.port
        with pytest.raises(NoReplica, match="ejected"):
            await port_of(replicated, strict)


@on_servers
async def test_a_scope_that_meets_a_dead_replica_in_a_savepoint_goes_on_too(
    replicated: World, cluster: Cluster
) -> None:
    away = nobody(cluster.urls(replicated)[0])
    db = cluster.database(replicated, replicas=[away])

    async with (
        replicated.session(db, readonly=True),
        replicated.session(db, propagation="nested") as inner,
    ):
        assert await inner.scalar(select(func.count(User.id))) == 0
        assert await inner.get(User, 1) is None


@on_servers
async def test_a_replica_that_comes_back_gets_scopes_again(
    replicated: World, cluster: Cluster
) -> None:
    replica = cluster.replicas[0]
    db = cluster.database(
        replicated, replicas=cluster.urls(replicated)[:1], ping_after=0, probe_every=0.02
    )
    events: list[Event] = []
    db.listen(events.append)
    assert await port_of(replicated, db) == replica.port

    replica.kill()
    try:
        assert await port_of(replicated, db) == cluster.primary.port
        assert info_of(db, replica).state == "ejected"
    finally:
        replica.start()
    # with a pause of up to a second between two looks, or a few of those
    assert known_as(db, replica, "up")

    assert await port_of(replicated, db) == replica.port
    told = [type(e) for e in events if isinstance(e, (ReplicaEjected, ReplicaReturned))]
    assert told == [ReplicaEjected, ReplicaReturned]


# ---------------------------------------------------------------- no answer


@on_servers
async def test_no_statement_waits_for_a_replica_that_does_not_answer(
    replicated: World, cluster: Cluster
) -> None:
    with Proxy(cluster.urls(replicated)[0]) as proxy:
        db = cluster.database(
            replicated, replicas=[proxy.url], connect_timeout=1.0, probe_every=0.05
        )
        async with replicated.session(db, readonly=True) as session:
            await session.scalar(select(func.count(User.id)))
        proxy.freeze_at(re.compile(rb"balance"))

        with pytest.raises(ConnectionLost):
            async with replicated.session(db, readonly=True) as session:
                await session.scalar(select(func.sum(User.balance)))

        assert await port_of(replicated, db) == cluster.primary.port
        await _close(db, replicated)


@on_servers
async def test_a_connect_that_hangs_leaves_time_for_another_server(
    replicated: World, cluster: Cluster
) -> None:
    with Proxy(cluster.urls(replicated)[0]) as proxy:
        proxy.freeze()
        db = cluster.database(replicated, replicas=[proxy.url], connect_timeout=30.0)

        assert await port_of(replicated, db, timeout=1.5) == cluster.primary.port
        proxy.cut_all()
        proxy.thaw()
        await _close(db, replicated)


async def _close(db: Database, world: World) -> None:
    """Before the proxy is closed, of which it would take the end for the server's."""
    if world.is_async:
        await db.aclose()
    else:
        db.close()


# ---------------------------------------------------------------- a question that is lost


@on_servers
async def test_a_scope_whose_position_is_lost_is_committed_and_its_flow_in_doubt(
    replicated: World, cluster: Cluster
) -> None:
    with Proxy(replicated.url) as proxy:
        replicated.url = proxy.url
        db = cluster.database(replicated, probe_every=600.0)
        async with replicated.session(db) as session:
            await session.execute("SELECT 1")
        with db.flow() as flow:
            trap = proxy.cut_before(re.compile(rb"pg_is_in_recovery|gtid_current_pos"))
            async with replicated.session(db) as session:
                session.add(User(username="ann"))

            assert proxy.sprung() == 1
            assert trap is not None
            assert session.outcome is Outcome.COMMITTED
            assert session.position is None
            assert replicated.usernames() == ["ann"]
            assert flow.unsure
            assert await port_of(replicated, db) == cluster.primary.port
            assert flow.position is not None
        assert taken(db) == []
        await _close(db, replicated)


# ---------------------------------------------------------------- a standby's own


@on_postgresql
async def test_a_conflict_with_recovery_is_run_again(replicated: World, cluster: Cluster) -> None:
    replica = cluster.replicas[0]
    replicated.do("INSERT INTO users (id, username, balance) VALUES (1, 'ann', 0)")
    cluster.catch_up()
    replica._do("ALTER SYSTEM SET max_standby_streaming_delay = 0")
    replica._do("SELECT pg_reload_conf()")
    db = cluster.database(replicated, replicas=cluster.urls(replicated)[:1])
    runs: list[int] = []

    async def reads(session: Any) -> int:
        runs.append(await session.scalar(text("SELECT count(*) FROM users")))
        if len(runs) == 1:
            replicated.do("DELETE FROM users")
            replicated.do("INSERT INTO users (id, username, balance) VALUES (2, 'bob', 0)")
            replicated.do("INSERT INTO users (id, username, balance) VALUES (3, 'eve', 0)")
            cluster.primary._do("VACUUM users", "app")
            replica.catch_up()
        found: int = await session.scalar(text("SELECT count(*) FROM users"))
        return found

    unit = replicated.unit(db, readonly=True, isolation="REPEATABLE READ", retry=5)
    try:
        assert await unit(reads)() == 2
    finally:
        replica._do("ALTER SYSTEM RESET max_standby_streaming_delay")
        replica._do("SELECT pg_reload_conf()")
    assert len(runs) > 1


@pytest.mark.postgresql
def test_a_replica_that_was_promoted_is_none(postgresql: Any) -> None:
    cluster = Cluster("postgresql", 2)
    try:
        promoted, other = cluster.replicas
        urls = [replica.url("app", "postgresql+psycopg") for replica in cluster.replicas]
        with Database(
            cluster.primary.url("app", "postgresql+psycopg"), replicas=urls, probe_every=0.02
        ) as db:
            with db.session(readonly=True) as session:
                session.execute("SELECT 1")
            assert known_as(db, promoted, "up")

            promoted.promote()

            assert known_as(db, promoted, "promoted")
            for _ in range(10):
                with db.session(readonly=True) as session:
                    port = session.scalar(text("SELECT inet_server_port()"))
                assert port == other.port
    finally:
        cluster.stop()
