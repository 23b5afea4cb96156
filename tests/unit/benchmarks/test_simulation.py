import pytest

from benchmarks.simulation import simulate, steady_share


@pytest.mark.parametrize("shape", ["paced", "burst", "bucket"])
def test_the_limiter_meets_no_refusal_in_the_simulation(shape: str) -> None:
    """The benchmark would show failures of the simulation as the limiter's."""
    case = simulate(recipe=f"sd3async, {shape}", model="log", jitter=0.2, requests=310, seed=2)

    assert (case.delivered, case.refusals) == (310, 0)
    assert case.worst_window <= 150


def test_a_naive_limiter_is_locked_out_in_the_simulation() -> None:
    """A server that never refuses would make every limiter look good."""
    case = simulate(recipe="AsyncLimiter(150, 10)", model="log", jitter=0.0, requests=310, seed=2)

    assert case.refusals > 0
    assert case.worst_window > 150


def test_bursts_and_even_pacing_have_the_same_lasting_rate() -> None:
    """A limiter that goes in bursts would be credited with the one it has not waited for."""
    bursts = [10.0 * (number // 150) for number in range(1500)]
    even = [number / 15 for number in range(1500)]

    assert steady_share(bursts) == pytest.approx(1.0)
    assert steady_share(even) == pytest.approx(1.0)


def test_too_few_requests_have_no_lasting_rate() -> None:
    """A rate from a first burst alone would be infinite."""
    assert steady_share([0.0] * 300) is None
