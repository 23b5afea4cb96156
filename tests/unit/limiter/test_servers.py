"""The oracles themselves, on cases small enough to count by hand."""

import pytest

from unit.limiter import servers

PERIOD = 10.0


def test_a_log_counts_both_ends_of_its_period() -> None:
    """Were an edge left out, a limiter that is early by nothing at all would look safe."""
    assert servers.most_in_log([0.0, 5.0, 10.0, 20.1], PERIOD) == 3
    assert servers.most_in_log([], PERIOD) == 0


def test_fixed_windows_see_less_than_a_log() -> None:
    """A fixed window cut right through a burst must not be counted as one window."""
    burst_over_an_edge = [9.9, 9.95, 10.05, 10.1]

    assert servers.most_in_fixed_windows(burst_over_an_edge, PERIOD, phases=1) == 2
    assert servers.most_in_fixed_windows(burst_over_an_edge, PERIOD) == 4


def test_a_bucket_refills_while_it_waits() -> None:
    """A bucket of 2 in 10 s gives a token back every 5 s; forgetting that would refuse anything."""
    assert servers.most_taken_from_bucket([0.0, 0.0, 5.0, 10.0], 2, PERIOD) == pytest.approx(2)
    assert servers.most_taken_from_bucket([0.0, 0.0, 2.5], 2, PERIOD) == pytest.approx(2.5)


def test_a_counter_still_counts_what_a_log_has_forgotten() -> None:
    """The tail of a burst weighs in a counter for up to two periods: the reason for its rule."""
    two_at_once_then_one = [0.0, 0.0, 10.5]

    assert servers.most_in_log(two_at_once_then_one, PERIOD) == 2
    assert servers.most_in_counter(two_at_once_then_one, PERIOD) == pytest.approx(1 + 2 * 0.95)
