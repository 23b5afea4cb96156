"""A session for people (tables) and for programs (one JSON object), from the same numbers."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from sd3async.bench.bottleneck import Verdict, judge
from sd3async.bench.columns import COLUMNS, seconds, show, show_range, size
from sd3async.bench.compare import Comparison, Finding, Ratio
from sd3async.bench.knee import Knee
from sd3async.bench.samples import PARTS, Header, Session
from sd3async.bench.stats import (
    ScenarioSummary,
    Spread,
    sends_by_key,
    summarize_scenarios,
    worst_window,
)

_DELIVERED = ("ok", "failed", "offered", "ideal", "throughput", "goodput", "slo_share")
_LATENCY = (
    *(f"response_{name}" for name in ("p50", "p90", "p95", "p99", "max", "mean", "stdev")),
    "service_p50",
    "service_p99",
)
_IT_COSTS = (
    "sent_rate",
    "worst_window",
    "ceiling_share",
    "refused",
    "retries",
    "credits",
    "unknown_charges",
    "cpu_per_request",
    "cpu_share",
    "peak_rss",
    "lag_p99",
)
PART_TITLES = {
    "late": "late start",
    "slot_wait": "pool",
    "limiter_wait": "limiter",
    "connect": "connect",
    "send": "upload",
    "headers": "to headers",
    "body": "body",
    "rest": "retries, rest",
}


_FINDING_STYLES: dict[Finding, str] = {
    "better": "green",
    "worse": "red",
    "same": "dim",
    "unclear": "",
}


ReportTable: TypeAlias = tuple[str, list[str], list[list[str]]]
"""A title, the heads and the rows."""


@attrs.frozen(kw_only=True)
class Report:
    """A session's numbers, ready to be shown.

    Attributes:
        header: What it was run with.
        scenarios: What each scenario came to.
        verdicts: What held each back.
        worst_window: Most attempts of one key in any period of the limit, over the whole
            session; None without a limit.
        knee: What a search found, or None.
    """

    header: Header
    scenarios: tuple[ScenarioSummary, ...]
    verdicts: tuple[Verdict, ...]
    worst_window: int | None = None
    knee: Knee | None = None

    @classmethod
    def of(cls, session: Session) -> "Report":
        """Sum a session up.

        Args:
            session: What was seen.
        """
        scenarios = summarize_scenarios(session.header, session.runs)
        return cls(
            header=session.header,
            scenarios=tuple(scenarios),
            verdicts=tuple(judge(scenario, session.header) for scenario in scenarios),
            worst_window=_worst_of_session(session),
            knee=session.knee,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "header": attrs.asdict(self.header),
            "ceiling": self.header.ceiling,
            "worst_window": self.worst_window,
            "knee": None if self.knee is None else attrs.asdict(self.knee),
            "scenarios": [
                {
                    "name": summary.scenario.name,
                    "scenario": summary.scenario.to_dict(),
                    "metrics": {
                        name: attrs.asdict(spread) for name, spread in summary.metrics.items()
                    },
                    "parts": dict(summary.parts),
                    "errors": dict(summary.errors),
                    "bound": verdict.bound,
                    "warnings": list(verdict.warnings),
                }
                for summary, verdict in zip(self.scenarios, self.verdicts, strict=True)
            ],
        }

    def warnings(self) -> list[tuple[str, str]]:
        """Return every warning with the scenario's name."""
        return [
            (summary.scenario.name, words)
            for summary, verdict in zip(self.scenarios, self.verdicts, strict=True)
            for words in verdict.warnings
        ]


