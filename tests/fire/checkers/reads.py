"""What single reads must show: a constant sum, one's own answer, one's own tenant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.fire.checkers.violations import Violation


def check_bank(balances: Sequence[int], total: int) -> list[Violation]:
    """A read of all accounts: money is moved, neither made nor lost, and never owed."""
    found = []
    if sum(balances) != total:
        found.append(Violation("bank", f"the sum is {sum(balances)}, not {total}: {balances}"))
    if any(balance < 0 for balance in balances):
        found.append(Violation("bank", f"an account is overdrawn: {balances}"))
    return found


def check_answer(asked: str, answered: object) -> list[Violation]:
    """A query for a nonce of its own: any other answer belongs to another query."""
    if answered == asked:
        return []
    return [Violation("foreign answer", f"asked for {asked!r}, answered {answered!r}")]


def check_tenant(tenant: str, rows: Iterable[tuple[object, str]]) -> list[Violation]:
    """:param rows: what was read on behalf of a tenant, each row with the tenant it belongs to."""
    return [
        Violation("foreign tenant", f"{tenant!r} saw {row!r} of {owner!r}")
        for row, owner in rows
        if owner != tenant
    ]
