"""A primary that goes, and another server that takes its place."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from hermetic import CannotConnect, Database
from tests.behaviour.cluster import Cluster
from tests.proxy import Proxy
from tests.servers import ServerUnavailable
from tests.servers.process import wait_until
from tests.worlds import PATIENCE

pytestmark = [pytest.mark.slow]

_WORKERS = 4
_WHERE = "INSERT INTO done VALUES (@@port) ON DUPLICATE KEY UPDATE id = id"


postgresql = pytest.mark.postgresql


@pytest.fixture
def pair() -> Iterator[Cluster]:
    """A primary whose commits wait for its standby: none is lost with it."""
    try:
        cluster = Cluster("postgresql", 1, settings={"synchronous_standby_names": "*"})
    except ServerUnavailable as error:
        pytest.skip(str(error))
    yield cluster
    cluster.stop()


def both(cluster: Cluster, driver: str = "psycopg") -> str:
    """One URL of both servers; the one that takes writes is found."""
    primary, standby = cluster.primary, cluster.replicas[0]
    base = primary.url("app", f"postgresql+{driver}").replace(f"@127.0.0.1:{primary.port}/", "@/")
    return f"{base}?host=127.0.0.1:{primary.port}&host=127.0.0.1:{standby.port}"


def make_table(cluster: Cluster, ddl: str = "CREATE TABLE done (id text PRIMARY KEY)") -> None:
    engine = create_engine(cluster.primary.url("app"))
    with engine.begin() as connection:
        connection.execute(text(ddl))
    engine.dispose()


class Writers:
    """Threads that write rows by units with a retry policy, until they are stopped."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.runs: dict[str, int] = {}
        self.told: list[str] = []
        self.errors: list[BaseException] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(_WORKERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(4 * PATIENCE)

    def _work(self, number: int) -> None:
        count = 0
        while not self._stopped.is_set():
            count += 1
            name = f"{number}:{count}"
            try:
                self._unit(name)
                self.told.append(name)
            except BaseException as error:
                self.errors.append(error)
                return

    def _unit(self, name: str) -> None:
        @self._db.session(retry=5)
        def write(session: Any) -> None:
            self.runs[name] = self.runs.get(name, 0) + 1
            session.execute("INSERT INTO done VALUES (:name)", {"name": name})

        write()


@postgresql
def test_units_get_through_a_promotion_with_one_failing_attempt_at_most(pair: Cluster) -> None:
    make_table(pair)
    standby = pair.replicas[0]
    with Database(both(pair), resolve_commits="token") as db:
        db.create_commit_table()
        writers = Writers(db)
        try:
            assert wait_until(lambda: len(writers.told) > 20, PATIENCE)
            pair.primary.kill()
            standby.promote()
            after = len(writers.told)
            assert wait_until(lambda: len(writers.told) > after + 20, PATIENCE)
        finally:
            writers.stop()
        assert writers.errors == []
        assert max(writers.runs.values()) <= 2
        with db.session() as session:
            there = set(session.scalars(text("SELECT id FROM done")))
        assert there == set(writers.told)


@postgresql
def test_a_flow_goes_on_from_the_new_primary(pair: Cluster) -> None:
    make_table(pair)
    standby = pair.replicas[0]
    only = standby.url("app", "postgresql+psycopg")
    with Database(both(pair), replicas=[only], probe_every=0.02) as db, db.flow() as flow:
        with db.session() as session:
            session.execute("INSERT INTO done VALUES ('before')")
        old = flow.position
        assert old is not None
        assert old.startswith("p1.")
        pair.primary.kill()
        standby.promote()

        for attempt in db.attempts(retry=5, readonly=True):
            with attempt as session:
                # the old timeline's places mean nothing here: the new primary is asked
                found = session.scalars(text("SELECT id FROM done")).all()

        assert found == ["before"]
        new = flow.position
        assert new is not None
        assert new.startswith("p2.")


@postgresql
def test_without_a_policy_nobody_waits_for_a_primary(pair: Cluster) -> None:
    with Database(both(pair), failover_wait=60.0) as db:
        pair.primary.kill()

        began = time.monotonic()
        with pytest.raises(CannotConnect), db.session() as session:
            session.execute("SELECT 1")

    assert time.monotonic() - began < 30.0


@pytest.mark.mariadb
@pytest.mark.parametrize("driver", ["pymysql", "asyncmy"])
async def test_several_hosts_of_mariadb_lead_to_the_one_that_takes_writes(driver: str) -> None:
    try:
        cluster = Cluster("mariadb", 1)
    except ServerUnavailable as error:
        pytest.skip(str(error))
    primary, replica = cluster.primary, cluster.replicas[0]
    hosts = f"/app?host=127.0.0.1:{replica.port}&host=127.0.0.1:{primary.port}"
    url = primary.url("app", f"mysql+{driver}")
    url = url.replace(f"127.0.0.1:{primary.port}/app", hosts)

    def plain(session: Any) -> Any:
        session.execute(_WHERE)
        return session.scalar(text("SELECT @@port"))

    async def awaited(session: Any) -> Any:
        await session.execute(_WHERE)
        return await session.scalar(text("SELECT @@port"))

    async def write(db: Database) -> Any:
        decorate: Any = db.session(retry=5)
        return decorate(plain)() if driver == "pymysql" else await decorate(awaited)()

    try:
        primary._query("CREATE TABLE app.done (id int PRIMARY KEY)")
        cluster.catch_up()
        async with Database(url, failover_wait=20.0) as db:
            assert await write(db) == primary.port
            primary.kill()
            replica.promote()
            # the first host now; those of the old one are lost, and the unit runs again
            assert await write(db) == replica.port
    finally:
        cluster.stop()


@postgresql
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_several_hosts_lead_to_the_one_that_takes_writes(driver: str) -> None:
    try:
        cluster = Cluster("postgresql", 1)
    except ServerUnavailable as error:
        pytest.skip(str(error))
    try:
        make_table(cluster)
        first, second = both(cluster, driver).partition("?")[::2]
        turned = f"{first}?{'&'.join(reversed(second.split('&')))}"
        async with Database(turned) as db:
            async with db.session() as session:
                await session.execute("INSERT INTO done VALUES ('here')")
            async with db.session(readonly=True) as session:
                port = await session.scalar(text("SELECT inet_server_port()"))
        assert port == cluster.primary.port
    finally:
        cluster.stop()


# ---------------------------------------------------------------- MariaDB, behind one address


@pytest.fixture
def couple() -> Iterator[Cluster]:
    """A primary and its replica, with a user that may not write where a server is read-only."""
    try:
        cluster = Cluster("mariadb", 1)
    except ServerUnavailable as error:
        pytest.skip(str(error))
    cluster.primary._query(
        "CREATE USER app@'%' IDENTIFIED BY 'app'", "GRANT ALL ON app.* TO app@'%'"
    )
    make_table(cluster, "CREATE TABLE done (id varchar(63) PRIMARY KEY)")
    cluster.catch_up()
    yield cluster
    cluster.stop()


def as_app(url: str) -> str:
    named = make_url(url).set(username="app", password="app")
    return named.render_as_string(hide_password=False)


def switch_over(couple: Cluster, proxy: Proxy) -> None:
    """By hand, and in good order: nothing that was told is lost. Old connections stay open."""
    replica = couple.replicas[0]
    couple.primary._query("SET GLOBAL read_only = 1")
    couple.catch_up()
    replica.promote()
    proxy.turn(replica.url("app", "mysql+pymysql"))


@pytest.mark.mariadb
def test_units_get_through_a_switch_of_mariadb_servers(couple: Cluster) -> None:
    with Proxy(couple.primary.url("app", "mysql+pymysql")) as proxy:  # noqa: SIM117
        with Database(as_app(proxy.url)) as db:
            writers = Writers(db)
            try:
                assert wait_until(lambda: len(writers.told) > 20, PATIENCE)
                switch_over(couple, proxy)
                after = len(writers.told)
                gone_on = wait_until(lambda: len(writers.told) > after + 20, PATIENCE)
            finally:
                writers.stop()
            assert writers.errors == []
            assert gone_on
            with db.session() as session:
                there = set(session.scalars("SELECT id FROM done"))
                port = session.scalar("SELECT @@port")
    assert writers.errors == []
    assert there == set(writers.told)
    assert port == couple.replicas[0].port


@pytest.mark.mariadb
@pytest.mark.parametrize("killed", [False, True])
def test_a_flow_goes_on_from_a_promoted_mariadb(couple: Cluster, killed: bool) -> None:
    replica = couple.replicas[0]
    with Proxy(couple.primary.url("app", "mysql+pymysql")) as proxy:
        only = as_app(replica.url("app", "mysql+pymysql"))
        with Database(as_app(proxy.url), replicas=[only], probe_every=0.02) as db:
            with db.flow() as flow:
                with db.session() as session:
                    session.execute("INSERT INTO done VALUES ('before')")
                old = flow.position
                assert old is not None
                if killed:
                    couple.catch_up()
                    couple.primary.kill()
                    replica.promote()
                    proxy.turn(only)
                else:
                    switch_over(couple, proxy)

                for attempt in db.attempts(retry=10):
                    with attempt as session:
                        session.execute("INSERT INTO done VALUES ('after')")
                with db.session(readonly=True) as session:
                    found = set(session.scalars("SELECT id FROM done"))
                new = flow.position
            assert found == {"before", "after"}
            assert new is not None
            parse = db.family.positions.parse
            assert parse(new).covers(parse(old))
            assert not parse(old).covers(parse(new))
            # whose it is shows that the new primary has told it
            assert any(server == 2 for _, server, _ in parse(new).domains)
            # but for whoever is looking at the servers at this moment
            assert wait_until(lambda: {c.state for c in db.snapshot().connections} <= {"idle"}, 5.0)
