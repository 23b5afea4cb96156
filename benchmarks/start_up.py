"""What does importing this project cost, beside importing aiohttp alone?"""

import json
import statistics
import subprocess
import sys

from benchmarks.plan import Plan
from benchmarks.results import Bar, Cell, Chart, Ratio, Result, Table, at_most, verdict

_METHOD = """Fresh interpreters, in turns, with compiled bytecode on disk; the CPU time of the one
import statement. The interpreter's own start is not in it."""
_GOAL = 1.4
_HEAVY = ("PIL", "rich", "click", "matplotlib", "sd3async.emulator", "sd3async.cli")
_SCRIPT = """
import json, sys, time
began = time.process_time()
import {module}
print(json.dumps([time.process_time() - began, [name for name in {heavy} if name in sys.modules]]))
"""


def run(plan: Plan) -> Result:
    """Import aiohttp, this project and other SDKs in turns."""
    names = ("aiohttp", "sd3async", "httpx", "openai")
    times: dict[str, list[float]] = {name: [] for name in names}
    loaded: list[str] = []
    for _ in range(3 if plan.quick else 15):
        for name in names:
            seconds, heavy = _import(name)
            times[name].append(seconds)
            if name == "sd3async":
                loaded = heavy
    return Result(
        method=_METHOD,
        tables=[_table(times), _loads(loaded)],
        charts=[_chart(times)],
    )


def _import(module: str) -> tuple[float, list[str]]:
    script = _SCRIPT.format(module=module, heavy=_HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    seconds, heavy = json.loads(done.stdout)
    return seconds, heavy


def _table(times: dict[str, list[float]]) -> Table:
    rows: list[list[Cell]] = []
    for name, own in times.items():
        ratio = Ratio.of(own, times["aiohttp"])
        goal = at_most(ratio.median, _GOAL) if name == "sd3async" else ""
        rows.append([name, str(ratio), f"{statistics.median(own) * 1e3:.0f} ms", goal])
    return Table(
        title="Import", columns=["module", "× aiohttp's", "median CPU time", "goal"], rows=rows
    )


def _loads(loaded: list[str]) -> Table:
    row = [", ".join(_HEAVY), ", ".join(loaded) or "none", f"none: {verdict(not loaded)}"]
    return Table(
        title="Loaded by `import sd3async`", columns=["looked for", "found", "goal"], rows=[row]
    )


def _chart(times: dict[str, list[float]]) -> Chart:
    ratios = {name: Ratio.of(own, times["aiohttp"]) for name, own in times.items()}
    return Chart(
        name="start_up",
        title="Import time",
        unit="times aiohttp alone (median and quartiles)",
        bars=[Bar(name, ratio.median, ratio.low, ratio.high) for name, ratio in ratios.items()],
        goal=_GOAL,
        goal_words="goal for sd3async: at most",
    )
