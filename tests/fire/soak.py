"""A soak: rounds of work and faults, for as long as is asked for.

    python -m tests.fire.soak --hours 24 --seed 7
    python -m tests.fire.soak --seconds 60 --families postgresql,sqlite
    python -m tests.fire.soak --round 7:3          # that round alone, as its violation named it
    python -m tests.fire.soak --plan 40 --seed 7   # the first steps of its first round

It starts its own servers on 127.0.0.1, and ends by itself. A seed gives the same plan of faults and
the same work; which of them meet is the scheduler's to say.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import logging
import os
import random
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.fire.arena import WORLDS, Arena, Place
from tests.fire.checkers.violations import Violation
from tests.fire.leaks import Footprint, descriptors
from tests.fire.plan import plan
from tests.fire.report import Report
from tests.fire.rounds import Result, run_round
from tests.fire.units import Interrupted
from tests.fire.workers import LoopThread
from tests.servers.process import wait_until

FAMILIES: Final = ("postgresql", "mariadb", "sqlite")
_PLAN_PLACES: Final = {
    "psycopg": "postgresql",
    "asyncpg": "postgresql",
    "mariadb": "mariadb",
    "sqlite": "sqlite",
}

_STRUCK: Final = ("ResourceWarning: unclosed <socket.socket", "PunctualConnection object")
_FORGOTTEN: Final = "connection pointer is NULL"


class Soak:
    """Servers, Databases and a loop, for one round after the other; all gone at its end."""

    def __init__(self, folder: Path, families: tuple[str, ...], resolve: str | None) -> None:
        self._arena = Arena(folder, families, resolve=resolve)
        self.loop = LoopThread()
        self.left: list[Violation] = []

    def __enter__(self) -> Soak:
        self._before = Footprint.now()
        logging.getLogger("psycopg").addFilter(_told_at_once)
        self._arena.__enter__()
        self.loop.start()
        return self

    def round(self, seed: str, seconds: float, rate: float) -> Result:
        with _overheard() as heard:
            result = run_round(self._arena, self.loop, seed, seconds, rate)
        result.record.violated(Violation("warning", each) for each in heard)
        return result

    def __exit__(self, *exc_info: Any) -> None:
        for place in self._arena.places:
            self._close(place)
        self.loop.stop()
        self._arena.__exit__(None, None, None)
        logging.getLogger("psycopg").removeFilter(_told_at_once)

        def as_before() -> bool:
            # what an interrupt struck may be in a cycle with its own traceback
            gc.collect()
            now = Footprint.now()
            return (
                now.descriptors <= self._before.descriptors and now.threads <= self._before.threads
            )

        if not wait_until(as_before, 5.0):
            told = f"before it were {self._before}, after it are {Footprint.now()}: {descriptors()}"
            self.left.append(Violation("leak", told))

    def _close(self, place: Place) -> None:
        if True in WORLDS[place.name]:
            self.loop.run(place.db.aclose(), 20.0)
        else:
            place.db.close()


def _told_at_once(record: logging.LogRecord) -> bool:
    """Who keeps the record keeps no exception: of a cancellation that failed, it has the socket."""
    record.msg, record.args = record.getMessage(), None
    return True


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """Warnings, and errors that nobody was there to catch."""
    heard: list[str] = []

    def unraisable(raised: Any) -> None:
        # What strikes while the collector is at work, the interpreter swallows. A pipeline of
        # psycopg that was broken off complains of its lost connection when it is forgotten.
        known = isinstance(raised.exc_value, Interrupted) or _FORGOTTEN in str(raised.exc_value)
        if not known:
            heard.append(f"{raised.err_msg}: {raised.exc_value!r} in {raised.object!r}")

    before = sys.unraisablehook
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sys.unraisablehook = unraisable
        try:
            yield heard
        finally:
            sys.unraisablehook = before
    told = [f"{each.category.__name__}: {each.message}" for each in caught]
    # What an interrupt struck out of the main thread's hands while it connected is closed where it
    # is forgotten (docs/limits.md): a socket, or a connection of psycopg's for threads.
    heard += [each for each in told if not any(known in each for known in _STRUCK)]


def main(arguments: list[str]) -> int:
    given = _parser().parse_args(arguments)
    families = tuple(given.families.split(","))
    seed = given.seed or str(random.randrange(1_000_000))
    if given.plan:
        return _print_plan(given.round or f"{seed}:1", families, given.rate, given.plan)
    resolve = None if given.resolve == "none" else given.resolve
    report = Report(seed, given.rate, resolve)
    given.out.mkdir(parents=True, exist_ok=True)
    # what drivers have to say of lost connections
    logging.basicConfig(filename=given.out / "soak.log", filemode="w")
    seconds = given.seconds or given.hours * 3600
    seeds = iter([given.round]) if given.round else (f"{seed}:{n}" for n in itertools.count(1))
    stopped: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    try:
        with (
            tempfile.TemporaryDirectory(prefix="hermetic-fire-") as folder,
            Soak(Path(folder), families, resolve) as soak,
        ):
            for each in seeds:
                length = min(given.round_seconds, max(5.0, seconds - report.seconds))
                result = soak.round(each, length, given.rate)
                report.add(result)
                report.write(given.out)
                _print_round(result, report)
                if report.seconds >= seconds or stopped:
                    break
    finally:
        signal.signal(signal.SIGTERM, before)
    report.violations += [
        {"seed": f"{seed}:end", "kind": each.kind, "told": each.told} for each in soak.left
    ]
    report.write(given.out)
    _say(report.page())
    for each in {violation["seed"] for violation in report.violations}:
        _say(
            f"again: python -m tests.fire.soak --round {each} --families {given.families}"
            f" --seconds {given.round_seconds} --rate {given.rate} --resolve {given.resolve}"
        )
    return 1 if report.violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--hours", type=float, default=1.0, help="how long, in all")
    add("--seconds", type=float, default=0.0, help="the same in seconds; wins")
    add("--seed", default=os.environ.get("HERMETIC_FIRE_SEED", ""), help="of the whole run")
    add("--round", default="", help="the seed of one round, to run it alone")
    add("--round-seconds", type=float, default=20.0, help="of each round, with faults")
    add("--rate", type=float, default=45.0, help="steps of the plan per second")
    add("--families", default=",".join(FAMILIES), help="which databases")
    add("--resolve", choices=("none", "token", "status"), default="none", help="unknown commits")
    add("--out", type=Path, default=Path("build/soak"), help="where the report goes")
    add("--plan", type=int, default=0, help="print so many steps, and do nothing")
    return parser


def _print_plan(seed: str, families: tuple[str, ...], rate: float, steps: int) -> int:
    places = [place for place, family in _PLAN_PLACES.items() if family in families]
    of = [_PLAN_PLACES[place] for place in places]
    for step in itertools.islice(plan(seed, places, of, rate), steps):
        _say(str(step))
    return 0


def _print_round(result: Result, report: Report) -> None:
    levels = ", ".join(f"{family} {level}" for family, level in result.levels.items())
    _say(
        f"round {result.seed}: {levels}; {sum(result.record.faults.values())} faults in "
        f"{result.seconds:.0f} s, {sum(result.record.in_commit.values())} in COMMIT; units "
        f"{result.units}; {len(result.record.violations)} violations, "
        f"{len(report.violations)} so far; {result.footprint}"
    )
    for violation in result.record.violations[:20]:
        _say(f"  {violation}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
