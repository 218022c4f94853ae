"""Who may connect to a server now, and who waits for the outcome of others. Pure.

Time and chance are arguments; nothing here waits. While a server answers, a few connects of each
pool are under way at once and the rest wait in line. After one has failed there is one *probe* at a
time for the whole server, after a pause that grows; everybody else waits for what comes of it. Its
success lets everybody go; its error is everybody's.

As at the gate, permits and waiters are remembered weakly: what nobody keeps any more, because an
interrupt struck whoever was to keep it, leaves by itself. One lock guards the state; waiters are
woken after it was let go.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from weakref import ref

# connects of one pool that are under way at once: one more than needed, for one that hangs
AT_ONCE = 2

# seconds after which a probe that has no answer is followed by another one: it may hang in a
# connect to what was there before
_PATIENCE = 1.0

# seconds; the longest pause after the first failure, and after many: whoever works again within a
# second of the server's return has tried about twice in every one before
_FIRST, _LONGEST = 0.2, 0.65


class Permit:
    """The right to make one connection, for as long as somebody keeps it.

    ``mark`` is the record of it, until it is known what came of it.
    """

    __slots__ = ("__weakref__", "line", "mark", "probe")

    def __init__(self, line: object, *, probe: bool) -> None:
        self.line = line
        self.probe = probe
        self.mark: ref[Permit] | None = None


class Expectant:
    """Somebody who has to wait before it may connect.

    ``until`` is the moment to ask again at the latest, or ``None``; ``error`` what came of a probe
    in the meantime. ``wake`` is called at most once for each time that it is set.
    """

    __slots__ = ("__weakref__", "error", "line", "mark", "until", "wake")

    def __init__(self, line: object, wake: Callable[[], bool]) -> None:
        self.line = line
        self.wake: Callable[[], bool] | None = wake
        self.until: float | None = None
        self.error: BaseException | None = None
        self.mark: ref[Expectant] | None = None


def pause_after(failures: int, chance: float) -> float:
    """Seconds without a connect after so many failed in a row.

    Only a part of it is by chance: with a pause that could be nothing, the connects of ten seconds
    would be twenty and more. One of many processes has one probe at a time, whoever asks.
    """
    longest = min(_LONGEST, _FIRST * 2.0 ** min(failures - 1, 10))
    return longest * (0.85 + 0.15 * chance)


class Connects:
    """The connects to one server, of all its pools in threads and asyncio."""

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """Also in a forked child: nobody connects there, and nothing is known of the server."""
        # re-entrant: the collector may find a lost permit while this thread holds it
        self._lock = threading.RLock()
        # whose it is, and since when it probes
        self._under_way: dict[ref[Permit], tuple[object, float | None]] = {}
        self._queue: dict[ref[Expectant], None] = {}
        self.failures = 0
        # what the last connect failed with, and until when nobody tries again
        self.error: BaseException | None = None
        self.until = 0.0

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def ask(
        self, line: object, now: float, make_wake: Callable[[], Callable[[], bool]]
    ) -> Permit | Expectant:
        """Ask to make a connection.

        :param line: whose it is to be; each has a bound of its own on what is under way.
        :param make_wake: called, under no lock, only when there is a wait.
        """
        with self._lock:
            if self._may_go(line, self._ahead(line, None), now):
                return self._permit(line, now)
        expectant = Expectant(line, make_wake())
        mark = expectant.mark = ref(expectant, self._forgotten)
        with self._lock:
            if self._may_go(line, self._ahead(line, mark), now):
                return self._permit(line, now)
            self._queue[mark] = None
            expectant.until = self._until(now)
        return expectant

    def ask_again(
        self, expectant: Expectant, now: float, make_wake: Callable[[], Callable[[], bool]]
    ) -> Permit | Expectant:
        """The same for somebody who was woken, or whose moment has come; it keeps its place."""
        wake = make_wake()
        mark = expectant.mark
        with self._lock:
            if expectant.error is not None or mark not in self._queue:
                return expectant
            if self._may_go(expectant.line, self._ahead(expectant.line, mark), now):
                self._queue.pop(mark, None)
                return self._permit(expectant.line, now)
            expectant.wake = wake
            expectant.until = self._until(now)
        return expectant

    def leave(self, expectant: Expectant, now: float) -> None:
        """Wait no more."""
        with self._lock:
            if expectant.mark is not None:
                self._queue.pop(expectant.mark, None)
            woken = self._next(now)
        _wake(woken)

    def succeeded(self, permit: Permit, now: float) -> None:
        """A connection was made: the server is there, for everybody."""
        with self._lock:
            self._ended(permit)
            self.failures, self.error, self.until = 0, None, 0.0
            woken = self._next(now)
        _wake(woken)

    def failed(
        self, permit: Permit | None, error: BaseException, now: float, chance: float
    ) -> None:
        """No connection could be made. Whoever waits hears of it now.

        :param error: kept until a connect succeeds: nothing of a caller's frames may hang on it.
        :param permit: ``None`` where the connection was made, and the server went away after that.
        """
        with self._lock:
            if permit is not None:
                self._ended(permit)
            self.failures += 1
            self.error = error
            self.until = now + pause_after(self.failures, chance)
            told = [found for mark in list(self._queue) if (found := mark()) is not None]
            self._queue.clear()
            for expectant in told:
                expectant.error = error
            woken = _wakes(told)
        _wake(woken)

    def gave_up(self, permit: Permit, now: float) -> None:
        """Whoever was to connect was interrupted, or had no time: nothing is known."""
        with self._lock:
            self._ended(permit)
            woken = self._next(now)
        _wake(woken)

    def _forgotten(self, mark: ref[Any]) -> None:
        """The collector's word that nobody keeps a permit or waits any more, from any place."""
        with self._lock:
            self._under_way.pop(mark, None)
            self._queue.pop(mark, None)
            # nobody tells the time here: who is woken too early asks, and waits on
            woken = self._next(self.until)
        _wake(woken)

    # ------------------------------------------------------------ under the lock

    def _may_go(self, line: object, ahead: int, now: float) -> bool:
        if self.failures:
            return now >= self.until and self._probing(now) is None
        busy = sum(1 for each, _ in list(self._under_way.values()) if each is line)
        return busy + ahead < AT_ONCE

    def _probing(self, now: float) -> float | None:
        """Since when the last probe is under way, where it is still to be waited for."""
        begun = [since for _, since in list(self._under_way.values()) if since is not None]
        last = max(begun, default=None)
        return None if last is None or now >= last + _PATIENCE else last

    def _until(self, now: float) -> float | None:
        if not self.failures:
            return None
        probing = self._probing(now)
        return self.until if probing is None else probing + _PATIENCE

    def _ahead(self, line: object, mark: ref[Expectant] | None) -> int:
        """How many of a line wait before somebody."""
        count = 0
        for each in list(self._queue):
            if each is mark:
                break
            found = each()
            if found is not None and found.line is line:
                count += 1
        return count

    def _permit(self, line: object, now: float) -> Permit:
        permit = Permit(line, probe=self.failures > 0)
        mark = permit.mark = ref(permit, self._forgotten)
        self._under_way[mark] = (line, now if permit.probe else None)
        return permit

    def _ended(self, permit: Permit) -> None:
        mark, permit.mark = permit.mark, None
        if mark is not None:
            self._under_way.pop(mark, None)

    def _next(self, now: float) -> list[Callable[[], bool]]:
        """What wakes those who may go now, or have to look at the time again."""
        woken = []
        ahead: dict[int, int] = {}
        for mark in list(self._queue):
            found = mark()
            if found is None:
                self._queue.pop(mark, None)
                continue
            before = ahead.get(id(found.line), 0)
            ahead[id(found.line)] = before + 1
            if self.failures:
                # a probe was given up: whoever comes first makes the next one
                if self._probing(now) is None:
                    woken.append(found)
            elif self._may_go(found.line, before, now):
                woken.append(found)
        return _wakes(woken)


def _wakes(expectants: list[Expectant]) -> list[Callable[[], bool]]:
    """Under the lock, so that nobody is woken twice."""
    wakes = []
    for expectant in expectants:
        if expectant.wake is not None:
            wakes.append(expectant.wake)
            expectant.wake = None
    return wakes


def _wake(wakes: list[Callable[[], bool]]) -> None:
    for wake in wakes:
        wake()
