"""What must be gone when nobody works: seen from the Databases, the servers and the process."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import socket
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import make_url

from tests.behaviour.aftermath import lent
from tests.fire.arena import Arena, Store
from tests.fire.checkers.violations import Violation
from tests.servers.process import wait_until

# A server sees the end of a client a moment later; one that runs a statement looks for it every
# half second.
_PATIENCE: Final = 6.0
_PAUSE: Final = 0.15


@dataclass(frozen=True, slots=True)
class Footprint:
    """What this process holds."""

    descriptors: int
    threads: int
    tasks: int
    megabytes: float

    @classmethod
    def now(cls, loop: asyncio.AbstractEventLoop | None = None) -> Footprint:
        tasks = asyncio.all_tasks(loop) if loop is not None else ()
        return cls(
            descriptors=len(descriptors()),
            # the watchdog is the process's, and stays
            threads=sum(not each.name.startswith("hermetic") for each in threading.enumerate()),
            tasks=len(tasks),
            megabytes=resident(),
        )


def descriptors() -> list[str]:
    """Each descriptor that this process holds, and what it leads to."""
    found: list[str] = []
    for each in Path("/proc/self/fd").iterdir():
        # the one that reads this folder is gone by now
        with contextlib.suppress(OSError):
            leads_to = str(each.readlink())
            if leads_to.startswith("socket:"):
                leads_to = _socket(int(each.name))
            found.append(f"{each.name} {leads_to}")
    return found


def _socket(number: int) -> str:
    with socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as copy:
        try:
            return f"socket {copy.getsockname()} to {copy.getpeername()}"
        except OSError as error:
            return f"socket {copy}: {error}"


def resident() -> float:
    """Without what the allocator keeps for later: threads that come and go leave much of it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1_000_000


def check_leaks(arena: Arena) -> list[Violation]:
    """Nothing is open or lent, and the servers hold no more than the pools do."""
    # an interrupt may have left a connection in a cycle with its own traceback
    gc.collect()
    found: list[str] = []
    for place in arena.places:
        open_now = _settled(lambda place=place: lent(place.db))  # type: ignore[misc]
        found += [f"{place.name}: {what}; {_holders(place.db)}" for what in open_now]
    for store in arena.stores:
        pooled = sum(len(place.db.snapshot().connections) for place in arena.places_on(store))
        found += _settled(lambda store=store, n=pooled: on_server(store, n))  # type: ignore[misc]
    return [Violation("leak", what) for what in found]


def _holders(db: Any) -> str:
    """Who has what is out, and what keeps their right to it."""
    told = []
    for gate in db.registry.gates:
        for ticket in gate.holders():
            keepers = [f"{type(each).__name__} {each!r:.200}" for each in gc.get_referrers(ticket)]
            told.append(f"{gate.name}: {ticket.label()}, since {ticket.since:.1f}, by {keepers}")
    return "; ".join(told)


def _settled(look: Callable[[], list[str]]) -> list[str]:
    """What is still to be seen after a while."""
    last: list[str] = []

    def clean() -> bool:
        last[:] = look()
        return not last

    wait_until(clean, _PATIENCE, pause=_PAUSE)
    return last


def on_server(store: Store, pooled: int) -> list[str]:
    """What a server holds that it should not.

    :param pooled: how many connections the pools have.
    """
    if store.family == "sqlite":
        return _locks(str(make_url(store.url).database))
    backends = store.backends()
    found = [f"{store.family}: backend {row}" for row in backends if row[1] != "idle"]
    if len(backends) > pooled:
        told = f"{store.family}: {len(backends)} connections, {pooled} of them in pools"
        found.append(f"{told}; the oldest {min(backends)}, the newest {max(backends)}")
    return found


def _locks(path: str) -> list[str]:
    other: Any = sqlite3.connect(path, timeout=0.1, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        return [f"sqlite: {error}"]
    finally:
        other.close()
    return []
