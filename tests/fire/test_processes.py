"""Processes that are killed, or told to end, in the middle of their work: what they said is so."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.backends import Backend
from tests.behaviour.aftermath import busy
from tests.databases import FamilyUrl, FreshUrl
from tests.fire.arena import Store
from tests.fire.checkers.ledger import Ledger, Mark
from tests.fire.labourer import GRACE, labour
from tests.fire.leaks import on_server
from tests.servers.process import wait_until

SEED: Final = os.environ.get("HERMETIC_FIRE_SEED") or str(random.randrange(1_000_000))
STRIKES: Final = int(os.environ.get("HERMETIC_FIRE_STRIKES", "4"))

# A process has done its first unit within this time, and is struck within that one afterwards.
_PATIENCE: Final = 60.0
_MOMENT: Final = 0.15

pytestmark = [pytest.mark.slow, pytest.mark.timing]


@pytest.fixture
def store(backend: Backend, family_url: FamilyUrl) -> Iterator[Store]:
    url = family_url(backend.family)
    if backend.family == "mariadb":
        url = url.replace("mysql://", "mysql+pymysql://")
    store = Store(backend.family, url, None)
    store.reset()
    yield store
    store.engine.dispose()


def strike_in_its_work(
    backend: Backend, url: str, path: Path, number: signal.Signals, chance: random.Random
) -> float:
    """Have a process work, and struck at a random moment; how long its end took."""
    # forked from one that has imported everything: it works at once
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fire.labourer"])
    here, there = context.Pipe(duplex=False)
    child = context.Process(
        target=labour, args=(url, str(path), path.name, backend.is_async, there)
    )
    child.start()
    try:
        assert here.poll(_PATIENCE), "it does no work"
        pid = here.recv()
        time.sleep(chance.uniform(0.0, _MOMENT))
        os.kill(pid, number)
        begun = time.monotonic()
        child.join(GRACE)
        took = time.monotonic() - begun
        expected = -signal.SIGKILL if number is signal.SIGKILL else 0
        assert child.exitcode == expected, f"it ended with {child.exitcode}"
    finally:
        child.kill()
        child.join()
        child.close()
        here.close()
        there.close()
    return took


def at_work(store: Store) -> list[str]:
    """What is in a transaction, as the server sees it."""
    if store.family == "sqlite":
        return on_server(store, 0)
    return [str(row) for row in busy(store.family, store.ask)]


def marks_of(store: Store, name: str) -> list[Mark]:
    return [mark for mark in store.marks() if mark[0].startswith(f"{name} ")]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_a_process_was_told_before_it_was_struck_is_so(
    backend: Backend,
    store: Store,
    fresh_url: FreshUrl,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    url = fresh_url(backend)
    for strike in range(STRIKES):
        path = tmp_path / f"{number.name.lower()}{strike}"
        seed = f"{SEED} {backend.name} {path.name}"
        strike_in_its_work(backend, url, path, number, random.Random(seed))
        ledger = Ledger.read(path)
        told = f"HERMETIC_FIRE_SEED={SEED}, {path.name}: {ledger.counts()}"

        # the server may need a moment to see that its client is gone
        assert wait_until(lambda: not at_work(store), _PATIENCE), told
        assert ledger.check(marks_of(store, path.name)) == [], told
        assert ledger.counts()["COMMITTED"] > 0, told
        assert ledger.counts()["UNKNOWN"] == 0, told
        if number is not signal.SIGKILL:
            assert ledger.counts()["untold"] == 0, told
