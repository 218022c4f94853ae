"""What Prometheus is told, as its own parser reads it."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from hermetic import ConfigurationError, Database, InvalidOption, RetryRequested, Watch
from tests.behaviour.aftermath import check_nothing_left, on
from tests.behaviour.watching import another
from tests.optional import optional
from tests.worlds import World

prometheus_client = optional("prometheus_client")

from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from hermetic.sinks import attach, prometheus  # noqa: E402
from hermetic.sinks.counting import Counts  # noqa: E402

one_of_each_world = on(lambda backend: backend.name in ("psycopg", "asyncpg", "pymysql", "sqlite"))
in_threads = on(lambda backend: backend.name == "sqlite")


class Scrape:
    """One look at a registry, by way of the text that Prometheus gets."""

    def __init__(self, registry: Any) -> None:
        text = prometheus_client.generate_latest(registry).decode()
        self.families = {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, name: str, **labels: str) -> float:
        found = [
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert found, f"no {name} of {labels}"
        return float(sum(found))

    def labels(self, name: str, label: str) -> set[str]:
        return {
            sample.labels[label]
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name
        }


@pytest.fixture
def registry() -> Any:
    return prometheus_client.CollectorRegistry()


async def test_scopes_are_counted_by_name_and_outcome(world: World, registry: Any) -> None:
    prometheus.attach(world.db, registry)
    for _ in range(3):
        async with world.session(name="page") as session:
            await session.execute("SELECT 1")
            await session.execute("SELECT 2")
    with pytest.raises(ZeroDivisionError):
        async with world.session(name="page"):
            raise ZeroDivisionError

    seen = Scrape(registry)
    here = {"database": world.db.name, "scope": "page"}
    assert seen.value("hermetic_scopes_total", **here, outcome="committed") == 3
    assert seen.value("hermetic_scopes_total", **here, outcome="not_committed") == 1
    assert seen.value("hermetic_scope_errors_total", **here, error="ZeroDivisionError") == 1
    assert seen.value("hermetic_statements_total", **here) == 6
    assert seen.value("hermetic_statement_seconds_total", **here) > 0
    assert seen.value("hermetic_scope_seconds_count", **here) == 4
    assert seen.value("hermetic_scope_seconds_bucket", **here, le="+Inf") == 4
    assert seen.value("hermetic_scope_seconds_bucket", **here, le="10.0") <= 4
    assert seen.value("hermetic_scope_wait_seconds_count", database=world.db.name) == 3
    await check_nothing_left(world)


@one_of_each_world
async def test_pools_are_looked_at_when_they_are_asked_for(world: World, registry: Any) -> None:
    db = world.database(pool_size=4)
    prometheus.attach(db, registry)
    async with world.session(db, name="page") as session:
        await session.execute("SELECT 1")
        seen = Scrape(registry)
        assert seen.value("hermetic_scopes_open", database=db.name) == 1
        assert seen.value("hermetic_pool_lent", database=db.name) == 1
        assert seen.value("hermetic_pool_waiting", database=db.name) == 0
        assert seen.value("hermetic_connections", database=db.name, state="in transaction") == 1
    seen = Scrape(registry)
    assert seen.value("hermetic_scopes_open", database=db.name) == 0
    assert seen.value("hermetic_pool_lent", database=db.name) == 0
    if world.backend.family != "sqlite":  # which has one writer
        writer = next(pool for pool in seen.labels("hermetic_pool_limit", "pool") if "wr" in pool)
        assert seen.value("hermetic_pool_limit", database=db.name, pool=writer) == 4
    assert seen.value("hermetic_pool_admitted_total", database=db.name) == 1


@one_of_each_world
async def test_retries_are_counted(world: World, registry: Any) -> None:
    prometheus.attach(world.db, registry)
    runs = []

    @world.unit(retry=3, name="often")
    async def often(session: Any) -> None:
        runs.append(1)
        if len(runs) < 3:
            raise RetryRequested

    await often()
    seen = Scrape(registry)
    assert seen.value("hermetic_scope_retries_total", scope="often") == 2
    assert seen.value("hermetic_retries_total", database=world.db.name) == 2


@in_threads
async def test_findings_are_counted_each_time(world: World, registry: Any) -> None:
    db = world.database(watch=Watch(every=3600.0, repeats=1))
    prometheus.attach(db, registry)
    for _ in range(2):
        async with world.session(db, name="page") as session:
            for _ in range(3):
                await session.execute("SELECT 1")
    db.watch.findings.forget()
    seen = Scrape(registry)
    assert seen.value("hermetic_findings_total", finding="repeated-statement") == 2


@in_threads
async def test_there_are_no_more_names_than_are_allowed(world: World, registry: Any) -> None:
    prometheus.attach(world.db, registry, names=2, buckets=(1.0,))
    for name in ("a", "b", "c", "d", "a", "other"):
        async with world.session(name=name):
            pass
    seen = Scrape(registry)
    assert seen.labels("hermetic_scopes_total", "scope") == {"a", "b", "other"}
    assert seen.value("hermetic_scopes_total", scope="a") == 2
    assert seen.value("hermetic_scopes_total", scope="other") == 3
    assert seen.labels("hermetic_scope_seconds_bucket", "le") == {"1.0", "+Inf"}


@in_threads
async def test_several_databases_are_in_one_registry(world: World, registry: Any) -> None:
    detach = prometheus.attach(world.db, registry)
    url = world.url + "2"
    async with another(world, url, name="second") as db:
        prometheus.attach(db, registry)
        async with world.session(db, name="there"):
            pass
        async with world.session(name="here"):
            pass
        seen = Scrape(registry)
        assert seen.value("hermetic_scopes_total", database="second", scope="there") == 1
        assert seen.value("hermetic_scopes_total", database=world.db.name, scope="here") == 1
        async with another(world, url, name="second") as twin:
            with pytest.raises(ConfigurationError, match="'second' is in this registry"):
                prometheus.attach(twin, registry)
    # one that is closed makes room
    async with another(world, url, name="second") as again:
        prometheus.attach(again, registry)
        assert "there" not in Scrape(registry).labels("hermetic_scopes_total", "scope")
    detach()
    assert Scrape(registry).labels("hermetic_scopes_open", "database") == set()
    assert world.db.registry.watch is None


@in_threads
async def test_a_database_that_is_gone_is_told_no_longer(world: World, registry: Any) -> None:
    db: Any = Database("sqlite://", name="short-lived")
    prometheus.attach(db, registry)
    assert "short-lived" in Scrape(registry).labels("hermetic_scopes_open", "database")
    db.close()
    del db
    gc.collect()
    assert Scrape(registry).labels("hermetic_scopes_open", "database") == set()


@in_threads
async def test_a_registry_refuses_a_metric_of_the_same_name(world: World, registry: Any) -> None:
    prometheus.attach(world.db, registry)
    with pytest.raises(ValueError, match="hermetic_scopes"):
        prometheus_client.Counter("hermetic_scopes", "Mine.", registry=registry)


@in_threads
@pytest.mark.parametrize("buckets", [(), (2.0, 1.0), (0.0, 1.0), ("x",), (1.0, float("inf"))])
async def test_buckets_that_are_none_are_refused(world: World, buckets: Any) -> None:
    with pytest.raises(InvalidOption, match="buckets"):
        prometheus.attach(world.db, prometheus_client.CollectorRegistry(), buckets=buckets)


@in_threads
async def test_scopes_that_nobody_asks_for_do_not_pile_up(world: World, registry: Any) -> None:
    waiting: Any = Counts(names=5)
    detach = attach(world.db, waiting)
    for number in range(450):
        with world.db.session(name=f"name {number % 7}") as session:
            if number % 2:
                session.execute("SELECT 1")
    most = len(waiting._pending)
    detach()

    counted = dict(waiting.by_name())
    assert most <= 200
    assert sum(each.seconds.cumulative()[-1][1] for each in counted.values()) == 450
    assert len(counted) == 6
    assert waiting.waits().cumulative()[-1][1] == 225
