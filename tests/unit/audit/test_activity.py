"""Signature intervals: counted exactly, joined when there are many, spread over the time that is told."""

from __future__ import annotations

import pytest

from tallystick.audit.activity import MAX_SPANS, Activity


def test_intervals_end_with_their_signature() -> None:
    activity = Activity()
    for seqno in (5, 6, 16):
        activity.add(seqno, None)

    assert [(s.first_seqno, s.last_seqno, s.longest) for s in activity.spans] == [(1, 5, 5), (6, 6, 1), (7, 16, 10)]
    assert activity.times is None
    assert activity.over_time(4) == []


def test_memory_is_bounded_and_nothing_is_lost() -> None:
    activity = Activity()
    count = 20 * MAX_SPANS + 7
    for number in range(1, count + 1):
        activity.add(3 * number, 1_000 + number)

    assert len(activity.spans) <= MAX_SPANS
    assert activity.signatures == count
    assert sum(span.transactions for span in activity.spans) == 3 * count
    assert activity.times == (1_001, 1_000 + count)
    # The first interval has no time to begin with.
    assert sum(activity.over_time(10)) == pytest.approx(3 * count, rel=1e-3)


def test_transactions_are_spread_over_their_time() -> None:
    activity = Activity()
    activity.add(1, 100)
    activity.add(11, 110)
    activity.add(31, 120)

    assert activity.over_time(2) == pytest.approx([10, 20])
    assert activity.over_time(4) == pytest.approx([5, 5, 10, 10])


def test_a_burst_within_a_second_counts_where_it_is() -> None:
    activity = Activity()
    for seqno, time in ((1, 100), (50, 101), (60, 101), (61, 110)):
        activity.add(seqno, time)

    assert sum(activity.over_time(10)) == pytest.approx(60)


@pytest.mark.parametrize("time", [-1, 2**62, 253_402_300_800])
def test_times_that_are_none(time: int) -> None:
    activity = Activity()
    activity.add(1, 100)
    activity.add(2, time)
    activity.add(3, 100)

    assert activity.times is None


def test_a_clock_that_goes_back_is_counted() -> None:
    activity = Activity()
    for seqno, time in ((1, 100), (2, 90), (3, 130)):
        activity.add(seqno, time)

    assert activity.clock_went_back == 1
    assert activity.times == (100, 130)


def test_seqnos_that_do_not_ascend_are_left_out() -> None:
    activity = Activity()
    for seqno in (4, 4, 2, 9):
        activity.add(seqno, None)

    assert [(s.first_seqno, s.last_seqno) for s in activity.spans] == [(1, 4), (5, 9)]
