"""The four models of the rate limit, and the lock-out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd3async.emulator.limits import Gate, LimitModel, WindowMeter, build_limit

MODELS: list[LimitModel] = ["log", "fixed", "counter", "bucket"]
gaps = st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60)


def admitted(
    model: LimitModel, stamps: list[float], most: int = 5, phase: float = 0.0
) -> list[float]:
    limit = build_limit(model, most, 10.0, phase)
    return [now for now in stamps if limit.admit(now)]


def instants(steps: list[float]) -> list[float]:
    now, found = 100.0, list[float]()
    for step in steps:
        now += step
        found.append(now)
    return found


@given(gaps)
def test_the_log_admits_exactly_what_fits_into_each_window(steps: list[float]) -> None:
    """The sliding log is the strictest reading of "150 in any 10 seconds"."""
    taken: list[float] = []
    limit = build_limit("log", 5, 10.0)
    for now in instants(steps):
        fits = sum(before > now - 10.0 for before in taken) < 5
        assert limit.admit(now) is fits
        if fits:
            taken.append(now)


@given(gaps, st.floats(0.0, 10.0))
def test_fixed_windows_count_by_their_own_phase(steps: list[float], phase: float) -> None:
    """A fixed window forgets everything at its boundary, wherever that lies."""
    taken = admitted("fixed", instants(steps), phase=phase)

    windows = [math.floor((now - phase) / 10.0) for now in taken]
    assert all(windows.count(window) <= 5 for window in windows)


@given(gaps, st.floats(0.0, 10.0))
def test_the_counter_weighs_the_window_before_by_its_overlap(
    steps: list[float], phase: float
) -> None:
    """The two-window estimate decides each request, as written in its definition."""
    limit = build_limit("counter", 5, 10.0, phase)
    counts: dict[int, int] = {}
    for now in instants(steps):
        window, into = divmod(now - phase, 10.0)
        estimate = counts.get(int(window) - 1, 0) * (1 - into / 10.0) + counts.get(int(window), 0)
        fits = estimate + 1 <= 5
        assert limit.admit(now) is fits
        counts[int(window)] = counts.get(int(window), 0) + fits


@given(gaps)
def test_the_bucket_never_gives_more_than_it_holds_and_gains(steps: list[float]) -> None:
    """Between any two instants: the full bucket plus what was refilled meanwhile."""
    taken = admitted("bucket", instants(steps))

    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= 5 + (taken[last] - taken[first]) * 0.5 + 1e-6


@pytest.mark.parametrize("model", MODELS)
def test_a_first_burst_of_the_whole_limit_passes_and_one_more_does_not(model: LimitModel) -> None:
    """All four models agree on the burst of an idle client."""
    assert len(admitted(model, [100.0] * 151, most=150)) == 150


@pytest.mark.parametrize("model", ["log", "fixed", "bucket"])
def test_windows_are_half_open(model: LimitModel) -> None:
    """What came exactly one period ago no longer counts, in the limit and in the meter."""
    meter = WindowMeter(10.0)
    for now in (100.0, 110.0):
        meter.note(now)

    assert admitted(model, [100.0, 109.5, 110.0], most=1) == [100.0, 110.0]
    assert meter.fullest == 1


def test_what_a_double_burst_meets_differs_by_model() -> None:
    """A burst at 9.9 s and one at 10.1 s: only fixed windows let both pass."""
    double = [9.9] * 5 + [10.1] * 5

    assert {model: len(admitted(model, double)) for model in MODELS} == {
        "log": 5,
        "fixed": 10,
        "counter": 5,
        "bucket": 5,
    }


def test_one_request_too_many_shuts_the_key_out() -> None:
    """A refusal costs the whole lock-out, not just the request."""
    gate = Gate(build_limit("log", 1, 10.0), lockout=60.0, extends=False)

    assert gate.judge(0.0).admitted
    assert gate.judge(1.0).remaining == 60.0
    assert gate.judge(31.0).remaining == 30.0
    assert not gate.judge(60.9).admitted
    assert gate.judge(61.0).admitted


def test_knocking_may_start_the_lockout_again() -> None:
    """With `extends`, a client that keeps trying never gets back in."""
    gate = Gate(build_limit("log", 1, 10.0), lockout=60.0, extends=True)
    gate.judge(0.0)
    gate.judge(1.0)

    assert gate.judge(50.0).remaining == 60.0
    assert not gate.judge(61.0).admitted


def test_without_a_limit_only_an_ordered_lockout_refuses() -> None:
    """A 429 on demand has to shut the key out even on an unlimited server."""
    gate = Gate(None, lockout=60.0, extends=False)
    assert all(gate.judge(0.0).admitted for _ in range(1000))

    gate.lock(0.0, 5.0)

    assert gate.judge(2.0).remaining == 3.0
    assert gate.judge(5.0).admitted


@given(gaps)
def test_the_meter_finds_the_fullest_window(steps: list[float]) -> None:
    """The figure that tests assert on must be the true maximum over all windows."""
    stamps = instants(steps)
    meter = WindowMeter(10.0)
    for now in stamps:
        meter.note(now)

    assert meter.fullest == max(
        sum(end - 10.0 < other <= end for other in stamps) for end in stamps
    )
