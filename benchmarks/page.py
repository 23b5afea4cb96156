"""The results page: every number with its command, its machine and its goal."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import Cell, Result, Table

_INTRO = """# Benchmarks

Every number here comes from one command, which takes some twenty minutes:

    pip install -e '.[benchmarks]'
    python -m benchmarks

`--quick` runs everything scaled down, `--only` some of it. Read the numbers as ratios: absolute
times are those of one machine, and it was doing other things beside. A row that has a goal says
whether it was met, in the same row. The data behind the page is in
[`benchmarks/results/`](../benchmarks/results/).
"""


def render(about: dict[str, Any], results: Sequence[Result], pictures: str) -> str:
    """Return the page as Markdown.

    Args:
        about: The session: machine and versions.
        results: In the order of the page.
        pictures: Where the pictures are, as seen from the page.
    """
    parts = [_INTRO, _about(about), _verdict(results)]
    for result in results:
        parts.append(f"## {result.question}\n\n{result.method}\n")
        parts += [_table(table) for table in result.tables]
        parts += [f"![{chart.title}]({pictures}/{chart.name}.svg)\n" for chart in result.charts]
        parts.append(
            f"`python -m benchmarks --only {result.name}`, {result.measured_at[:10]}, "
            f"{result.seconds:.0f} s\n"
        )
    return "\n".join(parts)


def load(folder: Path, names: Sequence[str]) -> tuple[dict[str, Any], list[Result]]:
    """Read the session and the results that are there.

    Args:
        folder: Where they were written.
        names: Scenarios, in order.
    """
    about = json.loads((folder / "about.json").read_text())
    files = [folder / f"{name}.json" for name in names]
    return about, [Result.load(file) for file in files if file.exists()]


def _about(about: dict[str, Any]) -> str:
    machine, versions = about["machine"], about["versions"]
    memory = f"{machine['memory_bytes'] / 1e9:.0f} GB" if machine["memory_bytes"] else "?"
    rows = [
        ("processor", f"{machine['processor']}, {machine['cpus']} usable"),
        ("memory", memory),
        ("system", f"{machine['system']} {machine['architecture']}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return _rows(("", ""), rows)


def _verdict(results: Sequence[Result]) -> str:
    missed = [f"{result.name}, {words}" for result in results for words in result.missed]
    if not missed:
        return "All goals were met.\n"
    return "Goals missed:\n\n" + "\n".join(f"- {words}" for words in missed) + "\n"


def _table(table: Table) -> str:
    return f"**{table.title}**\n\n" + _rows(table.columns, table.rows)


def _rows(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    lines = [list(map(str, columns)), ["---"] * len(columns)]
    lines += [[str(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
