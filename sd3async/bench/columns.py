"""Every number a report may show: its name for people, its unit, and which way is better."""

from typing import Literal, TypeAlias

import attrs

Unit: TypeAlias = Literal["s", "1/s", "share", "count", "bytes", "credits"]


@attrs.frozen
class Column:
    """One number.

    Attributes:
        metric: Its name in `Summary.metrics`.
        title: Its name for people.
        unit: What it counts.
        better: Which way is better; None when neither is.
    """

    metric: str
    title: str
    unit: Unit
    better: Literal["higher", "lower"] | None = "lower"


_ALL = (
    Column("requests", "requests", "count", None),
    Column("ok", "ok", "count", "higher"),
    Column("failed", "failed", "count"),
    Column("offered", "offered", "1/s", None),
    Column("ideal", "ideal", "1/s", None),
    Column("throughput", "throughput", "1/s", "higher"),
    Column("goodput", "goodput", "1/s", "higher"),
    Column("slo_share", "within SLO", "share", "higher"),
    *(
        Column(f"{kind}_{name}", f"{kind} {name}", "s")
        for kind in ("response", "service")
        for name in ("mean", "stdev", "p50", "p90", "p95", "p99", "max")
    ),
    Column("sent_rate", "sent", "1/s", "higher"),
    Column("worst_window", "worst window", "count", None),
    Column("ceiling_share", "of ceiling", "share", "higher"),
    Column("refused", "429s", "count"),
    Column("retries", "retries", "count"),
    Column("credits", "credits", "credits", None),
    Column("unknown_charges", "maybe charged", "count"),
    Column("sent_bytes", "uploaded", "bytes", None),
    Column("received_bytes", "received", "bytes", None),
    Column("cpu_per_request", "CPU/request", "s"),
    Column("cpu_share", "CPU", "share"),
    Column("peak_rss", "peak RSS", "bytes"),
    Column("lag_p99", "loop lag p99", "s"),
    Column("lag_max", "loop lag max", "s"),
    Column("late_p99", "late p99", "s"),
)
COLUMNS: dict[str, Column] = {column.metric: column for column in _ALL}


def show(value: float | None, unit: Unit) -> str:
    """Return a number for people: three significant digits, in a unit that fits.

    Args:
        value: The number; None is a hyphen.
        unit: What it counts.
    """
    if value is None:
        return "-"
    if unit == "s":
        return seconds(value)
    if unit == "share":
        return f"{value:.0%}"
    if unit == "bytes":
        return size(value)
    if unit in ("count", "credits"):
        return f"{value:,.1f}".removesuffix(".0")
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def show_range(low: float, high: float, unit: Unit) -> str:
    """Return two numbers for people, their unit named once where it is the same.

    Args:
        low: The lower.
        high: The higher.
        unit: What they count.
    """
    below, above = show(low, unit), show(high, unit)
    number, _, word = below.partition(" ")
    if word and above.endswith(f" {word}"):
        below = number
    return f"{below}..{above}"


def seconds(value: float) -> str:
    """Return a duration for people, such as `85 ms`.

    Args:
        value: The duration [s].
    """
    if value >= 99.95:
        return f"{value:,.0f} s"
    if value >= 0.9995:
        return f"{value:.3g} s"
    if value >= 0.0009995:
        return f"{value * 1e3:.3g} ms"
    return f"{value * 1e6:.0f} µs" if value > 0 else "0"


def size(value: float) -> str:
    """Return a number of bytes for people, such as `1.5 MB`.

    Args:
        value: How many.
    """
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= factor:
            number = value / factor
            return f"{number:.3g} {unit}" if number < 1000 else f"{number:,.0f} {unit}"
    return f"{value:.0f} B"