def print_report(report: Report, console: Console) -> None:
    """Print the tables.

    Args:
        report: The numbers.
        console: Where to.
    """
    console.print(_render(report))


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print two sessions side by side.

    Args:
        comparison: The ratios.
        console: Where to.
    """
    if comparison.differences:
        words = ", ".join(comparison.differences)
        console.print(Text(f"These differ between the two: {words}.", style="bold yellow"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("load", "", "before", "after", "ratio", "range", "finding"):
        table.add_column(head, justify="left" if head in ("load", "", "finding") else "right")
    before = ""
    for ratio in comparison.ratios:
        name = "" if ratio.scenario == before else ratio.scenario
        before = ratio.scenario
        table.add_row(*_comparison_row(ratio, name), style=_FINDING_STYLES[ratio.finding])
    console.print(table)
    for words, names in (
        ("Only before", comparison.only_before),
        ("Only after", comparison.only_after),
    ):
        if names:
            console.print(Text(f"{words}: {', '.join(names)}"))


def _comparison_row(ratio: Ratio, name: str) -> list[str]:
    column = COLUMNS[ratio.metric]
    has_range = ratio.low is not None and ratio.high is not None
    return [
        name,
        column.title,
        show(ratio.before.median, column.unit),
        show(ratio.after.median, column.unit),
        "-" if ratio.ratio is None else f"{ratio.ratio:.2f}x",
        f"{ratio.low:.2f}..{ratio.high:.2f}" if has_range else "-",
        ratio.finding,
    ]


def title_lines(header: Header) -> list[str]:
    """Return what a reader must know before the figures, a line each.

    Args:
        header: What was run with.
    """
    limit = header.limit
    if limit is None:
        limit_words = "no rate limit"
    else:
        limit_words = (
            f"limit {limit['max_requests']} in {limit['period']:g} s ({limit['shape']}), "
            f"{header.keys} key{'s' if header.keys > 1 else ''}: {header.ceiling:g}/s"
        )
    mix = ", ".join(f"{name} {weight:g}" for name, weight in header.workload["mix"].items())
    upload = header.workload["upload_bytes"]
    work = mix if not upload else f"{mix}, uploading {size(upload)}"
    machine, versions = header.machine, header.versions
    return [
        f"{header.base_url} · {limit_words} · {header.max_in_flight} connection slots",
        f"{work} · seed {header.seed} · {header.created}",
        f"Python {versions['python'].split()[-1]}, aiohttp {versions['aiohttp']}, "
        f"sd3async {versions['sd3async']}, {versions['loop']} · {machine['cpus']} x "
        f"{machine['processor'] or machine['architecture']}",
    ]


def cell(spread: Spread | None, metric: str) -> str:
    """Return a table's cell: the median, and the range when there were repeats.

    Args:
        spread: The numbers.
        metric: Which column it is.
    """
    unit = COLUMNS[metric].unit
    if spread is None:
        return show(None, unit)
    middle = show(spread.median, unit)
    if spread.runs == 1 or spread.low == spread.high:
        return middle
    return f"{middle}\n{show_range(spread.low, spread.high, unit)}"


def tables(report: Report) -> list[ReportTable]:
    """Return every table.

    Args:
        report: The numbers.
    """
    return [
        _metrics_table(report, "What is delivered", _DELIVERED),
        _metrics_table(
            report,
            "How long it takes (response: from the instant a request was due; service: from its "
            "permit)",
            _LATENCY,
        ),
        _parts_table(report),
        _metrics_table(report, "What it costs", _IT_COSTS),
    ]


def _metrics_table(report: Report, title: str, wanted: Sequence[str]) -> ReportTable:
    shown = [
        name for name in wanted if any(name in summary.metrics for summary in report.scenarios)
    ]
    rows = [
        [summary.scenario.name, *(cell(summary.metrics.get(name), name) for name in shown)]
        for summary in report.scenarios
    ]
    return title, ["load", *(COLUMNS[name].title for name in shown)], rows


def _parts_table(report: Report) -> ReportTable:
    shown = [name for name in PARTS if any(item.parts.get(name) for item in report.scenarios)]
    rows = [
        [
            summary.scenario.name,
            *(seconds(summary.parts[name]) if summary.parts else "-" for name in shown),
            verdict.bound,
        ]
        for summary, verdict in zip(report.scenarios, report.verdicts, strict=True)
    ]
    title = "Where the time of a successful request goes (mean)"
    return title, ["load", *(PART_TITLES[name] for name in shown), "bound by"], rows


def conclusions(report: Report) -> list[str]:
    """Return what a session shows beyond its tables, in sentences.

    Args:
        report: The numbers.
    """
    said: list[str] = []
    if report.worst_window is not None and report.header.limit is not None:
        limit = report.header.limit
        said.append(
            f"Most requests of one key in any {limit['period']:g} s of the session, by their "
            f"writes: {report.worst_window} of {limit['max_requests']} allowed."
        )
    if report.knee is not None:
        knee = report.knee
        because = {
            "plateau": "more callers bring hardly more",
            "slo": "more callers break the SLO",
            "limit": "the search was not allowed to go on",
        }[knee.because]
        said.append(f"Knee: {knee.concurrency} callers, {knee.throughput:.3g}/s; {because}.")
    return said


def _render(report: Report) -> RenderableType:
    pieces: list[RenderableType] = [Text(line, style="dim") for line in title_lines(report.header)]
    for title, heads, rows in tables(report):
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column(heads[0], no_wrap=True)
        for head in heads[1:]:
            # Words one below the other keep the columns narrow, and their cells in one piece.
            table.add_column(head.replace(" ", "\n"), justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        pieces.append(table)
    for summary in report.scenarios:
        for error, count in summary.errors.items():
            pieces.append(Text(f"{summary.scenario.name}: {count} x {error}", style="red"))
    pieces += [Text(words) for words in conclusions(report)]
    pieces += [
        Text.assemble((f"{name}: ", "bold yellow"), words) for name, words in report.warnings()
    ]
    return Group(*pieces)


def _worst_of_session(session: Session) -> int | None:
    if session.header.limit is None:
        return None
    sends = sends_by_key(sample for run in session.runs for sample in run.samples)
    period = session.header.limit["period"]
    return max((worst_window(instants, period) for instants in sends.values()), default=0)
