"""Series of scopes: percentiles are right to an eighth, and sums are sums."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from hermetic import Outcome
from hermetic.watching.series import Series, Timeline, bucket_of, upper_end

durations = st.floats(min_value=0, max_value=10_000)


@given(durations)
def test_a_bucket_holds_its_durations_to_an_eighth(seconds: float) -> None:
    end = upper_end(bucket_of(seconds))

    assert seconds < end * (1 + 1e-9)
    assert end <= seconds * 1.125 + 2e-6


@given(st.lists(durations, min_size=1), st.floats(min_value=0, max_value=1))
def test_a_percentile_is_at_most_an_eighth_too_high(taken: list[float], part: float) -> None:
    series = Series()
    for seconds in taken:
        series.add(seconds, Outcome.COMMITTED)

    exact = sorted(taken)[max(0, math.ceil(part * len(taken) - 1e-9) - 1)]
    found = series.percentile(part)
    assert exact * (1 - 1e-9) <= found + 1e-6
    assert found <= max(exact * 1.125 + 2e-6, series.longest * (1 + 1e-9))
    assert series.longest == max(taken)


@given(st.lists(st.tuples(durations, st.sampled_from([None, *Outcome]), st.booleans())))
def test_two_halves_merged_are_the_whole(scopes: list[tuple[float, Outcome, bool]]) -> None:
    whole, first, second = Series(), Series(), Series()
    for number, (seconds, outcome, failed) in enumerate(scopes):
        for series in (whole, first if number % 2 else second):
            series.add(seconds, outcome, failed, statements=number)
    first.merge(second)

    assert first.buckets == whole.buckets
    assert (first.count, first.failed, first.statements) == (
        len(scopes),
        sum(failed for _, _, failed in scopes),
        whole.statements,
    )
    assert first.committed + first.not_committed + first.unknown == sum(
        outcome is not None for _, outcome, _ in scopes
    )


@given(st.lists(st.floats(min_value=0, max_value=5_000), min_size=1))
def test_a_timeline_keeps_the_last_stretches(moments: list[float]) -> None:
    line = Timeline(10.0, 4)
    for moment in sorted(moments):
        line.at(moment).add(0.1, Outcome.COMMITTED)

    slots = sorted({int(moment / 10) for moment in moments})[-4:]
    points = list(line.points(0.0))
    assert [at for at, _ in points] == [slot * 10.0 for slot in slots]
    assert line.total().count == sum(int(moment / 10) in slots for moment in moments)
