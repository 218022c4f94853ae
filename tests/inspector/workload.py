"""Work that shows everything that the page has: in tests, measurements and pictures of it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from hermetic import Database, Watch
from tests.models import Base, Order, User

PLACES = 5


def watched(url: str, **options: Any) -> Database:
    """A Database whose scopes are soon found to be slow, held and repetitive."""
    watch = Watch(slow=0.5, held=0.7, idle=0.4, repeats=5, every=0.2)
    return Database(url, watch=watch, **{"name": "shop", "pool_size": PLACES, **options})


class Workload:
    """Threads that read, write, fail, hold and wait, until the block is left."""

    def __init__(
        self, db: Database, *, readers: int = 3, holders: int = 2, waiting: int = 4
    ) -> None:
        self.db = db
        self.over = threading.Event()
        self._works: list[tuple[str, Callable[[], None]]] = [
            *((f"reader-{number}", self.read) for number in range(readers)),
            *((f"report-{number}", self.hold) for number in range(holders)),
            *((f"checkout-{number}", self.write) for number in range(waiting)),
            ("listing", self.list_all),
            ("import", self.fail),
        ]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Workload:
        Base.metadata.create_all(self.db.engine)
        with self.db.session(name="filling") as session:
            if session.scalar(select(User.id).limit(1)) is None:
                session.add_all(
                    User(username=f"user {number}", orders=[Order(item="a")])
                    for number in range(30)
                )
        self._threads = [
            threading.Thread(target=self._work, args=(work,), name=name)
            for name, work in self._works
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(30)

    def _work(self, work: Callable[[], None]) -> None:
        while not self.over.is_set():
            work()
            self.over.wait(random.uniform(0.0, 0.02))

    def read(self) -> None:
        with self.db.session(name="page", readonly=True) as session:
            session.scalars(select(User).limit(10)).all()
            session.scalar(select(Order.id).limit(1))

    def write(self) -> None:
        for attempt in self.db.attempts(name="checkout", retry=3):
            with attempt as session:
                user = session.scalars(select(User).order_by(User.id)).first()
                assert user is not None
                user.orders.append(Order(item="book"))
                session.flush()
                self.over.wait(random.uniform(0.0, 0.1))

    def hold(self) -> None:
        """Waits for something else, with a connection in hand."""
        with self.db.session(name="monthly report", readonly=True) as session:
            session.scalar("SELECT count(*) FROM orders WHERE item <> 'ink'")
            self.over.wait(2.0)

    def list_all(self) -> None:
        with self.db.session(name="listing", readonly=True) as session:
            count_orders(session)
        self.over.wait(0.3)

    def fail(self) -> None:
        try:
            with self.db.session(name="import") as session:
                session.add(User(username="user 1"))
        except Exception:  # as it was meant to be
            self.over.wait(0.2)


def count_orders(session: Session) -> int:
    """Loads the orders of each user by a statement of its own."""
    return sum(len(user.orders) for user in session.scalars(select(User)))


def add_up(db: Database) -> None:
    """A scope of which there is something to be seen on its time line."""
    with db.session(name="nightly totals", readonly=True) as session:
        for size in (60_000, 20_000, 180_000, 30_000):
            session.scalar(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :size) "
                "SELECT count(*) FROM n",
                {"size": size},
            )
            time.sleep(0.02)
