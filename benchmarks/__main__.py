"""Run the benchmarks: `python -m benchmarks [--quick] [--only NAMES] [--out DIR]`."""

import argparse
import asyncio
import importlib
import importlib.util
import json
import sys
import time
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs

from benchmarks import page
from benchmarks.charts import draw
from benchmarks.plan import Plan, newest_python
from benchmarks.results import Result
from sd3async.bench import surroundings

_HERE = Path(__file__).resolve().parent
_PAGE = _HERE.parent / "docs" / "benchmarks.md"
SCENARIOS = (
    "acceptance",
    "many",
    "limit",
    "overhead",
    "uploads",
    "fan_out",
    "limiter_cost",
    "bulk",
    "start_up",
)
_PACKAGES = (
    "aiolimiter",
    "tenacity",
    "httpx",
    "openai",
    "limits",
    "pyrate-limiter",
    "redis",
    "uvloop",
)
_COLUMNS = {"overhead"}  # scenarios that have a column for the newest Python


def main() -> int:
    """Run what was asked for; 1 when a goal was missed."""
    options = _parse()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        plan = _plan(options, stack)
        about = _describe(plan)
        for name in options.only:
            print(f"{name} …", file=sys.stderr, flush=True)
            result = _run(name, plan)
            result.save(out / f"{name}.json")
            for chart in result.charts:
                draw(chart, out / f"{chart.name}.svg")
            for words in result.missed:
                print(f"  MISSED {words}", file=sys.stderr, flush=True)
    (out / "about.json").write_text(json.dumps(about, indent=1) + "\n")
    is_committed = out == _HERE / "results"
    target = _PAGE if is_committed else out / "benchmarks.md"
    about, results = page.load(out, SCENARIOS)
    target.write_text(page.render(about, results, "../benchmarks/results" if is_committed else "."))
    print(f"{target}", file=sys.stderr)
    return int(any(result.missed for result in results))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="scaled down, for a first look")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=list(SCENARIOS),
        metavar="NAMES",
        help=f"some of: {','.join(SCENARIOS)}",
    )
    parser.add_argument("--out", type=Path, default=_HERE / "results", metavar="DIR")
    options = parser.parse_args()
    unknown = set(options.only) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    options.out = options.out.resolve()
    return options


def _plan(options: argparse.Namespace, stack: ExitStack) -> Plan:
    wants_newest = not options.quick and _COLUMNS.intersection(options.only)
    newest = stack.enter_context(newest_python()) if wants_newest else None
    python, name = newest or (None, "")
    return Plan(
        quick=options.quick,
        uvloop=importlib.util.find_spec("uvloop") is not None,
        newest=python,
        newest_name=name,
    )


def _describe(plan: Plan) -> dict[str, Any]:
    async def versions() -> dict[str, str]:
        return surroundings.versions()

    known = asyncio.run(versions())
    known |= {name: metadata.version(name) for name in _PACKAGES if _is_installed(name)}
    if plan.newest:
        known["extra column"] = plan.newest_name
    return {
        "machine": surroundings.machine(),
        "versions": known,
    }


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _run(name: str, plan: Plan) -> Result:
    module = importlib.import_module(f"benchmarks.{name}")
    began = time.perf_counter()
    result: Result = module.run(plan)
    return attrs.evolve(
        result,
        name=name,
        question=(module.__doc__ or "").partition("\n")[0],
        measured_at=surroundings.now(),
        seconds=time.perf_counter() - began,
    )


if __name__ == "__main__":
    sys.exit(main())
