# pyright: reportUnknownMemberType=false
# matplotlib leaves the types of keyword arguments open, which makes most of its methods unknown.
"""Pictures of the findings, as SVG."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.results import Chart, Series
from sd3async.bench.columns import show
from sd3async.bench.plots import BLUE, GREEN, GREY, ORANGE, RED, STYLE, name_bars, save

_OURS = "sd3async"
_COLOURS = (ORANGE, GREEN, GREY, "#CC79A7", "#56B4E9", "#9a6700", "#7c3aed", "#111827")
_MARKERS = "so^Dv<>p"
_WIDTH = 8.0


def draw(chart: Chart, path: Path) -> None:
    """Write a chart as SVG.

    Args:
        chart: What to draw.
        path: The file; replaced if it exists.
    """
    with mpl.rc_context(STYLE):
        height = 1.3 + 0.36 * len(chart.bars) if chart.bars else 4.2
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes: Axes = figure.subplots()
        axes.set_title(chart.title)
        (_draw_bars if chart.bars else _draw_lines)(axes, chart)
    save(figure, path, "svg")


def _draw_bars(axes: Axes, chart: Chart) -> None:
    bars = chart.bars
    longest = max(bar.high for bar in bars)
    axes.barh(
        range(len(bars)),
        [bar.value for bar in bars],
        xerr=[[bar.value - bar.low for bar in bars], [bar.high - bar.value for bar in bars]],
        color=[BLUE if _OURS in bar.name else GREY for bar in bars],
        error_kw={"ecolor": "#111827", "elinewidth": 1, "capsize": 3},
        height=0.65,
    )
    names, values = [bar.name for bar in bars], [show(bar.value, "1/s") for bar in bars]
    name_bars(axes, names, [bar.high for bar in bars], values)
    axes.xaxis.set_major_formatter(_tick)
    axes.set_xlim(right=longest * 1.12)
    words = chart.unit
    if chart.goal is not None:
        axes.axvline(chart.goal, color=RED, linewidth=1.2)
        words += f"; red: {chart.goal_words} {chart.goal:g}"
    axes.set_xlabel(words)


def _draw_lines(axes: Axes, chart: Chart) -> None:
    others = iter(zip(_COLOURS, _MARKERS, strict=True))
    for series in chart.lines:
        is_ours = series.name.startswith(_OURS)
        colour, marker = (BLUE, "o") if is_ours and series is _first(chart.lines) else next(others)
        axes.plot(
            [x for x, _ in series.points],
            [y for _, y in series.points],
            color=colour,
            marker=marker if len(series.points) <= len(_COLOURS) * 2 else None,
            markersize=5,
            linewidth=2.2 if is_ours else 1.4,
            linestyle="-" if is_ours else "--",
            label=series.name,
        )
    axes.set_xscale(chart.x_scale)
    axes.set_yscale(chart.scale)
    axes.set_xlabel(chart.x_unit)
    axes.set_ylabel(chart.unit)
    axes.xaxis.set_major_formatter(_tick)
    axes.yaxis.set_major_formatter(_tick)
    axes.yaxis.set_minor_formatter(NullFormatter())
    if chart.scale == "linear":
        axes.set_ylim(bottom=0)
    if chart.goal is not None:
        words = f"{chart.goal_words} {chart.goal:g}"
        axes.axhline(chart.goal, color=RED, linewidth=1.2, label=words)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _first(lines: Sequence[Series]) -> Series:
    return next(series for series in lines if series.name.startswith(_OURS))


def _tick(value: float, _place: float | None) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"
