# pyright: reportUnknownMemberType=false
# matplotlib leaves the types of keyword arguments open, which makes most of its methods unknown.
"""Pictures of a session, drawn with matplotlib (extra `sd3async[bench]`).

No global state: figures are plain values, saved by `save`. Colours stay apart for colour-blind
readers, lines are named where they end, and every axis says its unit.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from sd3async.bench.columns import seconds
from sd3async.bench.report import PART_TITLES, Report
from sd3async.bench.samples import PARTS, Run, Session
from sd3async.bench.stats import ScenarioSummary, sends_by_key, window_counts

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6b7280"
_PART_COLOURS = {
    "late": "#CC79A7",
    "slot_wait": "#F0E442",
    "limiter_wait": ORANGE,
    "connect": "#9ca3af",
    "send": "#56B4E9",
    "headers": BLUE,
    "body": GREEN,
    "rest": RED,
}
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 11,
    "grid.color": "#e5e7eb",
    "legend.frameon": False,
    "svg.fonttype": "none",  # words stay words: a fifth of the size, and they can be searched
    "svg.hashsalt": "sd3async",  # the same numbers give the same file
}
"""How every picture looks."""

_MANY_RUNS = 5  # more names than this stand upright
_WIDE_RANGE = 5  # a sweep this wide has its loads spread evenly by ratio
_TAIL_PERCENTS = (0.0, 50.0, 90.0, 95.0, 99.0, 99.9)


def draw_all(report: Report, session: Session) -> dict[str, Figure]:
    """Draw every picture that the session has numbers for.

    Args:
        report: Its numbers.
        session: Its samples.

    Returns:
        Figures by name: `load`, `parts`, `percentiles`, `rate`.
    """
    with mpl.rc_context(STYLE):
        return {
            "load": draw_load(report),
            "parts": draw_parts(report),
            "percentiles": draw_percentiles(session),
            "rate": draw_rate(session),
        }


def save(figure: Figure, to: str | Path | BinaryIO, form: str) -> None:
    """Write a figure.

    Args:
        figure: What to write.
        to: A path, replaced if it exists, or a stream.
        form: `png` or `svg`.
    """
    # Without its date, the same numbers give the same file.
    metadata = {"Date": None} if form == "svg" else {}
    with mpl.rc_context(STYLE):
        figure.savefig(to, format=form, dpi=144, metadata=metadata)


def draw_load(report: Report) -> Figure:
    """Draw throughput and latency against the load: where does more stop helping?

    Args:
        report: The numbers; closed and open loops get columns of their own.
    """
    groups = [group for group in _by_kind(report.scenarios) if group]
    figure, grid = _new_figure(rows=2, columns=len(groups), height=7.0)
    for column, group in enumerate(groups):
        top, bottom = grid[0][column], grid[1][column]
        _draw_throughput(top, group, report)
        _draw_latency(bottom, group, report)
        for axes in (top, bottom):
            _load_axis(axes, group)
    return figure


def _draw_throughput(axes: Axes, group: Sequence[ScenarioSummary], report: Report) -> None:
    axes.set_title("Images delivered per second")
    _line(axes, group, "offered", GREY, "offered", style=":")
    _line(axes, group, "ideal", GREY, "ideal: callers / service time, up to the limit", style=":")
    _line(axes, group, "throughput", BLUE, "delivered")
    if report.header.slo is not None:
        _line(axes, group, "goodput", GREEN, f"within {report.header.slo:g} s", style="--")
    ceiling = report.header.ceiling
    if ceiling is not None:
        _guide(axes, ceiling, f"limit {ceiling:g}/s", RED)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("images/s")
    _legend(axes, loc="best")


def _draw_latency(axes: Axes, group: Sequence[ScenarioSummary], report: Report) -> None:
    axes.set_title("Response time (from the instant a request was due)")
    for metric, colour, words in (
        ("response_p99", RED, "p99"),
        ("response_p90", ORANGE, "p90"),
        ("response_p50", BLUE, "p50"),
    ):
        _line(axes, group, metric, colour, words)
    _line(axes, group, "service_p50", GREY, "service alone, p50", style="--")
    if report.header.slo is not None:
        _guide(axes, report.header.slo, f"SLO {report.header.slo:g} s", GREEN)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(_seconds_tick)
    _legend(axes, loc="best")


def draw_parts(report: Report) -> Figure:
    """Draw where the time of a successful request goes, a bar for each scenario.

    Args:
        report: The numbers.
    """
    shown = [item for item in report.scenarios if item.parts]
    figure, ((axes,),) = _new_figure(rows=1, columns=1, height=1.6 + 0.45 * max(1, len(shown)))
    axes.set_title("Where the time of a request goes (mean)")
    places = range(len(shown))
    begun = [0.0] * len(shown)
    longest = max((sum(item.parts.values()) for item in shown), default=0.0)
    for part in PARTS:
        lengths = [item.parts[part] for item in shown]
        if max(lengths, default=0.0) < 0.002 * longest:
            continue
        axes.barh(
            places,
            lengths,
            left=begun,
            color=_PART_COLOURS[part],
            label=PART_TITLES[part],
            height=0.7,
        )
        begun = [at + length for at, length in zip(begun, lengths, strict=True)]
    name_bars(axes, [item.scenario.name for item in shown], begun, [seconds(end) for end in begun])
    axes.margins(x=0.1)
    axes.xaxis.set_major_formatter(_seconds_tick)
    _legend(axes, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def name_bars(
    axes: Axes, names: Sequence[str], ends: Sequence[float], values: Sequence[str]
) -> None:
    """Write names before horizontal bars, from the top down, and values behind them.

    Args:
        axes: Where the bars are, at 0, 1, 2, …
        names: Of the bars.
        ends: Where each ends.
        values: What each comes to.
    """
    for place, (end, value) in enumerate(zip(ends, values, strict=True)):
        axes.annotate(value, (end, place), xytext=(6, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def draw_percentiles(session: Session) -> Figure:
    """Draw the whole distribution of each scenario, its tail stretched.

    Args:
        session: The samples; repeats are taken together.
    """
    figure, ((axes,),) = _new_figure(rows=1, columns=1, height=4.6)
    axes.set_title("Response time by percentile (dashed: service alone)")
    grouped: dict[str, list[Run]] = {}
    for run in session.runs:
        grouped.setdefault(run.scenario.name, []).append(run)
    colours = mpl.colormaps["viridis"]
    longest = 0
    for index, (name, runs) in enumerate(grouped.items()):
        good = [s for run in runs for s in run.samples if s.ok and not s.warmup]
        if not good:
            continue
        longest = max(longest, len(good))
        colour = colours(0.9 * index / max(1, len(grouped) - 1))
        _percentile_line(axes, [s.response for s in good], color=colour, label=name)
        service = [s.service for s in good if s.service is not None]
        _percentile_line(axes, service, color=colour, linestyle="--", linewidth=1.0, alpha=0.8)
    ticks = [p for p in _TAIL_PERCENTS if p < 100 * (1 - 1 / max(2, longest))] or [0.0, 50.0]
    axes.set_xticks([_tail(percent) for percent in ticks], [f"{p:g} %" for p in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("share of requests that are faster")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(_seconds_tick)
    _legend(axes, title="load", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _percentile_line(axes: Axes, values: Sequence[float], **style: Any) -> None:
    """Draw every sample, or 200 for each further nine when there are more than that."""
    ascending = sorted(values)
    count = len(ascending)
    nines = math.log10(count) if count else 0.0
    shares = (1 - 10 ** (-step / 200) for step in range(math.ceil(200 * nines) + 1))
    ranks = sorted({min(count - 1, int(count * share)) for share in shares}) if count else []
    axes.plot(
        [_tail(100 * rank / count) for rank in ranks],
        [ascending[rank] for rank in ranks],
        drawstyle="steps-post",
        **style,
    )


def _tail(percent: float) -> float:
    """Return a percentile's place on an axis where each further nine takes as much room."""
    return -math.log10(1 - percent / 100)


