"""Numbers from samples: pure, exact, and the same ones for every report.

A percentile is that of all samples, not of a histogram.
"""

import itertools
import math
import statistics
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import attrs

from sd3async._percentiles import PERCENTILES, percentile
from sd3async.bench.samples import PARTS, Header, Run, Sample
from sd3async.bench.scenario import Scenario


def distribution(values: Iterable[float], prefix: str) -> dict[str, float]:
    """Return mean, standard deviation, percentiles and maximum; nothing for no values.

    Args:
        values: In any order.
        prefix: Begins each name, as in `response_p99`.
    """
    ascending = sorted(values)
    if not ascending:
        return {}
    found = {
        f"{prefix}_mean": statistics.fmean(ascending),
        f"{prefix}_stdev": statistics.stdev(ascending) if len(ascending) > 1 else 0.0,
        f"{prefix}_max": ascending[-1],
    }
    found |= {f"{prefix}_p{percent}": percentile(ascending, percent) for percent in PERCENTILES}
    return found


def worst_window(instants: Iterable[float], period: float) -> int:
    """Return the most instants in any window of the given length, its end left out.

    Args:
        instants: In any order [s].
        period: Length of the window [s].
    """
    ascending = sorted(instants)
    return max(
        (bisect_left(ascending, at + period) - index for index, at in enumerate(ascending)),
        default=0,
    )


def window_counts(instants: Iterable[float], period: float) -> list[tuple[float, int]]:
    """Return how many instants a sliding window holds, as steps: a time and the count from there.

    Args:
        instants: In any order [s].
        period: Length of the window [s].
    """
    seen = list(instants)
    changes = sorted([(at + period, -1) for at in seen] + [(at, 1) for at in seen])
    counts = itertools.accumulate(change for _, change in changes)
    return [(at, count) for (at, _), count in zip(changes, counts, strict=True)]


@attrs.frozen
class Spread:
    """One number over repeated runs.

    Attributes:
        median: The middle.
        low: The smallest.
        high: The largest.
        runs: How many there were.
    """

    median: float
    low: float
    high: float
    runs: int = 1

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of some values.

        Args:
            values: At least one.
        """
        return cls(statistics.median(values), min(values), max(values), len(values))


@attrs.frozen(kw_only=True)
class Summary:
    """What one run comes to.

    Attributes:
        metrics: By name; a number that does not exist (a percentile of nothing) is left out.
            Times in seconds.
        errors: How many measured requests failed, by kind.
        parts: Where the time of the successful ones went, mean [s], by `PARTS`.
    """

    metrics: Mapping[str, float]
    errors: Mapping[str, int]
    parts: Mapping[str, float]


def summarize(run: Run, header: Header) -> Summary:
    """Return what one run comes to.

    Latencies are those of the measured requests that succeeded. Throughput is what was
    delivered in the measured time, whenever it was asked for, so that neither the start nor the
    tail of a run counts twice.

    Args:
        run: What was seen.
        header: What it was run with.
    """
    measured = [sample for sample in run.samples if not sample.warmup]
    good = [sample for sample in measured if sample.ok]
    errors = Counter(sample.error for sample in measured if not sample.ok)
    metrics: dict[str, float] = {
        "requests": len(measured),
        "ok": len(good),
        "failed": len(measured) - len(good),
        **_flow(run, header),
        **distribution((sample.response for sample in good), "response"),
        **distribution(
            (sample.service for sample in good if sample.service is not None), "service"
        ),
        **_ideal(run.scenario, good, header),
        **_trouble(run.samples),
        **_limit(run, header),
        **_cost(run),
    }
    if measured:
        late = sorted(sample.part("late") for sample in measured)
        metrics["late_p99"] = percentile(late, 99)
    parts = {name: statistics.fmean(sample.part(name) for sample in good) for name in PARTS if good}
    return Summary(metrics=metrics, errors=dict(errors.most_common()), parts=parts)


def _flow(run: Run, header: Header) -> dict[str, float]:
    seconds = run.measured_until - run.measured_from
    if seconds <= 0:
        return {}
    ended = [
        sample
        for sample in run.samples
        if sample.ok and run.measured_from <= sample.ended <= run.measured_until
    ]
    started = [
        sample
        for sample in run.samples
        if run.measured_from <= sample.intended < run.measured_until
    ]
    flow = {"throughput": len(ended) / seconds}
    if run.scenario.rate is not None:
        flow["offered"] = len(started) / seconds
    if header.slo is not None:
        within = [sample for sample in ended if sample.response <= header.slo]
        flow["goodput"] = len(within) / seconds
        measured = [sample for sample in run.samples if not sample.warmup]
        if measured:
            kept = sum(sample.ok and sample.response <= header.slo for sample in measured)
            flow["slo_share"] = kept / len(measured)
    return flow


def _ideal(scenario: Scenario, good: Sequence[Sample], header: Header) -> dict[str, float]:
    """Return what so many callers could get if nothing on this side cost any time."""
    service = [sample.service for sample in good if sample.service]
    if scenario.concurrency is None or not service:
        return {}
    free = scenario.concurrency / statistics.fmean(service)
    return {"ideal": min(free, header.ceiling or math.inf)}


def _trouble(samples: Sequence[Sample]) -> dict[str, float]:
    """Count over all requests, the warm-up's too: money and lock-outs do not wait for it."""
    return {
        "refused": sum(sample.refused for sample in samples),
        "retries": sum(max(0, sample.attempts - 1) for sample in samples),
        "credits": sum(sample.credits for sample in samples),
        "unknown_charges": sum(sample.unknown_charges for sample in samples),
        "sent_bytes": sum(sample.sent_bytes for sample in samples),
        "received_bytes": sum(sample.received_bytes for sample in samples),
    }


