"""The same case run by two contestants, and every difference between what was seen."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.differential.contestants import Contestant
from tests.differential.describe import OWN_WORDS
from tests.differential.run import Record, Run

Case = Callable[[Run], None]
_SHOWN = 12
# by how many orders of a flush SQLAlchemy may come to what hermetic came to
_TRIES = 25


class Difference(AssertionError):
    """SQLAlchemy and hermetic were told apart."""

    def __init__(self, what: str, found: list[str]) -> None:
        more = [] if len(found) <= _SHOWN else [f"… and {len(found) - _SHOWN} more"]
        super().__init__("\n  ".join([what, *found[:_SHOWN], *more]))
        self.found = found


def perform(case: Case, contestant: Contestant, group: str = "silent") -> Record:
    contestant.ground.reset()
    run = Run(contestant, group)
    with run.whole():
        case(run)
    return run.record


def compare(case: Case, plain: Contestant, other: Contestant, group: str = "silent") -> None:
    """Run a case by both.

    :raises Difference: they can be told apart.
    """
    expected = perform(case, plain, group)
    actual = perform(case, other, group)
    scoped = other.name == "scoped"
    found = list(differences(expected, actual, scoped=scoped))
    if not found:
        return
    for _ in range(_TRIES):
        # SQLAlchemy goes through sets of objects by their addresses: it may do the same yet
        moved = _strewn()
        again = perform(case, plain, group)
        del moved
        if not any(differences(again, actual, scoped=scoped)):
            return
    name = getattr(case, "__name__", "the program")
    raise Difference(f"{name}: {other.name} is not {plain.name} ({group})", found)


def _strewn() -> list[object]:
    """What takes places in memory here and there, of every size, so that others get other ones."""
    kept: list[object] = []
    for _ in range(random.randrange(500, 3000)):
        kept.append([None] * random.randrange(1, 50))
        kept.append(dict.fromkeys(range(random.randrange(1, 12))))
    random.shuffle(kept)
    del kept[: len(kept) // 2]
    return kept


def differences(expected: Record, actual: Record, *, scoped: bool) -> Iterator[str]:
    if scoped:
        expected, actual = lenient(expected), lenient(actual)
    expected, actual = settled(expected), settled(actual)
    for index, ((label, one), (other_label, other)) in enumerate(
        zip(expected.seen, actual.seen, strict=False)
    ):
        if label != other_label:
            yield f"{index}: {label} {one!r:.300}, but {other_label} {other!r:.300}"
            return
        yield from unequal(f"{index} {label}", one, other)
    longer = max(expected.seen, actual.seen, key=len)
    for label, value in longer[min(len(expected.seen), len(actual.seen)) :]:
        whose = "missing" if longer is expected.seen else "too much"
        yield f"{whose}: {label} {value!r}"


def unequal(path: str, one: Any, other: Any) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            if key not in one or key not in other:
                yield f"{path}.{key}: {one.get(key, '-')!r}, but {other.get(key, '-')!r}"
            else:
                yield from unequal(f"{path}.{key}", one[key], other[key])
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from unequal(f"{path}[{index}]", left, right)
    elif other == OWN_WORDS:
        return
    elif type(one) is not type(other) or one != other:
        yield f"{path}: {one!r}, but {other!r}"


def lenient(record: Record) -> Record:
    """Without what a scope does otherwise on purpose when it is rolled back: what it only read
    keeps its values, and is let go of before SQLAlchemy's rollback tells of it.
    """
    kept = Record()
    for index, (label, value) in enumerate(record.seen):
        inside = any(begin <= index < end for begin, end in record.rollbacks)
        if inside and label.startswith("event "):
            continue
        after = any(begin <= index for begin, _ in record.rollbacks)
        if after and isinstance(value, dict) and value.get("name") in record.untouched:
            continue
        kept.add(label, value)
    return kept


# SQLAlchemy tells of these for a set of objects, in no order
_UNORDERED = {
    f"event {name}"
    for name in (
        *("pending_to_persistent", "persistent_to_detached", "persistent_to_deleted", "expire"),
        *("deleted_to_detached", "deleted_to_persistent", "persistent_to_transient"),
        *("pending_to_transient", "set"),
    )
}


def settled(record: Record) -> Record:
    """With what has no order in the same order each time."""
    kept = Record()
    for unordered, group in itertools.groupby(record.seen, lambda entry: entry[0] in _UNORDERED):
        entries = list(group)
        kept.seen += sorted(entries, key=repr) if unordered else entries
    return kept
