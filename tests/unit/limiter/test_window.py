"""The admission rule, against its definition."""

import math
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd3async.limiter.window import CLOCK_MARGIN, Window

PERIOD = 10.0
SPAN = PERIOD + CLOCK_MARGIN

stamps_of_any_kind = st.lists(
    st.one_of(st.integers(-22, 3).map(float), st.floats(-22, 3)), max_size=14
)


def a_window(stamps: list[float], open_ended: int = 0, *, any_phase: bool = True) -> Window:
    window = Window(PERIOD, 8, any_phase=any_phase)
    for stamp in stamps:
        window.add(stamp)
    for number in range(open_ended):
        window.hold(number)
    return window


def weight(age: float, phase: float) -> float:
    """Return what a counter `phase` periods into its window makes of a request that old."""
    if age <= phase * SPAN + 1e-12:
        return 1.0
    return 1.0 - phase if age <= (1 + phase) * SPAN + 1e-12 else 0.0


def heaviest(stamps: list[float], now: float) -> float:
    """Return what the most unfavourable of all counters sees at `now`."""
    ages = [now - stamp for stamp in stamps]
    turning_points = [age / SPAN % 1 for age in ages if 0 <= age < 2 * SPAN]
    return max(sum(weight(age, phase) for age in ages) for phase in [0.0, *turning_points])


@given(stamps_of_any_kind, st.integers(0, 2), st.integers(1, 8), st.floats(-5, 30))
def test_it_opens_exactly_when_every_counter_has_room(
    stamps: list[float], open_ended: int, limit: int, elsewhen: float
) -> None:
    """Earlier would be refused by some server, later would waste the ceiling."""
    opens_at = a_window(stamps, open_ended).opens_at(limit)

    instants = [elsewhen]
    if math.isfinite(opens_at):
        instants += [opens_at - 1e-6, opens_at + 1e-6]
    for now in instants:
        has_room = heaviest(stamps, now) + open_ended + 1 <= limit + 1e-9
        assert has_room == (now >= opens_at)


@given(stamps_of_any_kind, st.integers(1, 8))
def test_the_log_rule_alone_counts_one_period(stamps: list[float], limit: int) -> None:
    """The burst shape would be no faster if it minded counters."""
    opens_at = a_window(stamps, any_phase=False).opens_at(limit)

    newest_first = sorted(stamps, reverse=True)
    expected = newest_first[limit - 1] + SPAN if len(stamps) >= limit else -math.inf
    assert opens_at == expected


def test_only_an_event_opens_a_window_full_of_requests_going_out() -> None:
    """Nobody knows when an upload's end will be stamped, so no timer can help."""
    window = a_window([], open_ended=2)

    assert window.opens_at(2) == math.inf
    window.release(0)
    assert window.opens_at(2) == -math.inf


def test_stamps_too_old_for_any_server_are_forgotten() -> None:
    """A limiter that serves for a year must not remember a year."""
    window = a_window([0.0, 1.0, 15.0])

    window.forget(1.0 + 2 * SPAN)
    assert len(window) == 2
    window.forget(100.0)
    assert len(window) == 0


def test_forgetting_does_not_open_a_window_early() -> None:
    """What is dropped must weigh nothing, or a busy window would open too soon."""
    window = a_window([0.0, 8.0, 16.0])
    opens_at = window.opens_at(2)

    window.forget(opens_at)
    window.add(100.0)
    window.remove(100.0)

    assert window.opens_at(2) == opens_at


def test_taking_back_a_forgotten_stamp_does_nothing() -> None:
    """An upload may outlive its stamp; moving the stamp must not take another's place."""
    window = a_window([0.0, 30.0])
    window.forget(30.0)

    window.remove(0.0)

    assert len(window) == 1


def test_every_change_is_minded_at_once() -> None:
    """An answer is remembered until something changes; a stale one would break the limit."""
    window = a_window([0.0, 1.0])
    answers = [window.opens_at(2)]
    changes: list[Callable[[], object]] = [
        partial(window.add, 2.0),
        partial(window.hold, 1),
        partial(window.release, 1),
        partial(window.remove, 2.0),
    ]

    for change in changes:
        change()
        answers.append(window.opens_at(2))

    two, three, three_and_one_open = SPAN * 3 / 2, SPAN * 5 / 3, 2.0 + 2 * SPAN
    assert answers == pytest.approx([two, three, three_and_one_open, three, two])


def test_a_changed_limit_is_minded_at_once() -> None:
    """After a 429 the limit is lower; an answer remembered for the old one would break it."""
    window = a_window([0.0, 1.0, 2.0], any_phase=False)

    assert window.opens_at(3) == 0.0 + SPAN
    assert window.opens_at(2) == 1.0 + SPAN
    assert window.opens_at(4) == -math.inf
