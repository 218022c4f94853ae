"""Decisions about servers: which one a read-only scope goes to, which is left out and for how long.

Pure: time, chance and what the servers said are arguments. Positions are opaque here: whether one
covers another is the family's to say.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from .dialects.positions import Sight, covers

# seconds: the upper end of a server's first pause after a failure and of any later one, and what a
# pause is at least
_FIRST, _LONGEST, _SHORTEST = 1.0, 30.0, 0.1

# places of the primary that are remembered, to date what a replica shows
_TRAIL = 600


class Standing(enum.StrEnum):
    """What is thought of a server."""

    UNKNOWN = "unknown"  # nobody has looked yet: it is taken as it is
    UP = "up"
    LAGGING = "lagging"
    EJECTED = "ejected"
    PROMOTED = "promoted"  # it was to follow, and follows nobody


@dataclass(frozen=True, slots=True)
class Rules:
    """The options that choosing goes by; ``lag`` in seconds."""

    zone: str | None = None
    lag: float | None = None


class ServerState:
    """What is known of one server, from whoever spoke to it last."""

    __slots__ = (
        "ejected_until", "error", "failures", "lag", "name", "primary", "scopes", "seen_at",
        "sight", "weight", "zone",
    )  # fmt: skip

    def __init__(
        self, name: str, *, weight: float = 1.0, zone: str | None = None, primary: bool = False
    ) -> None:
        self.name = name
        self.weight = weight
        self.zone = zone
        self.primary = primary
        self.failures = 0
        self.ejected_until = 0.0
        self.error: str | None = None
        self.sight: Sight | None = None
        self.seen_at: float | None = None
        self.lag: float | None = None
        # how many it was given
        self.scopes = 0

    @property
    def position(self) -> object:
        """What it shows for certain; ``None`` where nobody knows."""
        return None if self.sight is None else self.sight.position

    def standing(self, rules: Rules) -> Standing:
        if self.failures:
            return Standing.EJECTED
        if self.sight is None:
            return Standing.UNKNOWN
        if not self.primary and self.sight.standby is False:
            return Standing.PROMOTED
        if rules.lag is not None and self.lag is not None and self.lag > rules.lag:
            return Standing.LAGGING
        return Standing.UP

    def usable(self, rules: Rules) -> bool:
        return self.standing(rules) in (Standing.UNKNOWN, Standing.UP)

    def failed(self, error: str, now: float, chance: float) -> bool:
        """It could not be connected to, or does not answer.

        :return: whether it was thought to be well.
        """
        if self.failures and now < self.ejected_until:
            return False  # of many that find out at once, one counts
        self.failures += 1
        self.error = error
        # it may come back with less than it has shown
        self.sight = self.lag = None
        self.ejected_until = now + pause_after(self.failures, chance)
        return self.failures == 1

    def forget(self) -> None:
        """It may be another server than the one that was spoken to, or the same with less.

        Whether it is one to read from was said, and holds until it says otherwise.
        """
        if self.sight is not None:
            self.sight = Sight(None, None, self.sight.standby)

    def seen(self, sight: Sight, now: float) -> bool:
        """It has said how far it has come.

        :return: whether it had been ejected.
        """
        was = self.failures > 0
        self.failures = 0
        self.error = None
        self.ejected_until = 0.0
        self.sight = sight
        self.seen_at = now
        return was


def pause_after(failures: int, chance: float) -> float:
    """Seconds until a server that has failed so often in a row is looked at again: full jitter."""
    return max(_SHORTEST, chance * min(_LONGEST, _FIRST * 2.0 ** min(failures - 1, 10)))


class Trail:
    """Where the primary was, and when: what a replica shows is as old as what it lacks."""

    def __init__(self) -> None:
        self._places: deque[tuple[float, object]] = deque(maxlen=_TRAIL)

    def add(self, position: object, now: float) -> None:
        if self._places:
            last = self._places[-1][1]
            if last == position:
                return  # nothing was written: what is lacked since then is not older than that
            if not covers(position, last):
                self._places.clear()  # another primary, with which nothing can be compared
        self._places.append((now, position))

    def lag(self, position: object, now: float) -> float | None:
        """Seconds for which a server at this position has lacked something of the primary's."""
        if position is None or not self._places:
            return None
        lacked: float | None = None
        for at, place in reversed(self._places):
            if covers(position, place):
                break
            lacked = at
        return 0.0 if lacked is None else now - lacked


@dataclass(frozen=True, slots=True)
class Choice:
    """A replica for a scope. ``settled``: it is known to have come as far as it has to."""

    state: ServerState
    settled: bool


def choose(
    states: Iterable[ServerState],
    rules: Rules,
    chance: float,
    *,
    wanted: object = None,
    tried: Collection[ServerState] = (),
    last: ServerState | None = None,
) -> Choice | None:
    """The replica that a read-only scope goes to; ``None`` where none will do.

    Those of the same zone come first; among them those that are known to have come so far; among
    them the one that this flow has read from last, or any, by weight.

    :param chance: from 0 to 1.
    :param wanted: the position that it has to cover.
    :param tried: those that would not do for this scope.
    """
    usable = [state for state in states if state not in tried and state.usable(rules)]
    if rules.zone is not None:
        usable = [state for state in usable if state.zone == rules.zone] or usable
    there = [state for state in usable if covers(state.position, wanted)]
    among = there or usable
    if not among:
        return None
    chosen = last if last in among else by_weight(among, chance)
    assert chosen is not None
    return Choice(chosen, bool(there))


def by_weight(states: list[ServerState], chance: float) -> ServerState:
    """One of several, each as often as its weight says."""
    left = chance * sum(state.weight for state in states)
    for state in states:
        left -= state.weight
        if left < 0:
            return state
    return states[-1]
