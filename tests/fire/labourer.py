"""A process that does units of work and keeps a ledger of them, until it is struck."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, Final

from hermetic import Database, Outcome
from tests.fire.checkers.ledger import PARTS, Ledger
from tests.fire.tables import Head, Tail

# Seconds for cleaning up, and what a process may take for its end after a signal.
CLEANUP: Final = 1.0
GRACE: Final = 5.0

_TASKS: Final = 3


def labour(url: str, path: str, name: str, asynchronous: bool, pipe: Connection) -> None:
    """Work until a signal comes; says so when the first unit is done, and in which process."""
    bell = _Bell()
    signal.signal(signal.SIGTERM, bell.ring)
    signal.signal(signal.SIGINT, bell.ring)
    ledger = Ledger(Path(path))
    db = Database(url, name=name, cleanup_timeout=CLEANUP, pool_size=_TASKS)
    try:
        if asynchronous:
            asyncio.run(_work_in_tasks(db, ledger, name, pipe))
        else:
            _work(db, ledger, name, bell, pipe)
    except SystemExit:
        pass
    finally:
        db.close()
        ledger.close()


class _Bell:
    """Ends the program, as the handler of a service does; not in the middle of an entry."""

    def __init__(self) -> None:
        self._muted = False
        self._rung = False

    def ring(self, number: int, frame: FrameType | None) -> None:
        self._rung = True
        if not self._muted:
            sys.exit(3)

    @contextmanager
    def muted(self) -> Iterator[None]:
        self._muted = True
        try:
            yield
        finally:
            self._muted = False
        if self._rung:
            sys.exit(3)


def _add_parts(session: Any, token: str) -> None:
    head = Head(token=token, run=1, part=0)
    session.add(head)
    session.add_all(Tail(token=token, run=1, part=part, head=head) for part in range(1, PARTS))


def _told(session: Any) -> Outcome:
    """A session that was never had has sent nothing."""
    if session is None:
        return Outcome.NOT_COMMITTED
    outcome: Outcome | None = session.outcome
    assert outcome is not None, "a scope is over, and has no outcome"
    return outcome


def _work(db: Database, ledger: Ledger, name: str, bell: _Bell, pipe: Connection) -> None:
    for number in itertools.count():
        token = f"{name} {number}"
        session: Any = None
        try:
            with bell.muted():
                ledger.intend(token)
            with db.session() as session:
                _add_parts(session, token)
                session.flush()
                session.execute("SELECT 1")
        finally:
            # what struck is on its way already
            try:
                with bell.muted():
                    ledger.told(token, _told(session))
            except BaseException:
                # it struck on the way into that; there is no second signal
                ledger.told(token, _told(session))
                raise
        if number == 0:
            pipe.send(os.getpid())


async def _work_in_tasks(db: Database, ledger: Ledger, name: str, pipe: Connection) -> None:
    loop, main = asyncio.get_running_loop(), asyncio.current_task()
    assert main is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, main.cancel)
    at_work = threading.Event()

    async def work(task: int) -> None:
        for number in itertools.count():
            token = f"{name} {task} {number}"
            ledger.intend(token)
            session: Any = None
            try:
                async with db.session() as session:
                    _add_parts(session, token)
                    await session.flush()
                    await session.execute("SELECT 1")
            finally:
                ledger.told(token, _told(session))
            if not at_work.is_set():
                at_work.set()
                pipe.send(os.getpid())

    try:
        async with asyncio.TaskGroup() as group:
            for task in range(_TASKS):
                group.create_task(work(task))
    except asyncio.CancelledError:
        sys.exit(3)
    finally:
        await db.aclose()
