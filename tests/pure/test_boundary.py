"""How a scope begins inside another, where a boundary may go, and how it ends."""

from __future__ import annotations

import pytest

from hermetic.boundary import Boundary, Ending, Entry, Outer, State, ending, enter
from hermetic.errors import Outcome, RolledBack, ScopeRefused
from hermetic.options import Isolation, Propagation, ScopeOptions

LEVELS = list(Isolation)
SERVER = Isolation.READ_COMMITTED


def outer(
    *, transactional: bool = True, readonly: bool = False, isolation: Isolation | None = None
) -> Outer:
    return Outer(transactional, readonly, isolation, "scope 'outer' (#1, opened at app.py:1 in f)")


NOTHING = None
TRANSACTION = outer()
PLAIN = outer(transactional=False)

# Spring's meanings, with a plain scope in the part of "no transaction".
TABLE = [
    ("required", NOTHING, Entry.TRANSACTION),
    ("required", TRANSACTION, Entry.JOIN),
    ("required", PLAIN, Entry.TRANSACTION),
    ("requires_new", NOTHING, Entry.TRANSACTION),
    ("requires_new", TRANSACTION, Entry.TRANSACTION),
    ("requires_new", PLAIN, Entry.TRANSACTION),
    ("nested", NOTHING, Entry.TRANSACTION),
    ("nested", TRANSACTION, Entry.SAVEPOINT),
    ("nested", PLAIN, Entry.TRANSACTION),
    ("mandatory", NOTHING, None),
    ("mandatory", TRANSACTION, Entry.JOIN),
    ("mandatory", PLAIN, None),
    ("supports", NOTHING, Entry.PLAIN),
    ("supports", TRANSACTION, Entry.JOIN),
    ("supports", PLAIN, Entry.JOIN),
    ("not_supported", NOTHING, Entry.PLAIN),
    ("not_supported", TRANSACTION, Entry.PLAIN),
    ("not_supported", PLAIN, Entry.JOIN),
    ("never", NOTHING, Entry.PLAIN),
    ("never", TRANSACTION, None),
    ("never", PLAIN, Entry.JOIN),
]
SITUATIONS = {id(NOTHING): "nothing", id(TRANSACTION): "transaction", id(PLAIN): "plain"}


def named(value: object) -> str:
    return SITUATIONS.get(id(value), str(value))


# ---------------------------------------------------------------- entering


def test_the_table_has_every_propagation_in_every_situation_once() -> None:
    cells = [(propagation, named(situation)) for propagation, situation, _ in TABLE]

    assert len(cells) == len(set(cells)) == 21
    assert {propagation for propagation, _ in cells} == set(Propagation)


@pytest.mark.parametrize(("propagation", "situation", "entry"), TABLE, ids=named)
def test_a_scope_begins_as_its_propagation_says(
    propagation: str, situation: Outer | None, entry: Entry | None
) -> None:
    options = ScopeOptions(propagation=Propagation(propagation))

    if entry is None:
        with pytest.raises(ScopeRefused, match=f"propagation='{propagation}'"):
            enter(options, situation, SERVER)
    else:
        assert enter(options, situation, SERVER) is entry


def test_a_refused_never_names_the_open_transaction() -> None:
    options = ScopeOptions(propagation=Propagation.NEVER)

    with pytest.raises(ScopeRefused, match=r"opened at app\.py:1 in f") as refused:
        enter(options, TRANSACTION, SERVER)

    assert "not_supported" in refused.value.hint


JOINING = [
    ("required", TRANSACTION),
    ("nested", TRANSACTION),
    ("mandatory", TRANSACTION),
    ("supports", TRANSACTION),
]


@pytest.mark.parametrize(("propagation", "situation"), JOINING, ids=named)
def test_a_write_inside_a_read_only_scope_is_refused_at_entry(
    propagation: str, situation: Outer
) -> None:
    options = ScopeOptions(propagation=Propagation(propagation), readonly=False)

    with pytest.raises(ScopeRefused, match=r"readonly=False .* which is read-only"):
        enter(options, outer(readonly=True), SERVER)
    assert enter(options, situation, SERVER)


@pytest.mark.parametrize("propagation", ["supports", "not_supported", "never"])
def test_a_write_inside_a_read_only_plain_scope_is_refused_at_entry(propagation: str) -> None:
    options = ScopeOptions(propagation=Propagation(propagation), readonly=False)

    with pytest.raises(ScopeRefused, match="read-only"):
        enter(options, outer(transactional=False, readonly=True), SERVER)


