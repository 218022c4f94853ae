"""Plans of faults: the same seed, the same plan."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

# The faults that a proxy injects, by the act; those inside a COMMIT are as frequent as a release
# needs to be sure of them.
ACTS: Final = ("CUT_BEFORE", "CUT_AFTER", "DROP_REPLY", "DELAY_REPLY", "FREEZE", "RESET")
STAGES: Final = {
    "COMMIT": 40,
    "BEGIN": 6,
    "ROLLBACK": 6,
    "SAVEPOINT": 8,
    "WORK": 25,
    "ANY": 8,
    "ANSWER": 7,
}

# How often, in relation to each other.
WIRE: Final = 60.0
_ON_SERVERS: Final = {
    "terminate": 4.0,
    "stop backend": 3.0,
    "stop server": 0.4,
    "demote": 0.5,
    "restart": 0.25,
    "cancel in commit": 8.0,
}
_EVERYWHERE: Final = {"cancel": 22.0, "interrupt": 6.0}
_OF_POSTGRESQL: Final = {"kill backend": 0.3}
_OF_SQLITE: Final = {"lock file": 2.0}


@dataclass(frozen=True, slots=True)
class Step:
    """One fault: after which pause, what, where; ``chance`` chooses among what there is then."""

    number: int
    pause: float
    fault: str
    place: str
    stage: str = ""
    act: str = ""
    skip: int = 0
    seconds: float = 0.0
    chance: float = 0.0

    def __str__(self) -> str:
        what = " ".join(part for part in (self.fault, self.act, self.stage) if part)
        return (
            f"{self.number:5} +{self.pause:.3f} s  {what} on {self.place}"
            f" (skip {self.skip}, {self.seconds:.2f} s, chance {self.chance:.3f})"
        )


def plan(seed: str, places: Sequence[str], families: Sequence[str], rate: float) -> Iterator[Step]:
    """Endless.

    :param places: the names of Databases, each with the family of its store at the same position.
    :param rate: steps per second, on average.
    """
    chance = random.Random(seed)
    number = 0
    weights = _weights(families)
    wired = [p for p, family in zip(places, families, strict=True) if family != "sqlite"]
    of = {fault: _places(fault, places, families) for fault in weights}
    while True:
        number += 1
        (fault,) = chance.choices(list(weights), list(weights.values()))
        yield Step(
            number,
            pause=chance.expovariate(rate),
            fault=fault,
            place=chance.choice(of[fault] or wired),
            stage=chance.choices(list(STAGES), list(STAGES.values()))[0] if fault == "wire" else "",
            act=chance.choice(ACTS) if fault == "wire" else "",
            skip=int(chance.expovariate(0.7)) if fault == "wire" else 0,
            seconds=_seconds(chance),
            chance=chance.random(),
        )


def _weights(families: Sequence[str]) -> dict[str, float]:
    servers = [family for family in families if family != "sqlite"]
    return {
        **({"wire": WIRE, **_ON_SERVERS} if servers else {}),
        **_EVERYWHERE,
        **(_OF_POSTGRESQL if "postgresql" in families else {}),
        **(_OF_SQLITE if "sqlite" in families else {}),
    }


def _places(fault: str, places: Sequence[str], families: Sequence[str]) -> list[str]:
    """Where a fault can be."""
    allowed = {
        "kill backend": {"postgresql"},
        "lock file": {"sqlite"},
        "cancel": {"postgresql", "mariadb", "sqlite"},
        "interrupt": {"postgresql", "mariadb", "sqlite"},
    }.get(fault, {"postgresql", "mariadb"})
    return [p for p, family in zip(places, families, strict=True) if family in allowed]


def _seconds(chance: random.Random) -> float:
    """Mostly short, now and then beyond every deadline."""
    return chance.uniform(3.0, 5.0) if chance.random() < 0.03 else chance.uniform(0.02, 0.6)
