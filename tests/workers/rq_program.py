"""Jobs of RQ's, as their worker imports them."""

from __future__ import annotations

import os
import signal
from typing import Any

import redis
from rq import get_current_job

from hermetic import Database, RetryRequested
from hermetic.integrations.rq import Sessions
from hermetic.outbox import Inbox
from tests.models import User

# before any fork
db = Database(os.environ["BENCH_URL"], pool_size=2)
with db.session(readonly=True) as warm:
    warm.scalar("SELECT 1")
book = redis.Redis.from_url(os.environ["BENCH_BROKER"])
sessions = Sessions(db, once=Inbox(db))


def run_of(name: str) -> int:
    """Note that a job begins; the number of its run."""
    count: Any = book.incr(f"runs {name}")
    return int(count)


@sessions.task
def add(name: str, then: str = "") -> int:
    run = run_of(name)
    db.current.add(User(username=name))
    if then == "kill" and run == 1:
        db.current.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    if then == "kill when committed" and run == 1:
        db.current.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
    if then == "ask" and run < 3:
        raise RetryRequested
    if then == "hold" and run == 1:
        db.current.flush()
        book.set(f"process {name}", os.getpid())
        book.blpop([f"go {name}"])
    if then == "wait":
        db.current.execute("SELECT pg_sleep(60)")
    assert get_current_job() is not None
    return run


@sessions.task
async def add_in_a_loop(name: str) -> int:
    db.current.add(User(username=name))
    count: int = await db.current.scalar("SELECT count(*) FROM users")
    return count
