"""Whoever does the damage: carries out a plan, and takes back what does not end by itself."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import exc as sa_exc
from sqlalchemy import make_url

from tests.fire import snares
from tests.fire.arena import Arena, Place, Store
from tests.fire.plan import Step
from tests.fire.record import Record
from tests.fire.snares import Act, Snare, Where
from tests.fire.workers import SIGNAL, Crew
from tests.servers.process import wait_until

# A snare that nobody has sprung by then is removed.
_WAITS: Final = 2.0
# Between two snares of a place so many messages pass. Where little is said, as while all wait for
# one probe of a server, no connect would succeed any more.
_BETWEEN: Final = 15
_TEXTS: Final = {
    "COMMIT": snares.COMMIT,
    "BEGIN": snares.BEGIN,
    "ROLLBACK": snares.ROLLBACK,
    "SAVEPOINT": snares.SAVEPOINT,
    "WORK": snares.WORK,
}
_END_BACKEND: Final = {
    "postgresql": "SELECT pg_terminate_backend({})",
    "mariadb": "KILL {}",
}
_DEMOTE: Final = {
    "postgresql": "ALTER SYSTEM SET default_transaction_read_only = on",
    "mariadb": "SET GLOBAL read_only = 1",
}
_PROMOTE: Final = {
    "postgresql": "ALTER SYSTEM RESET default_transaction_read_only",
    "mariadb": "SET GLOBAL read_only = 0",
}
_RELOAD: Final = "SELECT pg_reload_conf()"


class Amends:
    """Takes back, in a thread of its own, what does not end by itself; all of it at the end.

    Whoever injects may have to wait for a server that was stopped.
    """

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="fire-amends")

    def put(self, seconds: float, action: Callable[[], object]) -> None:
        with self._changed:
            due = time.monotonic() + seconds
            heapq.heappush(self._due, (due, next(self._order), action))
            self._changed.notify()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join(30.0)

    def _run(self) -> None:
        while (action := self._next()) is not None:
            # a server that is down has nothing to be taken back
            with contextlib.suppress(sa_exc.DBAPIError):
                action()

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            while not self._over and (not self._due or self._due[0][0] > time.monotonic()):
                rest = self._due[0][0] - time.monotonic() if self._due else None
                self._changed.wait(rest)
            return heapq.heappop(self._due)[2] if self._due else None


class Nemesis:
    """A thread of its own while its block is open; everything is taken back at its end."""

    def __init__(self, arena: Arena, crew: Crew, record: Record, steps: Iterator[Step]) -> None:
        self._places = {place.name: place for place in arena.places}
        self._arena = arena
        self._crew = crew
        self._record = record
        self._steps = steps
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fire-nemesis")
        self._amends = Amends()
        # what cannot be struck now: it is down, or stopped, or demoted already
        self._struck: set[str] = set()
        self._set_at: dict[str, int] = {}
        self.step = 0
        self.failed: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def end(self) -> bool:
        """Ask it to end, which takes a moment; whether it has."""
        self._over.set()
        return not self._thread.is_alive()

    # ------------------------------------------------------------ its thread

    def _run(self) -> None:
        try:
            with self._amends:
                for step in self._steps:
                    if self._over.wait(step.pause):
                        break
                    self.step = step.number
                    self._inject(step)
        except BaseException as error:
            self.failed = error

    def _after(self, seconds: float, action: Callable[[], object]) -> None:
        self._amends.put(seconds, action)

    def _inject(self, step: Step) -> None:
        place = self._places[step.place]
        inject: Callable[[Step, Place], object] = getattr(self, f"_{step.fault.replace(' ', '_')}")
        # a server that is down, or was killed under the question
        with contextlib.suppress(sa_exc.DBAPIError, ProcessLookupError):
            inject(step, place)

    # ------------------------------------------------------------ on the wire

    def _wire(self, step: Step, place: Place) -> None:
        act = Act[step.act]
        if step.stage == "ANSWER":
            where = Where(kind=None, server=True, skip=step.skip)
        else:
            where = Where(_TEXTS.get(step.stage), skip=step.skip)
        name = f"{step.act.lower().replace('_', ' ')} at {step.stage.lower()}"
        in_commit = step.stage == "COMMIT"
        told = lambda: self._record.injected(name, place.name, in_commit=in_commit)  # noqa: E731
        self._set(place, Snare(where, act, step.seconds, told))

    def _set(self, place: Place, snare: Snare) -> None:
        assert place.proxy is not None
        passed = place.proxy.passed
        if passed - self._set_at.get(place.name, -_BETWEEN) < _BETWEEN:
            return
        self._set_at[place.name] = passed
        place.proxy.set_snare(snare)
        self._after(_WAITS, lambda: place.proxy and place.proxy.remove_snare(snare))

    # ------------------------------------------------------------ on clients

    def _cancel(self, step: Step, place: Place) -> None:
        self._crew.cancel_one(step.chance, place.name, ending=False, fault="cancel")

    def _cancel_in_commit(self, step: Step, place: Place) -> None:
        """The answer to a COMMIT is late, and whoever waits for it is cancelled."""
        told = lambda: self._crew.cancel_one(  # noqa: E731
            step.chance, place.name, ending=True, fault="cancel in commit"
        )
        seconds = min(step.seconds, 0.3)
        self._set(place, Snare(Where(snares.COMMIT), Act.DELAY_REPLY, seconds, told))

    def _interrupt(self, step: Step, place: Place) -> None:
        os.kill(os.getpid(), SIGNAL)
        self._record.injected("interrupt", "main")

    def _lock_file(self, step: Step, place: Place) -> None:
        """Another process has the file: a connection beside all that are ours."""
        path = make_url(place.store.url).database
        other = sqlite3.connect(str(path), timeout=0.2, check_same_thread=False)
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            other.close()
            return
        self._record.injected("lock file", place.name)
        self._after(min(step.seconds, 3.0), other.close)

    # ------------------------------------------------------------ on servers

    def _backend(self, step: Step, store: Store) -> int | None:
        found = sorted(number for number, _, _ in store.backends())
        return found[int(step.chance * len(found))] if found else None

    def _terminate(self, step: Step, place: Place) -> None:
        number = self._backend(step, place.store)
        if number is not None:
            place.store.ask(_END_BACKEND[place.store.family].format(number))
            self._record.injected("terminate backend", place.name)

    def _stop_backend(self, step: Step, place: Place) -> None:
        """PostgreSQL has a process for each client, MariaDB has not."""
        if place.store.family != "postgresql" or self._is_struck(place.store):
            return
        number = self._backend(step, place.store)
        if number is not None:
            self._freeze("stop backend", place, [number], step.seconds)

    def _stop_server(self, step: Step, place: Place) -> None:
        server = place.store.server
        if server is None or server.pid is None or self._is_struck(place.store):
            return
        self._freeze("stop server", place, family_of(server.pid), step.seconds)

    def _freeze(self, fault: str, place: Place, pids: list[int], seconds: float) -> None:
        name = place.store.family
        self._struck.add(name)

        def go_on() -> None:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            self._struck.discard(name)

        self._after(seconds, go_on)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        self._record.injected(fault, place.name)

    def _kill_backend(self, step: Step, place: Place) -> None:
        """The postmaster then ends all the others, and recovers."""
        if self._is_struck(place.store):
            return
        number = self._backend(step, place.store)
        if number is not None:
            os.kill(number, signal.SIGKILL)
            self._record.injected("kill backend", place.name)
            self._wait_for(place.store)

    def _restart(self, step: Step, place: Place) -> None:
        """The server is killed, and started again by the main thread."""
        server = place.store.server
        if server is None or self._is_struck(place.store):
            return
        self._struck.add(place.store.family)
        done = threading.Event()

        def restart() -> None:
            try:
                server.kill()
                self._record.injected("restart", place.name)
                server.start()
                self._accepts(place.store)
            finally:
                self._struck.discard(place.store.family)
                done.set()

        self._crew.errands.put(restart)
        done.wait(60.0)

    def _demote(self, step: Step, place: Place) -> None:
        """As a primary does that becomes a replica, and then a primary again."""
        store = place.store
        if self._is_struck(store):
            return
        self._struck.add(store.family)

        def promote() -> None:
            self._switch(store, _PROMOTE)
            self._struck.discard(store.family)
            self._accepts(store)

        self._switch(store, _DEMOTE)
        self._record.injected("demote", place.name)
        self._after(step.seconds, promote)

    def _switch(self, store: Store, statements: dict[str, str]) -> None:
        store.ask(statements[store.family])
        if store.family == "postgresql":
            store.ask(_RELOAD)

    def _wait_for(self, store: Store) -> None:
        """Wait until a server that recovers takes clients again."""

        def answers() -> bool:
            try:
                store.ask("SELECT 1")
            except sa_exc.DBAPIError:
                return False
            return True

        if wait_until(answers, 15.0):
            self._accepts(store)

    def _accepts(self, store: Store) -> None:
        for place in self._arena.places_on(store):
            self._record.accepts(place.name)

    def _is_struck(self, store: Store) -> bool:
        return store.family in self._struck


def family_of(pid: int) -> list[int]:
    """A process and its children, and theirs."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in children.read_text().split()]
    return found