@pytest.mark.parametrize("readonly", [None, True])
def test_who_makes_no_demand_to_write_joins_a_read_only_scope(readonly: bool | None) -> None:
    assert enter(ScopeOptions(readonly=readonly), outer(readonly=True), SERVER) is Entry.JOIN


@pytest.mark.parametrize("propagation", ["requires_new", "not_supported"])
def test_a_scope_of_its_own_may_demand_more_than_the_open_one(propagation: str) -> None:
    options = ScopeOptions(
        propagation=Propagation(propagation), readonly=False, isolation=Isolation.SERIALIZABLE
    )
    weak = outer(readonly=True, isolation=Isolation.READ_UNCOMMITTED)

    assert enter(options, weak, SERVER) in (Entry.TRANSACTION, Entry.PLAIN)


@pytest.mark.parametrize("asked", LEVELS, ids=str)
@pytest.mark.parametrize("has", LEVELS, ids=str)
@pytest.mark.parametrize("propagation", ["required", "nested"])
def test_a_stronger_isolation_is_refused_and_a_weaker_one_joins(
    propagation: str, has: Isolation, asked: Isolation
) -> None:
    options = ScopeOptions(propagation=Propagation(propagation), isolation=asked)
    situation = outer(isolation=has)

    if LEVELS.index(asked) > LEVELS.index(has):
        with pytest.raises(ScopeRefused) as refused:
            enter(options, situation, SERVER)
        assert repr(asked.value) in str(refused.value)
        assert repr(has.value) in str(refused.value)
    else:
        assert enter(options, situation, SERVER) in (Entry.JOIN, Entry.SAVEPOINT)


@pytest.mark.parametrize("server", LEVELS, ids=str)
@pytest.mark.parametrize("asked", LEVELS, ids=str)
def test_an_outer_scope_that_named_no_level_has_the_servers(
    server: Isolation, asked: Isolation
) -> None:
    options = ScopeOptions(isolation=asked)

    if asked.strength > server.strength:
        with pytest.raises(ScopeRefused, match=server.value):
            enter(options, TRANSACTION, server)
    else:
        assert enter(options, TRANSACTION, server) is Entry.JOIN


def test_isolation_levels_are_ordered_from_weak_to_strong() -> None:
    assert [level.strength for level in LEVELS] == [0, 1, 2, 3]
    assert LEVELS[-1] is Isolation.SERIALIZABLE


# ---------------------------------------------------------------- where a boundary may go


CAUSE = ValueError("first")


def in_state(state: State) -> Boundary:
    boundary = Boundary()
    if state is State.DOOMED:
        boundary.doom(CAUSE)
    if state in (State.COMMITTING, State.COMMITTED, State.UNKNOWN):
        boundary.committing()
    if state is State.COMMITTED:
        boundary.end(Outcome.COMMITTED)
    if state is State.UNKNOWN:
        boundary.end(Outcome.UNKNOWN)
    if state is State.NOT_COMMITTED:
        boundary.end(Outcome.NOT_COMMITTED)
    assert boundary.state is state
    return boundary


ENDED = {
    State.COMMITTED: Outcome.COMMITTED,
    State.NOT_COMMITTED: Outcome.NOT_COMMITTED,
    State.UNKNOWN: Outcome.UNKNOWN,
}


@pytest.mark.parametrize("state", State, ids=str)
def test_only_an_ended_boundary_has_an_outcome(state: State) -> None:
    boundary = in_state(state)

    assert boundary.outcome is ENDED.get(state)
    assert boundary.ended is (state in ENDED)
    assert str(state) in repr(boundary)


def test_doom_keeps_the_first_cause() -> None:
    boundary = in_state(State.ACTIVE)

    boundary.doom(CAUSE)
    boundary.doom(KeyError("second"))

    assert boundary.state is State.DOOMED
    assert boundary.cause is CAUSE


@pytest.mark.parametrize("state", [State.COMMITTING, *ENDED], ids=str)
def test_doom_comes_too_late_for_a_boundary_that_commits_or_ended(state: State) -> None:
    boundary = in_state(state)

    boundary.doom(KeyError("late"))

    assert boundary.state is state
    assert boundary.cause is None


@pytest.mark.parametrize("state", [s for s in State if s is not State.ACTIVE], ids=str)
def test_only_an_active_boundary_begins_to_commit(state: State) -> None:
    boundary = in_state(state)

    with pytest.raises(AssertionError, match=f"cannot go from {state} to committing"):
        boundary.committing()


