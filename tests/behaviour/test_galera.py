"""Three nodes of Galera's: conflicts at COMMIT, nodes that are cut off or killed, causal reads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest
from sqlalchemy import text

from hermetic import CommitUnknown, Database, Deadlock, FaultError, NodeNotReady, Outcome, Retry
from hermetic.doctor import examine
from tests.backends import Backend
from tests.behaviour.aftermath import on, on_mariadb
from tests.behaviour.cluster import PORT, known_as
from tests.fire.checkers.appends import PERMITTED, Append, Read, Transaction, check_appends
from tests.models import User
from tests.servers import GaleraCluster, ServerUnavailable
from tests.servers.process import free_port, wait_until
from tests.worlds import PATIENCE, World

pytestmark = [pytest.mark.slow, pytest.mark.mariadb]

_FLOWS: Final = 100
_PATIENT: Final = Retry(attempts=12, within=30.0)


@pytest.fixture(scope="module")
def galera() -> Iterator[GaleraCluster]:
    """The module's cluster: tests leave it whole."""
    try:
        cluster = GaleraCluster()
        cluster.start()
    except ServerUnavailable as error:
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(f"galera is MISSING: {error}", pytrace=False)
        pytest.skip(f"galera is MISSING: {error}")
    yield cluster
    cluster.stop()


@pytest.fixture
def clustered(backend: Backend, galera: GaleraCluster) -> Iterator[World]:
    """As ``world``, on the first node."""
    first = galera.nodes[0]
    first.empty_database("app")
    made = World(backend, first.url("app", backend.scheme), first.url("app"))
    yield made
    if made.is_async:
        made.close_observer()
    else:
        made.close()


async def add_ann(world: World, db: Database) -> int:
    async with world.session(db) as session:
        ann = User(username="ann")
        session.add(ann)
        await session.flush()
        number = ann.id
    return int(number)


def applied(galera: GaleraCluster, number: int) -> bool:
    """Wait until a node shows all that the first one does."""
    place = "SELECT WSREP_LAST_SEEN_GTID()"
    wanted = galera.nodes[0]._query(place)
    return wait_until(lambda: galera.nodes[number]._query(place) == wanted, PATIENCE)


@on_mariadb
async def test_a_conflict_at_commit_runs_the_unit_again(
    clustered: World, galera: GaleraCluster
) -> None:
    world = clustered
    await add_ann(world, world.db)
    assert applied(galera, 1)
    other = world.database()
    second = Database(galera.nodes[1].url("app", world.backend.scheme))
    world._databases.append(second)
    bodies = 0

    @world.unit(second, retry=5)
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        await session.execute(text("UPDATE users SET balance = balance + 1"))
        if bodies == 1:
            async with world.session(other, propagation="requires_new") as elsewhere:
                await elsewhere.execute(text("UPDATE users SET balance = balance + 10"))
            assert applied(galera, 1)

    await unit()

    assert bodies == 2
    assert second.snapshot().counters["retries"] == 1
    assert applied(galera, 2)
    assert galera.nodes[2]._query("SELECT balance FROM app.users") == ((11,),)

    bodies = 0
    with pytest.raises(Deadlock) as caught:
        async with world.session(second) as session:
            await session.execute(text("UPDATE users SET balance = balance + 1"))
            async with world.session(other, propagation="requires_new") as elsewhere:
                await elsewhere.execute(text("UPDATE users SET balance = balance + 10"))
            assert applied(galera, 1)
    assert caught.value.outcome is Outcome.NOT_COMMITTED


@on_mariadb
async def test_a_flow_reads_its_writes_on_every_node(
    clustered: World, galera: GaleraCluster
) -> None:
    world = clustered
    scheme = world.backend.scheme
    nodes = [galera.nodes[number].url("app", scheme) for number in (1, 2)]
    db = world.database(replicas=nodes)
    await add_ann(world, db)
    seen: dict[int, int] = {}
    for number in range(_FLOWS):
        with db.flow():
            async with world.session(db) as session:
                await session.execute(text("UPDATE users SET balance = :n"), {"n": number})
            async with world.session(db, readonly=True) as session:
                assert await session.scalar(text("SELECT balance FROM users")) == number
                port = await session.scalar(text(PORT["mariadb"]))
            seen[port] = seen.get(port, 0) + 1
    # the nodes that are read from have served most of them
    assert seen.get(galera.nodes[0].port, 0) < _FLOWS / 2, seen


