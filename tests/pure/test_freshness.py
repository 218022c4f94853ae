"""Histories of readers, writers and crashes, their steps in any order: nothing old is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hermetic.freshness import CELLS, Board, Claim

_TABLES = ("a", "b")
_LEASE = 10


@dataclass
class Writer:
    """A transaction that writes one row of a table, and its commit."""

    table: str
    begun: int
    claim: Claim | None = None
    committed: bool = False
    value: int = 0


@dataclass
class Reader:
    """A read of one table: the versions that it has looked at, what must be in an answer from the
    cache, whether it may fill the cache, and what it has seen in the database.
    """

    table: str
    versions: tuple[int, ...]
    promised: int
    may_fill: bool = False
    seen: int | None = None


@dataclass
class Kept:
    versions: tuple[int, ...]
    value: int


@dataclass
class World:
    """A database of one row per table, and what its acknowledged commits promise."""

    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_TABLES, 0))
    acknowledged: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_TABLES, 0))


class Histories(RuleBasedStateMachine):
    """``Board`` as every user of it has it. A broken one makes this fail, see below."""

    def __init__(self) -> None:
        super().__init__()
        self.board = self.made()
        self.world = World()
        self.now = 100
        self.values = 0
        self.writers: list[Writer] = []
        self.readers: list[Reader] = []
        self.kept: dict[str, Kept] = {}

    def made(self) -> Board:
        return Board([0] * CELLS * 7, _LEASE)

    def places(self, table: str) -> tuple[int, ...]:
        return self.board.places((table,))

    # writers

    @rule(table=st.sampled_from(_TABLES))
    def a_writer_announces(self, table: str) -> None:
        writer = Writer(table, self.now)
        writer.claim = self.board.begin(self.places(table), self.now)
        self.writers.append(writer)

    @precondition(lambda self: self.writers)
    @rule(data=st.data())
    def a_writers_commit_is_carried_out(self, data: Any) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        if not writer.committed:
            self.values += 1
            writer.value = self.values
            self.world.rows[writer.table] = writer.value
            writer.committed = True

    @precondition(lambda self: self.writers)
    @rule(data=st.data())
    def a_commit_is_answered(self, data: Any) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        self.writers.remove(writer)
        assert writer.claim is not None
        self.board.finish(writer.claim)
        if writer.committed:
            last = self.world.acknowledged[writer.table]
            self.world.acknowledged[writer.table] = max(last, writer.value)

    @precondition(lambda self: any(self.within_lease(each) for each in self.writers))
    @rule(data=st.data())
    def a_writer_is_killed(self, data: Any) -> None:
        # within its lease: that a COMMIT takes longer, and then its process dies, is excluded
        writer = data.draw(st.sampled_from([w for w in self.writers if self.within_lease(w)]))
        self.writers.remove(writer)
        if writer.committed:
            # nobody was told; whoever looks at the database sees it
            last = self.world.acknowledged[writer.table]
            self.world.acknowledged[writer.table] = max(last, writer.value)

    def within_lease(self, writer: Writer) -> bool:
        return self.now - writer.begun <= _LEASE

    # readers

    @rule(table=st.sampled_from(_TABLES))
    def a_reader_looks(self, table: str) -> None:
        versions = self.board.versions(self.places(table))
        self.readers.append(Reader(table, versions, self.world.acknowledged[table]))

    @precondition(lambda self: any(not each.may_fill for each in self.readers))
    @rule(data=st.data())
    def a_reader_is_answered(self, data: Any) -> None:
        self.answer(data.draw(st.sampled_from([r for r in self.readers if not r.may_fill])))

    def answer(self, reader: Reader) -> None:
        places = self.places(reader.table)
        kept = self.kept.get(reader.table)
        if self.board.is_marked(places):
            self.board.lapse(places, self.now)
            self.readers.remove(reader)
        elif kept is not None and kept.versions == reader.versions:
            assert kept.value >= reader.promised, "an old value was read"
            self.readers.remove(reader)
        else:
            reader.may_fill = True

    @precondition(lambda self: any(each.may_fill for each in self.readers))
    @rule(data=st.data())
    def a_reader_reads(self, data: Any) -> None:
        reader = data.draw(st.sampled_from([r for r in self.readers if r.may_fill]))
        if reader.seen is None:
            reader.seen = self.world.rows[reader.table]

    @precondition(lambda self: any(each.seen is not None for each in self.readers))
    @rule(data=st.data())
    def a_reader_fills(self, data: Any) -> None:
        reader = data.draw(st.sampled_from([r for r in self.readers if r.seen is not None]))
        self.readers.remove(reader)
        assert reader.seen is not None
        self.kept[reader.table] = Kept(reader.versions, reader.seen)

    # time

    @rule(by=st.integers(1, 2 * _LEASE))
    def time_goes_on(self, by: int) -> None:
        self.now += by

    @invariant()
    def no_number_of_marks_is_below_zero(self) -> None:
        assert all(cell >= 0 for cell in self.board.cells)


Histories.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestNothingOldIsRead = Histories.TestCase


class _Forgetful(Board):
    """One that gives no new version when a commit was answered."""

    def finish(self, claim: Claim) -> None:
        for place, _ in claim.marks:
            self.cells[place + 1] -= 1


def _read_around_a_commit(board: Board) -> Histories:
    """What was read after a commit was announced, and before it was carried out, is kept."""
    history = Histories()
    history.board = board
    places = history.places("a")
    claim = board.begin(places, history.now)
    history.kept["a"] = Kept(board.versions(places), history.world.rows["a"])
    history.world.rows["a"] = history.world.acknowledged["a"] = 1
    board.finish(claim)
    history.a_reader_looks("a")
    return history


def test_what_was_read_around_a_commit_is_not_read_again() -> None:
    history = _read_around_a_commit(Board([0] * CELLS * 7, _LEASE))

    history.answer(history.readers[0])

    assert history.readers[0].may_fill


def test_the_histories_find_a_board_that_forgets_to_renew() -> None:
    history = _read_around_a_commit(_Forgetful([0] * CELLS * 7, _LEASE))

    with pytest.raises(AssertionError, match="an old value"):
        history.answer(history.readers[0])


def test_nothing_is_kept_that_is_read_while_a_writer_may_be_killed() -> None:
    history = Histories()
    history.a_writer_announces("a")
    history.a_reader_looks("a")

    history.answer(history.readers[0])

    assert history.readers == []


def test_a_mark_ends_with_its_lease() -> None:
    board = Board([0] * CELLS * 7, _LEASE)
    places = board.places(("a",))
    board.begin(places, now=0)
    before = board.versions(places)

    board.lapse(places, now=_LEASE)
    held = board.is_marked(places)
    board.lapse(places, now=_LEASE + 1)

    assert (held, board.is_marked(places)) == (True, False)
    assert board.versions(places) != before


def test_a_late_answer_takes_no_other_commits_mark_away() -> None:
    board = Board([0] * CELLS * 7, _LEASE)
    places = board.places(("a",))
    late = board.begin(places, now=0)
    board.lapse(places, now=2 * _LEASE)
    other = board.begin(places, now=2 * _LEASE)

    board.finish(late)
    marked = board.is_marked(places)
    board.finish(other)

    assert (marked, board.is_marked(places)) == (True, False)


def test_a_writer_that_is_killed_is_noticed_although_others_always_write() -> None:
    """The last mark counts, and not since when there has been one."""
    board = Board([0] * CELLS * 7, _LEASE)
    places = board.places(("a",))
    before = board.begin(places, now=0)
    for now in (4, 8):
        following = board.begin(places, now)
        board.finish(before)
        before = following
    board.begin(places, now=10)  # its process is killed before its COMMIT is carried out
    board.finish(before)

    board.lapse(places, now=11)
    versions, marked = board.versions(places), board.is_marked(places)
    board.lapse(places, now=21)

    assert marked
    assert not board.is_marked(places)
    assert board.versions(places) != versions


def test_a_killed_writers_mark_is_given_up_while_others_always_write() -> None:
    board = Board([0] * CELLS * 7, _LEASE)
    places = board.places(("a",))
    board.begin(places, now=0)
    unmarked = []

    for now in range(1, 5 * _LEASE, 3):
        claim = board.begin(places, now)
        board.finish(claim)
        board.lapse(places, now + 1)
        if not board.is_marked(places):
            unmarked.append(now)

    assert unmarked
    assert unmarked[0] <= 2 * (_LEASE + 3)


def test_an_answer_after_its_generation_takes_one_mark_away() -> None:
    board = Board([0] * CELLS * 7, _LEASE)
    places = board.places(("a",))
    first = board.begin(places, now=0)
    last = board.begin(places, now=_LEASE)
    board.begin(places, now=_LEASE + 1)

    for claim in (first, last):
        board.finish(claim)
    still = board.is_marked(places)
    board.finish(last)  # of another file by now, or told twice

    assert still
    assert board.is_marked(places)


def test_no_number_of_marks_goes_below_zero() -> None:
    board = Board([0] * CELLS * 7, _LEASE)
    places = board.places(("a", "b"))
    claim = board.begin(places, now=0)
    other = Board([0] * CELLS * 7, _LEASE)
    other.begin(places, now=0)
    before = other.versions(places)

    for _ in range(3):
        other.finish(claim)

    assert all(cell >= 0 for cell in other.cells)
    assert all(new != old for new, old in zip(other.versions(places), before, strict=True))


def test_a_mark_of_before_the_machines_last_start_is_given_up() -> None:
    board = Board([0] * CELLS * 7, _LEASE)
    places = board.places(("a",))
    board.begin(places, now=10_000)

    assert board.is_overdue(places, now=50)
    board.lapse(places, now=50)

    assert not board.is_marked(places)


def test_a_version_that_is_told_without_the_lock_is_nobodys() -> None:
    board = Board([0] * CELLS * 7, _LEASE)
    places = board.places(("a",))
    before = board.versions(places)

    board.forget_at_once(places)
    at_once = board.versions(places)
    # the holder of the lock had read the version before, and writes the next one
    board.cells[places[0]] = before[0] + 1

    assert before != at_once
    assert board.versions(places) not in (before, at_once)
