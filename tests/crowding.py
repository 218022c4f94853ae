"""Processes that write and read the same rows through a cache, held to what commits have promised.

Each row has a version, which every write raises by one. What is acknowledged is kept in memory that
all processes share, and looked at before a read begins: the read must not show less.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing as mp
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import create_engine, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hermetic import Cache, CacheAway, Database
from tests.servers.redis import RedisServer

TABLES, ROWS = 8, 8
_FIELDS = ("done", "stale", "hits", "refused", "writes", "killed")


class _Base(DeclarativeBase):
    pass


def _mapped(number: int) -> Any:
    values = {
        "__tablename__": f"versioned_{number}",
        "__annotations__": {"id": Mapped[int], "version": Mapped[int]},
        "id": mapped_column(primary_key=True),
        "version": mapped_column(default=0),
    }
    return type(f"Versioned{number}", (_Base,), values)


CLASSES = tuple(_mapped(number) for number in range(TABLES))


@dataclass(frozen=True)
class Crowd:
    """What a run is.

    :param operations: how many there are, of all processes together.
    :param writes: which part of them writes.
    :param dying: how probable it is that a process kills itself between COMMIT and its end.
    :param kills: how often each of them does so at most.
    :param forgetful: whether commits are not told to anybody: the check has to find that.
    """

    url: str
    operations: int
    region: str | None = None
    processes: int = 4
    writes: float = 0.05
    dying: float = 0.0
    kills: int = 1_000_000
    forgetful: bool = False
    options: dict[str, Any] = field(default_factory=dict)


class Tally(Counter[str]):
    """What a run has seen."""


def run(crowd: Crowd, redis: RedisServer | None = None, *, disturbed: bool = False) -> Tally:
    """Run it to its end.

    :param redis: what is stopped, frozen and started again all the time, where it is to be.
    """
    engine = create_engine(crowd.url)
    _Base.metadata.drop_all(engine)
    _Base.metadata.create_all(engine)
    with engine.begin() as connection:
        for cls in CLASSES:
            rows = [{"id": key, "version": 0} for key in range(ROWS)]
            connection.execute(cls.__table__.insert(), rows)
    context = mp.get_context("spawn")
    acknowledged = context.Array("q", TABLES * ROWS)
    seen = [context.Array("q", len(_FIELDS)) for _ in range(crowd.processes)]
    with disturbing(redis) if disturbed and redis is not None else contextlib.nullcontext():
        _see_through(context, crowd, acknowledged, seen, engine)
    engine.dispose()
    tally = Tally()
    for each in seen:
        tally.update({name: each[at] for at, name in enumerate(_FIELDS)})
    return tally


def _see_through(context: Any, crowd: Crowd, acknowledged: Any, seen: Any, engine: Any) -> None:
    share = crowd.operations // crowd.processes

    def begin(number: int) -> Any:
        process = context.Process(
            target=_work, args=(crowd, number, share, acknowledged, seen[number]), daemon=True
        )
        process.start()
        return process

    running = {number: begin(number) for number in range(crowd.processes)}
    while running:
        for number, process in list(running.items()):
            process.join(0.05)
            if process.exitcode is None:
                continue
            del running[number]
            if process.exitcode == -signal.SIGKILL:
                _observe(engine, acknowledged)
                running[number] = begin(number)
            elif process.exitcode:
                raise AssertionError(f"a process of the crowd ended with {process.exitcode}")


def _observe(engine: Any, acknowledged: Any) -> None:
    """What somebody has seen past every cache is promised from then on."""
    with engine.connect() as connection:
        for number, cls in enumerate(CLASSES):
            for key, version in connection.execute(select(cls.__table__)):
                _acknowledge(acknowledged, number * ROWS + key, version)


def _acknowledge(acknowledged: Any, at: int, version: int) -> None:
    with acknowledged.get_lock():
        acknowledged[at] = max(acknowledged[at], version)


@contextlib.contextmanager
def disturbing(redis: RedisServer) -> Iterator[None]:
    """Freeze Redis, or stop it and start it again, all the time."""
    import threading

    over = threading.Event()

    def disturb() -> None:
        chance = random.Random(1)
        while not over.wait(chance.uniform(0.5, 1.5)):
            if chance.random() < 0.5:
                redis.freeze()
                over.wait(chance.uniform(0.2, 0.6))
                redis.thaw()
            else:
                redis.stop()
                over.wait(chance.uniform(0.0, 0.4))
                redis.start()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# ---------------------------------------------------------------- one process


def _work(crowd: Crowd, number: int, share: int, acknowledged: Any, seen: Any) -> None:
    cache = Cache(region=crowd.region, entities=CLASSES, **crowd.options)
    asynchronous = bool(number % 2)
    url = crowd.url.replace("+psycopg", "+asyncpg") if asynchronous else crowd.url
    db = Database(url, cache=cache)
    _have_fail(db, crowd, seen)
    worker = _Worker(db, crowd, number, share, acknowledged, seen)
    if asynchronous:
        asyncio.run(worker.work_async())
    else:
        worker.work()


def _have_fail(db: Database, crowd: Crowd, seen: Any) -> None:
    store = db.cache.store
    finish = store.finish
    if crowd.forgetful:
        store.begin, store.finish = (lambda names: None), (lambda commit: None)
    elif crowd.dying:

        def dying(commit: Any) -> None:
            at = _FIELDS.index("killed")
            if random.random() < crowd.dying and seen[at] < crowd.kills:
                seen[at] += 1
                os.kill(os.getpid(), signal.SIGKILL)
            finish(commit)

        store.finish = dying


class _Worker:
    def __init__(
        self, db: Database, crowd: Crowd, number: int, share: int, acknowledged: Any, seen: Any
    ) -> None:
        self.db, self.crowd, self.share = db, crowd, share
        self.acknowledged, self.seen = acknowledged, seen
        self.chance = random.Random((number, seen[0], time.time_ns()).__repr__())

    def _count(self, name: str, by: int = 1) -> None:
        self.seen[_FIELDS.index(name)] += by

    def _chosen(self) -> tuple[int, int, bool]:
        chance = self.chance
        return chance.randrange(TABLES), chance.randrange(ROWS), chance.random() < self.crowd.writes

    def _wrote(self, at: int, version: int) -> None:
        _acknowledge(self.acknowledged, at, version)
        self._count("writes")

    def _read(self, floor: int, version: int, hits: int) -> None:
        self._count("hits", hits)
        if version < floor:
            self._count("stale")

    def _statement(self, number: int, key: int) -> Any:
        cls = CLASSES[number]
        if self.chance.random() < 0.5:
            raw = text(f"UPDATE versioned_{number} SET version = version + 1 WHERE id = :id "
                       "RETURNING version")  # fmt: skip
            return raw.bindparams(id=key)
        raised = update(cls).where(cls.id == key).values(version=cls.version + 1)
        return raised.returning(cls.version).execution_options(synchronize_session=False)

    def _question(self, number: int, key: int) -> tuple[Any, dict[str, Any]]:
        cls = CLASSES[number]
        form = self.chance.randrange(2)
        if form:
            return select(cls).where(cls.id == key), {}
        return select(cls.version).where(cls.id == key), {"cache": True}

    def work(self) -> None:
        while self.seen[0] < self.share:
            number, key, writes = self._chosen()
            at = number * ROWS + key
            self._count("done")
            try:
                if writes:
                    with self.db.session() as session:
                        version = session.scalar(self._statement(number, key))
                    self._wrote(at, version)
                    continue
                floor = self.acknowledged[at]
                with self.db.session(readonly=self.chance.random() < 0.5) as session:
                    if self.chance.random() < 0.5:
                        one: Any = session.get(CLASSES[number], key)
                        version = one.version
                    else:
                        statement, options = self._question(number, key)
                        found = session.scalar(statement, execution_options=options)
                        version = getattr(found, "version", found)
                    hits = session.cache_hits
                self._read(floor, version, hits)
            except CacheAway:
                self._count("refused")

    async def work_async(self) -> None:
        while self.seen[0] < self.share:
            number, key, writes = self._chosen()
            at = number * ROWS + key
            self._count("done")
            try:
                if writes:
                    async with self.db.session() as session:
                        version = await session.scalar(self._statement(number, key))
                    self._wrote(at, version)
                    continue
                floor = self.acknowledged[at]
                async with self.db.session(readonly=self.chance.random() < 0.5) as session:
                    if self.chance.random() < 0.5:
                        one: Any = await session.get(CLASSES[number], key)
                        version = one.version
                    else:
                        statement, options = self._question(number, key)
                        found = await session.scalar(statement, execution_options=options)
                        version = getattr(found, "version", found)
                    hits = session.cache_hits
                self._read(floor, version, hits)
            except CacheAway:
                self._count("refused")
