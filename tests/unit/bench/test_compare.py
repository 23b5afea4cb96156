"""Two sessions side by side."""

import pytest

from sd3async.bench.compare import Finding, compare, ratio_of
from sd3async.bench.samples import Session
from sd3async.bench.scenario import Scenario
from sd3async.bench.stats import Spread
from support.sessions import run, sample, session


@pytest.mark.parametrize(
    ("metric", "before", "after", "finding"),
    [
        ("response_p50", Spread(2, 1.9, 2.1, 3), Spread(1, 0.9, 1.1, 3), "better"),
        ("response_p50", Spread(1, 0.9, 1.1, 3), Spread(2, 1.9, 2.1, 3), "worse"),
        ("throughput", Spread(1, 0.9, 1.1, 3), Spread(2, 1.9, 2.1, 3), "better"),
        ("throughput", Spread(2, 1.9, 2.1, 3), Spread(1, 0.9, 1.1, 3), "worse"),
        ("response_p50", Spread(2, 1.0, 3.0, 3), Spread(1.5, 1.4, 1.6, 3), "unclear"),
        ("response_p50", Spread(2, 2, 2), Spread(1, 1, 1), "unclear"),
        ("response_p50", Spread(2, 1, 3, 3), Spread(2.01, 1, 3, 3), "same"),
        ("failed", Spread(0, 0, 0, 3), Spread(0, 0, 0, 3), "same"),
        ("failed", Spread(0, 0, 0, 3), Spread(5, 4, 6, 3), "worse"),
    ],
)
def test_a_difference_counts_only_when_the_repeats_do_not_overlap(
    metric: str, before: Spread, after: Spread, finding: Finding
) -> None:
    """A single run of each, or two ranges that touch, prove nothing either way."""
    assert ratio_of("1 caller", metric, before, after).finding == finding


def test_ratios_span_all_that_the_repeats_allow() -> None:
    """A ratio without its range is taken for exact."""
    ratio = ratio_of("x", "throughput", Spread(2, 1, 4, 3), Spread(6, 4, 8, 3))

    assert (ratio.ratio, ratio.low, ratio.high) == (3, 1, 8)


def test_a_ratio_to_nothing_does_not_exist() -> None:
    """No failures before and five after is not infinitely worse; it is five."""
    assert ratio_of("x", "failed", Spread(0, 0, 0), Spread(5, 5, 5)).ratio is None


def two_loads(seconds: float) -> Session:
    loads = (1, 4) if seconds < 2 else (1, 16)
    return session(
        *(
            run([sample(response=seconds)], scenario=Scenario(concurrency=callers, duration=10))
            for callers in loads
        ),
        seed=int(seconds),
    )


def test_only_loads_that_both_ran_are_compared() -> None:
    """Four callers against sixteen is not a comparison."""
    found = compare(two_loads(1.0), two_loads(2.0))

    assert {ratio.scenario for ratio in found.ratios} == {"1 caller"}
    assert (found.only_before, found.only_after) == (("4 callers",), ("16 callers",))


def test_sessions_that_differ_otherwise_are_pointed_out() -> None:
    """Another machine explains a difference better than another version does."""
    assert compare(two_loads(1.0), two_loads(2.0)).differences == ("seed",)