def draw_rate(session: Session) -> Figure:
    """Draw what the server saw over time, against what it allows.

    Args:
        session: The samples.
    """
    limit = session.header.limit
    samples = [sample for run in session.runs for sample in run.samples]
    figure, grid = _new_figure(rows=1 if limit is None else 2, columns=1, height=6.4)
    top = grid[0][0]
    instants = sorted(at for sends in sends_by_key(samples).values() for at in sends)
    length = max((sample.ended for sample in samples), default=1.0)
    width = max(1.0, length / 120)
    edges = [width * step for step in range(math.ceil(length / width) + 1)]
    top.hist(instants, bins=edges, weights=[1 / width] * len(instants), color=BLUE)
    top.set_title("Requests sent per second")
    top.set_ylabel("requests/s")
    ceiling = session.header.ceiling
    if limit is not None and ceiling is not None:
        _guide(top, ceiling, f"limit {ceiling:g}/s", RED)
        _draw_windows(grid[1][0], session)
    for row in grid:
        row[0].set_xlim(0, length)
        row[0].set_ylim(bottom=0)
        _mark_runs(row[0], session.runs, named=row is grid[0])
    grid[-1][0].set_xlabel("time since the session began [s]")
    return figure


def _draw_windows(axes: Axes, session: Session) -> None:
    limit = session.header.limit or {}
    period = limit["period"]
    samples = [sample for run in session.runs for sample in run.samples]
    axes.set_title(f"Requests of one key in the last {period:g} s")
    for key, sends in sorted(sends_by_key(samples).items()):
        steps = window_counts(sends, period)
        axes.step(
            [at for at, _ in steps],
            [count for _, count in steps],
            where="post",
            color=(BLUE, ORANGE, GREEN, GREY)[key % 4],
            label=f"key {key + 1}",
        )
    allowed = limit["max_requests"]
    refused = [sample.sends[-1][1] for sample in samples if sample.refused and sample.sends]
    if refused:
        crosses = [allowed] * len(refused)
        axes.plot(refused, crosses, "x", color=RED, label="a request refused with 429")
    if refused or session.header.keys > 1:
        _legend(axes, loc="lower right")
    _guide(axes, allowed, f"limit {allowed}", RED)
    axes.set_ylabel("requests")


