"""What becomes of units whose process died between the first PREPARE and the last COMMIT."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from sqlalchemy import Connection

from .apart import apart, pause
from .clock import monotonic
from .coordinator import Coordinator
from .decisions import age
from .dialects.two_phase import Name
from .registry import describe_error

# seconds for one part that its own session still has
_PART_SECONDS = 5.0
_FIRST_PAUSE, _LAST_PAUSE = 0.02, 0.25


@dataclass(frozen=True)
class Recovery:
    """What a recovery has done: names of units, and, of those that are left, why they are."""

    committed: tuple[str, ...] = ()
    rolled_back: tuple[str, ...] = ()
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        done = f"{len(self.committed)} committed, {len(self.rolled_back)} rolled back"
        left = "".join(f"\n{what} is left: {why}" for what, why in self.left.items())
        return f"{done}, {len(self.left)} left{left}"


def recover(
    coordinator: Coordinator, grace: float, timeout: float, *, asynchronous: bool
) -> Recovery:
    """Settle every unit of a group that is prepared somewhere.

    Those that are decided are committed; those that are not, and are older than ``grace`` seconds,
    are fenced in the log and rolled back. Decisions of units that are prepared nowhere are deleted.
    """
    work = _Work(coordinator, monotonic() + timeout, asynchronous)
    # before the look at what is prepared: what is not any more then is over
    decided = work.log.decided(work.until, asynchronous=asynchronous)
    work.look()
    known = work.log.known(work.listed, work.until, asynchronous=asynchronous)
    for unit in sorted(work.listed):
        verdict = known.get(unit)
        if verdict is None and age(unit) < grace:
            work.left[unit] = f"it is younger than {grace:g} s, and not decided"
            continue
        if verdict is None:
            verdict = work.log.fence(unit, work.until, asynchronous=asynchronous)
        if verdict is None:
            work.left[unit] = "its decision is being made"
            continue
        work.end(unit, commit=verdict)
    if not work.blind:
        over = set(decided) - set(work.listed)
        work.log.forget(over, work.until, asynchronous=asynchronous)
    return Recovery(tuple(work.committed), tuple(work.rolled_back), work.left)


class _Work:
    def __init__(self, coordinator: Coordinator, until: float, asynchronous: bool) -> None:
        self.coordinator = coordinator
        self.log = coordinator.log
        self.until = until
        self.asynchronous = asynchronous
        # by unit: the databases in which it is prepared
        self.listed: dict[str, list[str]] = {}
        self.committed: list[str] = []
        self.rolled_back: list[str] = []
        self.left: dict[str, str] = {}
        # whether a database could not be looked at
        self.blind = False

    def look(self) -> None:
        """Find what is prepared, everywhere."""
        for key, server in self.coordinator.servers.items():
            two_phase = server.family.two_phase
            if two_phase is None or key == self.log.key:
                continue
            try:
                with self._apart(key) as connection:
                    found = two_phase.listed(connection, self._name("", key))
            except Exception as failed:
                self.blind = True
                self.left[f"database {key}"] = describe_error(failed)
                continue
            for unit in found:
                self.listed.setdefault(unit, []).append(key)

    def end(self, unit: str, *, commit: bool) -> None:
        """Commit or roll back every part of a unit."""
        why = {key: said for key in self.listed[unit] if (said := self._end(unit, key, commit))}
        if why:
            self.left[unit] = "; ".join(f"in {key}: {said}" for key, said in why.items())
        else:
            (self.committed if commit else self.rolled_back).append(unit)

    def _end(self, unit: str, key: str, commit: bool) -> str | None:
        two_phase = self.coordinator.servers[key].family.two_phase
        assert two_phase is not None
        until = min(self.until, monotonic() + _PART_SECONDS)
        wait, why = _FIRST_PAUSE, "there was no time"
        while monotonic() < until:
            try:
                with self._apart(key) as connection:
                    said = two_phase.finish(connection, self._name(unit, key), commit=commit)
            except Exception as failed:
                said = describe_error(failed)
            if said is None:
                if commit:
                    self._tell_cache(key)
                return None
            why = said
            pause(wait, asynchronous=self.asynchronous)
            wait = min(2 * wait, _LAST_PAUSE)
        return why

    def _tell_cache(self, key: str) -> None:
        """What the dead process has written there, nobody knows any more."""
        cache = self.coordinator.servers[key].options.cache
        if cache is not None:
            cache.invalidate()

    def _apart(self, key: str) -> AbstractContextManager[Connection]:
        server = self.coordinator.servers[key]
        return apart(server, self.until, asynchronous=self.asynchronous, autocommit=True)

    def _name(self, unit: str, key: str) -> Name:
        return self.coordinator.name_of(unit, key, asynchronous=self.asynchronous)
