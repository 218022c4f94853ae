"""Decisions about the boundaries of scopes. Pure: no I/O, no clock, no lock.

``enter`` says what a scope does about the one that is open already. A ``Boundary`` is the state
machine of one transaction or savepoint; ``ending`` says how it has to end.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NoReturn

from .errors import Outcome, RolledBack, ScopeRefused
from .options import Isolation, Propagation, ScopeOptions


class Entry(enum.StrEnum):
    """How a scope begins."""

    TRANSACTION = "transaction"  # a session and a transaction of its own
    SAVEPOINT = "savepoint"  # the open session, inside a savepoint
    JOIN = "join"  # the open session as it is
    PLAIN = "plain"  # a session of its own, without a transaction


@dataclass(frozen=True, slots=True)
class Outer:
    """What a new scope must know of the one that is open: its kind and its promises."""

    transactional: bool
    readonly: bool
    isolation: Isolation | None
    described: object


_P = Propagation
_ENTRIES: dict[Propagation, tuple[Entry | None, Entry | None, Entry | None]] = {
    # nothing open, a transaction open, a plain scope open; None refuses
    _P.REQUIRED: (Entry.TRANSACTION, Entry.JOIN, Entry.TRANSACTION),
    _P.REQUIRES_NEW: (Entry.TRANSACTION, Entry.TRANSACTION, Entry.TRANSACTION),
    _P.NESTED: (Entry.TRANSACTION, Entry.SAVEPOINT, Entry.TRANSACTION),
    _P.MANDATORY: (None, Entry.JOIN, None),
    _P.SUPPORTS: (Entry.PLAIN, Entry.JOIN, Entry.JOIN),
    _P.NOT_SUPPORTED: (Entry.PLAIN, Entry.PLAIN, Entry.JOIN),
    _P.NEVER: (Entry.PLAIN, None, Entry.JOIN),
}


def enter(options: ScopeOptions, outer: Outer | None, default_isolation: Isolation) -> Entry:
    """How a scope with these options begins inside ``outer``.

    :param default_isolation: the server's level, for an outer scope that named none.
    :raises ScopeRefused: the propagation does not allow it, or a demand is stronger than what the
        open scope promises.
    """
    column = 0 if outer is None else 1 if outer.transactional else 2
    entry = _ENTRIES[options.propagation][column]
    if entry is None:
        raise _refusal(options.propagation, outer)
    if outer is not None and entry in (Entry.JOIN, Entry.SAVEPOINT):
        _check_demands(options, outer, default_isolation)
    return entry


def _refusal(propagation: Propagation, outer: Outer | None) -> ScopeRefused:
    if propagation is Propagation.MANDATORY:
        return ScopeRefused(
            "propagation='mandatory' needs an open transaction, and there is none here.",
            hint="Open one around this call with db.session(), or use 'required'.",
        )
    assert outer is not None
    return ScopeRefused(
        f"propagation='never' allows no open transaction, and {outer.described} is one.",
        hint="Call it outside, or use 'not_supported' to suspend the transaction.",
    )


def _check_demands(options: ScopeOptions, outer: Outer, default_isolation: Isolation) -> None:
    if options.readonly is False and outer.readonly:
        raise ScopeRefused(
            f"readonly=False was asked for inside {outer.described}, which is read-only.",
            hint="Open the outer scope writable, or use propagation='requires_new'.",
        )
    if options.isolation is None:
        return
    has = outer.isolation or default_isolation
    if options.isolation.strength > has.strength:
        raise ScopeRefused(
            f"isolation={options.isolation.value!r} was asked for inside {outer.described}, "
            f"which runs at {has.value!r}.",
            hint="Open the outer scope with that isolation, or use propagation='requires_new'.",
        )


class State(enum.StrEnum):
    """Where a boundary stands."""

    ACTIVE = "active"
    DOOMED = "doomed"
    COMMITTING = "committing"
    COMMITTED = "committed"
    NOT_COMMITTED = "not committed"
    UNKNOWN = "unknown"


class Ending(enum.Enum):
    """What the end of a boundary has to do."""

    COMMIT = "commit"
    ROLLBACK = "roll back, and say nothing"
    REFUSE = "roll back, and raise RolledBack from the first cause"


# a member is found by a search through its enum's class, which costs more than the rest of a step
_ACTIVE, _DOOMED, _COMMITTING = State.ACTIVE, State.DOOMED, State.COMMITTING
_COMMIT, _ROLLBACK, _REFUSE = Ending.COMMIT, Ending.ROLLBACK, Ending.REFUSE
_COMMITTED, _NOT_COMMITTED = Outcome.COMMITTED, Outcome.NOT_COMMITTED
_UNKNOWN = Outcome.UNKNOWN
_IS_COMMITTED, _IS_NOT_COMMITTED, _IS_UNKNOWN = (
    State.COMMITTED,
    State.NOT_COMMITTED,
    State.UNKNOWN,
)


class Boundary:
    """The state machine of one transaction, savepoint or plain scope.

    ``doom`` keeps the first cause; ``ask_rollback`` is a rollback that the scope itself wants, and
    is no failure.
    """

    __slots__ = ("asked", "cause", "outcome", "state", "unexpected")

    def __init__(self) -> None:
        self.state: State = _ACTIVE
        # how it ended, or ``None`` while it has not
        self.outcome: Outcome | None = None
        self.cause: BaseException | None = None
        self.asked = False
        self.unexpected = False

    def __repr__(self) -> str:
        return f"<Boundary {self.state}>"

    @property
    def ended(self) -> bool:
        return self.outcome is not None

    def _refuse(self, to: State) -> NoReturn:
        raise AssertionError(f"a boundary cannot go from {self.state} to {to}")

    def doom(self, cause: BaseException) -> None:
        """It can only be rolled back from now on. The first cause is kept."""
        if self.state is _ACTIVE:
            self.state = _DOOMED
            # a refusal of ours only repeats what came first
            while isinstance(cause, RolledBack) and cause.__cause__ is not None:
                cause = cause.__cause__
            self.cause = cause

    def ask_rollback(self, *, by_joined: bool = False) -> None:
        """It shall be rolled back without an exception.

        ``by_joined``: the outer scope must be told.
        """
        if by_joined:
            self.unexpected = True
        else:
            self.asked = True

    def committing(self) -> None:
        if self.state is not _ACTIVE:
            self._refuse(_COMMITTING)
        self.state = _COMMITTING

    def end(self, outcome: Outcome) -> None:
        """It is over. The first outcome stands.

        By identity alone: while a COMMIT is noted nothing may run that a signal could interrupt, as
        a member's own hash could.
        """
        if self.outcome is not None:
            return
        if outcome is _COMMITTED:
            if self.state is _DOOMED:
                self._refuse(_IS_COMMITTED)
            self.state = _IS_COMMITTED
        elif outcome is _NOT_COMMITTED:
            self.state = _IS_NOT_COMMITTED
        else:
            self.state = _IS_UNKNOWN
        self.outcome = outcome

    def settle(self, outcome: Outcome) -> None:
        """The database has told what became of a COMMIT whose answer was lost."""
        if self.outcome is _UNKNOWN:
            self.state = _IS_COMMITTED if outcome is _COMMITTED else _IS_NOT_COMMITTED
            self.outcome = outcome


def ending(
    boundary: Boundary, error: BaseException | None, commit_on: tuple[type[BaseException], ...]
) -> Ending:
    """How a boundary ends whose block was left with ``error``, or with none."""
    if error is not None and not isinstance(error, commit_on):
        return _ROLLBACK
    if boundary.asked:
        return _ROLLBACK
    # an error of commit_on promises a commit: when there is none, somebody must hear of it
    if boundary.state is _DOOMED or boundary.unexpected:
        return _REFUSE
    return _COMMIT
