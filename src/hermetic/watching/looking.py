"""A look at everything that is open: what has been so for too long, and who did it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ScopeRef
from ..gate import Gate
from ..registry import Registry, Scope, sessions_in_transaction
from ..seen import Finding, Watch
from ..trace import Trace
from .causes import stack_of

Tell = Callable[[Finding, Trace | None], None]

# looks in a row that find a pool nearly lent out, before it is worth a word
_LOOKS = 3


class Look:
    """Looks at one Database; ``tell`` is called with what it finds, and the scope that it is of."""

    def __init__(self, registry: Registry, options: Watch, tell: Tell) -> None:
        self.registry = registry
        self.options = options
        self.tell = tell
        # of each gate, how many looks in a row have found it so
        self._near: dict[str, int] = {}

    def __call__(self, now: float) -> None:
        for scope in list(self.registry.scopes.values()):
            trace = scope.trace
            if trace is not None and not trace.left:
                self._scope(scope, trace, now)
        for gate in list(self.registry.gates):
            self._gate(gate)
        for session in sessions_in_transaction(now):
            # there is one list of them for the whole process
            if session.age > self.options.held and session.connection in self.registry.connections:
                self.tell(
                    Finding(
                        "session-left-open",
                        f"A session outside any scope has been in a transaction for"
                        f" {session.age:.0f} s; it is {session.owner}'s.",
                        "Close it, or remove() of its scoped_session, when its work is over; "
                        "db.session() does so by itself.",
                        session.opened_at,
                    ),
                    None,
                )

    def _scope(self, scope: Scope, trace: Trace, now: float) -> None:
        since = trace.since
        own = now - scope.started - trace.waited - (now - since if since else 0.0)
        if own > self.options.slow:
            self.slow_open(scope, trace, own)
        if scope.connection is None or not trace.statements:
            return
        held = now - trace.began
        if held > self.options.held and trace.tell("held-too-long"):
            at = f" Its statement was sent {now - trace.at:.0f} s ago." if trace.sql else ""
            self.tell(
                Finding(
                    "held-too-long",
                    f"A scope of {scope.owner} has had a connection for {held:.0f} s.{at}",
                    "Do what waits for others (HTTP, files, queues) outside of the scope, give it "
                    "a timeout=, or split the unit.",
                    str(scope.place),
                    scope.ref,
                    statement=scope.last_statement,
                    stack=stack_of(scope.owner),
                ),
                trace,
            )
        idle = 0.0 if trace.sql is not None or trace.streams else now - trace.at
        if (
            idle > self.options.idle
            and _is_in_transaction(scope)
            and trace.tell("idle-in-transaction")
        ):
            self.tell(self._idle(scope, idle), trace)

    def _idle(self, scope: Scope, seconds: float) -> Finding:
        return Finding(
            "idle-in-transaction",
            f"A transaction of {scope.owner} has been open for {seconds:.0f} s since its last "
            "statement: it keeps its locks and its connection.",
            "End the scope before waiting for anything but the database.",
            str(scope.place),
            scope.ref,
            statement=scope.last_statement,
            stack=stack_of(scope.owner),
        )

    def slow_open(self, scope: Scope, trace: Trace, own: float) -> None:
        """A scope that is slow already; it is told when it ends, unless findings are raised."""
        if self.options.strict:
            trace.describe(scope)
            self.slow(trace, own, ended=False)

    def slow(self, trace: Trace, own: float, *, ended: bool) -> None:
        """A scope that took long."""
        if not trace.tell("slow-scope"):
            return
        where = f"{trace.working:.2f} s of it at {trace.statements} statements"
        message = f"A scope took {own:.2f} s, {where}."
        if not ended:
            message = f"A scope has taken {own:.2f} s, {where}, and goes on."
        name = trace.name or trace.place.function
        self.tell(
            Finding(
                "slow-scope",
                message,
                "Look at its statements, and at what it does between them.",
                str(trace.place),
                ScopeRef(name, trace.number, str(trace.place)),
                statement=_longest(trace),
            ),
            trace,
        )

    def _gate(self, gate: Gate) -> None:
        lent, limit, waiting = gate.lent, gate.limit, gate.waiting
        # where there is one connection alone, it is meant to be lent all the time
        near = limit > 1 and (lent >= self.options.near * limit)
        count = self._near[gate.name] = self._near.get(gate.name, 0) + 1 if near else 0
        if count != _LOOKS:
            return
        self.tell(
            Finding(
                "pool-near-limit",
                f"Of the {limit} connections of pool {gate.name!r} {lent} were lent at {_LOOKS} "
                f"looks in a row, and {waiting} waited.",
                "Hold connections for less time, or allow more: pool_size=. db.snapshot() tells "
                "who has them.",
                gate.name,
            ),
            None,
        )

    def nested(self, scope: Scope) -> None:
        """A scope was opened inside another one that it does not join."""
        outer = scope.parent.root if scope.parent is not None else None
        if outer is None or outer.registry is not self.registry or outer.ticket is None:
            return
        gate = outer.ticket[0]
        if outer.readonly != scope.readonly and len(self.registry.gates) > 1:
            return
        # all who hold a place there and have opened a scope of their own inside
        holding = set()
        for each in list(self.registry.scopes.values()):
            parent = each.parent.root if each.parent is not None and each.root is each else None
            ticket = None if parent is None else parent.ticket
            if parent is not None and ticket is not None and ticket[0] is gate:
                holding.add(parent.number)
        if len(holding) < max(1, gate.limit - 1) or gate.limit == 1:
            return
        self.tell(
            Finding(
                "nested-independent",
                f"{len(holding)} scopes hold a connection of pool {gate.name!r}, which has "
                f"{gate.limit}, and need a second one for a scope inside: one more, and all wait "
                "for each other.",
                "Join the open scope, open the independent one outside of it, or give it a "
                "Database of its own.",
                str(scope.place),
                scope.ref,
            ),
            scope.trace,
        )


def _is_in_transaction(scope: Scope) -> bool:
    transaction = scope.transaction
    return transaction is not None and not (
        transaction.apart or transaction.plain or transaction.put_off or transaction.over
    )


def _longest(trace: Trace) -> str | None:
    steps: list[Any] = [step for step in trace.steps if step[2]]
    return max(steps, key=lambda step: step[2] - step[1])[0] if steps else None
