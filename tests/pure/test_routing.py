"""Which server a read-only scope goes to; time, chance and what servers said are arguments."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.dialects.positions import (
    GtidPosition,
    GtidSet,
    LogPosition,
    MySQLPositions,
    Positions,
    PostgreSQLPositions,
    Sight,
    covers,
    joined,
)
from hermetic.flow import Flow
from hermetic.routing import Rules, ServerState, Standing, Trail, choose, pause_after


def at(place: int, timeline: int = 1) -> LogPosition:
    return LogPosition(timeline, place)


def follower(name: str, place: int | None = None, **options: object) -> ServerState:
    state = ServerState(name, **options)  # type: ignore[arg-type]
    if place is not None:
        state.seen(Sight(at(place), at(place), standby=True), 0.0)
    return state


# ---------------------------------------------------------------- choosing


def test_weights_are_how_often_each_is_chosen() -> None:
    states = [follower("a", 1, weight=1), follower("b", 1, weight=3)]

    found = Counter(
        choice.state.name
        for step in range(400)
        if (choice := choose(states, Rules(), step / 400)) is not None
    )

    assert found == {"a": 100, "b": 300}


def test_the_own_zone_comes_first_and_the_others_where_it_has_none() -> None:
    near, far = follower("near", 1, zone="here"), follower("far", 1, zone="there")
    rules = Rules(zone="here")

    first = choose([near, far], rules, 0.99)
    near.failed("gone", 0.0, 1.0)
    second = choose([near, far], rules, 0.0)

    assert first is not None
    assert second is not None
    assert (first.state, second.state) == (near, far)


def test_one_that_has_come_so_far_is_preferred_and_known_to_have() -> None:
    behind, there = follower("behind", 5), follower("there", 9)

    choice = choose([behind, there], Rules(), 0.0, wanted=at(7))
    neither = choose([behind], Rules(), 0.0, wanted=at(7))

    assert choice is not None
    assert neither is not None
    assert (choice.state, choice.settled) == (there, True)
    assert (neither.state, neither.settled) == (behind, False)


def test_one_that_was_read_from_last_is_kept_while_it_will_do() -> None:
    states = [follower("a", 9), follower("b", 9)]

    for chance in (0.0, 0.99):
        kept = choose(states, Rules(), chance, wanted=at(9), last=states[1])
        assert kept is not None
        assert kept.state is states[1]

    moved = choose(states, Rules(), 0.0, wanted=at(9), last=states[1], tried=[states[1]])
    assert moved is not None
    assert moved.state is states[0]


def test_nothing_is_chosen_where_none_will_do() -> None:
    tried, ejected, promoted = follower("tried", 1), follower("ejected", 1), ServerState("promoted")
    ejected.failed("gone", 0.0, 0.5)
    promoted.seen(Sight(at(1), at(1), standby=False), 0.0)

    assert choose([tried, ejected, promoted], Rules(), 0.5, tried=[tried]) is None
    assert promoted.standing(Rules()) is Standing.PROMOTED


# ---------------------------------------------------------------- ejection


@given(st.integers(1, 200), st.floats(0, 1))
def test_a_pause_grows_to_an_end_and_is_by_chance(failures: int, chance: float) -> None:
    pause = pause_after(failures, chance)

    assert 0.1 <= pause <= min(30.0, max(1.0, 2.0 ** min(failures - 1, 10)))
    assert pause <= pause_after(failures + 1, chance)


Step = st.sampled_from(["fails", "answers", "lags", "catches up", "is promoted", "follows"])


@given(st.lists(st.tuples(st.integers(0, 2), Step), max_size=60), st.floats(0, 0.999))
def test_in_any_history_only_a_server_that_is_well_is_chosen(
    history: list[tuple[int, str]], chance: float
) -> None:
    states = [follower(name) for name in "abc"]
    rules = Rules(lag=5.0)
    well = dict.fromkeys(range(3), True)
    lagging = dict.fromkeys(range(3), False)
    following = dict.fromkeys(range(3), True)
    now = 0.0
    for index, step in history:
        now += 1.0
        state = states[index]
        if step == "fails":
            state.failed("gone", now, chance)
            assert now < state.ejected_until <= now + 30.0
            well[index] = lagging[index] = False
            following[index] = True  # nobody knows any more
        else:
            following[index] = {"is promoted": False, "follows": True}.get(step, following[index])
            lagging[index] = {"lags": True, "catches up": False}.get(step, lagging[index])
            state.lag = 6.0 if lagging[index] else 0.0
            assert state.seen(Sight(at(1), at(1), standby=following[index]), now) != well[index]
            well[index] = True
        fit = [i for i in range(3) if well[i] and not lagging[i] and following[i]]
        choice = choose(states, rules, chance)
        assert (choice is None) == (not fit)
        assert choice is None or states.index(choice.state) in fit


# ---------------------------------------------------------------- lag


def test_what_a_server_shows_is_as_old_as_what_it_lacks() -> None:
    trail = Trail()
    assert trail.lag(at(1), 0.0) is None
    for moment, place in ((0.0, 10), (1.0, 10), (2.0, 20), (3.0, 30)):
        trail.add(at(place), moment)

    assert trail.lag(at(30), 9.0) == 0.0
    assert trail.lag(at(25), 9.0) == 6.0
    assert trail.lag(at(10), 9.0) == 7.0
    assert trail.lag(at(5), 9.0) == 9.0
    assert trail.lag(None, 9.0) is None


def test_an_idle_primary_makes_nobody_late() -> None:
    trail = Trail()
    for moment in range(100):
        trail.add(at(10), float(moment))

    assert trail.lag(at(10), 1000.0) == 0.0


def test_another_timeline_begins_another_trail() -> None:
    trail = Trail()
    trail.add(at(10), 0.0)
    trail.add(at(5, timeline=2), 50.0)

    assert trail.lag(at(5, timeline=2), 60.0) == 0.0
    assert trail.lag(at(10), 60.0) == 10.0


# ---------------------------------------------------------------- positions

_POSTGRESQL, _MYSQL = PostgreSQLPositions(), MySQLPositions()
_UUIDS = [f"{n:08x}-0000-0000-0000-000000000000" for n in range(3)]

logs = st.builds(LogPosition, st.integers(1, 3), st.integers(0, 2**64 - 1))
gtids = st.dictionaries(
    st.integers(0, 3), st.tuples(st.integers(1, 3), st.integers(1, 99)), min_size=1
).map(lambda found: GtidPosition(tuple(sorted((d, s, n) for d, (s, n) in found.items()))))
sets = st.lists(
    st.tuples(st.sampled_from(_UUIDS), st.integers(1, 30), st.integers(0, 5)),
    min_size=1,
    max_size=6,
).map(
    lambda found: _MYSQL.parse("s" + "_".join(f"{u}:{a}-{a + n}" for u, a, n in found[:1])).joined(
        _MYSQL.parse("s" + "_".join(sorted({u: f"{u}:{a}-{a + n}" for u, a, n in found}.values())))
    )
)


@given(logs)
def test_a_place_in_a_log_is_a_string_and_back(position: LogPosition) -> None:
    assert _POSTGRESQL.parse(str(position)) == position


@given(st.one_of(gtids, sets))
def test_gtids_are_a_string_and_back(position: GtidPosition | GtidSet) -> None:
    text = str(position)

    assert _MYSQL.parse(text) == position
    assert not set(text) & set(' ",;\\')


@given(st.data(), st.sampled_from([logs, gtids, sets]))
def test_positions_are_ordered(data: st.DataObject, kind: st.SearchStrategy[object]) -> None:
    one, two, three = data.draw(kind), data.draw(kind), data.draw(kind)
    both = joined(one, two)

    assert covers(one, one)
    assert covers(one, None)
    assert not covers(None, one)
    assert covers(both, one) or covers(both, two)
    if covers(one, two) and covers(two, three):
        assert covers(one, three)
    if not isinstance(one, LogPosition):
        assert covers(both, one)
        assert covers(both, two)


def is_refused(positions: Positions, text: str) -> bool:
    try:
        positions.parse(text)
    except ValueError:
        return True
    return False


def test_another_timeline_covers_nothing() -> None:
    assert not covers(at(100, timeline=2), at(1, timeline=1))
    assert not covers(at(100, timeline=1), at(1, timeline=2))
    assert joined(at(100), at(1, timeline=2)) == at(1, timeline=2)


def test_what_is_of_another_kind_covers_nothing() -> None:
    assert not covers(at(1), GtidPosition(((0, 1, 1),)))


@pytest.mark.parametrize(
    "text",
    [
        "", "p", "p1", "p1.", "p.1", "p1.g", "p1.1 ", "P1.1", "p1.1;", "p123456789.1", "p1.1\n",
        "m0-1-1", "p1.'", "p-1.1", "p\uff11.1",
    ],
)  # fmt: skip
def test_what_is_no_place_in_a_log_is_refused(text: str) -> None:
    assert is_refused(_POSTGRESQL, text)


@pytest.mark.parametrize(
    "text",
    [
        "", "m", "m0-1", "m0-1-", "m0-1-1_", "m0-1-1,0-1-2", "m0--1-1", "x0-1-1", "m0-1-1 ",
        "s", f"s{_UUIDS[0]}", f"s{_UUIDS[0]}:5-3", f"s{_UUIDS[0]}:a", "s:1", "m" + "1" * 2000,
        "p1.1", "m\uff10-1-1",
    ],
)  # fmt: skip
def test_what_is_no_gtid_is_refused(text: str) -> None:
    assert is_refused(_MYSQL, text)


def test_a_page_that_is_full_ends_before_the_next_ones_header() -> None:
    primary = _POSTGRESQL.sight((False, "00000001", "0/2000018", None, 8192))
    standby = _POSTGRESQL.sight((True, "1", "0/2000000", "0/2000000", 8192))

    assert covers(standby.position, primary.position)


def test_of_many_that_find_out_at_once_one_counts() -> None:
    state = follower("a", 1)

    told = [state.failed("gone", 0.01 * n, 1.0) for n in range(20)]

    assert told == [True, *[False] * 19]
    assert (state.failures, state.ejected_until) == (1, 1.0)


def test_what_a_server_says_becomes_a_position() -> None:
    primary = _POSTGRESQL.sight((False, "0000000A", "16/B374D848", None, 8192))
    standby = _POSTGRESQL.sight((True, "10", "16/B374D848", "16/B374D900", 8192))
    mariadb = _MYSQL.sight(("m", "0-1-100,1-2-33"))
    mysql = _MYSQL.sight(("s", f"{_UUIDS[0]}:1-5:7,\n{_UUIDS[1]}:1"))

    assert str(primary.position) == "pA.16B374D848"
    assert standby.position == primary.position
    assert standby.upper == LogPosition(10, 0x16B374D900)
    assert (primary.standby, standby.standby) == (False, True)
    assert str(mariadb.position) == "m0-1-100_1-2-33"
    assert str(mysql.position) == f"s{_UUIDS[0]}:1-5:7_{_UUIDS[1]}:1"
    assert _MYSQL.sight(("m", "")).position is None


def test_a_new_connection_makes_no_server_one_to_read_from() -> None:
    promoted, late = ServerState("promoted"), ServerState("late")
    promoted.seen(Sight(at(1), at(1), False), 0.0)
    late.seen(Sight(at(1), at(1), True), 0.0)
    late.lag = 60.0
    rules = Rules(lag=5.0)

    for state in (promoted, late):
        state.forget()

    assert promoted.standing(rules) == Standing.PROMOTED
    assert late.standing(rules) == Standing.LAGGING
    assert (promoted.position, late.position) == (None, None)


@pytest.mark.parametrize(
    "outside",
    [LogPosition(0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF), LogPosition(1, 10**12), LogPosition(9, 1)],
)
def test_a_position_from_outside_that_nobody_has_reached_is_let_go(
    outside: LogPosition,
) -> None:
    flow, replica = Flow(object(), outside, monotonic=True), ServerState("replica")

    flow.note(at(50), 1.0, replica)
    assert covers(flow.floor, outside)
    flow.note(at(100), 2.0, None)
    flow.note(at(90), 1.5, replica)

    assert flow.floor == at(100)


def test_a_position_from_outside_that_the_primary_has_stays() -> None:
    flow = Flow(object(), at(70), monotonic=True)
    flow.note(at(100), 2.0, None)
    flow.note(at(80), 3.0, None)
    assert flow.floor == at(100)
