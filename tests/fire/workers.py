"""Those who work: threads, tasks of one loop, and the main thread, where signals arrive."""

from __future__ import annotations

import asyncio
import queue
import random
import signal
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any, Final

from hermetic.current import innermost
from hermetic.scope import see_to_end
from tests.fire.arena import Place
from tests.fire.checkers.violations import Violation
from tests.fire.record import Record
from tests.fire.units import Interrupted, Numbers, Unit
from tests.worlds import drive

SIGNAL: Final = signal.SIGUSR1

# No unit takes as long, whatever happens to it.
_PATIENCE: Final = 30.0


class LoopThread:
    """An event loop in a thread of its own; what it complains of is kept."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fire-loop")
        self.loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(_PATIENCE)

    def _run(self) -> None:
        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            self.loop.set_exception_handler(self._complain)
            self._over = asyncio.Event()
            self._ready.set()
            await self._over.wait()

        asyncio.run(serve())

    def _complain(self, _loop: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        # asyncpg 0.32, cancelled while its socket connects, forgets a future with this error in it
        if str(error) != "unexpected connection_lost() call":
            self.complaints.append(f"{context.get('message')}: {error!r}")

    def run(self, work: Coroutine[Any, Any, Any], timeout: float | None = None) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_PATIENCE)


def struck_between(error: BaseException) -> bool:
    """Whether an interrupt struck the stand-in for a ``with`` statement, and not hermetic.

    ``with`` enters and leaves a block in one step of the interpreter; the coroutines that stand in
    for it here have gaps in front of that and behind.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = [frame for frame in frames if frame.name != "_strike"]
    return bool(where) and Path(where[-1].filename).name == "worlds.py"


def end_left(error: BaseException, place: Place) -> None:
    """End what ``with`` would have ended."""
    while (scope := innermost()) is not None:
        see_to_end(scope, error, place.db.options.cleanup_timeout)


def where_is(task: asyncio.Task[Any]) -> str:
    """Where a task waits: its coroutines, and what they have greenlets do."""
    found: list[str] = []
    step: Any = task.get_coro()
    while step is not None and len(found) < 60:
        frame = getattr(step, "cr_frame", None) or getattr(step, "gi_frame", None)
        if frame is not None:
            found.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
            switched = getattr(frame.f_locals.get("context"), "gr_frame", None)
            if switched is not None:
                found += [
                    f"{Path(each.filename).name}:{each.lineno} {each.name}"
                    for each in traceback.extract_stack(switched)[-15:]
                ]
        else:
            found.append(repr(step)[:120])
        step = getattr(step, "cr_await", None) or getattr(step, "gi_yieldfrom", None)
    return " > ".join(found)


