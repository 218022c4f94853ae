"""What watching costs: one small unit of work on a SQLite file, watched and not, in turns.

    python bench/watching.py [UNITS] [ROUNDS]

Prints microseconds per unit, the median over the rounds of each, and of the difference.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hermetic import Database


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"

    id: Mapped[int] = mapped_column(primary_key=True)


def turn(db: Database, units: int) -> float:
    """Microseconds per unit, in CPU time of the whole process: the thread that counts included."""
    began = time.process_time()
    for _ in range(units):
        with db.session(name="unit") as session:
            session.get(Item, 1)
    return (time.process_time() - began) / units * 1e6


def main(units: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'watching.db'}"
        plain, watched = Database(url), Database(url, watch=True)
        Base.metadata.create_all(plain.engine)
        with plain.session() as session:
            session.add(Item(id=1))
        for db in (plain, watched):
            turn(db, units)
        pairs = [(turn(plain, units), turn(watched, units)) for _ in range(rounds)]
        print(f"not watched  {statistics.median(one for one, _ in pairs):6.2f} µs")
        print(f"watched      {statistics.median(two for _, two in pairs):6.2f} µs")
        print(f"difference   {statistics.median(two - one for one, two in pairs):6.2f} µs")
        plain.close()
        watched.close()


if __name__ == "__main__":
    main(*(int(given) for given in (*sys.argv[1:], *("20000", "9")[len(sys.argv) - 1 :])))