def sends_by_key(samples: Iterable[Sample]) -> dict[int, list[float]]:
    """Return when attempts reached the wire, for each key.

    Args:
        samples: Of one run, or of a whole session.
    """
    sends: defaultdict[int, list[float]] = defaultdict(list)
    for sample in samples:
        for key, at in sample.sends:
            sends[key].append(at)
    return dict(sends)


def _limit(run: Run, header: Header) -> dict[str, float]:
    sends = sends_by_key(run.samples)
    found: dict[str, float] = {}
    seconds = run.measured_until - run.measured_from
    if seconds > 0:
        measured = sum(
            run.measured_from <= at < run.measured_until for key in sends.values() for at in key
        )
        found["sent_rate"] = measured / seconds
    if header.limit is not None:
        period = header.limit["period"]
        worst = max((worst_window(instants, period) for instants in sends.values()), default=0)
        found["worst_window"] = worst
    if header.ceiling and "sent_rate" in found:
        found["ceiling_share"] = found["sent_rate"] / header.ceiling
    return found


def _cost(run: Run) -> dict[str, float]:
    usage = run.usage
    if usage is None:
        return {}
    cost = {"lag_p99": usage.lag_p99, "lag_max": usage.lag_max}
    if usage.wall > 0:
        cost["cpu_share"] = usage.cpu / usage.wall
    if run.samples:
        cost["cpu_per_request"] = usage.cpu / len(run.samples)
    if usage.peak_rss is not None:
        cost["peak_rss"] = usage.peak_rss
    return cost


@attrs.frozen(kw_only=True)
class ScenarioSummary:
    """What a scenario comes to over all its repeats.

    Attributes:
        scenario: What was run.
        metrics: The spread of each number over the repeats that have it.
        errors: Failures by kind, over all repeats.
        parts: Where the time went, mean [s]: the median over the repeats.
        stopped_by: Why repeats ended early, in words.
    """

    scenario: Scenario
    metrics: Mapping[str, Spread]
    errors: Mapping[str, int]
    parts: Mapping[str, float]
    stopped_by: tuple[str, ...] = ()

    def median(self, name: str) -> float | None:
        """Return the median of a metric, or None when there is none.

        Args:
            name: Which.
        """
        spread = self.metrics.get(name)
        return None if spread is None else spread.median


def summarize_scenarios(header: Header, runs: Sequence[Run]) -> list[ScenarioSummary]:
    """Return each scenario's summary: closed loops, then open ones, by growing load.

    Args:
        header: What was run with.
        runs: What was seen.
    """
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        grouped.setdefault(run.scenario.name, []).append(run)
    found = [_summarize_repeats(header, repeats) for repeats in grouped.values()]
    return sorted(found, key=lambda item: (item.scenario.rate is not None, item.scenario.load))


def _summarize_repeats(header: Header, repeats: Sequence[Run]) -> ScenarioSummary:
    summaries = [summarize(run, header) for run in repeats]
    values: defaultdict[str, list[float]] = defaultdict(list)
    parts: defaultdict[str, list[float]] = defaultdict(list)
    errors: Counter[str] = Counter()
    for summary in summaries:
        errors.update(summary.errors)
        for name, value in summary.metrics.items():
            values[name].append(value)
        for name, value in summary.parts.items():
            parts[name].append(value)
    return ScenarioSummary(
        scenario=repeats[0].scenario,
        metrics={name: Spread.of(found) for name, found in values.items()},
        errors=dict(errors.most_common()),
        parts={name: statistics.median(found) for name, found in parts.items()},
        stopped_by=tuple(dict.fromkeys(run.stopped_by for run in repeats if run.stopped_by)),
    )
