"""A program that forks with things open, and tells what became of them.

``python -m tests.behaviour.forking URL WAY``: the parent has a warm pool, a scope with a change
that is not committed yet, and a thread that is busy with the same Database. The child does what
``WAY`` says and ends. Then the parent goes on with its scope, and prints what it found.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from hermetic import Database, ForkedScope, HermeticError, Session, sessionmaker
from tests.models import User

WHO = {
    "postgresql": "SELECT pg_backend_pid()",
    "mysql": "SELECT connection_id()",
    "sqlite": "SELECT 0",
}


def in_child(db: Database, session: Any, who: str, way: str, tell: Any) -> None:
    """What the child does in the middle of its parent's scope."""
    refused = [_refusal(lambda: session.scalar(who)), _refusal(lambda: db.current)]
    refused.append(_refusal(lambda: db.session(propagation="mandatory").__enter__()))
    with db.session(readonly=True) as own:
        tell({"refused": refused, "child": own.scalar(who)})
    with db.session(propagation="requires_new", readonly=True) as own:
        own.scalar(who)
    if way == "os._exit":
        os._exit(0)
    if way == "sys.exit":
        db.close()
        sys.exit(0)
    if way == "wrote":
        with db.session() as own:
            own.add(User(username="child"))
        sys.exit(0)


def _refusal(act: Any) -> str:
    try:
        return f"nothing: {act()!r}"
    except HermeticError as error:
        return type(error).__name__ if "forked" in str(error) else str(error)


@contextlib.contextmanager
def busy(db: Database, who: str) -> Iterator[None]:
    """A thread that opens and ends scopes all the time, and another that stays in one."""
    done, entered = threading.Event(), threading.Event()
    local = threading.local()

    def work() -> None:
        while not done.is_set():
            with db.session(readonly=True, timeout=20) as session:
                session.scalar(who)

    def stay() -> None:
        # a thread's locals go at once in a child
        local.session = sessionmaker(db.engine)() if db.family.name != "sqlite" else Session()
        if db.family.name != "sqlite":
            local.session.execute(who)
        with db.session(readonly=True) as session:
            session.scalar(who)
            entered.set()
            done.wait(60)
        local.session.close()

    # SQLite has locks of its own, in C: a child whose parent's threads were in one cannot use it
    active = [] if db.family.name == "sqlite" else [work]
    threads = [threading.Thread(target=each) for each in (*active, stay)]
    for thread in threads:
        thread.start()
    entered.wait(60)
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join(60)


def main(url: str, way: str) -> None:
    db = Database(url, pool_size=5, reader_pool_size=5)
    who = WHO[db.family.name]
    readers, writers = os.pipe()

    def tell(told: dict[str, Any]) -> None:
        os.write(writers, json.dumps(told).encode() + b"\n")

    with db.session() as session:
        session.scalar(who)
    with busy(db, who), db.session() as session:
        before = session.scalar(who)
        session.add(User(username="ann"))
        session.flush()
        session.on_rollback(lambda: tell({"hook": "a hook of the parent's ran in the child"}))
        child = os.fork()
        if child == 0:
            in_child(db, session, who, way, tell)
            if way == "collected":
                del session
                gc.collect()
                os._exit(0)
            _leave_block(session, tell, ZeroDivisionError() if way == "error" else None)
        status = os.waitpid(child, 0)[1]
        after = session.scalar(who)
        session.add(User(username="bob"))
    os.close(writers)
    told: dict[str, Any] = {}
    with os.fdopen(readers) as lines:
        for line in lines:
            told |= json.loads(line)
    db.close()
    print(  # noqa: T201 - what it is for
        json.dumps({**told, "before": before, "after": after, "status": status})
    )


def _leave_block(session: Any, tell: Any, error: BaseException | None) -> None:
    """Leave the inherited scope's block, as the program's own code does it; then end."""
    leave = session.scope.unit.__exit__
    try:
        leave(None if error is None else type(error), error, None)
    except ForkedScope:
        tell({"left": "ForkedScope"})
    else:
        tell({"left": "without a word"})
    session.close()
    os._exit(0)


# ---------------------------------------------------------------- gunicorn's way, and asyncio


def preloaded(url: str, _: str) -> None:
    """Workers that are forked from a process that has used the Database already."""
    db = Database(url, pool_size=2)
    who = WHO[db.family.name]
    with db.session() as session:
        seen = {session.scalar(who)}
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            for _turn in range(5):
                with db.session() as session:
                    session.add(User(username=f"worker {number}.{_turn}"))
            sys.exit(0)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    with db.session() as session:
        seen.add(session.scalar(who))
    db.close()
    print(json.dumps({"seen": list(seen), "statuses": statuses}))  # noqa: T201


def in_loop(url: str, way: str) -> None:
    """A fork in the middle of a coroutine, or between two loops."""
    db = Database(url, pool_size=3)
    who = WHO[db.family.name]
    report: dict[str, Any] = {}
    kept: list[Any] = []

    async def child_work() -> None:
        async with db.session() as session:
            assert await session.scalar(who) not in report["before"]
            session.add(User(username="child"))
        async with kept[0].connect() as connection:
            await connection.exec_driver_sql(who)
        await db.aclose()

    async def work() -> None:
        kept.append(db.async_engine)
        async with db.session() as session:
            report["before"] = [await session.scalar(who)]
        if way == "between":
            return
        async with db.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            report["before"].append(await session.scalar(who))
            child = os.fork()
            if child == 0:
                failed = True
                try:
                    asyncio.run(_apart(child_work))
                    gc.collect()
                    failed = False
                finally:
                    os._exit(failed)
            report["status"] = (await asyncio.to_thread(os.waitpid, child, 0))[1]
            report["after"] = await session.scalar(who)
        await db.aclose()

    async def _apart(function: Any) -> None:
        kept[0] = db.async_engine
        await function()

    asyncio.run(work())
    if way == "between":
        child = os.fork()
        if child == 0:
            asyncio.run(_apart(child_work))
            gc.collect()
            sys.exit(0)
        report["status"] = os.waitpid(child, 0)[1]
        asyncio.run(_once_more(db))
    print(json.dumps(report))  # noqa: T201


async def _once_more(db: Database) -> None:
    async with db.session() as session:
        session.add(User(username="ann"))
    await db.aclose()


def loose(url: str, _: str) -> None:
    """A session outside any scope, on hermetic's engine; the child closes it."""
    db = Database(url)
    who = WHO[db.family.name]
    session = sessionmaker(db.engine)()
    before = session.execute(who).scalar()
    session.add(User(username="ann"))
    session.flush()
    child = os.fork()
    if child == 0:
        session.rollback()
        assert session.execute(who).scalar() != before or db.family.name == "sqlite"
        session.close()
        sys.exit(0)
    status = os.waitpid(child, 0)[1]
    after = session.execute(who).scalar()
    session.commit()
    session.close()
    db.close()
    print(json.dumps({"before": before, "after": after, "status": status}))  # noqa: T201


if __name__ == "__main__":
    _, kind, its_url, its_way = sys.argv
    {"scope": main, "preloaded": preloaded, "loop": in_loop, "loose": loose}[kind](its_url, its_way)
