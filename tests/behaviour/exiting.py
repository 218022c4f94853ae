"""Programs that end, or whose loops end, with scopes of theirs still open.

``python -W error -m tests.behaviour.exiting WHAT URL``
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from hermetic import Database
from tests.models import User

kept: list[Any] = []


def generator(url: str) -> None:
    """A generator that holds a scope is there until the interpreter's end."""
    db = Database(url)

    def rows() -> Iterator[int]:
        with db.session() as session:
            session.add(User(username="lost"))
            session.flush()
            yield 1

    kept.append(rows())
    next(kept[0])


def scope(url: str) -> None:
    """A scope that nobody has left, and a Database that nobody has closed."""
    db = Database(url)
    unit = db.session(timeout=60)
    session = unit.__enter__()
    session.add(User(username="lost"))
    session.flush()
    kept.extend((unit, session))


def thread(url: str) -> None:
    """A thread that does not end is inside a scope."""
    db = Database(url)
    inside = threading.Event()

    def work() -> None:
        with db.session() as session:
            session.add(User(username="lost"))
            session.flush()
            inside.set()
            threading.Event().wait()

    threading.Thread(target=work, daemon=True).start()
    inside.wait(30)


def agenerator(url: str) -> None:
    """An async generator is left in the middle, and the loop ends."""
    db = Database(url)

    async def rows() -> AsyncIterator[int]:
        async with db.session() as session:
            session.add(User(username="lost"))
            await session.flush()
            yield 1

    async def work() -> None:
        kept.append(rows())
        async for _ in kept[0]:
            break

    asyncio.run(work())
    asyncio.run(db.aclose())


def task(url: str) -> None:
    """A task is in the middle of a scope when its loop ends."""
    db = Database(url)

    async def work() -> None:
        async with db.session() as session:
            session.add(User(username="lost"))
            await session.flush()
            inside.set()
            await asyncio.Event().wait()

    inside: Any = None

    async def main() -> None:
        nonlocal inside
        inside = asyncio.Event()
        kept.append(asyncio.create_task(work()))
        await inside.wait()

    asyncio.run(main())
    asyncio.run(db.aclose())


def ends(url: str) -> None:
    """A commit is under way, of a task that was cancelled, when its Database is closed."""
    db = Database(url)

    async def work() -> None:
        async with db.session() as session:
            session.add(User(username="kept"))
            await session.flush()

    async def main() -> None:
        async with db.session() as session:
            await session.execute("SELECT 1")
        going = asyncio.create_task(work())
        while not any(  # noqa: ASYNC110 - nothing tells of it
            s.statements and s.state == "committing" for s in db.snapshot().scopes
        ):
            await asyncio.sleep(0.005)
        going.cancel()
        await db.aclose()
        print(len(db.snapshot().scopes), len(db.snapshot().connections))  # noqa: T201

    asyncio.run(main())


def loops(url: str) -> None:
    """Two loops in two threads, at once and for a while, share a Database."""
    db = Database(url, pool_size=4)
    barrier = threading.Barrier(2)
    failed: list[BaseException] = []

    async def unit(name: str) -> None:
        async with db.session() as session:
            session.add(User(username=name))

    async def work(number: int) -> None:
        for turn in range(10):
            barrier.wait(30)
            await asyncio.gather(*(unit(f"{number}.{turn}.{n}") for n in range(6)))

    def run(number: int) -> None:
        try:
            for half in range(2):
                asyncio.run(work(2 * number + half))
        except BaseException as error:
            failed.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    db.close()
    if failed:
        raise failed[0]
    print(len(db.snapshot().connections))  # noqa: T201


def closed(url: str) -> None:
    """A loop is stopped and closed with a scope open in it; another one goes on."""
    db = Database(url, pool_size=1, pool_timeout=5)

    async def half() -> None:
        async with db.session() as session:
            session.add(User(username="lost"))
            await session.flush()
            asyncio.get_running_loop().stop()
            await asyncio.Event().wait()

    async def other() -> None:
        async with db.session() as session:
            session.add(User(username="kept"))
        await db.aclose()

    loop = asyncio.new_event_loop()
    kept.append(loop.create_task(half()))
    loop.run_forever()
    kept[0]._log_destroy_pending = False
    loop.close()
    asyncio.run(other())


if __name__ == "__main__":
    _, what, its_url = sys.argv
    globals()[what](its_url)
