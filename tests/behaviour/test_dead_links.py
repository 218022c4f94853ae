"""The link to the server is down: packets are lost, no end and no reset comes."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import make_url

from hermetic import CommitUnknown, ConnectionLost, DeadlineExceeded, FaultError, Outcome
from hermetic.dialects import keepalive
from tests.behaviour.aftermath import (
    busy,
    check_nothing_left,
    eventually,
    happened,
    kill,
    lent,
    on_servers,
)
from tests.conftest import in_ci
from tests.link import LinkUnavailable, NetworkLink
from tests.models import User
from tests.proxy import COMMIT, Proxy
from tests.worlds import PATIENCE, World

pytestmark = [pytest.mark.timing, pytest.mark.slow]

# What a scope has, and what it may take beyond that: 0.15 s, and more where the machine is busy.
TIMEOUT = 0.8
OVERRUN = 1.5
SLEEP = {"postgresql": "SELECT pg_sleep(60)", "mariadb": "SELECT sleep(60)"}


@pytest.fixture
def link() -> Iterator[NetworkLink]:
    link = NetworkLink()
    try:
        link.__enter__()
    except LinkUnavailable as error:
        if in_ci() and not error.refused:
            pytest.fail(str(error), pytrace=False)
        pytest.skip(f"NOT TESTED: {error}")
    try:
        yield link
    finally:
        link.__exit__(None, None, None)


@pytest.fixture
def proxy(world: World, link: NetworkLink) -> Iterator[Proxy]:
    """The server, as it is seen at the other end of the link."""
    with Proxy(world.url, link.listener()) as proxy:
        world.url = proxy.url
        yield proxy


def database(world: World, **options: Any) -> Any:
    # the far end is another host, to which hermetic would speak by TLS alone
    return world.database(tls="off", **options)


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes 40 to 60 s takes 2 to 3 s."""
    for name, value in (("IDLE", 1), ("INTERVAL", 1), ("COUNT", 2), ("UNACKNOWLEDGED", 1500)):
        monkeypatch.setattr(keepalive, name, value)


async def warm(world: World, db: Any) -> int:
    """The number of a connection that the pool has."""
    async with world.session(db) as session:
        await session.execute("SELECT 1")
    (connection,) = db.snapshot().connections
    return int(connection.number)


def at_rest(db: Any) -> set[int]:
    return {connection.number for connection in db.snapshot().connections}


# ---------------------------------------------------------------- under a deadline


@on_servers
@pytest.mark.parametrize(
    ("stage", "end"),
    [("connect", "far"), ("idle", "far"), ("statement", "far"),
     ("statement", "near"), ("commit", "far"), ("rollback", "far")],
)  # fmt: skip
async def test_a_scope_on_a_dead_link_ends_at_its_deadline(
    world: World, link: NetworkLink, proxy: Proxy, stage: str, end: str
) -> None:
    db = database(world, pool_size=1, cleanup_timeout=TIMEOUT, ping_after=0)
    used = None if stage == "connect" else await warm(world, db)
    down, up = (link.down, link.up) if end == "far" else (link.near_down, link.near_up)
    if stage in ("connect", "idle"):
        down()
    sessions: list[Any] = []

    begun = time.monotonic()
    with pytest.raises((FaultError, DeadlineExceeded, CommitUnknown)) as caught:
        async with world.session(db, timeout=TIMEOUT) as session:
            sessions.append(session)
            await session.execute("INSERT INTO users (username, balance) VALUES ('ann', 1)")
            down()
            if stage == "statement":
                await session.execute("SELECT 1")
            elif stage == "rollback":
                raise CommitUnknown("not the driver's")
    took = time.monotonic() - begun

    assert took < TIMEOUT + OVERRUN
    expected = Outcome.UNKNOWN if stage == "commit" else Outcome.NOT_COMMITTED
    assert isinstance(caught.value, CommitUnknown) == (stage in ("commit", "rollback"))
    assert all(session.outcome is expected for session in sessions)
    assert lent(db) == []
    assert used not in at_rest(db)
    up()
    proxy.cut_all()
    await check_nothing_left(world, db)
    assert world.usernames() == []


@on_servers
async def test_many_scopes_wait_on_a_dead_link_no_longer_than_they_may(
    world: World, link: NetworkLink, proxy: Proxy
) -> None:
    db = database(world, pool_size=2)
    async with world.session(db) as session:
        await session.execute("SELECT 1")
    link.down()
    overruns: list[float] = []

    async def unit() -> None:
        begun = time.monotonic()
        with pytest.raises((FaultError, DeadlineExceeded)):
            async with world.session(db, timeout=TIMEOUT) as session:
                await session.execute("SELECT 1")
        overruns.append(time.monotonic() - begun - TIMEOUT)

    results = await world.together(*[unit] * 6)

    assert results == [None] * 6
    assert max(overruns) < OVERRUN
    assert lent(db) == []
    link.up()
    proxy.cut_all()
    await check_nothing_left(world, db)


