"""Applications of Celery's that ``bench/workers.py`` compares, each imported by its worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import redis
from celery import Celery
from sqlalchemy import create_engine, exc
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from hermetic import Database
from hermetic.integrations.celery import Sessions
from hermetic.outbox import Inbox


class Base(DeclarativeBase):
    pass


class Done(Base):
    """A task that was applied; one that was applied twice is there twice."""

    __tablename__ = "done"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)


def by_hand(app: Celery, url: str, book: Any, **options: Any) -> None:
    """A session in the task's body."""
    engine = create_engine(url)

    @app.task(name="add", default_retry_delay=0, max_retries=3, **options)
    def add(name: str, kill: str = "") -> None:
        first = bool(kill) and book.incr(f"runs {name}") == 1
        with Session(engine) as session, session.begin():
            session.add(Done(name=name))
            session.flush()
            if first and kill == "before":
                os.kill(os.getpid(), signal.SIGKILL)
        if first:
            os.kill(os.getpid(), signal.SIGKILL)


def careful(app: Celery, url: str, book: Any) -> None:
    """The same, as Celery's documents have it for what must not be lost."""
    retried = {"autoretry_for": (exc.DBAPIError,), "retry_backoff": False}
    by_hand(app, url, book, acks_late=True, reject_on_worker_lost=True, **retried)


def hermetic(app: Celery, url: str, book: Any, *, once: bool = False) -> None:
    db = Database(url)
    Sessions(db, once=Inbox(db) if once else None).install(app)

    @app.task(name="add", default_retry_delay=0, max_retries=3)
    def add(name: str, kill: str = "") -> None:
        first = bool(kill) and book.incr(f"runs {name}") == 1
        session = db.current
        session.add(Done(name=name))
        session.flush()
        if first and kill == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if first:
            session.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))


def hermetic_once(app: Celery, url: str, book: Any) -> None:
    hermetic(app, url, book, once=True)


APPS: dict[str, Callable[..., None]] = {
    "hermetic, with `once`": hermetic_once,
    "hermetic": hermetic,
    "a session in the body": by_hand,
    "a session in the body, `acks_late`, `autoretry_for`": careful,
}


def make(name: str, url: str, broker: str, folder: str) -> Celery:
    """The application of a name, with its task."""
    app = Celery("bench", broker=broker, backend=f"file://{folder}")
    app.conf.update(broker_connection_retry_on_startup=True)
    APPS[name](app, url, redis.Redis.from_url(broker))
    return app


# what a worker imports
if "WORKER_APP" in os.environ:
    app = make(*(os.environ[f"WORKER_{each}"] for each in ("APP", "URL", "BROKER", "FOLDER")))
