"""The checks at the end: the database, the pools and the server, held against the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session as PlainSession

from banking.ledger import Incident, Ledger
from banking.model import FIRST_BALANCE, Account, Token
from hermetic import Finding, Outcome, Snapshot


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table at the end."""

    name: str
    passed: bool
    seen: str


@dataclass(frozen=True, slots=True)
class Found:
    """What the database holds, as plain SQLAlchemy reads it."""

    balances: dict[int, int]
    tokens: Counter[str]

    @classmethod
    def read(cls, engine: Engine) -> Found:
        with PlainSession(engine) as session:
            balances = session.execute(select(Account.id, Account.balance))
            tokens = session.scalars(select(Token.token))
            return cls({row.id: row.balance for row in balances}, Counter(tokens.all()))


def checks(
    ledger: Ledger,
    found: Found,
    last: Snapshot,
    left: dict[str, int],
    seen: Sequence[Finding],
) -> Iterator[Check]:
    """All checks.

    :param last: the Database's own view, taken when all work was over.
    :param left: connections that are still there after the Database was closed, by who says so.
    :param seen: what was found by watching.
    """
    yield _money(ledger, found)
    yield _exactly_once(ledger, found)
    yield _balances(ledger, found)
    yield _failing(ledger, found)
    yield from (_cancelled(incident, found) for incident in ledger.cancelled)
    yield Check("object read after its session closed", bool(ledger.read_after), ledger.read_after)
    yield _retries(ledger, last)
    yield _ended(last)
    yield _leaks(last, left)
    misuse = "; ".join(each.message for each in seen)
    yield Check("sessions used well", not seen, misuse or "nothing was found by watching")


def _money(ledger: Ledger, found: Found) -> Check:
    total, expected = sum(found.balances.values()), len(found.balances) * FIRST_BALANCE
    wrong = sum(audit != expected for audit in ledger.audits)
    seen = f"{total} of {expected}; {len(ledger.audits)} audits meanwhile, {wrong} saw another sum"
    if ledger.audit_errors:
        seen += f"; an audit failed: {ledger.audit_errors[0]!r}"
    passed = total == expected and not wrong and not ledger.audit_errors
    return Check("money conserved", passed and bool(ledger.audits), seen)


def _exactly_once(ledger: Ledger, found: Found) -> Check:
    expected = Counter(order.token for order in ledger.all_applied())
    lost, more = expected - found.tokens, found.tokens - expected
    seen = f"{len(ledger.applied)} acknowledged, {lost.total()} lost, {more.total()} too many"
    if ledger.failed:
        order, error = ledger.failed[0]
        seen += f"; {len(ledger.failed)} failed, first {order.token}: {type(error).__name__}"
    return Check("units applied exactly once", expected == found.tokens and bool(expected), seen)


def _balances(ledger: Ledger, found: Found) -> Check:
    expected = dict.fromkeys(found.balances, FIRST_BALANCE)
    for order in ledger.all_applied():
        expected[order.source] -= order.amount
        expected[order.target] += order.amount
    wrong = [number for number in expected if expected[number] != found.balances[number]]
    seen = f"{len(expected) - len(wrong)} of {len(expected)} accounts agree with the ledger"
    return Check("balances are the sum of the transfers", not wrong, seen)


def _failing(ledger: Ledger, found: Found) -> Check:
    name = "failed unit rolled back"
    incident = ledger.failing
    if incident is None:
        return Check(name, False, "it did not run")
    passed = (
        incident.outcome is Outcome.NOT_COMMITTED
        and incident.order.token not in found.tokens
        and incident.error.startswith("OnPurpose")
    )
    return Check(name, passed, _told(incident, found))


def _cancelled(incident: Incident, found: Found) -> Check:
    there = incident.order.token in found.tokens
    passed = (
        incident.error == "CancelledError"
        and incident.outcome in (Outcome.COMMITTED, Outcome.NOT_COMMITTED)
        and there is incident.committed
    )
    return Check(f"task {incident.order.token}", passed, _told(incident, found))


def _told(incident: Incident, found: Found) -> str:
    outcome = "no outcome" if incident.outcome is None else incident.outcome.name
    row = "there" if incident.order.token in found.tokens else "absent"
    return f"{incident.error}; {outcome}, its row is {row}"


def _retries(ledger: Ledger, last: Snapshot) -> Check:
    counted = last.counters["retries"]
    seen = f"{counted} counted, {ledger.reruns} seen by workers, {ledger.reruns_told} announced"
    return Check("retries counted", counted == ledger.reruns == ledger.reruns_told, seen)


def _ended(last: Snapshot) -> Check:
    count = last.counters
    ended = count["committed"] + count["not_committed"]
    seen = (
        f"{count['scopes']} scopes: {count['committed']} committed, "
        f"{count['not_committed']} not, {count['unknown']} unknown"
    )
    return Check("every scope has an outcome", count["scopes"] == ended, seen)


def _leaks(last: Snapshot, left: dict[str, int]) -> Check:
    lent = sum(pool.lent for pool in last.pools)
    out = sum(connection.state != "idle" for connection in last.connections)
    held = max(lent, out) + len(last.scopes) + len(last.sessions)
    places = ", ".join(f"{count} in {place}" for place, count in left.items())
    seen = f"{held} held at the end; after closing {places or 'nothing to count'}"
    return Check("0 connections leaked", not held and not any(left.values()), seen)


class Outside:
    """How many of our connections somebody other than hermetic sees."""

    def __init__(self, engine: Engine, application_name: str) -> None:
        self._engine = engine
        self._application = application_name
        self._before = self._server_ids()

    def left(self) -> dict[str, int]:
        """What is still there, by who says so."""
        family = self._engine.dialect.name
        if family == "sqlite":
            count = _descriptors(Path(str(self._engine.url.database)))
            return {} if count is None else {"open files": count}
        return {"the server": len(self._server_ids() - self._before)}

    def _server_ids(self) -> set[int]:
        family = self._engine.dialect.name
        if family == "postgresql":
            query = text(
                "SELECT pid FROM pg_stat_activity "
                "WHERE application_name = :name AND pid <> pg_backend_pid()"
            )
        elif family in ("mysql", "mariadb"):
            # a server without performance_schema knows no client names: by database, what is new
            query = text(
                "SELECT id FROM information_schema.processlist "
                "WHERE db = database() AND id <> connection_id() AND :name = :name"
            )
        else:
            return set()
        with self._engine.connect() as connection:
            return set(connection.scalars(query, {"name": self._application}))


def _descriptors(path: Path) -> int | None:
    """How many descriptors this process has on a file and its log; ``None`` where nobody tells."""
    table = Path("/proc/self/fd")
    if not table.is_dir():
        return None
    count = 0
    for descriptor in table.iterdir():
        try:
            count += str(descriptor.readlink()).startswith(str(path))
        except FileNotFoundError:
            continue  # closed since the folder was listed
    return count
