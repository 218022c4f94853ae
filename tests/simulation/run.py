"""Runs by their seeds: ``python -m tests.simulation.run FIRST COUNT [SABOTAGE]``.

Prints a line for each violation, and one of JSON at the end: runs, faults, outcomes, virtual time,
and a digest of everything that was done, by which two runs of one seed are compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.simulation import clock

clock.install()

from tests.simulation import driver  # noqa: E402

driver.install()

import hermetic.watchdog as watching  # noqa: E402
from tests.simulation.sabotage import SABOTAGES  # noqa: E402
from tests.simulation.world import World  # noqa: E402


def _on_the_loop(loop: clock.VirtualLoop) -> Any:
    """Alarms of the watchdog, fired by the loop in place of its thread."""

    def start(alarm: watching.Alarm, when: float) -> None:
        loop.call_at(when, alarm.fire)

    return start


def simulate(seed: str, folder: str) -> World:
    random.seed(seed)
    quiet = driver.Faults(seed, **dict.fromkeys(driver.FAULTS.rates, 0.0))
    loud = driver.Faults(seed)
    loop = clock.VirtualLoop()
    watchdog: Any = watching.watchdog
    watchdog.start = _on_the_loop(loop)
    world = World(seed, str(Path(folder) / "simulated.db"))
    try:
        driver.FAULTS = quiet
        loop.run_until_complete(world.set_up())
        driver.FAULTS = loud
        loop.run_until_complete(world.run())
        driver.FAULTS = quiet
        loop.run_until_complete(world.check())
        loop.run_until_complete(world.db.aclose())
        loop.run_until_complete(asyncio.sleep(60.0))  # what was let go without waiting
    finally:
        loop.close()
        driver.WORKS.clear()
    world.count.update({f"fault {name}": n for name, n in loud.count.items()})
    world.count["calls"] += len(loud.trace)
    text = "\n".join([*loud.trace, *(f"{k} {v}" for k, v in sorted(world.count.items()))])
    world.digest = hashlib.sha256(text.encode()).hexdigest()
    return world


def main() -> None:
    first, count = int(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) > 3:
        SABOTAGES[sys.argv[3]]()
    total: Counter[str] = Counter()
    violations = 0
    digest = hashlib.sha256()
    began = clock.CLOCK.now
    lost: list[str] = []
    # aiosqlite says so of a connection that nobody closed, where nobody can hear it
    sys.unraisablehook = lambda what: lost.append(f"lost: {what.exc_value!r}")
    for number in range(first, first + count):
        with tempfile.TemporaryDirectory(dir=_memory()) as folder:
            world = simulate(str(number), folder)
        total += world.count
        digest.update(world.digest.encode())
        found = [str(violation) for violation in world.violations]
        del world
        gc.collect()
        for what in (*found, *lost):
            sys.stdout.write(f"seed {number}: {what}\n")
        violations += len(found) + len(lost)
        lost.clear()
    report = {
        "runs": count,
        "violations": violations,
        "virtual seconds": round(clock.CLOCK.now - began),
        "digest": digest.hexdigest(),
        **dict(sorted(total.items())),
    }
    sys.stdout.write(json.dumps(report) + "\n")


def _memory() -> str | None:
    with contextlib.suppress(OSError):
        if Path("/dev/shm").is_dir():
            return "/dev/shm"
    return None


if __name__ == "__main__":
    main()
