"""Scopes and findings as records of logging, and as events of structlog."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from hermetic import InvalidOption, Watch
from hermetic.sinks import logs
from tests.behaviour.aftermath import on
from tests.models import User
from tests.optional import optional
from tests.worlds import World

structlog = optional("structlog")

one_of_each_world = on(lambda backend: backend.name in ("psycopg", "asyncpg", "pymysql", "sqlite"))
in_threads = on(lambda backend: backend.name == "sqlite")


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, list[Any]]]:
    logger = logging.getLogger("application.database")
    handler = Kept()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield logger, handler.records
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@one_of_each_world
async def test_a_scope_that_has_ended_is_one_record(world: World, log: Any) -> None:
    logger, records = log
    logs.attach(world.db, logger)
    async with world.session(name="page", readonly=True) as session:
        await session.execute(select(User.id).where(User.username == "a secret"))

    (record,) = records
    assert record.levelno == logging.INFO
    assert record.getMessage().startswith("scope page ended in ")
    assert record.getMessage().endswith(" ms: committed")
    assert (record.database, record.scope, record.outcome) == (world.db.name, "page", "committed")
    assert (record.statements, record.readonly, record.error) == (1, True, None)
    assert 0 < record.working <= record.seconds
    assert "secret" not in repr(vars(record))


@one_of_each_world
async def test_the_level_is_by_how_it_ended(world: World, log: Any) -> None:
    logger, records = log
    logs.attach(world.db, logger, slow=1e-9)
    async with world.session(name="slow"):
        pass
    logs.attach(world.db, logger, slow=None, level=logging.DEBUG)  # too low for the logger
    with pytest.raises(Exception, match="nowhere"):
        async with world.session(name="failing") as session:
            await session.execute("SELECT 1 FROM nowhere")

    slow, *failed = records
    assert (slow.levelno, slow.error) == (logging.WARNING, None)
    assert [record.levelno for record in failed] == [logging.WARNING] * 2
    assert failed[0].outcome == "not_committed"
    assert failed[0].code in ("42P01", "1146", "SQLITE_ERROR")
    assert failed[0].error in failed[0].getMessage()


@in_threads
async def test_a_wrong_time_is_refused(world: World) -> None:
    with pytest.raises(InvalidOption, match="slow"):
        logs.attach(world.db, slow=-1.0)
    assert world.db.registry.watch is None


@in_threads
async def test_more_fields_are_the_applications(world: World, log: Any) -> None:
    logger, records = log
    logs.attach(world.db, logger, fields=lambda scope: {"service": scope.name.upper()})
    async with world.session(name="page"):
        pass
    assert records[0].service == "PAGE"


@in_threads
async def test_findings_are_warnings_told_once(
    world: World, log: Any, caplog: pytest.LogCaptureFixture
) -> None:
    logger, records = log
    db = world.database(watch=Watch(every=3600.0, repeats=1))
    logs.attach(db, logger, level=logging.DEBUG)
    logs.attach(db)  # the logger of hermetic has them anyway
    async with world.session(db, name="page") as session:
        for _ in range(5):
            await session.execute("SELECT 1")

    (record,) = records
    assert (record.levelno, record.finding) == (logging.WARNING, "repeated-statement")
    assert record.scope == "page"
    assert ".py:" in record.place
    own = [each for each in caplog.records if each.name.partition(".")[0] == "hermetic"]
    assert [vars(each)["finding"] for each in own if "finding" in vars(each)] == [record.finding]


@one_of_each_world
async def test_structlogs_formatter_has_every_field(world: World, log: Any) -> None:
    logger, _ = log
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_log_level,
                structlog.stdlib.ExtraAdder(),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logger.addHandler(handler)
    logs.attach(world.db, logger)
    with structlog.contextvars.bound_contextvars(request="r1"):
        async with world.session(name="page") as session:
            await session.execute("SELECT 1")
    logger.removeHandler(handler)

    told = json.loads(stream.getvalue())
    assert (told["scope"], told["outcome"], told["statements"]) == ("page", "committed", 1)
    assert (told["request"], told["level"]) == ("r1", "info")


@in_threads
async def test_a_logger_of_structlogs_is_given_keywords(world: World) -> None:
    captured = structlog.testing.LogCapture()
    logger = structlog.wrap_logger(
        None,
        processors=[captured],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    db = world.database(watch=Watch(every=3600.0, repeats=1))
    logs.attach(db, logger)
    async with world.session(db, name="page") as session:
        await session.execute("SELECT 1")
        await session.execute("SELECT 1")
        await session.execute("SELECT 1")

    found, ended = captured.entries
    assert (found["log_level"], found["finding"]) == ("warning", "repeated-statement")
    assert (ended["log_level"], ended["event"]) == ("info", "scope ended: committed")
    assert (ended["scope"], ended["statements"]) == ("page", 3)
