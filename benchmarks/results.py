"""What a scenario found: tables and charts as plain values that go to JSON and come back."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import attrs

Cell = str | int | float


@attrs.frozen(kw_only=True)
class Table:
    """One table of the page.

    Attributes:
        title: Above it.
        columns: Heads of the columns.
        rows: Cells, as they are shown.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@attrs.frozen
class Bar:
    """One value of a chart.

    Attributes:
        name: What was measured.
        value: The number.
        low: Where its spread begins.
        high: Where its spread ends.
    """

    name: str
    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, name: str, value: float) -> Self:
        """Return a value without a spread."""
        return cls(name, value, value, value)


@attrs.frozen
class Series:
    """One line of a chart.

    Attributes:
        name: What was measured.
        points: (x, y) in order.
    """

    name: str
    points: Sequence[tuple[float, float]]


@attrs.frozen(kw_only=True)
class Chart:
    """One picture: bars or lines.

    Attributes:
        name: File name, without its ending.
        title: Above it.
        unit: Of the values.
        x_unit: Of the horizontal axis of lines.
        bars: The bars, or none.
        lines: The lines, or none.
        goal: A guide across, or None.
        goal_words: What the guide is called.
        scale: Of the values of lines.
        x_scale: Of the horizontal axis of lines.
    """

    name: str
    title: str
    unit: str
    x_unit: str = ""
    bars: Sequence[Bar] = ()
    lines: Sequence[Series] = ()
    goal: float | None = None
    goal_words: str = "goal"
    scale: Literal["linear", "log"] = "linear"
    x_scale: Literal["linear", "log"] = "linear"


@attrs.frozen(kw_only=True)
class Result:
    """One scenario's findings.

    Attributes:
        name: The scenario.
        question: What it asks.
        method: How it was measured.
        tables: The numbers.
        charts: The pictures.
        measured_at: When, ISO 8601 in UTC.
        seconds: How long it took [s].
    """

    name: str = ""
    question: str = ""
    method: str
    tables: Sequence[Table]
    charts: Sequence[Chart] = ()
    measured_at: str = ""
    seconds: float = 0.0

    @property
    def missed(self) -> list[str]:
        """The rows that say they missed their goal."""
        return [
            f"{table.title}: {row[0]}"
            for table in self.tables
            for row in table.rows
            if any(isinstance(cell, str) and MISSED in cell for cell in row)
        ]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(attrs.asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Result":
        """Read what `save` wrote."""
        fields: dict[str, Any] = json.loads(path.read_text())
        fields["tables"] = [Table(**table) for table in fields["tables"]]
        fields["charts"] = [_chart(chart) for chart in fields["charts"]]
        return cls(**fields)


def _chart(fields: dict[str, Any]) -> Chart:
    bars = [Bar(**bar) for bar in fields.pop("bars")]
    lines = [
        Series(line["name"], [(x, y) for x, y in line["points"]]) for line in fields.pop("lines")
    ]
    return Chart(bars=bars, lines=lines, **fields)


MISSED = "MISSED"


def verdict(is_met: bool) -> str:
    """Return whether a goal was reached, as a table shows it."""
    return "met" if is_met else MISSED


def at_most(measured: float, bound: float, *, unit: str = "") -> str:
    """Return a goal and whether it was reached, as a table shows it."""
    return f"≤ {bound:g}{unit}: {verdict(measured <= bound)}"


def at_least(measured: float, bound: float, *, unit: str = "") -> str:
    """Return a goal and whether it was reached, as a table shows it."""
    return f"≥ {bound:g}{unit}: {verdict(measured >= bound)}"


@attrs.frozen
class Ratio:
    """One number over another, pair by pair, so that a disturbance meets both.

    Attributes:
        median: The middle of all pairs.
        low: The first quartile.
        high: The third quartile.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numbers: Sequence[float], basis: Sequence[float]) -> "Ratio":
        """Return the spread of `numbers[i] / basis[i]`.

        Raises:
            ValueError: There are not equally many, or none.
        """
        pairs = [number / base for number, base in zip(numbers, basis, strict=True)]
        if len(pairs) == 1:
            return cls(pairs[0], pairs[0], pairs[0])
        low, median, high = statistics.quantiles(pairs, n=4, method="inclusive")
        return cls(median, low, high)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"