ENDS = [
    (State.ACTIVE, Outcome.COMMITTED, State.COMMITTED),
    (State.ACTIVE, Outcome.NOT_COMMITTED, State.NOT_COMMITTED),
    (State.ACTIVE, Outcome.UNKNOWN, State.UNKNOWN),
    (State.DOOMED, Outcome.NOT_COMMITTED, State.NOT_COMMITTED),
    (State.DOOMED, Outcome.UNKNOWN, State.UNKNOWN),
    (State.COMMITTING, Outcome.COMMITTED, State.COMMITTED),
    (State.COMMITTING, Outcome.NOT_COMMITTED, State.NOT_COMMITTED),
    (State.COMMITTING, Outcome.UNKNOWN, State.UNKNOWN),
]


@pytest.mark.parametrize(("state", "outcome", "to"), ENDS)
def test_a_boundary_ends_with_the_outcome_it_is_told(
    state: State, outcome: Outcome, to: State
) -> None:
    boundary = in_state(state)

    boundary.end(outcome)

    assert boundary.state is to
    assert boundary.outcome is outcome


def test_a_doomed_boundary_is_never_committed() -> None:
    boundary = in_state(State.DOOMED)

    with pytest.raises(AssertionError, match="cannot go from doomed"):
        boundary.end(Outcome.COMMITTED)

    assert boundary.state is State.DOOMED


@pytest.mark.parametrize("depth", [1, 2])
def test_doom_by_a_refusal_keeps_what_the_refusal_came_from(depth: int) -> None:
    """A RolledBack only repeats what failed before it."""
    boundary = in_state(State.ACTIVE)
    error: BaseException = CAUSE
    for _ in range(depth):
        refusal = RolledBack("refused")
        refusal.__cause__ = error
        error = refusal

    boundary.doom(error)

    assert boundary.cause is CAUSE


def test_doom_by_a_refusal_without_a_cause_keeps_the_refusal() -> None:
    boundary = in_state(State.ACTIVE)
    refusal = RolledBack("a joined scope asked for it")

    boundary.doom(refusal)

    assert boundary.cause is refusal


@pytest.mark.parametrize("state", ENDED, ids=str)
@pytest.mark.parametrize("outcome", Outcome)
def test_the_first_outcome_stands(state: State, outcome: Outcome) -> None:
    boundary = in_state(state)

    boundary.end(outcome)

    assert boundary.state is state


def test_asking_for_a_rollback_leaves_the_boundary_active() -> None:
    boundary = Boundary()

    boundary.ask_rollback()
    boundary.ask_rollback(by_joined=True)

    assert boundary.state is State.ACTIVE
    assert boundary.cause is None


# ---------------------------------------------------------------- how it ends


class Expected(Exception):
    """Commits nevertheless."""


COMMIT_ON = (Expected,)
QUIET, FAILED, EXPECTED = None, ValueError("failed"), Expected("committed all the same")
C, R, X = Ending.COMMIT, Ending.ROLLBACK, Ending.REFUSE

# An exception of `commit_on` promises a commit as a normal end does: a broken promise is said.
# A scope that asked for its own rollback got what it wanted, whatever else there was.
ENDINGS = [
    # doomed, asked by itself, by one that joined: left normally, with an error, with commit_on's
    (False, False, False, (C, R, C)),
    (False, True, False, (R, R, R)),
    (False, False, True, (X, R, X)),
    (False, True, True, (R, R, R)),
    (True, False, False, (X, R, X)),
    (True, True, False, (R, R, R)),
    (True, False, True, (X, R, X)),
    (True, True, True, (R, R, R)),
]


@pytest.mark.parametrize(("doomed", "by_itself", "by_joined", "expected"), ENDINGS)
@pytest.mark.parametrize("index", [0, 1, 2], ids=["normally", "with an error", "with commit_on"])
def test_a_boundary_ends_as_its_block_and_its_joined_scopes_say(
    doomed: bool,
    by_itself: bool,
    by_joined: bool,
    expected: tuple[Ending, Ending, Ending],
    index: int,
) -> None:
    boundary = Boundary()
    if by_joined:
        boundary.ask_rollback(by_joined=True)
    if by_itself:
        boundary.ask_rollback()
    if doomed:
        boundary.doom(CAUSE)

    assert ending(boundary, (QUIET, FAILED, EXPECTED)[index], COMMIT_ON) is expected[index]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit()])
def test_exceptions_that_are_no_errors_roll_back(error: BaseException) -> None:
    assert ending(Boundary(), error, (Exception,)) is Ending.ROLLBACK


def test_commit_on_takes_subclasses() -> None:
    class Narrower(Expected):
        pass

    assert ending(Boundary(), Narrower(), COMMIT_ON) is Ending.COMMIT
    assert ending(Boundary(), Exception(), COMMIT_ON) is Ending.ROLLBACK
