"""Distributions of durations."""

import random
import statistics

import pytest

from sd3async.emulator.latency import Constant, Exponential, LogNormal, Uniform, as_latency


def draws(latency: Constant | Uniform | LogNormal | Exponential) -> list[float]:
    rng = random.Random(7)
    return [latency.sample(rng) for _ in range(4000)]


def test_a_number_stands_for_that_many_seconds() -> None:
    """`latency=2` is the commonest setting."""
    assert as_latency(2) == Constant(2.0)
    assert as_latency(Uniform(1, 2)) == Uniform(1, 2)
    assert draws(Constant(0.5))[:3] == [0.5] * 3


def test_uniform_stays_between_its_bounds() -> None:
    """Values outside would break tests that rely on the bounds."""
    sample = draws(Uniform(1.0, 3.0))

    assert 1.0 <= min(sample) < 1.1
    assert 2.9 < max(sample) <= 3.0


def test_log_normal_has_its_median_and_its_tail() -> None:
    """Service times are skewed: the mean lies above the median."""
    sample = draws(LogNormal(2.0, sigma=0.5, longest=9.0))

    assert statistics.median(sample) == pytest.approx(2.0, rel=0.05)
    assert statistics.fmean(sample) > 2.1
    assert max(sample) <= 9.0


def test_exponential_adds_a_tail_to_a_minimum() -> None:
    """Minimum plus mean is what it promises."""
    sample = draws(Exponential(1.0, minimum=0.5))

    assert min(sample) >= 0.5
    assert statistics.fmean(sample) == pytest.approx(1.5, rel=0.1)


def test_negative_durations_are_refused() -> None:
    """Time does not go back."""
    with pytest.raises(ValueError, match="seconds"):
        Constant(-1.0)
    with pytest.raises(ValueError, match="median"):
        LogNormal(0.0)
