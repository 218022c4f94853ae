"""Read-only scopes on replicas: where they go, and that they see what was written before."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select, text

from hermetic import (
    Database,
    InvalidOption,
    MissingDriver,
    NoReplica,
    ReadOnlyScope,
    Replica,
    ScopeError,
    ScopeRefused,
    probing,
)
from tests.behaviour.aftermath import eventually, on, on_postgresql, on_servers
from tests.behaviour.cluster import PORT, Cluster, info_of, known_as, port_of, taken
from tests.models import User
from tests.proxy import Proxy
from tests.worlds import PATIENCE, World

pytestmark = pytest.mark.slow


async def add(world: World, db: Database, username: str, **options: Any) -> Any:
    async with world.session(db, **options) as session:
        session.add(User(username=username))
    return session


async def count(world: World, db: Database, **options: Any) -> int:
    async with world.session(db, readonly=True, **options) as session:
        found: int = await session.scalar(select(func.count(User.id)))
    return found


# ---------------------------------------------------------------- where scopes go


@on_servers
async def test_reads_go_to_replicas_and_all_else_to_the_primary(
    replicated: World, cluster: Cluster
) -> None:
    db = cluster.database(replicated)
    port = text(PORT[replicated.backend.family])

    async with replicated.session(db) as session:
        assert await session.scalar(port) == cluster.primary.port

    for _ in range(5):
        assert await port_of(replicated, db) in cluster.ports
    assert sum(info_of(db, replica).scopes for replica in cluster.replicas) == 5
    assert taken(db) == []


@on_servers
async def test_a_scope_stays_on_one_server(replicated: World, cluster: Cluster) -> None:
    db = cluster.database(replicated)
    port = text(PORT[replicated.backend.family])

    for _ in range(5):
        async with replicated.session(db, readonly=True) as session:
            ports = {await session.scalar(port) for _ in range(5)}
            async with replicated.session(db, propagation="nested") as inner:
                ports.add(await inner.scalar(port))
            await session.get(User, 1)
            ports.add(await session.scalar(port))
        assert len(ports) == 1


@on_servers
async def test_a_write_that_strays_is_refused_with_the_scope_named(
    replicated: World, cluster: Cluster
) -> None:
    db = cluster.database(replicated)

    with pytest.raises(ReadOnlyScope, match="a report"):
        async with replicated.session(db, readonly=True, name="a report") as session:
            await session.execute("INSERT INTO users (username, balance) VALUES ('ann', 0)")

    assert replicated.usernames() == []
    assert taken(db) == []


@on_postgresql
async def test_a_level_that_no_standby_has_is_read_from_the_primary(
    replicated: World, cluster: Cluster
) -> None:
    db = cluster.database(replicated)

    assert await port_of(replicated, db, isolation="SERIALIZABLE") == cluster.primary.port
    assert await port_of(replicated, db, isolation="REPEATABLE READ") in cluster.ports


@on_postgresql
async def test_weights_and_zones_say_who_gets_how_many(replicated: World, cluster: Cluster) -> None:
    near, far = cluster.replicas
    urls = cluster.urls(replicated)
    here = [Replica(urls[0], zone="here"), Replica(urls[1], zone="there", weight=100)]
    db = cluster.database(replicated, replicas=here, zone="here")
    uneven = [Replica(urls[0], weight=0.001), Replica(urls[1], weight=1000)]
    other = cluster.database(replicated, replicas=uneven)

    for _ in range(10):
        assert await port_of(replicated, db) == near.port
        assert await port_of(replicated, other) == far.port


# ---------------------------------------------------------------- positions


@on_servers
async def test_a_flow_reads_its_own_writes_whatever_the_replicas_show(
    replicated: World, cluster: Cluster
) -> None:
    db = cluster.database(replicated, replica_wait=0.05)
    with cluster.paused(*cluster.replicas), db.flow() as flow:
        for number in range(3):
            await add(replicated, db, f"user {number}")
            assert await count(replicated, db) == number + 1
            assert await port_of(replicated, db) == cluster.primary.port
    cluster.catch_up()

    with flow:
        assert await count(replicated, db) == 3
        assert await port_of(replicated, db) in cluster.ports


@on_servers
async def test_without_a_flow_a_replica_shows_what_it_has(
    replicated: World, cluster: Cluster
) -> None:
    db = cluster.database(replicated)

    with cluster.paused(*cluster.replicas):
        await add(replicated, db, "ann")
        assert await count(replicated, db) == 0


@on_servers
async def test_a_position_goes_elsewhere_as_a_short_string(
    replicated: World, cluster: Cluster
) -> None:
    db = cluster.database(replicated, replica_wait=0.05)
    elsewhere = cluster.database(replicated, replica_wait=0.05)

    with cluster.paused(*cluster.replicas):
        session = await add(replicated, db, "ann", position=True)
        position = session.position
        assert position == session.scope.route.position
        assert len(position) < 60
        assert position.isascii()
        assert not set(position) & set(' ";,\\')

        assert await count(replicated, elsewhere) == 0
        assert await count(replicated, elsewhere, after=position) == 1
        with elsewhere.flow(position=position) as flow:
            assert await count(replicated, elsewhere) == 1
        assert flow.position is not None


@on_servers
async def test_a_position_is_waited_for(replicated: World, cluster: Cluster) -> None:
    db = cluster.database(replicated, replica_wait=30.0)
    session = None
    with cluster.paused(*cluster.replicas):
        session = await add(replicated, db, "ann", position=True)
        asked = threading.Event()
        resumed = threading.Thread(target=_resume, args=(asked, cluster.replicas))
        resumed.start()
        asked.set()
        try:
            port = await port_of(replicated, db, after=session.position)
        finally:
            resumed.join()

    assert port in cluster.ports
    assert await count(replicated, db, after=session.position) == 1


def _resume(asked: threading.Event, replicas: list[Any]) -> None:
    asked.wait(15)
    for replica in replicas:
        replica.resume()


@on_servers
async def test_where_the_primary_is_not_for_reading_a_scope_is_refused(
    replicated: World, cluster: Cluster
) -> None:
    db = cluster.database(replicated, replica_fallback=False, pool_timeout=0.1)
    with cluster.paused(*cluster.replicas):
        session = await add(replicated, db, "ann", position=True)

        with pytest.raises(NoReplica) as caught:
            await count(replicated, db, after=session.position)

    assert caught.value.position == session.position
    assert {info.role for info in caught.value.servers} == {"primary", "replica"}
    assert taken(db) == []


@on_servers
async def test_a_wait_leaves_time_for_the_primary(replicated: World, cluster: Cluster) -> None:
    db = cluster.database(replicated, replica_wait=600.0)
    with cluster.paused(*cluster.replicas):
        session = await add(replicated, db, "ann", position=True)

        found = await count(replicated, db, after=session.position, timeout=4.0)

    assert found == 1


@on_servers
async def test_a_flow_that_does_not_know_what_it_has_seen_reads_from_the_primary(
    replicated: World, cluster: Cluster
) -> None:
    db = cluster.database(replicated, replica_wait=0.05)

    with db.flow() as flow:
        with pytest.raises(ZeroDivisionError):
            async with replicated.session(db) as session:
                await session.execute("SELECT 1")
                raise ZeroDivisionError
        assert repr(flow).endswith("in doubt>")
        assert await port_of(replicated, db) == cluster.primary.port
        assert not flow.unsure
        cluster.catch_up()
        assert await port_of(replicated, db) in cluster.ports


@on_servers
async def test_those_who_are_started_in_a_flow_are_in_it(
    replicated: World, cluster: Cluster
) -> None:
    db = cluster.database(replicated, replica_wait=0.05)

    async def write() -> None:
        await add(replicated, db, "ann")

    with cluster.paused(*cluster.replicas), db.flow() as flow:
        if replicated.is_async:
            await asyncio.create_task(write())
        else:
            await write()
        assert flow.position is not None
        assert await count(replicated, db) == 1


@on_servers
async def test_reads_of_a_flow_never_go_back(replicated: World, cluster: Cluster) -> None:
    if len(cluster.replicas) < 2:
        pytest.skip("it takes two replicas")
    first, second = cluster.replicas
    urls = cluster.urls(replicated)
    one = cluster.database(replicated, replicas=urls[:1])
    both = cluster.database(replicated, replica_wait=0.05)

    with cluster.paused(second):
        await add(replicated, both, "ann")
        first.catch_up()
        with one.flow() as reading:
            assert await count(replicated, one) == 1

        assert reading.position is not None
        with both.flow(position=reading.position):
            for _ in range(10):
                assert await count(replicated, both) == 1


@on_servers
async def test_a_joined_scope_asks_for_no_more_than_there_is(
    replicated: World, cluster: Cluster
) -> None:
    db = cluster.database(replicated)
    session = await add(replicated, db, "ann", position=True)
    cluster.catch_up()

    async with replicated.session(db, readonly=True) as outer:
        await outer.scalar(select(func.count(User.id)))
        with pytest.raises(ScopeRefused, match="come so far"):
            await count(replicated, db, after=session.position)
        own = await count(replicated, db, after=session.position, propagation="requires_new")

    assert own == 1


# ---------------------------------------------------------------- what a position costs


async def requests(world: World, wire: Proxy, db: Database, **options: Any) -> int:
    """How many round trips a small write takes once everything is warm."""
    for number in range(8):
        await add(world, db, f"{options} {number}", **options)
    wire.forget()
    await add(world, db, f"{options}", **options)
    return len(wire.requests)


@on_servers
async def test_a_position_costs_one_round_trip_and_nothing_where_none_is_asked_for(
    replicated: World, cluster: Cluster
) -> None:
    plain = replicated.database()
    with Proxy(replicated.url) as wire:
        replicated.url = wire.url
        alone = replicated.database()
        db = cluster.database(replicated)
        usual = await requests(replicated, wire, alone)

        assert await requests(replicated, wire, db, name="unasked") == usual
        assert await requests(replicated, wire, db, name="asked", position=True) == usual + 1
        with db.flow():
            assert await requests(replicated, wire, db, name="flow") == usual + 1
        if replicated.is_async:
            await alone.aclose()
            await db.aclose()
        else:
            alone.close()
            db.close()
    assert plain.snapshot().servers == ()


@on_servers
async def test_a_position_that_was_not_asked_for_is_not_made_up(
    replicated: World, cluster: Cluster
) -> None:
    db = cluster.database(replicated)
    session = await add(replicated, db, "ann")

    with pytest.raises(ScopeError, match="position=True"):
        _ = session.position

    position = await db.aposition() if replicated.is_async else db.position()
    assert position is not None
    cluster.catch_up()
    assert await count(replicated, db, after=position) == 1


async def test_without_replicas_positions_can_be_had_where_the_database_keeps_them(
    world: World,
) -> None:
    db = world.database()
    with db.flow() as flow:
        session = await add(world, db, "ann", position=True)
        async with world.session(db, readonly=True) as reading:
            assert await reading.scalar(select(func.count(User.id))) == 1

    # the run's MariaDB has no binary log
    keeps = world.backend.family == "postgresql"
    assert (session.position is not None) is keeps
    assert (flow.position is not None) is keeps


# ---------------------------------------------------------------- health


@on_servers
async def test_what_is_known_of_the_servers_is_in_the_snapshot(
    replicated: World, cluster: Cluster
) -> None:
    db = cluster.database(replicated, probe_every=0.02)
    await add(replicated, db, "ann", position=True)

    assert await port_of(replicated, db) in cluster.ports
    for server in (cluster.primary, *cluster.replicas):
        assert known_as(db, server, "up")
    info = info_of(db, cluster.replicas[0])
    assert (info.role, info.weight, info.failures) == ("replica", 1.0, 0)
    # a new connection says that it is up, the first look how far it is
    assert await eventually(replicated, lambda: info_of(db, cluster.replicas[0]).position, PATIENCE)


@on_servers
async def test_a_replica_that_shows_old_data_gets_no_scopes(
    replicated: World, cluster: Cluster
) -> None:
    db = cluster.database(replicated, probe_every=0.02, replica_lag=0.1)
    stale = cluster.replicas[0]
    await port_of(replicated, db)
    assert known_as(db, stale, "up")

    with cluster.paused(stale):
        await add(replicated, db, "ann")
        assert known_as(db, stale, "lagging")
        for _ in range(10):
            assert await port_of(replicated, db) != stale.port

    assert known_as(db, stale, "up")


@on(lambda backend: backend.is_async and backend.family != "sqlite")
async def test_servers_are_looked_at_where_there_are_drivers_of_asyncio_alone(
    replicated: World, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_driver(url: Any, *, asynchronous: bool) -> Any:
        assert not asynchronous
        raise MissingDriver("none", extra="none")

    monkeypatch.setattr(probing, "url_for", no_driver)
    db = cluster.database(replicated, probe_every=0.02)

    before = set(threading.enumerate())

    await port_of(replicated, db)

    for server in (cluster.primary, *cluster.replicas):
        assert known_as(db, server, "up")
    await db.aclose()
    begun = set(threading.enumerate()) - before
    assert not [t for t in begun if t.name.startswith("hermetic-probe")]


@on(lambda backend: not backend.is_async and backend.family != "sqlite")
async def test_a_forked_child_reads_from_replicas_too(replicated: World, cluster: Cluster) -> None:
    db = cluster.database(replicated, probe_every=0.02)
    port = await port_of(replicated, db)
    assert known_as(db, cluster.replicas[0], "up")

    with db.flow() as flow:
        await add(replicated, db, "ann")
        told = in_child(lambda: _read_in_child(db, replicated))
        assert flow.position is not None

    assert told.splitlines()[0] == "1"
    assert int(told.splitlines()[1]) in {*cluster.ports, cluster.primary.port}
    assert await port_of(replicated, db) in cluster.ports
    assert port in cluster.ports


def in_child(work: Callable[[], str]) -> str:
    """What a forked child says."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        told = "the child failed"
        try:
            told = work()
        finally:
            os.write(writing, told.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        answer = said.read()
    os.waitpid(child, 0)
    return answer


def _read_in_child(db: Database, world: World) -> str:
    with db.session(readonly=True) as session:
        found = session.scalar(select(func.count(User.id)))
        port = session.scalar(text(PORT[world.backend.family]))
    db.close()
    return f"{found}\n{port}"


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("url", "options", "problem"),
    [
        ("sqlite:///app.db", {"replicas": ["sqlite:///other.db"]}, "sqlite"),
        ("postgresql://h/a", {"replicas": ["mysql://h/a"]}, "does not follow"),
        ("postgresql://h/a", {"replicas": ["postgresql+asyncpg://i/a"]}, "does not follow"),
        ("postgresql://h/a", {"replicas": ["postgresql://h/a"]}, "the primary"),
        ("postgresql://h/a", {"replicas": 2 * ["postgresql://i/a"]}, "twice"),
        ("postgresql://h/a", {"replicas": ["//x:secret@"]}, "cannot be parsed"),
        ("postgresql://h/a", {"replicas": [7]}, "list of URLs"),
        ("postgresql://h/a", {"replicas": ["postgresql://i/a"], "zone": "z"}, "no replica's"),
        ("postgresql://h/a", {"after": "p1.0; DROP TABLE users"}, "no position"),
        ("mysql://h/a", {"after": "p1.0"}, "no position"),
    ],
)
def test_what_can_not_be_is_refused_where_it_is_given(
    url: str, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidOption, match=problem) as caught:
        Database(url, **options)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("weight", [0, -1, 1001, "1", True, float("nan")])
def test_a_weight_is_a_number_within_its_limits(weight: Any) -> None:
    with pytest.raises(InvalidOption, match="weight"):
        Replica("postgresql://h/a", weight=weight)


def test_a_position_of_a_cookie_is_looked_at_before_anything_is_done_with_it() -> None:
    db = Database("postgresql://h/a", replicas=["postgresql://i/a"])

    with pytest.raises(InvalidOption, match="no position"):
        db.flow(position="'; DROP TABLE users; --")
    with pytest.raises(InvalidOption, match="no position"):
        db.session(readonly=True, after="p1")


def test_replicas_come_from_text_too() -> None:
    db = Database.from_env(
        environ={
            "HERMETIC_URL": "postgresql://u:secret@h/a",
            "HERMETIC_REPLICAS": "postgresql://u:secret@i/a postgresql://u:secret@j/a",
            "HERMETIC_REPLICA_LAG": "2.5",
        }
    )

    assert [info.name for info in db.snapshot().servers] == ["h/a", "i/a", "j/a"]
    assert "secret" not in db.explain()
    assert "secret" not in repr(db.options)
