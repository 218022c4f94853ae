"""What watching and each sink cost: one small unit of work on a SQLite file, in turns.

    python bench/watching.py [UNITS] [ROUNDS]

Prints microseconds per unit, the median over the rounds of each, and of the difference to a
Database that nobody watches. Sinks whose library is missing are left out. SQLite takes no comments:
their cost is that of a statement, by itself.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hermetic import ConfigurationError, Database
from hermetic.sinks import Sink, attach, logs


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"

    id: Mapped[int] = mapped_column(primary_key=True)


class Idle(Sink):
    """Wants to be told of every end, and makes nothing of it."""

    def ended(self, scope: object, note: object) -> None:
        pass


def turn(db: Database, units: int) -> float:
    """Microseconds per unit, in CPU time of the whole process: the thread that counts included."""
    began = time.process_time()
    for _ in range(units):
        with db.session(name="unit") as session:
            session.get(Item, 1)
    return (time.process_time() - began) / units * 1e6


def by_logs(db: Database) -> None:
    logger = logging.getLogger("bench")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logs.attach(db, logger)


def by_silent_logs(db: Database) -> None:
    logs.attach(db, logging.getLogger("bench.silent"), level=logging.DEBUG)


def by_prometheus(db: Database) -> None:
    from prometheus_client import CollectorRegistry

    from hermetic.sinks import prometheus

    prometheus.attach(db, CollectorRegistry())


def by_traces(db: Database) -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

    from hermetic.sinks import opentelemetry

    opentelemetry.attach(db, TracerProvider(), MeterProvider())


def by_unsampled_traces(db: Database) -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    from hermetic.sinks import opentelemetry

    opentelemetry.attach(db, TracerProvider(sampler=ALWAYS_OFF), MeterProvider())


SINKS: dict[str, Callable[[Database], object]] = {
    "a sink that does nothing": lambda db: attach(db, Idle()),
    "logs, not taken": by_silent_logs,
    "logs": by_logs,
    "prometheus": by_prometheus,
    "opentelemetry, not sampled": by_unsampled_traces,
    "opentelemetry": by_traces,
}


def comment(units: int) -> float:
    """Microseconds for putting a comment on a statement."""
    from hermetic.watching.commenting import _commented, rendered

    text = rendered((("db_driver", "hermetic"), ("scope", "unit")))
    began = time.process_time()
    for _ in range(units):
        _commented("SELECT items.id FROM items WHERE items.id = %s", text, True)
    return (time.process_time() - began) / units * 1e6


def main(units: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'watching.db'}"
        plain = Database(url)
        others = {"watched": Database(url, watch=True)}
        for name, attached in SINKS.items():
            db = Database(url)
            try:
                attached(db)
            except (ConfigurationError, ImportError):
                print(f"{name}: its library is missing")
                continue
            others[name] = db
        Base.metadata.create_all(plain.engine)
        with plain.session() as session:
            session.add(Item(id=1))
        for db in (plain, *others.values()):
            turn(db, units)
        found = [
            (turn(plain, units), {name: turn(db, units) for name, db in others.items()})
            for _ in range(rounds)
        ]
        print(f"{'not watched':28}{statistics.median(one for one, _ in found):8.2f} µs")
        for name in others:
            whole = statistics.median(each[name] for _, each in found)
            more = statistics.median(each[name] - one for one, each in found)
            print(f"{name:28}{whole:8.2f} µs {more:+8.2f}")
        print(f"{'a comment, for a statement':28}{comment(units):8.2f} µs")
        for db in (plain, *others.values()):
            db.close()


if __name__ == "__main__":
    main(*(int(given) for given in (*sys.argv[1:], *("20000", "9")[len(sys.argv) - 1 :])))