class Crew:
    """Everybody who works in one round.

    :param levels: the isolation level of each family in this round.
    """

    def __init__(
        self,
        places: list[tuple[Place, bool, int]],
        record: Record,
        levels: dict[str, str],
        seed: str,
        loop: LoopThread,
    ) -> None:
        self._record = record
        self._levels = levels
        self._seed = seed
        self._loop = loop
        self._numbers = {place.store.family: Numbers() for place, _, _ in places}
        self._parties = [
            (place, asynchronous, f"{place.name}-{'task' if asynchronous else 'thread'}-{n}")
            for place, asynchronous, how_many in places
            for n in range(how_many)
        ]
        self._over = threading.Event()
        self._alive: set[str] = set()
        # those that the loop's tasks do at the moment, and whom somebody cancelled
        self.at_work: dict[asyncio.Task[Any], Unit] = {}
        self._cancelled: set[asyncio.Task[Any]] = set()
        # what only the main thread can do: a server ends with the thread that started it
        self.errands: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._armed = False
        # how many commits each has made since the calm began
        self.since_calm: dict[str, int] = {}

    # ------------------------------------------------------------ the round

    def start(self) -> None:
        self._threads = [
            threading.Thread(target=self._work_in_thread, args=(place, name), name=name)
            for place, asynchronous, name in self._parties
            if not asynchronous
        ]
        for thread in self._threads:
            thread.start()
        self._tasks = self._loop.run(self._start_tasks())

    def calm(self) -> None:
        self.since_calm = {name: 0 for _, _, name in self._parties}

    @property
    def all_well(self) -> bool:
        """Whether everybody has committed something since the calm began."""
        return all(self.since_calm.values())

    def stop(self) -> None:
        """Wait until everybody has ended what they were at."""
        self._over.set()
        deadline = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        try:
            self._loop.run(self._end_tasks(), _PATIENCE + 5)
        except TimeoutError:
            pass
        if self._alive:
            tasks = {task.get_name(): where_is(task) for task in list(self.at_work)}
            told = f"still at work: {sorted(self._alive)}; {tasks}"
            self._record.violated([Violation("hang", told)])

    def work_in_main(self, places: list[Place], until: Callable[[], bool]) -> None:
        """Work, be struck by signals, and run errands."""
        chance = random.Random(f"{self._seed} main")
        before = signal.signal(SIGNAL, self._strike)
        try:
            while not until():
                while not self.errands.empty():
                    self.errands.get()()
                self._work_once(chance.choice(places), chance)
        finally:
            self._armed = False
            signal.signal(SIGNAL, before)
        while not self.errands.empty():
            self.errands.get()()

    # ------------------------------------------------------------ threads

    def _unit(self, place: Place, chance: random.Random, *, asynchronous: bool) -> Unit:
        family = place.store.family
        return Unit(
            place,
            self._numbers[family],
            self._record,
            chance,
            self._levels[family],
            asynchronous=asynchronous,
        )

    def _work_in_thread(self, place: Place, name: str) -> None:
        chance = random.Random(f"{self._seed} {name}")
        self._alive.add(name)
        while not self._over.is_set():
            unit = self._unit(place, chance, asynchronous=False)
            error: BaseException | None = None
            try:
                drive(unit.run())
            except BaseException as raised:
                error = raised
            self._settle(unit, error, name)
        self._alive.discard(name)

    def _work_once(self, place: Place, chance: random.Random) -> None:
        """In the main thread; an interrupt may strike anywhere in the unit."""
        unit = self._unit(place, chance, asynchronous=False)
        error: BaseException | None = None
        try:
            try:
                self._armed = True
                drive(unit.run())
            finally:
                self._armed = False
        except BaseException as raised:
            self._armed = False
            error = raised
        if isinstance(error, Interrupted) and struck_between(error):
            end_left(error, place)
        self._settle(unit, error, "main")

    def _strike(self, number: int, frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise Interrupted

    def _settle(
        self, unit: Unit, error: BaseException | None, name: str, *, cancelled: bool = False
    ) -> None:
        if error is None:
            self.since_calm[name] = self.since_calm.get(name, 0) + 1
        unit.settle(error, cancelled=cancelled)
        if error is not None:
            # the traceback holds the frames, and they each other
            error.__traceback__ = error.__context__ = error.__cause__ = None

    # ------------------------------------------------------------ tasks

    async def _start_tasks(self) -> list[asyncio.Task[Any]]:
        return [
            asyncio.create_task(self._work_in_task(place, name), name=name)
            for place, asynchronous, name in self._parties
            if asynchronous
        ]

    async def _end_tasks(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_PATIENCE)

    async def _work_in_task(self, place: Place, name: str) -> None:
        chance = random.Random(f"{self._seed} {name}")
        self._alive.add(name)
        while not self._over.is_set():
            unit = self._unit(place, chance, asynchronous=True)
            task = asyncio.create_task(unit.run(), name=f"{name} {unit.token}")
            self.at_work[task] = unit
            await asyncio.wait({task})
            del self.at_work[task]
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            cancelled = task in self._cancelled
            self._cancelled.discard(task)
            self._settle(unit, error, name, cancelled=cancelled)
        self._alive.discard(name)

    def cancel_one(self, chance: float, place: str, *, ending: bool, fault: str) -> None:
        """Have one of a place's tasks that are at work cancelled; called in any thread.

        :param chance: from 0 to 1, which one of those that there are.
        :param ending: only one whose scope is about to end.
        """
        self._loop.loop.call_soon_threadsafe(self._cancel_one, chance, place, ending, fault)

    def _cancel_one(self, chance: float, place: str, ending: bool, fault: str) -> None:
        among = [
            (task, unit)
            for task, unit in self.at_work.items()
            if not task.done()
            and task not in self._cancelled
            and unit.place.name == place
            and (unit.ending or not ending)
        ]
        if not among:
            return
        task, unit = among[int(chance * len(among))]
        if task.cancel():
            self._cancelled.add(task)
            self._record.injected(fault, unit.place.name, in_commit=unit.ending)
