"""The checker of isolation finds each anomaly in a history that has it, and in no other."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from hermetic import Outcome
from tests.fire.checkers.appends import Append, Operation, Read, Transaction, check_appends
from tests.fire.checkers.graphs import components

GONE = Outcome.NOT_COMMITTED
LOST = Outcome.UNKNOWN


def a(key: int, element: int) -> Append:
    return Append(key, element)


def r(key: int, *elements: int) -> Read:
    return Read(key, elements)


def history(
    *transactions: Iterable[Operation], outcomes: dict[int, Outcome] | None = None
) -> list[Transaction]:
    """All at once, and committed unless told otherwise."""
    return [
        Transaction(
            f"T{number}",
            list(operations),
            (outcomes or {}).get(number, Outcome.COMMITTED),
            begun=0.0,
            ended=100.0,
        )
        for number, operations in enumerate(transactions, 1)
    ]


def kinds(
    transactions: list[Transaction],
    final: dict[int, list[int]],
    *,
    permitted: frozenset[str] = frozenset(),
    realtime: bool = False,
) -> set[str]:
    found = check_appends(transactions, final, permitted=permitted, realtime=realtime)
    return {violation.kind for violation in found}


@pytest.mark.parametrize(
    ("transactions", "final"),
    [
        (history([a(1, 1)], [r(1, 1), a(1, 2)], [r(1, 1, 2)]), {1: [1, 2]}),
        (history([r(1)], [a(1, 1), r(1, 1), a(1, 2), r(1, 1, 2)]), {1: [1, 2]}),
        # nobody was told of it, and it is there, or it is not
        (history([a(1, 1)], [r(1, 1)], outcomes={1: LOST}), {1: [1]}),
        (history([a(1, 1)], [r(1)], outcomes={1: LOST}), {1: []}),
        # one that was rolled back may have read anything
        (history([a(1, 1)], [r(1), a(1, 2)], outcomes={2: GONE}), {1: [1]}),
    ],
)
def test_a_serial_history_has_no_anomaly(
    transactions: list[Transaction], final: dict[int, list[int]]
) -> None:
    assert kinds(transactions, final) == set()


@pytest.mark.parametrize(
    ("kind", "transactions", "final"),
    [
        ("G0", history([a(1, 1), a(2, 1)], [a(1, 2), a(2, 2)]), {1: [1, 2], 2: [2, 1]}),
        ("G1a", history([a(1, 1)], [r(1, 1)], outcomes={1: GONE}), {1: []}),
        ("G1a", history([a(1, 1)], [], outcomes={1: GONE}), {1: [1]}),
        ("G1b", history([a(1, 1), a(1, 2)], [r(1, 1)]), {1: [1, 2]}),
        ("G1c", history([a(1, 1), r(2, 1)], [a(2, 1), r(1, 1)]), {1: [1], 2: [1]}),
        (
            "G1c",
            history([a(1, 1), a(2, 1)], [a(1, 2)], [r(1, 1, 2), a(2, 3)]),
            {1: [1, 2], 2: [3, 1]},
        ),
        ("G-single", history([a(1, 1), a(2, 1)], [r(1), r(2, 1)]), {1: [1], 2: [1]}),
        ("G-single", history([r(1), a(1, 1)], [r(1), a(1, 2)]), {1: [1, 2]}),
        ("G2", history([r(1), a(2, 1)], [r(2), a(1, 1)]), {1: [1], 2: [1]}),
        ("lost append", history([a(1, 1)], [a(1, 2)]), {1: [2]}),
        ("duplicate", history([a(1, 1)]), {1: [1, 1]}),
        ("garbage", history([a(1, 1)]), {1: [1, 7]}),
        ("incompatible order", history([a(1, 1)], [a(1, 2)], [r(1, 1, 2)]), {1: [2, 1]}),
        ("internal", history([a(1, 1), r(1)]), {1: [1]}),
        ("internal", history([a(1, 1)], [r(1), r(1, 1)]), {1: [1]}),
    ],
)
def test_an_anomaly_is_found_and_named(
    kind: str, transactions: list[Transaction], final: dict[int, list[int]]
) -> None:
    found = kinds(transactions, final)

    assert kind in found
    # what was read of two orders at once is a circle too
    assert found <= {kind, "G1c", "G-single", "G0"}
    assert kind not in kinds(transactions, final, permitted=frozenset({kind}))


def test_what_ended_before_must_come_before() -> None:
    first, second = history([a(1, 1)], [r(1)])
    first.ended, second.begun = 1.0, 2.0

    assert kinds([first, second], {1: [1]}, realtime=True) == {"G-single-realtime"}
    assert kinds([first, second], {1: [1]}) == set()
    second.begun = 0.5
    assert kinds([first, second], {1: [1]}, realtime=True) == set()


def test_what_nobody_was_told_of_may_come_later() -> None:
    first, second = history([a(1, 1)], [r(1)], outcomes={1: LOST})
    first.ended, second.begun = 1.0, 2.0

    assert kinds([first, second], {1: [1]}, realtime=True) == set()


def serial(seed: int, size: int) -> tuple[list[Transaction], dict[int, list[int]]]:
    """A history that really was serial."""
    chance = random.Random(seed)
    lists: dict[int, list[int]] = {key: [] for key in range(4)}
    found = []
    for number in range(size):
        made = Transaction(f"T{number}", outcome=Outcome.COMMITTED, begun=number, ended=number + 1)
        for step in range(chance.randint(1, 4)):
            key = chance.randrange(4)
            if chance.random() < 0.5:
                made.operations.append(Read(key, tuple(lists[key])))
            else:
                lists[key].append(10 * number + step)
                made.operations.append(Append(key, 10 * number + step))
        found.append(made)
    return found, lists


@pytest.mark.parametrize("seed", range(20))
def test_a_random_serial_history_is_sound_and_a_spoilt_one_is_not(seed: int) -> None:
    made, lists = serial(seed, 60)
    assert kinds(made, lists, realtime=True) == set()

    chance = random.Random(seed)
    reads = [
        (transaction, place)
        for transaction in made
        for place, operation in enumerate(transaction.operations)
        if isinstance(operation, Read) and len(operation.elements) > 3
    ]
    transaction, place = chance.choice(reads)
    read = transaction.operations[place]
    assert isinstance(read, Read)
    transaction.operations[place] = Read(read.key, read.elements[:-3])
    assert kinds(made, lists, realtime=True) != set()


@pytest.mark.parametrize("seed", range(10))
def test_components_are_those_of_mutual_reach(seed: int) -> None:
    chance = random.Random(seed)
    nodes = range(12)
    successors = {node: chance.sample(nodes, chance.randint(0, 2)) for node in nodes}

    def reach(node: int) -> set[int]:
        found, queue = {node}, [node]
        while queue:
            for following in successors[queue.pop()]:
                if following not in found:
                    found.add(following)
                    queue.append(following)
        return found

    reached = {node: reach(node) for node in nodes}
    expected = {
        frozenset(other for other in nodes if other in reached[node] and node in reached[other])
        for node in nodes
    }
    assert {frozenset(part) for part in components(successors)} == expected
