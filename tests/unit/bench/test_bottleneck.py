"""What held a scenario back."""

from typing import Any

import pytest

from sd3async.bench.bottleneck import Verdict, judge
from sd3async.bench.samples import Run, Usage
from sd3async.bench.scenario import Scenario
from sd3async.bench.stats import summarize_scenarios
from support.sessions import header, run, sample


def verdict(found: Run, **changes: Any) -> Verdict:
    head = header(**changes)
    (summary,) = summarize_scenarios(head, [found])
    return judge(summary, head)


def usage(**changes: Any) -> Usage:
    fields: dict[str, Any] = {"wall": 10.0, "cpu": 0.1, "peak_rss": 1, "lag_p99": 0, "lag_max": 0}
    return Usage(**fields | changes)


def test_a_run_that_only_waited_for_the_service_has_no_warning() -> None:
    """A warning that is always there is read by nobody."""
    assert verdict(run([sample()])) == Verdict("service")


@pytest.mark.parametrize(
    ("found", "bound", "words"),
    [
        (run([sample()], usage=usage(cpu=9.0)), "client CPU", "busy 90%"),
        (run([sample()], usage=usage(lag_p99=0.2)), "event loop", "200 ms late"),
        (run([sample(response=3.0, started=1.0)]), "generator", "after they were due"),
        (run([sample(response=4.0, slot_wait=2.0, headers=2.0)]), "pool", "300 connection slots"),
        (run([sample(response=4.0, limiter_wait=3.0, headers=1.0)]), "limiter", "75% of"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_spoils_the_figures_is_named(found: Run, bound: str, words: str) -> None:
    """Whoever reads 20 s should know that 15 of them were this side's own doing."""
    said = verdict(found)

    assert said.bound == bound
    assert any(words in warning for warning in said.warnings)


def test_the_machine_is_blamed_before_the_limiter() -> None:
    """On a machine that cannot keep up, no other figure can be trusted."""
    waiting = sample(response=4.0, limiter_wait=3.0, headers=1.0)
    said = verdict(run([waiting], usage=usage(cpu=10.0)))

    assert said.bound == "client CPU"
    assert "CPU" in said.warnings[0]
    assert "rate limit" in said.warnings[1]


@pytest.mark.parametrize(
    ("limit", "words"), [(None, "limiter was off"), (header().limit, "in use elsewhere")]
)
def test_refusals_are_pointed_out(limit: object, words: str) -> None:
    """A 429 with the limiter on means that something assumed is not so."""
    said = verdict(run([sample(refused=1)]), limit=limit)

    assert any(words in warning for warning in said.warnings)


def test_requests_cut_off_at_the_end_are_pointed_out() -> None:
    """They were the slowest, so every percentile without them is too good."""
    said = verdict(run([sample(), sample(error="unfinished")]))

    assert any("1 requests were cut off" in warning for warning in said.warnings)


def test_an_open_loop_without_a_warm_up_is_pointed_out() -> None:
    """For as long as a request takes, nothing can end: throughput looks worse than it is."""
    opened = Scenario(rate=1.0, duration=10.0)
    warmed = Scenario(rate=1.0, duration=10.0, warmup=2.0)

    assert any("--warmup" in words for words in verdict(run([sample()], scenario=opened)).warnings)
    assert verdict(run([sample()], scenario=warmed)).warnings == ()


def test_an_early_end_is_pointed_out() -> None:
    """Ten seconds of a planned hour must not pass for the hour."""
    said = verdict(run([sample()], stopped_by="the cap of 5 credits"))

    assert any("the cap of 5 credits" in warning for warning in said.warnings)


def test_lag_that_no_figure_would_show_is_not_the_bottleneck() -> None:
    """60 ms in 20 s explain nothing; the limiter's 15 s do."""
    waiting = sample(response=20.0, limiter_wait=15.0, headers=5.0)
    said = verdict(run([waiting], usage=usage(lag_p99=0.06)))

    assert said.bound == "limiter"


def test_a_loop_later_than_the_delay_bound_is_pointed_out() -> None:
    """The limiter's promise rests on it, and a 429 costs a minute."""
    said = verdict(run([sample()], usage=usage(lag_max=0.3)))

    assert any("delay bound of 220 ms" in warning for warning in said.warnings)


def test_the_limiters_first_burst_in_the_figures_is_pointed_out() -> None:
    """It makes ten seconds look faster, or the ten after it slower, than an hour will be."""
    waiting = sample(response=4.0, limiter_wait=3.0, headers=1.0)
    cold = verdict(run([waiting]))
    warm = verdict(run([waiting], scenario=Scenario(concurrency=1, duration=10.0, warmup=20.0)))

    assert any("--warmup 20s" in warning for warning in cold.warnings)
    assert len(warm.warnings) == 1