@on_mariadb
async def test_a_position_waits_for_a_node_that_is_late(
    clustered: World, galera: GaleraCluster
) -> None:
    world = clustered
    late = galera.nodes[1]
    db = world.database(replicas=[late.url("app", world.backend.scheme)], replica_lag=None)
    number = await add_ann(world, db)
    assert applied(galera, 1)
    with late._admin() as admin, admin.cursor() as cursor:
        cursor.execute("FLUSH TABLES WITH READ LOCK")
        async with world.session(db, position=True) as session:
            await session.execute(text("UPDATE users SET balance = 7"))
        position = session.position
        assert position is not None

        async with world.session(db, readonly=True) as session:
            assert await session.scalar(text("SELECT balance FROM users")) == 0
        async with world.session(db, readonly=True, after=position) as session:
            assert await session.scalar(text("SELECT balance FROM users")) == 7
            assert await session.scalar(text(PORT["mariadb"])) == galera.nodes[0].port
        cursor.execute("UNLOCK TABLES")
    assert applied(galera, 1)
    async with world.session(db, readonly=True, after=position) as session:
        user = await session.get(User, number)
        assert user.balance == 7
        assert await session.scalar(text(PORT["mariadb"])) == late.port
    galera.heal()


@on_mariadb
async def test_several_hosts_lead_to_a_node_that_takes_writes(
    clustered: World, galera: GaleraCluster
) -> None:
    world = clustered
    nobody = f"host=127.0.0.1:{free_port()}&"
    url = galera.url(world.backend.scheme, 1, 2).replace("?host=", f"?{nobody}host=")
    db = Database(url)
    world._databases.append(db)
    where = text("SELECT @@port, @@wsrep_sync_wait, @only_here")
    for _ in range(2):
        async with world.session(db) as session:
            port, waits, left = (await session.execute(where)).one()
            # what leaves something behind has the connection set back, or replaced
            await session.execute("SET @only_here = 1")
        assert (port, waits, left) == (galera.nodes[1].port, 1, None)
    async with world.session(db, readonly=True) as session:
        assert (await session.execute(where)).one()[1] == 1


@on(lambda backend: backend.name == "pymysql")
async def test_a_node_that_is_cut_off_is_left(clustered: World, galera: GaleraCluster) -> None:
    world = clustered
    scheme = world.backend.scheme
    db = Database(galera.url(scheme, 1, 2, 0), failover_wait=20.0)
    world._databases.append(db)
    reading = world.database(replicas=[galera.nodes[1].url("app", scheme)], probe_every=30.0)
    await add_ann(world, db)
    async with world.session(db) as session:
        assert await session.scalar(text(PORT["mariadb"])) == galera.nodes[1].port
    async with world.session(reading, readonly=True) as session:
        assert await session.scalar(text(PORT["mariadb"])) == galera.nodes[1].port
    galera.nodes[1].isolate()
    try:
        runs = 0

        @world.unit(db, retry=_PATIENT)
        async def unit(session: Any) -> int:
            nonlocal runs
            runs += 1
            await session.execute(text("UPDATE users SET balance = balance + 1"))
            return int(await session.scalar(text(PORT["mariadb"])))

        assert await unit() in (galera.nodes[2].port, galera.nodes[0].port)
        # one error of the node that was left, and none after it
        assert runs == 2

        with pytest.raises(NodeNotReady):
            async with world.session(reading, readonly=True) as session:
                await session.scalar(text("SELECT balance FROM users"))
        # it is left out at once, by what a scope has met there
        assert known_as(reading, galera.nodes[1], "ejected")
        async with world.session(reading, readonly=True) as session:
            assert await session.scalar(text("SELECT balance FROM users")) == 1
    finally:
        galera.nodes[1].reconnect()
    galera.heal()


# ---------------------------------------------------------------- a node that is killed


