"""A worker of Dramatiq's on Redis, as a program; the first run of its actor kills it."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

from hermetic import Database
from hermetic.integrations.dramatiq import Sessions
from hermetic.outbox import Inbox
from tests.models import User

db = Database(os.environ["BENCH_URL"], pool_size=2)
book = redis.Redis.from_url(os.environ["BENCH_BROKER"])
sessions = Sessions(db, once=Inbox(db))
# milliseconds, and each of so many of a million: a worker that is gone is noticed at once
broker = RedisBroker(  # type: ignore[no-untyped-call]
    url=os.environ["BENCH_BROKER"], heartbeat_timeout=500, maintenance_chance=1_000_000
)
sessions.install(broker)
dramatiq.set_broker(broker)


@dramatiq.actor
def add(name: str, committed: bool) -> None:
    count: Any = book.incr(f"runs {name}")
    db.current.add(User(username=name))
    if int(count) == 1 and committed:
        db.current.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
    elif int(count) == 1:
        db.current.flush()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    dramatiq.Worker(broker, worker_threads=1, worker_timeout=100).start()
    threading.Event().wait()
