"""What a connection's open transaction survives: errors, savepoints, and the server's own end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.connection import Transaction
from hermetic.faults import Fault, FaultKind, Rerun
from hermetic.faults import Transaction as Left

FAULT = Fault(FaultKind.UNIQUE, "23505", Rerun.NEVER, Left.DOOMED)
ERROR = ValueError("first")


def inside(*savepoints: str) -> Transaction:
    transaction = Transaction()
    transaction.savepoints.extend(savepoints)
    return transaction


def is_broken(transaction: Transaction) -> bool:
    return transaction.failure is not None


def test_a_fresh_transaction_is_sound() -> None:
    transaction = Transaction()

    assert not is_broken(transaction)
    assert (transaction.commit_sent, transaction.committed, transaction.gone) == (False,) * 3


def test_the_first_failure_counts() -> None:
    transaction = inside("a")

    transaction.fail(ERROR, FAULT, gone=False)
    transaction.savepoints.append("b")
    transaction.fail(KeyError("second"), None, gone=False)

    assert (transaction.failure, transaction.fault, transaction.depth) == (ERROR, FAULT, 1)


def test_a_later_failure_may_still_end_the_whole() -> None:
    transaction = inside("a")

    transaction.fail(ERROR, FAULT, gone=False)
    transaction.fail(KeyError("the server went away"), None, gone=True)
    transaction.rolled_back_to("a")

    assert transaction.failure is ERROR
    assert transaction.gone


@pytest.mark.parametrize(
    ("failed_at", "back_to", "heals"),
    [(0, 0, False), (1, 0, True), (2, 0, True), (2, 1, True), (1, 1, False), (3, 2, True)],
)
def test_the_savepoint_around_a_failure_heals_it(failed_at: int, back_to: int, heals: bool) -> None:
    names = ["a", "b", "c"]
    transaction = inside(*names[:failed_at])
    transaction.fail(ERROR, FAULT, gone=False)
    transaction.savepoints.extend(names[failed_at:])

    transaction.rolled_back_to(names[back_to])

    assert is_broken(transaction) is not heals
    assert transaction.fault is (None if heals else FAULT)
    assert transaction.savepoints == names[:back_to]


def test_nothing_heals_what_the_server_gave_up() -> None:
    transaction = inside("a")
    transaction.fail(ERROR, FAULT, gone=True)

    transaction.rolled_back_to("a")

    assert transaction.failure is ERROR


def test_a_healed_transaction_may_fail_anew() -> None:
    transaction = inside("a")
    transaction.fail(ERROR, FAULT, gone=False)
    transaction.rolled_back_to("a")

    again = KeyError("again")
    transaction.fail(again, None, gone=False)

    assert transaction.failure is again
    assert transaction.depth == 0


def test_a_failure_outlives_the_release_of_a_savepoint() -> None:
    """What failed in a savepoint that is merged into its parent fails the parent."""
    transaction = inside("a", "b")
    transaction.fail(ERROR, FAULT, gone=False)

    transaction.released("b")
    transaction.rolled_back_to("a")
    assert not is_broken(transaction)

    transaction = inside("a", "b")
    transaction.fail(ERROR, FAULT, gone=False)
    transaction.released("a")
    transaction.savepoints.append("c")
    transaction.rolled_back_to("c")
    assert is_broken(transaction)


def test_releasing_a_savepoint_releases_those_inside_it() -> None:
    transaction = inside("a", "b", "c")

    transaction.released("b")

    assert transaction.savepoints == ["a"]


def test_a_savepoint_that_is_not_known_changes_nothing() -> None:
    transaction = inside("a")
    transaction.fail(ERROR, FAULT, gone=False)

    transaction.rolled_back_to("z")
    transaction.released("z")

    assert transaction.savepoints == ["a"]
    assert is_broken(transaction)


STEPS = st.lists(st.sampled_from(["savepoint", "rollback", "release", "fail", "gone"]), max_size=40)


@given(steps=STEPS, data=st.data())
def test_it_is_broken_exactly_while_a_failure_is_not_undone(
    steps: list[str], data: st.DataObject
) -> None:
    """Against a model that keeps every failure with the chain of savepoints it happened in."""
    transaction = Transaction()
    chain: list[str] = []
    failures: list[set[str]] = []
    gone = False

    for number, step in enumerate(steps):
        if step == "savepoint" and not transaction.failure:
            chain.append(f"s{number}")
            transaction.savepoints.append(f"s{number}")
        elif step == "rollback" and chain:
            name = data.draw(st.sampled_from(chain))
            failures = [within for within in failures if name not in within]
            del chain[chain.index(name) :]
            transaction.rolled_back_to(name)
        elif step == "release" and chain:
            name = data.draw(st.sampled_from(chain))
            released = set(chain[chain.index(name) :])
            failures = [within - released for within in failures]
            del chain[chain.index(name) :]
            transaction.released(name)
        elif step in ("fail", "gone"):
            failures.append(set(chain))
            gone = gone or step == "gone"
            transaction.fail(ValueError(step), None, gone=step == "gone")

        assert transaction.savepoints == chain
        assert is_broken(transaction) is bool(failures or gone)