class Bank:
    """Threads that move money and append to lists, through two first nodes, until stopped."""

    accounts = 6

    def __init__(self, databases: list[Database]) -> None:
        self.history: list[Transaction] = []
        self.errors: list[BaseException] = []
        self.done = 0
        self._number = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(databases[number % 2], number))
            for number in range(4)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(4 * PATIENCE)

    def _work(self, db: Database, number: int) -> None:
        while not self._stopped.is_set():
            try:
                self._unit(db, number)
            except (CommitUnknown, FaultError) as error:
                self.errors.append(error)
            except BaseException as error:
                self.errors.append(error)
                return
            with self._lock:
                self.done += 1

    def _unit(self, db: Database, number: int) -> None:
        for attempt in db.attempts(retry=_PATIENT):
            with self._lock:
                self._number += 1
                element = self._number
            made = Transaction(f"T{element}", begun=time.monotonic(), ended=float("inf"))
            session = None
            try:
                with attempt as session:
                    self._steps(session, made, element)
            finally:
                made.ended = time.monotonic()
                made.outcome = Outcome.NOT_COMMITTED if session is None else session.outcome
                with self._lock:
                    self.history.append(made)

    def _steps(self, session: Any, made: Transaction, element: int) -> None:
        read, written = element % 3, (element // 3) % 3
        line = session.scalar(text("SELECT elements FROM lists WHERE id = :k"), {"k": read})
        made.operations.append(Read(read, elements_of(line)))
        session.execute(
            text("UPDATE lists SET elements = concat(elements, :e, ' ') WHERE id = :k"),
            {"e": str(element), "k": written},
        )
        made.operations.append(Append(written, element))
        source, target = element % self.accounts, (element + 1 + element % 4) % self.accounts
        for account, amount in ((source, -1), (target, 1)):
            session.execute(
                text("UPDATE accounts SET balance = balance + :a WHERE id = :k"),
                {"a": amount, "k": account},
            )


def elements_of(line: str) -> tuple[int, ...]:
    return tuple(int(each) for each in line.split())


def lists_on(node: Any) -> dict[int, tuple[int, ...]]:
    rows = node._query("SELECT id, elements FROM app.lists")
    return {int(key): elements_of(line) for key, line in rows}


def test_nothing_is_lost_with_a_node_that_is_killed(galera: GaleraCluster) -> None:
    first = galera.nodes[0]
    first.empty_database("app")
    first._query(
        "CREATE TABLE app.lists (id int PRIMARY KEY, elements mediumtext NOT NULL)",
        "INSERT INTO app.lists VALUES (0, ''), (1, ''), (2, '')",
        "CREATE TABLE app.accounts (id int PRIMARY KEY, balance int NOT NULL)",
        f"INSERT INTO app.accounts VALUES {', '.join(f'({n}, 100)' for n in range(Bank.accounts))}",
    )
    options: dict[str, Any] = {"resolve_commits": "token", "failover_wait": 20.0}
    one = Database(galera.url("mysql+pymysql", 0, 1, 2), **options)
    other = Database(galera.url("mysql+pymysql", 1, 2, 0), **options)
    with one, other:
        one.create_commit_table()
        bank = Bank([one, other])
        try:
            assert wait_until(lambda: bank.done > 40, PATIENCE)
            first.kill()
            after = bank.done
            assert wait_until(lambda: bank.done > after + 40, 2 * PATIENCE)
            first.start()
            galera.heal()
            after = bank.done
            assert wait_until(lambda: bank.done > after + 40, PATIENCE)
        finally:
            bank.stop()
    unknown = [t for t in bank.history if t.outcome is Outcome.UNKNOWN]
    retried = [t for t in bank.history if t.outcome is Outcome.NOT_COMMITTED]
    assert retried  # there were conflicts
    assert not unknown
    assert bank.errors == []
    assert applied(galera, 1)
    assert applied(galera, 2)
    final = lists_on(first)
    assert all(lists_on(node) == final for node in galera.nodes)
    sums = {node._query("SELECT sum(balance) FROM app.accounts") for node in galera.nodes}
    assert [int(row[0][0]) for row in sums] == [100 * Bank.accounts]  # type: ignore[call-overload]
    permitted = PERMITTED["mariadb", "REPEATABLE READ"]
    assert check_appends(bank.history, final, permitted=permitted) == []


# ---------------------------------------------------------------- the doctor


def test_the_doctor_sees_a_node_that_is_cut_off(galera: GaleraCluster) -> None:
    node = galera.nodes[2]
    with Database(node.url("app", "mysql+pymysql")) as database:
        whole = {each.code for each in examine(database).findings}
        node.isolate()
        try:
            cut_off = {each.code for each in examine(database).findings}
        finally:
            node.reconnect()

    galera.heal()
    assert "node-reads-stale" in whole
    assert not whole & {"node-not-ready", "node-settings", "cluster-small"}
    assert "node-not-ready" in cut_off
