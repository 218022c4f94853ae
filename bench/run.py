"""What a session costs: raw driver, SQLAlchemy, hermetic and others, the same work in one run.

    python bench/run.py                         # everything; starts a PostgreSQL of its own
    python bench/run.py postgresql://…          # on a server that runs
    python bench/run.py --quick                 # few rounds and rows, for CI
    python bench/run.py --only psycopg          # stages and works, by name: psycopg/get, get/select

What is alike for all contenders, so that the difference is theirs alone:

- They take turns in one process, A B C, B C A, after a warm-up; ratios are made round by round.
- The entity has six columns; the forms are those of the manuals.
- The database does not wait for a disk: PostgreSQL has ``fsync`` off, and SQLite's file is in
  memory where the system has a place for that. A disk takes the same from everyone, and hides the
  rest.
- SQLAlchemy's objects are readable after the commit, as hermetic's are. Pools have their default
  class and size. The rest of everyone is as it comes.
- The raw driver keeps one connection, makes no objects and has no pool: it is there as the floor
  under the others. It has no empty scope.

A case that loses its floor (``floors.toml``) is measured once more, and all its rounds are judged
together. The exit code is 1 if one stays lost or a case fails, 2 if something could not be measured
in CI.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from sqlalchemy import URL, make_url  # noqa: E402

from bench.measuring import Measuring  # noqa: E402
from bench.peers import MISSING  # noqa: E402
from bench.plans import FULL, QUICK  # noqa: E402
from bench.report import show  # noqa: E402
from bench.results import write  # noqa: E402
from hermetic.fast.modules import uncompiled  # noqa: E402
from tests.servers import MariaDBServer, PostgreSQLServer, ServerUnavailable  # noqa: E402

RESULTS = ROOT / "bench" / "results"
_MEMORY = Path("/dev/shm")


@contextlib.contextmanager
def _databases(given: str, wanted: set[str]) -> Iterator[dict[str, URL]]:
    """The databases of a run, by family; PostgreSQL is missing where it is not installed."""
    with contextlib.ExitStack() as stack:
        place = _MEMORY if os.access(_MEMORY, os.W_OK) else None
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="hermetic-bench-", dir=place)
        )
        urls = {"sqlite": URL.create("sqlite", database=str(Path(folder) / "bench.db"))}
        if given:
            urls["postgresql"] = make_url(given)
        elif "postgresql" in wanted:
            with contextlib.suppress(ServerUnavailable):
                urls["postgresql"] = _socket_url(stack.enter_context(PostgreSQLServer()))
        if "mariadb" in wanted:
            with contextlib.suppress(ServerUnavailable):
                mariadb = stack.enter_context(MariaDBServer())
                mariadb.create_database("bench")
                urls["mariadb"] = make_url(mariadb.url("bench"))
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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", nargs="?", default="", help="of a PostgreSQL database")
    parser.add_argument("--quick", action="store_true", help="few rounds and rows, for CI")
    parser.add_argument("--only", default="", metavar="NAMES", help="stages and works, by '/'")
    return parser.parse_args()


def _exit_code(measuring: Measuring, missing: set[str]) -> int:
    lost = [f"{each.stage}/{each.work}" for each in measuring.results if each.lost]
    if lost:
        print(f"Floors lost: {', '.join(lost)}")
    if missing:
        print(f"NOT MEASURED: {', '.join(sorted(missing))} is not installed")
    in_ci = os.environ.get("CI", "").lower() in {"1", "true"}
    return 1 if lost or measuring.failed else 2 if missing and in_ci else 0


def _file_names(given: argparse.Namespace, *, complete: bool) -> list[str]:
    """The last run's file; and, of a whole one, that of this Python."""
    if given.quick or given.only or not complete:
        return ["latest.json"]
    return ["latest.json", f"cpython-{sys.version_info[0]}.{sys.version_info[1]}.json"]


def main() -> int:
    """Measure, report, judge; returns the exit code."""
    given = _arguments()
    measuring = Measuring(QUICK if given.quick else FULL, given.only)
    wanted = measuring.databases
    with _databases(given.url, wanted) as urls:
        measuring.run(urls)
    show(measuring.results)
    for line in measuring.skipped:
        print(f"SKIPPED: {line}")
    for name in sorted(MISSING):
        print(f"NOT MEASURED: {name} is not installed")
    if uncompiled():
        print(f"NOT COMPILED, and measured as they are: {', '.join(uncompiled())}")
    for name in _file_names(given, complete=wanted <= set(urls)):
        write(measuring.results, measuring.skipped, measuring.plans.sizes, RESULTS / name)
    if measuring.failed:
        print(f"FAILED: {', '.join(measuring.failed)}")
    return _exit_code(measuring, wanted - set(urls))


if __name__ == "__main__":
    sys.exit(main())
