"""Machines that make random histories of scopes and gates, and compare them with models."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from typing import Any
from weakref import ref

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine

from hermetic.errors import Outcome, PoolSelfDeadlock, RolledBack, ScopeRefused
from hermetic.gate import Gate, Refused, Ticket, Waiter
from tests.pure.model import (
    ENTRIES,
    PLAIN,
    REFUSED,
    SAVEPOINT,
    TRANSACTION,
    Expected,
    Failed,
    Frame,
    Model,
    Raised,
    RolledBackBy,
    SelfDeadlock,
    Trouble,
)
from tests.pure.systems import DatabaseSystem, PureSystem, System

DEEPEST = 6

inside = precondition(lambda self: bool(self.model.frames))
inside_transaction = precondition(
    lambda self: bool(self.model.frames) and self.model.region.root.kind != PLAIN
)


# What a statement can be made to do to its transaction.
TROUBLES: dict[str, tuple[Trouble, ...]] = {
    "sqlite": ("harmless", "dooms", "ends all"),
    "postgresql": ("aborts", "dooms", "aborts"),
    "mysql": ("harmless", "dooms", "harmless"),
}


class ScopeMachine(RuleBasedStateMachine):
    """Nests of scopes, entered and left in any way, with errors at any depth."""

    system: System
    model: Model
    troubles: tuple[Trouble, ...]

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.opened: list[tuple[Any, Frame]] = []

    # ------------------------------------------------------------ what may happen

    @precondition(lambda self: len(self.model.frames) < DEEPEST)
    @rule(propagation=st.sampled_from(sorted(ENTRIES)), commit_on=st.booleans())
    def open_a_scope(self, propagation: str, commit_on: bool) -> None:
        self._open(propagation, commit_on)

    @precondition(lambda self: len(self.model.frames) < DEEPEST)
    @rule(propagation=st.sampled_from(["required", "nested"]), commit_on=st.booleans())
    def open_a_common_scope(self, propagation: str, commit_on: bool) -> None:
        self._open(propagation, commit_on)

    def _open(self, propagation: str, commit_on: bool) -> None:
        if self.model.entry(propagation) == REFUSED:
            with pytest.raises(ScopeRefused):
                self.system.open(propagation, commits_on_expected=commit_on)
            return
        refusal = self.model.refuses_to_open(propagation)
        if refusal is not None:
            error = self._raised_by(
                lambda: self.system.open(propagation, commits_on_expected=commit_on)
            )
            self._compare(error, refusal)
            return
        scope = self.system.open(propagation, commits_on_expected=commit_on)
        self.opened.append((scope, self.model.open(propagation, commits_on_expected=commit_on)))

    @inside
    @rule()
    def insert(self) -> None:
        row = next(self.numbers)
        refusal = self.model.refuses_statement()
        if isinstance(refusal, SelfDeadlock):
            row = row * 2 + 100_001  # by a statement, after which the session is as before
        error = self._raised_by(lambda: self.system.insert(row))
        self._compare(error, refusal)
        if refusal is None:
            self.model.insert(row)
        elif self.system.flushes(row):
            self.model.flush_refused()

    @inside_transaction
    @rule(index=st.integers(0, 2))
    def fail_in_the_database(self, index: int) -> None:
        kind = self.troubles[index]
        refusal = self.model.refuses_statement()
        if isinstance(refusal, SelfDeadlock):
            return
        error = self._raised_by(lambda: self.system.trouble(kind))
        assert error is not None
        if refusal is not None:
            self._compare(error, refusal)
            if self.system.flushes(kind):
                self.model.flush_refused()
            return
        assert not isinstance(error, RolledBack)
        self.model.trouble(kind, error)

    @inside
    @rule()
    def look(self) -> None:
        if self.model.refuses_statement() is None:
            assert self.system.visible() == self.model.visible()

    @inside_transaction
    @rule()
    def ask_rollback(self) -> None:
        self.system.ask_rollback()
        self.model.ask_rollback()

    @inside
    @rule()
    def leave_normally(self) -> None:
        self._leave(None, 1)

    @inside
    @rule(kind=st.sampled_from([Failed, Expected]), levels=st.integers(1, DEEPEST))
    def leave_with_an_error(self, kind: type[Exception], levels: int) -> None:
        """The error passes through so many scopes, and is swallowed in the next one."""
        self._leave(kind(f"number {next(self.numbers)}"), levels)

    @inside
    @rule(levels=st.integers(2, DEEPEST))
    def let_what_an_end_raises_pass(self, levels: int) -> None:
        self._leave(None, levels)

    def _leave(self, error: BaseException | None, levels: int) -> None:
        for level in range(levels):
            if not self.model.frames or (error is None and level):
                break
            expected = self.model.leave(error)
            error = self.system.leave(error)
            self._compare(error, expected)
        if not self.model.frames:
            self._compare_outcomes()

    # ------------------------------------------------------------ what has to be

    def _raised_by(self, action: Any) -> BaseException | None:
        try:
            action()
        except Exception as error:
            return error
        return None

    def _compare(self, error: BaseException | None, expected: Raised | SelfDeadlock) -> None:
        if isinstance(expected, SelfDeadlock):
            assert isinstance(error, PoolSelfDeadlock)
        elif isinstance(expected, RolledBackBy):
            assert isinstance(error, RolledBack), repr(error)
            wanted = expected.cause
            # a database's error is known by what SQLAlchemy raised, or by what the driver did
            assert error.__cause__ in (wanted, getattr(wanted, "orig", wanted))
        else:
            assert error is expected

    def _compare_outcomes(self) -> None:
        for scope, frame in self.opened:
            region, stands = frame.region, True
            if region.kind == PLAIN:
                assert scope.outcome is None
                continue
            while True:
                stands = stands and region.stands
                if region.parent is None:
                    break
                region = region.parent
            own = frame.region
            if own.kind == TRANSACTION or not own.stands or own.parent is own.root:
                expected = Outcome.COMMITTED if stands else Outcome.NOT_COMMITTED
                assert scope.outcome is expected
            else:
                assert own.kind == SAVEPOINT
        self.opened.clear()

    @invariant()
    def others_see_what_was_committed_and_nothing_else(self) -> None:
        assert self.system.committed() == self.model.committed

    def teardown(self) -> None:
        try:
            while self.model.frames:
                self._leave(None, 1)
            self.others_see_what_was_committed_and_nothing_else()
        finally:
            self.system.close()


class PureMachine(ScopeMachine):
    troubles = ("harmless", "aborts", "ends all")

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(one_connection=False)
        self.system = PureSystem()


class DatabaseMachine(ScopeMachine):
    """On a Database; `url` and `observer` are set by the test."""

    url: str
    observer: Engine

    def __init__(self) -> None:
        super().__init__()
        family = self.observer.dialect.name
        self.troubles = TROUBLES[family]
        self.model = Model(one_connection=family == "sqlite")
        self.system = DatabaseSystem(self.url, self.observer)


class GateMachine(RuleBasedStateMachine):
    """A gate, against a list of who is out and a list of who waits."""

    @initialize(limit=st.integers(1, 4), bound=st.none() | st.integers(0, 4))
    def open_the_gate(self, limit: int, bound: int | None) -> None:
        self.gate = Gate("gate", limit, bound)
        self.limit, self.bound = limit, bound
        self.now = 0.0
        self.out: list[tuple[str, Ticket]] = []
        self.queue: list[Waiter] = []
        self.woken: list[Waiter] = []
        self.gone: set[Waiter] = set()
        self.counters = Counter[str]()
        self.waited = 0.0

    def _settle(self, now: float | None = None) -> None:
        """Who is admitted now, by the model; it is compared with whom the gate has woken."""
        now = self.now if now is None else now
        admitted = []
        while self.queue and len(self.out) < self.limit:
            waiter = self.queue.pop(0)
            admitted.append(waiter)
            self.counters["admitted"] += 1
            self.counters["waited"] += 1
            self.waited += now - waiter.since
            if waiter not in self.gone:
                assert waiter.ticket is not None
                self.out.append((str(waiter.holder), waiter.ticket))
        # those that are gone make room for more: several at once may be woken out of order
        assert sorted(map(id, self.woken)) == sorted(map(id, admitted))
        self.woken.clear()

    @rule(holder=st.sampled_from("abcdef"), passing=st.floats(0.1, 5))
    def enter(self, holder: str, passing: float) -> None:
        self.now += passing
        made: list[ref[Waiter]] = []

        def wake() -> bool:
            waiter = made[0]()
            assert waiter is not None, "nobody waits there any more"
            self.woken.append(waiter)
            return waiter not in self.gone

        admitted = self.gate.enter(holder, lambda: holder, self.now, lambda: wake)

        holders = {holder for holder, _ in self.out}
        waiting = {str(waiter.holder) for waiter in self.queue}
        if len(self.out) < self.limit and not self.queue:
            assert isinstance(admitted, Ticket)
            self.out.append((holder, admitted))
            self.counters["admitted"] += 1
        elif holder in holders and holders <= waiting | {holder}:
            assert admitted == Refused(self_deadlock=True)
            self.counters["refused"] += 1
        elif self.bound is not None and len(self.queue) >= self.bound:
            assert admitted == Refused(self_deadlock=False)
            self.counters["refused"] += 1
        else:
            assert isinstance(admitted, Waiter)
            made.append(ref(admitted))
            self.queue.append(admitted)

    @precondition(lambda self: bool(self.out))
    @rule(data=st.data(), passing=st.floats(0.1, 5))
    def leave(self, data: st.DataObject, passing: float) -> None:
        self.now += passing
        _, ticket = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))

        self.gate.leave(ticket, self.now)

        self._settle()
        self.gate.leave(ticket, self.now)
        assert not self.woken, "a ticket was given back twice"

    @precondition(lambda self: bool(self.out))
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """Nobody keeps the ticket any more, and nobody has given it back."""
        # as far as the gate can know what time it is
        now = self.queue[-1].since if self.queue else 0.0

        self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))

        self._settle(now)

    @precondition(lambda self: bool(self.queue))
    @rule(data=st.data())
    def forget_to_wait(self, data: st.DataObject) -> None:
        self.gone.discard(self.queue.pop(data.draw(st.integers(0, len(self.queue) - 1))))

    @precondition(lambda self: any(w not in self.gone for w in self.queue))
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        there = [waiter for waiter in self.queue if waiter not in self.gone]
        # a number: a strategy would keep what it was made of
        waiter = there[data.draw(st.integers(0, len(there) - 1))]
        self.queue.remove(waiter)

        assert self.gate.give_up(waiter) is None

        self.counters["timed_out"] += 1

    @precondition(lambda self: bool(self.queue))
    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        """Its loop is closed: it neither gives up nor answers."""
        self.gone.add(self.queue[data.draw(st.integers(0, len(self.queue) - 1))])

    @rule(limit=st.integers(1, 5), passing=st.floats(0.1, 5))
    def resize(self, limit: int, passing: float) -> None:
        self.now += passing
        before, self.limit = self.limit, limit
        shrunk = limit < max(before, len(self.out))

        self.gate.resize(limit, self.now)

        if shrunk:
            assert not self.woken
        self._settle()

    @invariant()
    def the_gate_is_as_the_lists_are(self) -> None:
        if not hasattr(self, "gate"):
            return
        assert {id(t) for t in self.gate.holders()} == {id(ticket) for _, ticket in self.out}
        assert list(self.gate.waiters()) == self.queue
        assert (self.gate.lent, self.gate.waiting) == (len(self.out), len(self.queue))
        assert len(self.out) >= self.limit or not self.queue, "somebody waits beside a free place"
        counters = self.gate.counters
        for name in ("admitted", "waited", "refused", "timed_out"):
            assert getattr(counters, name) == self.counters[name], name
        assert counters.wait_seconds == pytest.approx(self.waited)


def run(machine: type[RuleBasedStateMachine], *, histories: int) -> None:
    """``HERMETIC_HISTORIES=20`` runs twenty times as many."""
    histories *= int(os.environ.get("HERMETIC_HISTORIES", "1"))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=histories,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
