"""Spans and metrics, as the SDK's exporters in memory have them."""

from __future__ import annotations

import contextvars
from typing import Any

import pytest
from sqlalchemy import select, text

from hermetic import InvalidOption, RetryRequested
from tests.behaviour.aftermath import check_nothing_left, on
from tests.models import User
from tests.optional import optional
from tests.worlds import World

optional("opentelemetry.sdk")

from opentelemetry import trace  # noqa: E402
from opentelemetry.sdk.metrics import MeterProvider  # noqa: E402
from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: E402
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: E402
    InMemorySpanExporter,
)
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF  # noqa: E402
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

from hermetic.sinks import opentelemetry  # noqa: E402
from hermetic.sinks.wording import summary_of, without_values  # noqa: E402

one_of_each_world = on(lambda backend: backend.name in ("psycopg", "asyncpg", "pymysql", "sqlite"))
on_servers = on(lambda backend: backend.name in ("psycopg", "asyncpg", "pymysql", "asyncmy"))
in_threads = on(lambda backend: backend.name == "sqlite")

SYSTEMS = {"postgresql": "postgresql", "mariadb": "mariadb", "sqlite": "sqlite"}


class Seen:
    """What was exported."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(**options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.tracer = self.provider.get_tracer("test")

    def attach(self, database: Any, **options: Any) -> Any:
        return opentelemetry.attach(database, self.provider, self.meters, **options)

    def spans(self, kind: SpanKind | None = None) -> list[ReadableSpan]:
        finished = sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        return [span for span in finished if kind is None or span.kind is kind]

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def seen() -> Seen:
    return Seen()


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def number(span: Any) -> int:
    context = span.get_span_context()
    assert context is not None
    return int(context.span_id)


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


async def test_a_scope_is_a_span_with_its_statements_inside(world: World, seen: Seen) -> None:
    seen.attach(world.db)
    with seen.tracer.start_as_current_span("request") as request:
        async with world.session(name="page", readonly=True) as session:
            await session.execute(select(User.id).where(User.username == "a secret"))
            inside = trace.get_current_span()
            with seen.tracer.start_as_current_span("computing") as computing:
                await session.execute("SELECT 'secret', 1 FROM users")
        assert trace.get_current_span() is request

    page = next(span for span in seen.spans() if span.name == "page")
    assert page.kind is SpanKind.INTERNAL
    assert parent(page) == number(request)
    assert number(page) == number(inside)
    assert parent(computing) == number(page)  # type: ignore[arg-type]
    first, second = seen.spans(SpanKind.CLIENT)
    assert (parent(first), parent(second)) == (number(page), number(computing))
    assert {span.context.trace_id for span in seen.spans() if span.context} == {
        request.get_span_context().trace_id
    }

    attributes = told(page)
    assert attributes["db.system.name"] == SYSTEMS[world.backend.family]
    assert attributes["hermetic.scope.outcome"] == "committed"
    assert attributes["hermetic.scope.statements"] == 2
    assert page.status.status_code is StatusCode.UNSET
    assert first.name == second.name == told(first)["db.query.summary"] == "SELECT users"
    assert told(first)["db.operation.name"] == "SELECT"
    assert told(second)["db.query.text"] == "SELECT ?, ? FROM users"
    assert "secret" not in str([(span.attributes, span.events) for span in seen.spans()])
    for span in (first, second):
        assert page.start_time is not None
        assert page.end_time is not None
        assert span.start_time is not None
        assert span.end_time is not None
        assert page.start_time <= span.start_time <= span.end_time <= page.end_time
    await check_nothing_left(world)


@on_servers
async def test_a_server_is_named(world: World, seen: Seen) -> None:
    seen.attach(world.db, query_text=False)
    async with world.session() as session:
        await session.execute("SELECT 1")

    (span,) = seen.spans(SpanKind.CLIENT)
    url = world.db.server.url
    assert told(span)["db.namespace"] == url.database
    assert told(span).get("server.address") == url.host
    assert told(span).get("server.port") == url.port
    assert "db.query.text" not in told(span)


async def test_an_error_is_told_by_its_code_and_without_its_message(
    world: World, seen: Seen
) -> None:
    seen.attach(world.db)
    with pytest.raises(Exception, match="nowhere"):
        async with world.session(name="page") as session:
            await session.execute(
                text("SELECT 1 FROM nowhere WHERE x = :secret"), {"secret": "a secret"}
            )
    with pytest.raises(ZeroDivisionError, match="a secret"):
        async with world.session(name="own"):
            raise ZeroDivisionError("a secret")

    page, own = seen.spans(SpanKind.INTERNAL)
    (statement,) = seen.spans(SpanKind.CLIENT)
    code = {"postgresql": "42P01", "mariadb": "1146", "sqlite": "SQLITE_ERROR"}
    for span in (page, statement):
        assert span.status.status_code is StatusCode.ERROR
        assert told(span)["error.type"] == code[world.backend.family]
        assert told(span)["db.response.status_code"] == code[world.backend.family]
    assert told(own)["error.type"] == "ZeroDivisionError"
    assert own.status.status_code is StatusCode.ERROR
    assert "a secret" not in str([(s.attributes, s.events, s.status.description) for s in (
        page, own, statement)])  # fmt: skip
    (point,) = seen.points("db.client.operation.duration")
    assert point.attributes["error.type"] == code[world.backend.family]
    assert 0 < point.sum < 60


@one_of_each_world
async def test_an_attempt_has_a_link_to_the_one_before(world: World, seen: Seen) -> None:
    seen.attach(world.db)
    runs = []

    @world.unit(retry=3, name="often")
    async def often(session: Any) -> None:
        runs.append(1)
        if len(runs) < 3:
            raise RetryRequested

    with seen.tracer.start_as_current_span("request") as request:
        await often()

    first, second, third = (span for span in seen.spans() if span.name == "often")
    assert [told(each)["hermetic.scope.attempt"] for each in (first, second, third)] == [1, 2, 3]
    assert [parent(each) for each in (first, second, third)] == [number(request)] * 3
    linked = [[link.context.span_id for link in each.links] for each in (first, second, third)]
    assert linked == [[], [number(first)], [number(second)]]
    (point,) = seen.points("hermetic.scope.retries")
    assert point.value == 2


@one_of_each_world
async def test_independent_scopes_inside_are_children(world: World, seen: Seen) -> None:
    seen.attach(world.db)
    async with world.session(name="outer") as session:
        await session.scalars(select(User))
        async with world.session(name="joined"):
            pass
        async with world.session(name="own", propagation="requires_new", readonly=True):
            pass

    outer, own = seen.spans(SpanKind.INTERNAL)
    assert (outer.name, own.name) == ("outer", "own")
    assert parent(own) == number(outer)


async def test_two_parties_do_not_mix_their_spans(world: World, seen: Seen) -> None:
    seen.attach(world.db)

    async def party() -> None:
        for _ in range(3):
            with seen.tracer.start_as_current_span("request"):
                async with world.session(name="page", readonly=True) as session:
                    await session.execute("SELECT 1")

    assert await world.together(party, party) == [None, None]
    by_number = {number(span): span for span in seen.spans()}
    for statement in seen.spans(SpanKind.CLIENT):
        page = by_number[parent(statement) or 0]
        request = by_number[parent(page) or 0]
        assert (page.name, request.name, request.parent) == ("page", "request", None)
    assert len(by_number) == 18


@in_threads
async def test_a_scope_that_ends_in_another_context_leaves_none_behind(
    world: World, seen: Seen
) -> None:
    seen.attach(world.db)
    outer = world.db.session(name="outer")
    copied = contextvars.copy_context()
    copied.run(outer.__enter__)
    outer.__exit__(None, None, None)
    assert not trace.get_current_span().get_span_context().is_valid

    # not in the order in which they began
    one = world.db.session(name="one", readonly=True)
    two = world.db.session(name="two", readonly=True, propagation="requires_new")
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    two.__exit__(None, None, None)
    assert not trace.get_current_span().get_span_context().is_valid
    assert sorted(span.name for span in seen.spans()) == ["one", "outer", "two"]


@in_threads
async def test_what_is_not_sampled_has_no_statements(world: World) -> None:
    seen = Seen(sampler=ALWAYS_OFF)
    seen.attach(world.db)
    async with world.session(name="page") as session:
        await session.execute("SELECT 1")
    assert seen.spans() == []
    (point,) = seen.points("db.client.operation.duration")  # metrics have no sampling
    assert point.count == 1


@one_of_each_world
async def test_operations_and_pools_are_measured(world: World, seen: Seen) -> None:
    db = world.database(pool_size=3)
    detach = seen.attach(db)
    pools = {pool.name: pool for pool in db.snapshot().pools}
    async with world.session(db, name="page") as session:
        await session.execute("SELECT 1")
        await session.execute(select(User))
        name = "db.client.connection.pool.name"
        used = [
            point
            for point in seen.points("db.client.connection.count")
            if point.attributes["db.client.connection.state"] == "used"
        ]
        assert [point.value for point in used] == [1]
        assert used[0].attributes[name] in pools
        most = {p.attributes[name]: p.value for p in seen.points("db.client.connection.max")}
        assert most == {each.name: each.limit for each in pools.values()}
        assert {p.value for p in seen.points("db.client.connection.pending_requests")} == {0}
        assert {p.value for p in seen.points("db.client.connection.timeouts")} == {0}

    (duration,) = seen.points("db.client.operation.duration")
    assert duration.count == 2
    assert list(duration.explicit_bounds) == [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]
    assert duration.attributes["db.operation.name"] == "SELECT"
    assert duration.attributes["db.system.name"] == SYSTEMS[world.backend.family]
    (waited,), (use,) = (
        seen.points(f"db.client.connection.{what}_time") for what in ("wait", "use")
    )
    assert waited.count == use.count == 1
    assert waited.attributes[name] == use.attributes[name] == used[0].attributes[name]
    assert duration.sum <= use.sum
    (scope,) = seen.points("hermetic.scope.duration")
    assert scope.attributes["hermetic.scope.name"] == "page"

    detach()
    assert seen.points("db.client.connection.max") == []


@in_threads
async def test_metrics_tell_a_number_of_names_apart(world: World, seen: Seen) -> None:
    detach = seen.attach(world.db, names=2)
    for name in ("one", "two", "three", "four", "one"):
        async with world.session(name=name):
            pass
    points = seen.points("hermetic.scope.duration")
    counts = {point.attributes["hermetic.scope.name"]: point.count for point in points}
    assert counts == {"one": 2, "two": 1, "other": 2}
    assert {span.name for span in seen.spans()} >= {"three", "four"}
    detach()
    with pytest.raises(InvalidOption, match="names"):
        seen.attach(world.db, names=0)


LITERALS = [
    ("SELECT 'it''s', 1.5e3, $1, :name, t1.c2 FROM t1", "SELECT ?, ?, $1, :name, t1.c2 FROM t1"),
    (r"SELECT 'C:\', 'secret'", "SELECT ?, ?"),
    (r"SELECT E'a\'b', N'c', $tag$ d $tag$", "SELECT ?, ?, ?"),
    (
        "SELECT \"a 'b\" FROM t -- it's 5\nWHERE x = 'y'",
        "SELECT \"a 'b\" FROM t -- it's 5\nWHERE x = ?",
    ),
    ("SELECT 'cut off …", "SELECT ?"),
    ("SELECT -5, 0x1F", "SELECT -?, ?"),
]


@pytest.mark.parametrize(("statement", "expected"), LITERALS)
def test_literals_are_left_out_of_a_text(statement: str, expected: str) -> None:
    assert without_values(statement) == expected


def test_mariadb_has_more_strings() -> None:
    statement = r"""SELECT 'a\'b', "it's", _utf8'c' FROM `t 1`"""
    said = without_values(statement, True)
    assert said.count("?") >= 3
    assert not {"a", "b", "it", "c"} & set(said.replace("SELECT", "").replace("FROM", "").split())
    assert summary_of(statement, True) == "SELECT `t 1`"


SUMMARIES = [
    ("select 1", "SELECT"),
    ("INSERT INTO a.b SELECT * FROM c JOIN d ON 1", "INSERT a.b c d"),
    ("UPDATE users SET x = 'FROM secret'", "UPDATE users"),
    ("WITH q AS (SELECT 1 FROM a) SELECT * FROM q", "WITH a q"),
    ("  /* hint */ DELETE FROM ONLY t", "DELETE t"),
]


@pytest.mark.parametrize(("statement", "expected"), SUMMARIES)
def test_a_summary_is_the_first_word_and_the_tables(statement: str, expected: str) -> None:
    assert summary_of(statement) == expected
