"""What a scope costs: raw driver, plain SQLAlchemy and hermetic, the same work in one run.

    python bench/run.py                         # everything; starts a PostgreSQL of its own
    python bench/run.py postgresql://…          # on a server that runs
    python bench/run.py --quick                 # a few seconds, for CI
    python bench/run.py --only psycopg          # one stage, one work, or one of each: psycopg/get

The works: open a scope, get one object by its key, commit; an empty scope; a scope in a scope, with
a savepoint and one get inside. The entity has six columns. The forms are those of the manuals:
``with sessionmaker.begin() as session`` and ``with db.session() as session``.

What is alike for all contenders, so that the difference is theirs alone:

- They take turns in one process, A B C A B C, after a warm-up; ratios are made round by round.
- On SQLite: the same file, WAL, ``synchronous = full``, foreign keys on, and a real ``BEGIN
  IMMEDIATE``, which hermetic's writable scopes send, and which SQLAlchemy is made to send by the
  listeners of its documentation. Without those it would begin no transaction for a SELECT at all.
- On PostgreSQL: the unix socket, and the transactions of the driver.
- SQLAlchemy's factories have ``expire_on_commit=False``: the object is readable afterwards, as
  hermetic's is. Its pools have their default class and size. The rest of both is as it comes.
- The raw driver keeps one connection, makes no objects and has no pool: it is there as the floor
  under the two others. It has no empty scope.

A case above its floor (``floors.toml``) is measured once more, and all its rounds are judged
together. The exit code is 1 if one stays above, 2 if something could not be measured in CI.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from sqlalchemy import URL, make_url  # noqa: E402

from bench.measure import Plan, Series, measure, measure_async  # noqa: E402
from bench.report import Floors, Result, show, write  # noqa: E402
from bench.stages import STAGES, AsyncStage, SyncStage  # noqa: E402
from bench.work import WORKS  # noqa: E402
from tests.servers import PostgreSQLServer, ServerUnavailable  # noqa: E402

RESULTS = ROOT / "bench" / "results" / "latest.json"
# turns shorter than a scheduler's slice: most are not interrupted, and the median drops the others
FULL = Plan(turn_seconds=0.004, rounds=400, warm_up=100)
QUICK = Plan(turn_seconds=0.003, rounds=50, warm_up=30)


class Measuring:
    """One run over the chosen stages and works."""

    def __init__(self, plan: Plan, only: str) -> None:
        self.plan = plan
        self.floors = Floors()
        self.results: list[Result] = []
        parts = [part for part in only.split("/") if part]
        names = {stage.name for stage in STAGES}
        unknown = [part for part in parts if part not in names and part not in WORKS]
        if unknown:
            known = ", ".join((*sorted(names), *WORKS))
            raise SystemExit(f"--only {only}: {unknown[0]!r} is none of {known}")
        self.stages = [
            stage for stage in STAGES if stage.name in parts or not names.intersection(parts)
        ]
        self.works = [work for work in WORKS if work in parts or not set(WORKS) & set(parts)]

    def run(self, urls: dict[str, URL]) -> None:
        """Measure the stages of which there is a database."""
        for stage in self.stages:
            if stage.database not in urls:
                continue
            if isinstance(stage, SyncStage):
                self._run(stage, urls[stage.database])
            else:
                asyncio.run(self._run_async(stage, urls[stage.database]))

    def _run(self, stage: SyncStage, url: URL) -> None:
        with stage.open(url) as contenders:
            for work in self.works:
                turns = {name: works[work] for name, works in contenders.items() if work in works}
                found = measure(turns, self.plan)
                if not self.floors.judge(stage.name, work, found).passed:
                    _join(found, measure(turns, self.plan))
                self._add(stage.name, work, found)

    async def _run_async(self, stage: AsyncStage, url: URL) -> None:
        async with stage.open(url) as contenders:
            for work in self.works:
                turns = {name: works[work] for name, works in contenders.items() if work in works}
                found = await measure_async(turns, self.plan)
                if not self.floors.judge(stage.name, work, found).passed:
                    _join(found, await measure_async(turns, self.plan))
                self._add(stage.name, work, found)

    def _add(self, stage: str, work: str, found: dict[str, Series]) -> None:
        result = self.floors.judge(stage, work, found)
        self.results.append(result)
        told = f"{stage}/{work}: {result.wall_ratio.median:.2f}"
        print(told, "" if result.passed else "ABOVE ITS FLOOR", file=sys.stderr, flush=True)


def _join(found: dict[str, Series], more: dict[str, Series]) -> None:
    for name, series in more.items():
        found[name].wall += series.wall
        found[name].cpu += series.cpu


@contextlib.contextmanager
def _databases(given: str, wanted: set[str]) -> Iterator[dict[str, URL]]:
    """The databases of a run, by family; PostgreSQL is missing where it is not installed."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hermetic-bench-"))
        urls = {"sqlite": URL.create("sqlite", database=str(Path(folder) / "bench.db"))}
        if given:
            urls["postgresql"] = make_url(given)
        elif "postgresql" in wanted:
            with contextlib.suppress(ServerUnavailable):
                urls["postgresql"] = _socket_url(stack.enter_context(PostgreSQLServer()))
        yield urls


def _socket_url(server: PostgreSQLServer) -> URL:
    server.create_database("bench")
    return URL.create(
        "postgresql",
        username=server.user,
        password=server.password,
        database="bench",
        query={"host": str(server.socket_dir), "port": str(server.port)},
    )


def main() -> int:
    """Measure, report, judge; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", nargs="?", default="", help="of a PostgreSQL database")
    parser.add_argument("--quick", action="store_true", help="a few seconds, for CI")
    parser.add_argument("--only", default="", metavar="NAME", help="a stage, a work, or stage/work")
    given = parser.parse_args()
    measuring = Measuring(QUICK if given.quick else FULL, given.only)
    wanted = {stage.database for stage in measuring.stages}
    with _databases(given.url, wanted) as urls:
        measuring.run(urls)
    show(measuring.results)
    write(measuring.results, RESULTS)
    above = [f"{each.stage}/{each.work}" for each in measuring.results if not each.passed]
    if above:
        print(f"Above the floor: {', '.join(above)}")
    missing = wanted - set(urls)
    if missing:
        print(f"NOT MEASURED: {', '.join(missing)} is not installed")
    in_ci = os.environ.get("CI", "").lower() in {"1", "true"}
    return 1 if above else 2 if missing and in_ci else 0


if __name__ == "__main__":
    sys.exit(main())
