"""One round: everybody works, faults are injected, all is still, and everything is looked at."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hermetic import Outcome
from tests.fire.arena import ACCOUNTS, EACH, LEVELS, WORLDS, Arena, Place
from tests.fire.checkers.appends import PERMITTED, check_appends
from tests.fire.checkers.reads import check_bank
from tests.fire.checkers.violations import Violation
from tests.fire.leaks import Footprint, check_leaks
from tests.fire.nemesis import Nemesis
from tests.fire.plan import plan
from tests.fire.record import Record
from tests.fire.workers import Crew, LoopThread

# How long everybody may work on without faults until each has shown that it is able to. What was
# frozen last has its deadline before it.
_CALM: Final = 10.0

# Threads and tasks for each place; SQLite has one writer whatever happens.
_THREADS: Final = {"psycopg": 2, "mariadb": 2, "sqlite": 1}
_TASKS: Final = {"psycopg": 3, "asyncpg": 3, "mariadb": 3, "sqlite": 2}

# In these, what ended before another began comes before it, too.
_STRICT: Final = frozenset({("mariadb", "SERIALIZABLE"), ("sqlite", "SERIALIZABLE")})


@dataclass(frozen=True, slots=True)
class Result:
    seed: str
    levels: dict[str, str]
    seconds: float
    steps: int
    record: Record
    units: dict[str, int]
    appended: int
    unknown_and_there: int
    # how many were asked for once more, when all was still
    asked: int
    footprint: Footprint


def run_round(arena: Arena, loop: LoopThread, seed: str, seconds: float, rate: float) -> Result:
    """To be called in the main thread.

    :param seed: the plan's, the levels' and the workers'.
    :param rate: steps of the plan per second.
    """
    for store in arena.stores:
        store.reset()
    families = [store.family for store in arena.stores]
    chance = random.Random(f"{seed} levels")
    levels = {family: chance.choice(LEVELS[family]) for family in families}
    record = Record(families)
    crew = Crew(list(_parties(arena)), record, levels, seed, loop)
    steps = plan(
        seed,
        [place.name for place in arena.places],
        [place.store.family for place in arena.places],
        rate,
    )
    nemesis = Nemesis(arena, crew, record, steps)
    complained = len(loop.complaints)
    _work(arena, crew, nemesis, seconds)
    if nemesis.failed is not None:
        raise nemesis.failed
    record.violated(_check_recovery(crew))
    record.violated(check_leaks(arena))
    record.violated(_ask_for_unknown(record, loop))
    record.violated(Violation("complaint", each) for each in loop.complaints[complained:])
    there = _check_stores(arena, levels, record)
    units: dict[str, int] = {}
    for ledger in record.ledgers.values():
        for outcome, count in ledger.counts().items():
            units[outcome] = units.get(outcome, 0) + count
    return Result(
        seed=seed,
        levels=levels,
        seconds=seconds,
        steps=nemesis.step,
        record=record,
        units=units,
        appended=sum(map(len, record.histories.values())),
        unknown_and_there=there,
        asked=len(record.unknown),
        footprint=Footprint.now(loop.loop),
    )


def _parties(arena: Arena) -> Iterator[tuple[Place, bool, int]]:
    for place in arena.places:
        for asynchronous in WORLDS[place.name]:
            yield place, asynchronous, (_TASKS if asynchronous else _THREADS)[place.name]


def _work(arena: Arena, crew: Crew, nemesis: Nemesis, seconds: float) -> None:
    threaded = [place for place in arena.places if False in WORLDS[place.name]]
    ends = time.monotonic() + seconds
    crew.start()
    nemesis.start()
    try:
        crew.work_in_main(threaded, lambda: time.monotonic() > ends and nemesis.end())
        crew.calm()
        ends = time.monotonic() + _CALM
        crew.work_in_main(threaded, lambda: crew.all_well or time.monotonic() > ends)
    finally:
        nemesis.end()
        crew.stop()


def _check_recovery(crew: Crew) -> Iterator[Violation]:
    for name, commits in crew.since_calm.items():
        if not commits:
            yield Violation("no recovery", f"{name} did nothing after the faults had ended")


def _ask_for_unknown(record: Record, loop: LoopThread) -> Iterator[Violation]:
    """With all reachable nothing stays unknown; whether it is the truth, the ledger tells."""
    for token, place, proof in record.unknown:
        if False in WORLDS[place.name]:
            outcome = place.db.resolve_commit(proof)
        else:
            outcome = loop.run(place.db.aresolve_commit(proof))
        if outcome is Outcome.UNKNOWN:
            yield Violation("still unknown", f"{token}: {proof}")
        else:
            record.ledgers[place.store.family].told(token, outcome)


def _check_stores(arena: Arena, levels: dict[str, str], record: Record) -> int:
    there = 0
    for store in arena.stores:
        ledger, history = record.ledgers[store.family], record.histories[store.family]
        marks = store.marks()
        there += ledger.unknown_and_there(marks)
        at = store.family, levels[store.family]
        found = [
            *ledger.check(marks),
            *check_bank(store.balances(), ACCOUNTS * EACH),
            *check_appends(history, store.lists(), permitted=PERMITTED[at], realtime=at in _STRICT),
        ]
        record.violated(Violation(v.kind, f"{store.family}: {v.told}") for v in found)
        for transaction in history:
            if transaction.outcome is None:
                record.violated([Violation("no outcome", transaction.name)])
            assert transaction.outcome is None or isinstance(transaction.outcome, Outcome)
    return there
