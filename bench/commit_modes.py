"""What it costs to be able to tell what became of a COMMIT: a scope with one INSERT, by mode.

    python bench/commit_modes.py [SECONDS]

The modes take turns in one process; the median over the rounds counts. The server has ``fsync``
off, so that a round trip and a row are not hidden by a disk.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from sqlalchemy import make_url  # noqa: E402
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column  # noqa: E402

from hermetic import Database  # noqa: E402
from tests.servers import MariaDBServer, PostgreSQLServer  # noqa: E402

_TURN = 100


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)


def _add(db: Database) -> None:
    for _ in range(_TURN):
        with db.session() as session:
            session.add(Note())


async def _add_async(db: Database) -> None:
    for _ in range(_TURN):
        async with db.session() as session:
            session.add(Note())


def _measure(
    modes: dict[str | None, Database], turn: Callable[[Database], Any], seconds: float
) -> dict[str | None, float]:
    """Microseconds for one scope, by mode."""
    taken: dict[str | None, list[float]] = {mode: [] for mode in modes}
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for mode, db in modes.items():
            began = time.perf_counter()
            turn(db)
            taken[mode].append((time.perf_counter() - began) / _TURN * 1e6)
    return {mode: statistics.median(rounds) for mode, rounds in taken.items()}


def _databases(url: str) -> dict[str | None, Database]:
    modes = [None, "token", *(["status"] if "postgresql" in url else [])]
    return {mode: Database(url, resolve_commits=mode) for mode in modes}


def _threads(url: str, seconds: float) -> dict[str | None, float]:
    modes = _databases(url)
    Base.metadata.create_all(modes[None].engine)
    modes["token"].create_commit_table()
    try:
        return _measure(modes, _add, seconds)
    finally:
        for db in modes.values():
            db.close()


def _tasks(url: str, seconds: float) -> dict[str | None, float]:
    modes = _databases(url)
    with asyncio.Runner() as runner:
        try:
            runner.run(modes["token"].acreate_commit_table())
            return _measure(modes, lambda db: runner.run(_add_async(db)), seconds)
        finally:
            for db in modes.values():
                runner.run(db.aclose())


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with (
        PostgreSQLServer() as postgresql,
        MariaDBServer() as mariadb,
        tempfile.TemporaryDirectory() as folder,
    ):
        postgresql.create_database("bench")
        mariadb.create_database("bench")
        pg, my = make_url(postgresql.url("bench")), make_url(mariadb.url("bench"))
        rows = {
            "sqlite": (_threads, f"sqlite:///{folder}/bench.db"),
            "psycopg": (_threads, pg.set(drivername="postgresql+psycopg")),
            "psycopg, asyncio": (_tasks, pg.set(drivername="postgresql+psycopg_async")),
            "asyncpg": (_tasks, pg.set(drivername="postgresql+asyncpg")),
            "pymysql": (_threads, my.set(drivername="mysql+pymysql")),
            "asyncmy": (_tasks, my.set(drivername="mysql+asyncmy")),
        }
        for name, (measure, url) in rows.items():
            text = url if isinstance(url, str) else url.render_as_string(hide_password=False)
            found = measure(text, seconds)
            plain = found[None]
            shown = ", ".join(
                f"{mode} {cost:.0f} us ({cost / plain:.2f})" for mode, cost in found.items()
            )
            print(f"{name}: {shown}", flush=True)


if __name__ == "__main__":
    main()
