"""Units of a group whose processes are killed with -9, and what a recovery makes of them.

Run as a program it kills and recovers as often as it is told, and prints what it has found::

    python -m tests.behaviour.units_killed MAIN_URL AUDIT_URL LOG --kills 1000 --seed 1

``LOG`` is a database's name, or the path of a file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import select
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from hermetic import Database, Group, HermeticError
from hermetic.coordinator import Coordinator
from tests.behaviour.ledgers import Entry, name_of, prepared, seen
from tests.models import User

# seconds that a child lives after its first unit
_LONGEST: Final = 0.06
# at once
_CHILDREN: Final = 2
_PATIENCE: Final = 60.0


def group_of(main_url: str, audit_url: str, log: str) -> Group:
    two_phase: Any = Path(log) if "/" in log else log
    return Group(
        main=Database(main_url, pool_size=2),
        audit=Database(audit_url, pool_size=2),
        two_phase=two_phase,
        name=name_of(main_url),
    )


def die_at(where: str, count: int = 1) -> None:
    """Have this process killed when a step was reached for the n-th time."""
    left = [count]

    def reached(self: Coordinator, step: str, unit: str) -> None:
        if step == where:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    Coordinator.reached = reached  # type: ignore[method-assign]


class Child:
    """A process that applies units until it is killed, and tells of each that was acknowledged."""

    def __init__(self, number: int, urls: tuple[str, str, str], *, asynchronous: bool) -> None:
        self.number = number
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            try:
                run(number, urls, writing, asynchronous=asynchronous)
            finally:
                os._exit(1)
        os.close(writing)
        self._reading = reading
        self._told = b""

    def began(self) -> None:
        """Wait for its first unit."""
        ready, _, _ = select.select([self._reading], [], [], _PATIENCE)
        assert ready, "a child did nothing"
        self._told += os.read(self._reading, 65536)

    def kill(self) -> list[str]:
        """Kill it; what was acknowledged to it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        while more := os.read(self._reading, 65536):
            self._told += more
        os.close(self._reading)
        return self._told.decode().rpartition("\n")[0].split("\n") if self._told else []


def run(number: int, urls: tuple[str, str, str], told: int, *, asynchronous: bool) -> None:
    """Apply units for ever."""
    group: Any = group_of(*urls)

    async def in_asyncio() -> None:
        for count in range(1_000_000):
            name = f"{number}-{count}"
            try:
                async with group.session() as session:
                    session.add_all([User(username=name), Entry(said=name)])
            except HermeticError:
                continue  # fenced by a recovery that takes everybody for dead
            os.write(told, f"{name}\n".encode())

    def in_thread() -> None:
        for count in range(1_000_000):
            name = f"{number}-{count}"
            try:
                with group.session() as session:
                    session.add_all([User(username=name), Entry(said=name)])
            except HermeticError:
                continue
            os.write(told, f"{name}\n".encode())

    if asynchronous:
        asyncio.run(in_asyncio())
    else:
        in_thread()


@dataclass
class Found:
    """What came of it. All but the first five have to be 0."""

    kills: int = 0
    units: int = 0
    acknowledged: int = 0
    recovered: int = 0
    rolled_back: int = 0
    half_applied: int = 0
    lost: int = 0
    left: int = 0
    prepared: int = 0
    seconds: float = 0.0
    examples: list[str] = field(default_factory=list)


def experiment(urls: tuple[str, str, str], kills: int, seed: int, *, asynchronous: bool) -> Found:
    chance, found = random.Random(seed), Found()
    started = time.monotonic()
    acknowledged: list[str] = []
    children: list[Child] = []
    number = 0
    while found.kills < kills:
        while len(children) < _CHILDREN:
            children.append(Child(number, urls, asynchronous=asynchronous))
            number += 1
        children[0].began()
        time.sleep(chance.random() * _LONGEST)
        acknowledged += children.pop(0).kill()
        found.kills += 1
        # others are alive meanwhile: those that it takes for dead are fenced
        recover(urls, found)
    for child in children:
        acknowledged += child.kill()
        found.kills += 1
    recover(urls, found)
    users = set(seen(urls[0], "SELECT username FROM users"))
    entries = set(seen(urls[1], "SELECT said FROM entries"))
    found.units, found.acknowledged = len(users), len(acknowledged)
    found.half_applied = len(users ^ entries)
    found.lost = len(set(acknowledged) - users)
    found.prepared = sum(len(prepared(url, name_of(urls[0]))) for url in urls[:2])
    found.examples += sorted(users ^ entries)[:5]
    found.seconds = time.monotonic() - started
    return found


def recover(urls: tuple[str, str, str], found: Found) -> None:
    with group_of(*urls) as group:
        done = group.recover(grace=0)
    found.recovered += len(done.committed)
    found.rolled_back += len(done.rolled_back)
    # of the living a part may be left, which ends it then
    found.examples += [f"{unit}: {why}" for unit, why in done.left.items()][:1]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("main")
    parser.add_argument("audit")
    parser.add_argument("log")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--asyncio", action="store_true")
    parser.add_argument("--at", default="")
    given = parser.parse_args()
    urls = given.main, given.audit, given.log
    if given.at:
        die_at(given.at)
        run(0, urls, sys.stdout.fileno(), asynchronous=given.asyncio)
    found = experiment(urls, given.kills, given.seed, asynchronous=given.asyncio)
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
    return int(bool(found.half_applied or found.lost or found.prepared))


if __name__ == "__main__":
    sys.exit(main())