# ---------------------------------------------------------------- without one


def is_reached(proxy: Proxy) -> bool:
    """Whether the far end can be connected to: the kernel asks for it anew only after a pause."""
    url = make_url(proxy.url)
    try:
        socket.create_connection((url.host or "", url.port or 0), timeout=1.0).close()
    except OSError:
        return False
    return True


@on_servers
async def test_a_dead_link_is_noticed_without_a_deadline(
    world: World, link: NetworkLink, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One waits for an answer to what was sent in vain, the other to what had arrived."""
    impatient(monkeypatch)
    db = database(world, pool_size=2, connect_timeout=1)
    ready = [world.signal(), world.signal()]
    dead = world.signal()
    took: list[float] = []

    async def unit(mine: Any, arrived: bool) -> None:
        begun = 0.0
        with pytest.raises(FaultError):
            async with world.session(db) as session:
                session.add(User(username=f"ann {arrived}"))
                await session.flush()
                mine.set()
                if not arrived:
                    await dead.wait()
                begun = time.monotonic()
                await session.execute(SLEEP[world.backend.family] if arrived else "SELECT 1")
        took.append(time.monotonic() - begun)
        assert session.outcome is Outcome.NOT_COMMITTED

    async def unplug() -> None:
        for each in ready:
            await each.wait()
        await eventually(world, lambda: b"leep(60)" in proxy.sent, PATIENCE)
        link.down()
        dead.set()

    results = await world.together(
        lambda: unit(ready[0], True), lambda: unit(ready[1], False), unplug
    )

    assert results == [None] * 3
    assert max(took) < 12
    assert lent(db) == []
    link.up()
    proxy.cut_all()
    assert await eventually(world, lambda: is_reached(proxy), PATIENCE)
    # a server does not look at its client while a statement runs
    for backend, *_ in busy(world.backend.family, world.seen):
        kill(world, backend)
    await check_nothing_left(world, db)


@on_servers
@pytest.mark.parametrize("arrived", [True, False])
async def test_a_commit_on_a_dead_link_is_resolved_when_it_is_up_again(
    world: World,
    link: NetworkLink,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    arrived: bool,
) -> None:
    impatient(monkeypatch)
    db = database(world, resolve_commits="token", connect_timeout=1, resolve_timeout=10)
    if world.is_async:
        await db.acreate_commit_table()
    else:
        db.create_commit_table()
    traps: list[Any] = []
    set_one = world.signal()
    outcomes: list[Outcome] = []

    async def unit() -> None:
        try:
            async with world.session(db) as session:
                session.add(User(username="ann"))
                await session.flush()
                traps.append(proxy.hold(COMMIT) if arrived else proxy.freeze_at(COMMIT))
                set_one.set()
        finally:
            outcomes.append(session.outcome)

    async def repair() -> None:
        await set_one.wait()
        await happened(world, traps[0].reached)
        link.down()
        if arrived:
            traps[0].release()
        else:
            proxy.cut_all()  # the server sees it, and rolls back
            proxy.thaw()
        # the client finds its connection dead, and asks in vain
        assert await eventually(world, lambda: not db.snapshot().connections, PATIENCE)
        assert not outcomes
        link.up()

    parties = await world.together(unit, repair)

    assert parties[1] is None
    assert outcomes == [Outcome.COMMITTED if arrived else Outcome.NOT_COMMITTED]
    assert parties[0] is None if arrived else isinstance(parties[0], ConnectionLost), parties
    assert world.usernames() == ["ann"] * arrived
    assert lent(db) == []
    proxy.cut_all()


# ---------------------------------------------------------------- in the pool


@on_servers
async def test_connections_that_died_silently_are_not_lent(
    world: World, link: NetworkLink, proxy: Proxy
) -> None:
    """As behind a firewall that has forgotten them: new ones are welcome there."""
    db = database(world, pool_size=2, ping_after=0)
    took: list[float] = []

    async def unit(mine: Any, other: Any, timeout: float | None = None) -> None:
        begun = time.monotonic()
        async with world.session(db, timeout=timeout) as session:
            await session.execute("SELECT 1")
            took.append(time.monotonic() - begun)
            mine.set()
            await other.wait()

    one, other = world.signal(), world.signal()
    assert await world.together(lambda: unit(one, other), lambda: unit(other, one)) == [None, None]
    dead = at_rest(db)
    assert len(dead) == 2
    proxy.strand()

    one, other = world.signal(), world.signal()
    assert await world.together(lambda: unit(one, other, timeout=5), lambda: unit(other, one)) == [
        None,
        None,
    ]

    # a second for the question whether the old one is still there
    assert max(took) < 2
    assert not dead & at_rest(db)
    proxy.cut_all()
    await check_nothing_left(world, db)
