"""Sinks on a group and its databases, and in processes that were forked."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tests.backends import Backend
from tests.behaviour.aftermath import on
from tests.behaviour.ledgers import Entry, pair
from tests.databases import FreshUrl
from tests.models import User
from tests.optional import optional
from tests.worlds import World

optional("opentelemetry.sdk")
prometheus_client = optional("prometheus_client")

from opentelemetry import trace  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: E402
    InMemorySpanExporter,
)

from hermetic.sinks import opentelemetry, prometheus, sqlcommenter  # noqa: E402

one_of_each_world = on(lambda backend: backend.name in ("psycopg", "asyncpg", "pymysql", "sqlite"))
in_threads = on(lambda backend: backend.name == "sqlite")


@one_of_each_world
async def test_a_unit_of_several_databases_is_a_span_with_their_parts_inside(
    world: World, backend: Backend, fresh_url: FreshUrl
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    registry = prometheus_client.CollectorRegistry()
    async with pair(world, world.url, fresh_url(backend, "audit")) as both:
        for database in (both.group, both.main, both.audit):
            opentelemetry.attach(database, provider)
            prometheus.attach(database, registry)
            sqlcommenter.attach(database)
        async with world.session(both.group, name="both") as session:
            session.add(User(username="ann"))
            session.add(Entry(said="hello"))
        assert not trace.get_current_span().get_span_context().is_valid

        spans = {number(span): span for span in exporter.get_finished_spans()}
        whole, *_ = (span for span in spans.values() if span.parent is None)
        inserts = [span for span in spans.values() if span.name.startswith("INSERT")]
        assert sorted(span.name for span in inserts) == ["INSERT entries", "INSERT users"]
        for insert in inserts:
            inside = insert
            while inside is not whole:
                assert inside.parent is not None
                inside = spans[inside.parent.span_id]
        value = registry.get_sample_value
        for database, count in ((both.group, 1), (both.main, 1), (both.audit, 1)):
            labels = {"database": database.name, "scope": "both", "outcome": "committed"}
            assert value("hermetic_scopes_total", labels) == count
        assert both.users() == ["ann"]


def number(span: Any) -> int:
    return int(span.get_span_context().span_id)


@in_threads
async def test_a_forked_child_counts_from_nothing(world: World) -> None:
    registry = prometheus_client.CollectorRegistry()
    prometheus.attach(world.db, registry)
    opentelemetry.attach(world.db, TracerProvider())
    async with world.session(name="before"):
        pass
    labels = {"database": world.db.name, "outcome": "committed"}

    def counted() -> bool:
        value = registry.get_sample_value
        before = value("hermetic_scopes_total", {**labels, "scope": "before"})
        with world.db.session(name="there"):
            pass
        there = value("hermetic_scopes_total", {**labels, "scope": "there"})
        return (before, there) == (None, 1.0)

    assert in_a_child(counted)
    assert registry.get_sample_value("hermetic_scopes_total", {**labels, "scope": "before"}) == 1


def in_a_child(holds: Callable[[], bool]) -> bool:
    """Whether something is true in a forked child."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            status = 0 if holds() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
