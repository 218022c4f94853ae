"""What is open at this moment, as the inspector's state has it: scopes, connections, pools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..boundary import Entry
from ..clock import monotonic
from ..connection import ConnectionRecord
from ..events import ScopeInfo, SessionInfo
from ..gate import Gate
from ..owner import Owner
from ..registry import Registry, Scope
from .shape import ConnectionState, Phase, PlaceState, PoolState, ScopeState, SessionState

# of a statement, in a row of a table
_SHORT = 300
# holders and waiters of a pool that are listed
_PLACES = 2000

Hide = Callable[[str], str]


class OpenNow:
    """One look at a Database, or a Group.

    :param infos: the open scopes, as its snapshot has them.
    :param hide: a statement as it may be shown.
    """

    def __init__(self, registry: Registry, infos: tuple[ScopeInfo, ...], hide: Hide) -> None:
        self.registry = registry
        self.now = monotonic()
        self._infos = infos
        self._hide = hide
        self._scopes = {info.number: registry.scopes.get(info.number) for info in infos}
        # who holds a place, and who is in line for one, by what the gate knows of them
        self._holding: dict[int, int] = {}
        self._asking: dict[object, int] = {}
        for number, scope in self._scopes.items():
            if scope is None or not _is_root(scope):
                continue
            ticket = scope.ticket
            if ticket is not None:
                self._holding[id(ticket[1])] = number
            else:
                # the innermost one of an owner comes last
                self._asking[scope.owner] = number
        self._in_line: set[int] = set()

    def pools(self, database: str) -> list[PoolState]:
        """Every pool, with who has its places. Ask for them before the scopes."""
        return [self._pool(gate, database) for gate in list(self.registry.gates)]

    def _pool(self, gate: Gate, database: str) -> PoolState:
        holders, waiters = gate.holders(), gate.waiters()
        counters = gate.counters
        in_line = [self._waiting(each.holder, each.since) for each in waiters]
        self._in_line.update(each["scope"] for each in in_line if each["scope"] is not None)
        return PoolState(
            id=f"{database}/{gate.name}",
            name=gate.name,
            limit=gate.limit,
            lent=gate.lent,
            waiting=gate.waiting,
            suspended=gate.suspended,
            admitted=counters.admitted,
            waited=counters.waited,
            refused=counters.refused + counters.timed_out,
            wait_seconds=counters.wait_seconds,
            holders=[
                PlaceState(
                    scope=self._holding.get(id(ticket)),
                    owner=_name_of(ticket.holder, ticket.label),
                    seconds=self.now - ticket.since,
                )
                for ticket in holders[:_PLACES]
            ],
            waiters=in_line[:_PLACES],
        )

    def _waiting(self, holder: object, since: float) -> PlaceState:
        return PlaceState(
            scope=self._asking.get(holder), owner=_name_of(holder), seconds=self.now - since
        )

    def scopes(self, most: int) -> list[ScopeState]:
        """The open scopes, the oldest first."""
        return [self.scope(info) for info in self._infos[:most]]

    def scope(self, info: ScopeInfo) -> ScopeState:
        """One of them."""
        scope = self._scopes.get(info.number)
        carrier = _carrier(scope)
        trace: Any = None if carrier is None else carrier.trace
        root = None if scope is None or scope.root is scope else scope.root.number
        deadline = None if scope is None else scope.deadline
        state = None if scope is None else getattr(scope.root.route, "state", None)
        last = info.last_statement
        return ScopeState(
            number=info.number,
            root=root,
            name=info.name,
            opened_at=info.opened_at,
            owner=info.owner,
            phase=self._phase(info.number, carrier),
            state=info.state,
            propagation=info.propagation,
            readonly=info.readonly,
            attempt=info.attempt,
            depth=info.depth,
            tenant=None if scope is None else scope.tenant,
            server=getattr(state, "name", None),
            # by the same clock's look as what is told beside it
            age=info.age if scope is None else self.now - scope.started,
            waited=0.0 if trace is None else self._waited(trace),
            working=0.0 if trace is None else self._working(trace),
            idle=None if trace is None else self._idle(trace),
            left=None if deadline is None else deadline - self.now,
            statements=info.statements,
            rows=info.rows,
            round_trips=info.round_trips,
            last_statement=None if last is None else _shortened(self._hide(last)),
            connection=info.connection,
            cache_hits=info.cache_hits,
        )

    def _phase(self, number: int, carrier: Scope | None) -> Phase:
        if number in self._in_line:
            return "waiting"
        connection = None if carrier is None else carrier.connection
        if carrier is None or connection is None:
            return "open"
        trace = carrier.trace
        if carrier.ending or (trace is not None and trace.left):
            return "leaving"
        if trace is None:
            return "idle" if connection.at_rest else "statement"
        return "statement" if trace.sql is not None else "idle"

    def _waited(self, trace: Any) -> float:
        since: float = trace.since
        waited: float = trace.waited
        return waited + (self.now - since if since else 0.0)

    def _working(self, trace: Any) -> float:
        working: float = trace.working
        return working + (self.now - trace.at if trace.sql is not None else 0.0)

    def _idle(self, trace: Any) -> float | None:
        if trace.sql is not None or not trace.at:
            return None
        idle: float = self.now - trace.at
        return max(0.0, idle)

    def connections(self) -> list[ConnectionState]:
        """Every connection, those of all worlds."""
        return [self._connection(each) for each in list(self.registry.connections.values())]

    def _connection(self, record: ConnectionRecord) -> ConnectionState:
        info = record.info(self.now)
        returned, last = record.returned, info.last_statement
        return ConnectionState(
            number=info.number,
            server=info.server,
            role=info.role,
            world=info.world,
            state=info.state,
            age=info.age,
            idle=None if returned is None else max(0.0, self.now - returned),
            generation=record.generation,
            holder=info.holder,
            scope=info.scope,
            last_statement=None if last is None else _shortened(self._hide(last)),
            in_transaction_for=info.in_transaction_for,
        )

    def sessions(self, found: tuple[SessionInfo, ...]) -> list[SessionState]:
        """Sessions outside any scope, of all of this process: those on connections from here."""
        mine = self.registry.connections
        return [
            SessionState(
                session=each.session,
                owner=each.owner,
                opened_at=each.opened_at,
                age=each.age,
                state=each.state,
                connection=each.connection,
            )
            for each in found
            if each.connection is None or each.connection in mine
        ]


def _carrier(scope: Scope | None) -> Scope | None:
    """The scope that has the connection: itself, or the one that it joined."""
    return scope if scope is None or _is_root(scope) else scope.root


def _is_root(scope: Scope) -> bool:
    # a group's scope has a part in each database, which joins it and has a place of its own
    return scope.root is scope or (scope.entry is Entry.JOIN and scope.parent is None)


def _name_of(holder: object, label: Callable[[], str] | None = None) -> str:
    if isinstance(holder, Owner) or label is None:
        return str(holder)
    return label()


def _shortened(text: str) -> str:
    return text if len(text) <= _SHORT else text[:_SHORT] + "…"
