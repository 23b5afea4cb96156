"""Schedules of an open loop."""

import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd3async.bench.arrivals import Arrival, Schedule


def first(schedule: Schedule, count: int) -> list[float]:
    return list(itertools.islice(schedule.starts(), count))


def test_constant_arrivals_are_evenly_spaced_from_zero() -> None:
    """A rate of 4/s that is not one start each quarter of a second is another rate."""
    assert first(Schedule(rate=4), 5) == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("arrival", "burstiness"),
    [("constant", 1.0), ("poisson", 1.0), ("gamma", 0.5), ("gamma", 1.0), ("gamma", 4.0)],
)
def test_the_mean_rate_is_the_one_asked_for(arrival: Arrival, burstiness: float) -> None:
    """A load that is offered at another rate than its report says makes every figure wrong."""
    starts = first(Schedule(rate=20, arrival=arrival, burstiness=burstiness, seed=3), 20_000)

    assert 20_000 / starts[-1] == pytest.approx(20, rel=0.03)


@pytest.mark.parametrize("burstiness", [0.25, 0.5, 1.0, 4.0])
def test_gamma_gaps_vary_as_the_burstiness_says(burstiness: float) -> None:
    """The squared coefficient of variation is 1 / burstiness, or the word means nothing."""
    starts = first(Schedule(rate=5, arrival="gamma", burstiness=burstiness, seed=1), 40_000)
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    variation = statistics.variance(gaps) / statistics.fmean(gaps) ** 2

    assert variation == pytest.approx(1 / burstiness, rel=0.1)


def test_gamma_with_burstiness_one_is_poisson() -> None:
    """The two names of one process must give one schedule."""
    gamma = Schedule(rate=3, arrival="gamma", burstiness=1.0, seed=9)
    poisson = Schedule(rate=3, arrival="poisson", seed=9)

    assert first(gamma, 50) == first(poisson, 50)


def test_a_seed_decides_the_schedule() -> None:
    """A run that cannot be repeated cannot be compared."""
    again = first(Schedule(rate=3, arrival="poisson", seed=1), 20)

    assert first(Schedule(rate=3, arrival="poisson", seed=1), 20) == again
    assert first(Schedule(rate=3, arrival="poisson", seed=2), 20) != again


def test_a_ramp_grows_evenly_and_then_keeps_the_rate() -> None:
    """Half the requests of a full second belong in a one-second ramp, and the rest on time."""
    starts = first(Schedule(rate=100, ramp=2.0), 400)
    during = [at for at in starts if at < 2.0]
    first_half = [at for at in during if at < 1.0]

    assert len(during) == pytest.approx(100, abs=1)
    assert len(first_half) == pytest.approx(25, abs=1)
    assert starts[-1] - starts[-2] == pytest.approx(0.01)
    assert starts[-1] == pytest.approx(399 / 100 + 2.0 / 2)


@given(
    rate=st.floats(0.1, 1000),
    arrival=st.sampled_from(["constant", "poisson", "gamma"]),
    burstiness=st.floats(0.2, 10),
    ramp=st.floats(0, 60),
    seed=st.integers(0, 1000),
)
def test_starts_never_go_back(
    rate: float, arrival: Arrival, burstiness: float, ramp: float, seed: int
) -> None:
    """A start before the one ahead of it would never be slept for."""
    schedule = Schedule(rate=rate, arrival=arrival, burstiness=burstiness, ramp=ramp, seed=seed)
    starts = first(schedule, 50)

    assert starts == sorted(starts)
    assert starts[0] >= 0


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 0}, {"rate": math.inf}, {"burstiness": 0}, {"ramp": -1}, {"arrival": "weekly"}],
    ids=str,
)
def test_values_out_of_bounds_are_refused(wrong: dict[str, float]) -> None:
    """A rate of zero never ends, and a wrong word must not mean the default."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Schedule(**{"rate": 1.0, **wrong})  # type: ignore[arg-type]  # on purpose
