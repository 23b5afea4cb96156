"""Exact numbers from samples."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd3async._percentiles import percentile
from sd3async.bench.samples import PARTS, Usage
from sd3async.bench.scenario import Scenario
from sd3async.bench.stats import (
    Spread,
    distribution,
    summarize,
    summarize_scenarios,
    window_counts,
    worst_window,
)
from support.sessions import header, run, sample

instants = st.lists(st.floats(0, 100, allow_subnormal=False), max_size=60)


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 1), (5, 1), (50, 10), (90, 18), (95, 19), (99, 20), (100, 20)]
)
def test_percentiles_are_those_of_the_nearest_rank(percent: float, value: float) -> None:
    """A p95 of twenty values is the nineteenth, not a blend and not its neighbour."""
    assert percentile(range(1, 21), percent) == value


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_least_value_that_covers_its_share(
    values: list[float], percent: int
) -> None:
    """Whoever quotes a p99 promises that 99 % were no slower, and one value less would not do."""
    found = percentile(sorted(values), percent)
    covered = sum(value <= found for value in values)
    below = sum(value < found for value in values)

    assert found in values
    assert 100 * covered >= percent * len(values)
    assert 100 * below < percent * len(values)


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], -1), ([1.0], 101)])
def test_percentiles_that_do_not_exist_are_refused(values: list[float], percent: float) -> None:
    """A zero in their place would be read as an excellent latency."""
    with pytest.raises(ValueError, match="percent"):
        percentile(values, percent)


def test_a_distribution_of_nothing_has_no_numbers() -> None:
    """No success must not show up as a latency of zero."""
    assert distribution([], "response") == {}
    assert distribution([2.0], "x")["x_stdev"] == 0.0


@given(instants, st.floats(0.1, 20))
def test_the_worst_window_is_found_wherever_it_begins(found: list[float], period: float) -> None:
    """The report is believed to say whether the limit was kept: it may miss no window."""
    by_hand = max((sum(at <= other < at + period for other in found) for at in found), default=0)

    assert worst_window(found, period) == by_hand


@given(instants, st.floats(0.1, 20))
def test_window_counts_rise_and_fall_back_to_nothing(found: list[float], period: float) -> None:
    """Every request enters the window once and leaves it once; its peak is the worst window."""
    counts = [count for _, count in window_counts(found, period)]

    assert min(counts, default=0) >= 0
    assert counts[-1:] in ([], [0])
    assert max(counts, default=0) == worst_window(found, period)


def test_latency_counts_from_the_intended_start_and_service_from_the_permit() -> None:
    """A request that waited ten seconds to be sent took ten seconds more, whatever the server did."""
    late = sample(intended=0.0, response=12.0, started=10.0, service=2.0)
    metrics = summarize(run([late]), header()).metrics

    assert metrics["response_p50"] == 12.0
    assert metrics["service_p50"] == 2.0
    assert metrics["late_p99"] == 10.0


def test_the_warm_up_counts_for_money_and_refusals_but_not_for_latency() -> None:
    """Cold connections must not spoil the percentiles, and their price must not vanish."""
    cold = sample(0.0, 9.0, warmup=True, refused=1, attempts=2)
    metrics = summarize(run([cold, sample(1.0, 1.0)]), header()).metrics

    assert metrics["requests"] == 1
    assert metrics["response_max"] == 1.0
    assert (metrics["credits"], metrics["refused"], metrics["retries"]) == (13.0, 1, 1)


def test_throughput_is_what_ended_in_the_measured_time() -> None:
    """Counting the tail after the end, or only what also began inside, bends short runs."""
    began_before = sample(-1.0, 2.0, warmup=True)
    ended_after = sample(9.0, 2.0)
    failed = sample(4.0, 1.0, error="ServerError 500")
    metrics = summarize(run([began_before, sample(5.0), ended_after, failed]), header()).metrics

    assert metrics["throughput"] == pytest.approx(2 / 10)
    assert metrics["failed"] == 1


def test_goodput_leaves_out_what_was_too_late_or_failed() -> None:
    """An image after the objective is no better than none."""
    samples = [sample(1.0, 1.0), sample(2.0, 5.0), sample(3.0, 0.1, error="ServerError 500")]
    metrics = summarize(run(samples), header(slo=2.0)).metrics

    assert metrics["goodput"] == pytest.approx(1 / 10)
    assert metrics["slo_share"] == pytest.approx(1 / 3)


def test_the_limit_is_held_against_each_key_alone() -> None:
    """Two keys that send 100 each keep a limit of 150; their sum says nothing."""
    samples = [sample(sends=((key, at / 20),)) for key in (0, 1) for at in range(100)]
    metrics = summarize(run(samples), header(keys=2)).metrics

    assert metrics["worst_window"] == 100
    assert metrics["ceiling_share"] == pytest.approx(20 / 30)


def test_the_ideal_is_bounded_by_callers_and_by_the_limit() -> None:
    """Without it nobody can tell a slow client from too few callers."""
    few = run([sample(response=2.0)], scenario=Scenario(concurrency=4, duration=10))
    many = run([sample(response=2.0)], scenario=Scenario(concurrency=400, duration=10))

    assert summarize(few, header()).metrics["ideal"] == 2.0
    assert summarize(many, header()).metrics["ideal"] == 15.0


def test_cpu_is_shared_by_all_requests_of_the_run() -> None:
    """The warm-up's requests used the processor too."""
    usage = Usage(wall=10.0, cpu=0.5, peak_rss=None, lag_p99=0.0, lag_max=0.0)
    metrics = summarize(run([sample(warmup=True), sample()], usage=usage), header()).metrics

    assert metrics["cpu_per_request"] == 0.25
    assert metrics["cpu_share"] == 0.05
    assert "peak_rss" not in metrics