def _mark_runs(axes: Axes, runs: Sequence[Run], *, named: bool) -> None:
    """Shade every other run, and write its name above."""
    if named:
        axes.set_ylim(top=1.15 * axes.get_ylim()[1])  # room for the names
    for index, run in enumerate(runs):
        begin = run.measured_from - run.scenario.warmup
        end = max((sample.ended for sample in run.samples), default=run.measured_until)
        axes.axvspan(begin, end, color="#f3f4f6" if index % 2 else "#e5e7eb", zorder=0, linewidth=0)
        if named:
            axes.annotate(
                run.scenario.name,
                ((begin + end) / 2, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, -4),
                textcoords="offset points",
                ha="center",
                va="top",
                rotation=90 if len(runs) > _MANY_RUNS else 0,
                fontsize=8,
                color=GREY,
            )


def _guide(axes: Axes, value: float, words: str, colour: str) -> None:
    """Draw a line across, named at its right end, with room for the name."""
    axes.axhline(value, color=colour, linewidth=1.2)
    axes.annotate(
        words,
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(-4, 4),
        textcoords="offset points",
        ha="right",
        color=colour,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0},
    )
    axes.set_ylim(top=max(axes.get_ylim()[1], 1.12 * value))


def _line(
    axes: Axes,
    group: Sequence[ScenarioSummary],
    metric: str,
    colour: str,
    words: str,
    *,
    style: str = "-",
) -> None:
    """Draw a metric against the load: medians, shaded from the least to the most of the repeats."""
    found = [(item.scenario.load, item.metrics[metric]) for item in group if metric in item.metrics]
    if not found:
        return
    loads = [load for load, _ in found]
    axes.plot(
        loads,
        [spread.median for _, spread in found],
        color=colour,
        linestyle=style,
        marker="o",
        markersize=4,
        label=words,
    )
    if any(spread.runs > 1 for _, spread in found):
        lows = [spread.low for _, spread in found]
        highs = [spread.high for _, spread in found]
        axes.fill_between(loads, lows, highs, color=colour, alpha=0.15, linewidth=0)


def _legend(axes: Axes, **options: Any) -> None:
    """Name what was drawn, if anything was."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(**options)


def _seconds_tick(value: float, _place: float | None) -> str:
    return seconds(value)


def _load_axis(axes: Axes, group: Sequence[ScenarioSummary]) -> None:
    loads = sorted({item.scenario.load for item in group})
    if len(loads) > 1 and loads[-1] / loads[0] >= _WIDE_RANGE:
        axes.set_xscale("log")
    axes.set_xticks(loads, [f"{load:g}" for load in loads])
    axes.xaxis.set_minor_locator(NullLocator())
    is_closed = group[0].scenario.concurrency is not None
    axes.set_xlabel("callers at once" if is_closed else "requests started per second")


def _by_kind(scenarios: Sequence[ScenarioSummary]) -> list[list[ScenarioSummary]]:
    """Return closed loops, and open ones by arrival, each in order of the load."""
    groups: dict[str, list[ScenarioSummary]] = {}
    for item in scenarios:
        scenario = item.scenario
        kind = "closed" if scenario.concurrency is not None else scenario.arrival
        groups.setdefault(kind, []).append(item)
    return [sorted(group, key=lambda item: item.scenario.load) for group in groups.values()]


def _new_figure(*, rows: int, columns: int, height: float) -> tuple[Figure, list[list[Axes]]]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5 * columns + 1.0, height), layout="constrained")
        grid: list[list[Axes]] = figure.subplots(rows, columns, squeeze=False).tolist()
    return figure, grid
