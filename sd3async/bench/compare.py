"""Two sessions side by side: ratios of what both ran, with what repeats say of the noise."""

import math
from typing import Any, Literal, TypeAlias

import attrs

from sd3async.bench.columns import COLUMNS
from sd3async.bench.samples import Session
from sd3async.bench.stats import Spread, summarize_scenarios

COMPARED = (
    "throughput",
    "goodput",
    "response_p50",
    "response_p90",
    "response_p99",
    "service_p50",
    "service_p99",
    "failed",
    "refused",
    "cpu_per_request",
    "peak_rss",
    "lag_p99",
)

_MUST_AGREE = ("machine", "versions", "limit", "workload", "slo", "keys", "max_in_flight", "seed")

Finding: TypeAlias = Literal["better", "worse", "same", "unclear"]
_SAME = 0.02  # a ratio this close to 1 is nothing to talk about, however small the noise


@attrs.frozen(kw_only=True)
class Ratio:
    """One number of B over that of A.

    Attributes:
        scenario: Which load.
        metric: Which number.
        before: Of A.
        after: Of B.
        ratio: B's median over A's; None when A's is 0.
        low: The least that the repeats allow: B's smallest over A's largest.
        high: The most: B's largest over A's smallest.
        finding: `better` or `worse` when the ranges of A and B do not touch; `unclear` when
            they do, or when there were no repeats to tell.
    """

    scenario: str
    metric: str
    before: Spread
    after: Spread
    ratio: float | None
    low: float | None
    high: float | None
    finding: Finding


@attrs.frozen(kw_only=True)
class Comparison:
    """What two sessions say of each other.

    Attributes:
        ratios: Scenario by scenario, metric by metric.
        only_before: Scenarios that only A ran.
        only_after: Scenarios that only B ran.
        differences: What else differs, in words: a comparison of different things misleads.
    """

    ratios: tuple[Ratio, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    differences: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return attrs.asdict(self)


def compare(before: Session, after: Session) -> Comparison:
    """Compare two sessions.

    Args:
        before: A.
        after: B.
    """
    first = {item.scenario.name: item for item in summarize_scenarios(before.header, before.runs)}
    second = {item.scenario.name: item for item in summarize_scenarios(after.header, after.runs)}
    ratios = [
        ratio_of(name, metric, first[name].metrics[metric], second[name].metrics[metric])
        for name in first
        if name in second
        for metric in COMPARED
        if metric in first[name].metrics and metric in second[name].metrics
    ]
    return Comparison(
        ratios=tuple(ratios),
        only_before=tuple(name for name in first if name not in second),
        only_after=tuple(name for name in second if name not in first),
        differences=tuple(
            name
            for name in _MUST_AGREE
            if getattr(before.header, name) != getattr(after.header, name)
        ),
    )


def ratio_of(scenario: str, metric: str, before: Spread, after: Spread) -> Ratio:
    """Return one ratio and what it means.

    Args:
        scenario: Which load.
        metric: Which number; a name of `COLUMNS`.
        before: Of A.
        after: Of B.
    """
    ratio = _divide(after.median, before.median)
    return Ratio(
        scenario=scenario,
        metric=metric,
        before=before,
        after=after,
        ratio=ratio,
        low=_divide(after.low, before.high),
        high=_divide(after.high, before.low),
        finding=_finding(metric, before, after, ratio),
    )


def _finding(metric: str, before: Spread, after: Spread, ratio: float | None) -> Finding:
    if before.median == after.median or (ratio is not None and abs(ratio - 1) <= _SAME):
        return "same"
    is_higher, is_lower = after.low > before.high, after.high < before.low
    has_repeats = before.runs > 1 and after.runs > 1
    if not has_repeats or not (is_higher or is_lower):
        return "unclear"
    wanted = COLUMNS[metric].better
    return "better" if is_higher == (wanted == "higher") else "worse"


def _divide(dividend: float, divisor: float) -> float | None:
    return dividend / divisor if divisor and math.isfinite(divisor) else None
