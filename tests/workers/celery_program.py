"""An application of Celery's, as its worker imports it::

celery -A tests.workers.celery_program worker
"""

from __future__ import annotations

import os
import signal
from typing import Any

import redis
from celery import Celery

from hermetic import Database, RetryRequested
from hermetic.integrations.celery import Sessions, retried
from hermetic.outbox import Inbox
from tests.models import User

# before any fork
db = Database(os.environ["BENCH_URL"], pool_size=2)
with db.session(readonly=True) as warm:
    warm.scalar("SELECT 1")
book = redis.Redis.from_url(os.environ["BENCH_BROKER"])
sessions = Sessions(db, once=Inbox(db))
# results as files: nobody listens for them, and nobody has to be told that it may stop
results = f"file://{os.environ['BENCH_FOLDER']}"
app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=results)
app.conf.update(
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    # no events, no gossip: it starts the sooner
    worker_send_task_events=False,
    worker_hijack_root_logger=True,
    result_extended=False,
    worker_cancel_long_running_tasks_on_connection_loss=True,
)
sessions.install(app)


def run_of(name: str) -> int:
    """Note that a task begins; the number of its run."""
    count: Any = book.incr(f"runs {name}")
    return int(count)


@app.task(bind=True, default_retry_delay=0)
def add(task: Any, name: str, then: str = "") -> tuple[int, int]:
    run = run_of(name)
    db.current.add(User(username=name))
    if then == "kill" and run == 1:
        db.current.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    if then == "kill when committed" and run == 1:
        db.current.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
    if then == "ask" and run < 3:
        raise RetryRequested
    if then == "send":
        add.delay_on_commit(f"{name}-after")
        assert run_of(f"{name}-after") == 1
    if then == "fail":
        add.delay_on_commit(f"{name}-after")
        raise LookupError(name)
    if then == "wait":
        db.current.execute("SELECT pg_sleep(60)")
    if then == "hold":
        db.current.flush()
        book.blpop([f"go {name}"])
    return run, task.request.retries


@app.task
def count() -> tuple[int, int]:
    """How many users there are, and in which process it was looked."""
    return db.current.scalar("SELECT count(*) FROM users"), os.getpid()


@app.task
@retried(3)
def persist(name: str) -> int:
    run = run_of(name)
    db.current.add(User(username=name))
    if run < 3:
        raise RetryRequested
    return run


@app.task(scope_options={"isolation": "SERIALIZABLE"})
def serializable() -> Any:
    with db.session() as session:  # it joins the task's
        return session.scalar("SHOW transaction_isolation")


@app.task
async def add_in_a_loop(name: str) -> int:
    db.current.add(User(username=name))
    count: int = await db.current.scalar("SELECT count(*) FROM users")
    return count
