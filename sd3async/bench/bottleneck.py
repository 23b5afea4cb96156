"""What held a scenario back: the service, or something on this side that spoils the figures."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs

from sd3async.bench.samples import PARTS, Header
from sd3async.bench.stats import ScenarioSummary

Bound: TypeAlias = Literal["service", "limiter", "pool", "client CPU", "event loop", "generator"]

_BUSY_CPU = 0.8  # of one core: asyncio has no more, and queues form well before 1
_LATE = 0.05  # [s] p99; what a busy but healthy loop stays below
_LATE_SHARE = 0.1  # of the median response time: less than that spoils no figure
_LATE_LOOP = (
    "the event loop ran up to {:.0f} ms late (p99): something blocks it or the machine is "
    "overloaded, and every time here holds some of that"
)
_LATE_STARTS = (
    "requests started up to {:.0f} ms after they were due (p99): the generator could not keep the "
    "schedule; response times include that delay"
)
_SHARE_THAT_MATTERS = 0.2  # of the response time


@attrs.frozen
class Verdict:
    """What bounds a scenario, and what a reader must be warned of.

    Attributes:
        bound: What held it back most.
        warnings: Sentences; empty when the figures are those of the service.
    """

    bound: Bound
    warnings: tuple[str, ...] = ()


def judge(summary: ScenarioSummary, header: Header) -> Verdict:
    """Return what held a scenario back.

    Args:
        summary: Its numbers, medians of the repeats.
        header: What it was run with.
    """
    checks: tuple[tuple[Bound, str], ...] = (
        ("client CPU", _cpu_warning(summary)),
        ("event loop", _late_warning(summary, "lag_p99", _LATE_LOOP)),
        ("generator", _late_warning(summary, "late_p99", _LATE_STARTS)),
        ("pool", _pool_warning(summary, header)),
        ("limiter", _limiter_warning(summary, header)),
    )
    found: list[tuple[Bound, str]] = [(bound, words) for bound, words in checks if words]
    warnings = (*(words for _, words in found), *_other_warnings(summary, header))
    return Verdict(found[0][0] if found else "service", warnings)


def _cpu_warning(summary: ScenarioSummary) -> str:
    share = summary.median("cpu_share") or 0.0
    if share < _BUSY_CPU:
        return ""
    return (
        f"the client's CPU was busy {share:.0%} of the time, and asyncio has one core: "
        "these figures are those of this machine"
    )


def _late_warning(summary: ScenarioSummary, metric: str, words: str) -> str:
    late = summary.median(metric) or 0.0
    harmless = max(_LATE, _LATE_SHARE * (summary.median("response_p50") or 0.0))
    return words.format(late * 1000) if late >= harmless else ""


def _pool_warning(summary: ScenarioSummary, header: Header) -> str:
    share = _share(summary, "slot_wait")
    if share < _SHARE_THAT_MATTERS:
        return ""
    return (
        f"{share:.0%} of the response time was waiting for one of {header.max_in_flight} "
        "connection slots: raise --max-in-flight, or offer less"
    )


def _limiter_warning(summary: ScenarioSummary, header: Header) -> str:
    share = _share(summary, "limiter_wait")
    if share < _SHARE_THAT_MATTERS:
        return ""
    words = f"{share:.0%} of the response time was waiting for the client's own rate limit"
    ceiling_share = summary.median("ceiling_share")
    if header.ceiling and ceiling_share is not None:
        words += f" ({ceiling_share:.0%} of its {header.ceiling:g} requests/s were sent)"
    return f"{words}: more load makes the line longer, not the rate higher"


def _other_warnings(summary: ScenarioSummary, header: Header) -> list[str]:
    warnings = [f"it ended early: {reason}" for reason in summary.stopped_by]
    if refused := summary.median("refused"):
        cause = "the limiter was off" if header.limit is None else "is the key in use elsewhere?"
        warnings.append(f"{refused:g} requests were refused with 429 ({cause})")
    if header.limit is not None:
        warnings += _limit_warnings(summary, header.limit)
    if unfinished := summary.errors.get("unfinished"):
        warnings.append(
            f"{unfinished} requests were cut off at the end: the true high percentiles are "
            "higher than those shown"
        )
    if _starts_from_nothing(summary):
        warnings.append(
            "the warm-up is shorter than a request takes, so throughput includes the start from "
            "nothing: give --warmup"
        )
    return warnings


def _limit_warnings(summary: ScenarioSummary, limit: Mapping[str, Any]) -> list[str]:
    warnings: list[str] = []
    lag = summary.median("lag_max") or 0.0
    if lag > limit["delay_bound"]:
        warnings.append(
            f"the event loop once ran {lag * 1000:.0f} ms late, more than the limiter's delay "
            f"bound of {limit['delay_bound'] * 1000:.0f} ms: a 429 was possible"
        )
    is_held_back = _share(summary, "limiter_wait") >= _SHARE_THAT_MATTERS
    scenario = summary.scenario
    if is_held_back and scenario.duration is not None and scenario.warmup < 2 * limit["period"]:
        warnings.append(
            "the limiter's first burst, or the pause after it, is part of these figures: "
            f"--warmup {2 * limit['period']:g}s shows the lasting rate"
        )
    return warnings


def _starts_from_nothing(summary: ScenarioSummary) -> bool:
    """Whether an open loop was measured while its first requests had yet to end."""
    scenario, typical = summary.scenario, summary.median("response_p50")
    if scenario.rate is None or scenario.duration is None or typical is None:
        return False
    return scenario.warmup < typical and scenario.duration < 20 * typical


def _share(summary: ScenarioSummary, part: str) -> float:
    total = sum(summary.parts.get(name, 0.0) for name in PARTS)
    return summary.parts.get(part, 0.0) / total if total > 0 else 0.0