@given(
    waits=st.lists(st.floats(0, 10), min_size=5, max_size=5),
    response=st.floats(60, 100),
)
def test_the_parts_add_up_to_the_response_time(waits: list[float], response: float) -> None:
    """Time that belongs to no part would be time nobody looks for."""
    slot, limiter, connect, send, headers = waits
    one = sample(
        response=response,
        slot_wait=slot,
        limiter_wait=limiter,
        connect=connect,
        send=send,
        headers=headers,
    )

    assert sum(one.part(name) for name in PARTS) == pytest.approx(one.response)


def test_repeats_give_their_median_and_range() -> None:
    """One number for three runs hides how much to believe it."""
    runs = [run([sample(response=seconds)], repeat=n) for n, seconds in enumerate((3, 1, 2))]
    (found,) = summarize_scenarios(header(), runs)

    assert found.metrics["response_p50"] == Spread(median=2, low=1, high=3, runs=3)
    assert found.parts["headers"] == 2


def test_a_broken_off_run_has_no_costs_but_its_samples_count() -> None:
    """An interrupted session still paid for what it got."""
    metrics = summarize(run([sample()], usage=None, measured_until=0.0), header()).metrics

    assert metrics["ok"] == 1
    assert "cpu_share" not in metrics
    assert "throughput" not in metrics


def test_mean_and_deviation_are_those_of_the_standard_library() -> None:
    """They stand beside the percentiles and must describe the same values."""
    values = [1.0, 2.0, 4.0, 8.0]
    found = distribution(values, "x")

    assert found["x_mean"] == statistics.fmean(values)
    assert found["x_stdev"] == statistics.stdev(values)


def test_scenarios_come_by_growing_load_however_they_ran() -> None:
    """A search jumps back and forth; its table should not."""
    runs = [
        run([sample()], scenario=scenario)
        for scenario in (
            Scenario(rate=3.0, duration=1.0),
            Scenario(concurrency=8, duration=1.0),
            Scenario(concurrency=2, duration=1.0),
        )
    ]
    names = [found.scenario.name for found in summarize_scenarios(header(), runs)]

    assert names == ["2 callers", "8 callers", "3/s constant"]
