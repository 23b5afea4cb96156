"""The search for the knee."""

import math

from hypothesis import given
from hypothesis import strategies as st

from sd3async.bench.knee import Knee, KneeSearch


def search(
    latency: float, cap: float, *, slo: float = math.inf, most: int = 512
) -> tuple[Knee | None, list[int]]:
    """Search a service that delivers `cap` a second at most, each after `latency` seconds."""
    searching = KneeSearch(most)
    asked: list[int] = []
    while (callers := searching.next()) is not None:
        asked.append(callers)
        throughput = min(callers / latency, cap)
        searching.tell(callers, throughput, keeps_slo=callers / throughput <= slo)
    return searching.knee(), asked


@given(latency=st.floats(0.2, 20), cap=st.floats(1, 15))
def test_the_knee_is_where_the_limit_meets_the_latency(latency: float, cap: float) -> None:
    """Fewer callers waste the limit, more only wait: 95 % of rate x latency is the answer."""
    found, asked = search(latency, cap)
    enough = max(1.0, 0.95 * cap * latency)

    assert found is not None
    assert found.because == "plateau"
    assert enough - 1e-6 <= found.concurrency <= max(enough + 2, 1.2 * enough)
    assert len(asked) <= 20


def test_an_objective_bounds_the_callers() -> None:
    """More callers than keep the objective are no answer, whatever they deliver."""
    searching = KneeSearch()
    while (callers := searching.next()) is not None:
        response = 1.0 + 0.05 * callers  # each caller slows the service a little
        searching.tell(callers, callers / response, keeps_slo=response <= 2.0)
    found = searching.knee()

    assert found is not None
    assert found.because == "slo"
    assert 18 <= found.concurrency <= 20


def test_a_plateau_below_the_objective_is_the_answer() -> None:
    """Waiting up to the objective for nothing more is not."""
    found, _ = search(2.0, 15.0, slo=4.0)

    assert found is not None
    assert (found.because, found.throughput) == ("plateau", 15.0)
    assert found.concurrency == 32


def test_an_objective_that_nothing_keeps_has_no_knee() -> None:
    """One caller is not the answer when one is too slow already."""
    found, asked = search(5.0, 15.0, slo=1.0)

    assert found is None
    assert asked == [1]


def test_a_search_says_when_it_was_not_allowed_to_go_on() -> None:
    """A service that still grows at the last step has its knee somewhere else."""
    found, asked = search(2.0, 1e9, most=50)

    assert found == Knee(50, 25.0, "limit")
    assert max(asked) == 50


def test_a_search_that_measured_nothing_found_nothing() -> None:
    """An interrupted search must not invent an answer."""
    assert KneeSearch().knee() is None


def test_no_number_of_callers_is_measured_twice() -> None:
    """Measurements cost minutes, and credits."""
    _, asked = search(3.0, 15.0)

    assert len(asked) == len(set(asked))
