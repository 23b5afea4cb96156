"""A session for people (tables) and for programs (one JSON object), from the same numbers."""

from typing import Any

import attrs
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from sd3async.bench.bottleneck import Verdict, judge
from sd3async.bench.columns import COLUMNS, seconds, show, size
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

_CALLERS_SEE = (
    "ok",
    "failed",
    "ideal",
    "throughput",
    "goodput",
    "slo_share",
    "response_p50",
    "response_p90",
    "response_p95",
    "response_p99",
    "response_max",
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

    @property
    def failed(self) -> int:
        """Measured requests that failed, over everything."""
        return sum(sum(scenario.errors.values()) for scenario in self.scenarios)

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
    return f"{middle}\n{show(spread.low, unit)}..{show(spread.high, unit)}"


def shown_metrics(report: Report, wanted: tuple[str, ...]) -> list[str]:
    """Return the metrics that any scenario has, in order.

    Args:
        report: The numbers.
        wanted: Names of metrics.
    """
    return [name for name in wanted if any(name in summary.metrics for summary in report.scenarios)]


def tables(report: Report) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return every table: a title, the heads and the rows.

    Args:
        report: The numbers.
    """
    seen = shown_metrics(report, _CALLERS_SEE)
    costs = shown_metrics(report, _IT_COSTS)
    parts = [name for name in PARTS if any(summary.parts.get(name) for summary in report.scenarios)]
    names = [summary.scenario.name for summary in report.scenarios]
    return [
        (
            "What callers see (response: from the instant a request was due; service: from its "
            "permit)",
            ["load", *(COLUMNS[name].title for name in seen)],
            [
                [name, *(cell(summary.metrics.get(metric), metric) for metric in seen)]
                for name, summary in zip(names, report.scenarios, strict=True)
            ],
        ),
        (
            "Where the time of a successful request goes (mean)",
            ["load", *(PART_TITLES[name] for name in parts), "bound by"],
            [
                [
                    summary.scenario.name,
                    *(
                        seconds(summary.parts[part]) if part in summary.parts else "-"
                        for part in parts
                    ),
                    verdict.bound,
                ]
                for summary, verdict in zip(report.scenarios, report.verdicts, strict=True)
            ],
        ),
        (
            "What it costs",
            ["load", *(COLUMNS[name].title for name in costs)],
            [
                [name, *(cell(summary.metrics.get(metric), metric) for metric in costs)]
                for name, summary in zip(names, report.scenarios, strict=True)
            ],
        ),
    ]


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
            table.add_column(head, justify="right")
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
