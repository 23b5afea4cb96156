"""What does a request cost through this client, beside what people use instead?"""

import asyncio
import gc
import statistics
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import attrs

from benchmarks import raw_server, workers
from benchmarks.clients import CLIENTS, Generate
from benchmarks.plan import Plan
from benchmarks.results import Bar, Cell, Chart, Ratio, Result, Table, at_most, verdict

_METHOD = """Each client asks a local server for text-to-image answers, one after the other with so
many callers at once. The server runs in a process of its own on the other core and does next to
nothing. The clients take turns of 100 or 20 requests in one process; each turn is compared with
plain aiohttp's turn beside it, and the table shows the median of those ratios and their quartiles.
This project's rate limit is switched off. OpenAI's SDK gets the same picture the way its own API
sends it, as base64 in JSON."""
_MB = 1_000_000


@attrs.frozen
class _Load:
    """One size of answer.

    Attributes:
        words: For the tables.
        size: Of the image [bytes].
        callers: At once.
        requests: In each turn.
        rounds: Turns of each client.
        goal: Most CPU beside plain aiohttp.
    """

    words: str
    size: int
    callers: int
    requests: int
    rounds: int
    goal: float


_LOADS = (
    _Load("1 KB answers, 50 callers", 1024, 50, 100, 21, 1.0),
    _Load("1.5 MB answers, 20 callers", 1_500_000, 20, 20, 21, 1.0),
)
_PROMPT = "a lighthouse at dusk, waves breaking on the rocks"


async def measure(
    *, url: str, clients: list[str], size: int, callers: int, requests: int, rounds: int
) -> dict[str, list[Any]]:
    """Let clients take turns; return (CPU, wall) seconds per request of each turn.

    Turns are short and the clients live in one process, so that whatever else the machine does
    meets all of them alike.
    """
    workers.pin("client")
    turns: dict[str, list[Any]] = {name: [] for name in clients}
    async with AsyncExitStack() as stack:
        opened = {
            name: await stack.enter_async_context(CLIENTS[name](f"{url}/image/{size}", callers))
            for name in clients
        }
        for generate in opened.values():  # connections, code paths, caches
            await _turn(generate, size, callers, requests)
        for _ in range(rounds):
            for name, generate in opened.items():
                turns[name].append(await _turn(generate, size, callers, requests))
    return turns


async def _turn(generate: Generate, size: int, callers: int, requests: int) -> tuple[float, float]:
    left = requests

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            image = await generate(_PROMPT)
            if len(image) != size:
                raise ValueError(f"{len(image)} bytes came instead of {size}")

    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return (time.process_time() - cpu) / requests, (time.perf_counter() - wall) / requests


def run(plan: Plan) -> Result:
    """Measure every client, and two of them again on other loops and Pythons."""
    tables: list[Table] = []
    charts: list[Chart] = []
    with raw_server.running() as url:
        for load in _LOADS:
            turns = _take_turns(plan, url, load, list(CLIENTS))
            tables.append(_table(load, turns))
            charts.append(_chart(load, turns))
        tables.append(_variants(plan, url))
    return Result(method=_METHOD, tables=tables, charts=charts)


def _take_turns(
    plan: Plan, url: str, load: _Load, clients: list[str], **how: Any
) -> dict[str, list[Any]]:
    turns: dict[str, list[Any]] = workers.call(
        measure,
        url=url,
        clients=clients,
        size=load.size,
        callers=load.callers,
        requests=load.requests,
        rounds=3 if plan.quick else load.rounds,
        **how,
    )
    return turns


def _cpu_ratio(turns: dict[str, list[Any]], client: str, basis: str = "aiohttp") -> Ratio:
    return Ratio.of([cpu for cpu, _ in turns[client]], [cpu for cpu, _ in turns[basis]])


def _table(load: _Load, turns: dict[str, list[Any]]) -> Table:
    rows: list[list[Cell]] = []
    for client, own in turns.items():
        ratio = _cpu_ratio(turns, client)
        rate = Ratio.of([wall for _, wall in turns["aiohttp"]], [wall for _, wall in own])
        row: list[Cell] = [client, str(ratio), str(rate)]
        row.append(f"{statistics.median(cpu for cpu, _ in own) * 1e6:,.0f} µs")
        row.append(_goal(load, turns) if client == "sd3async" else "")
        rows.append(row)
    heads = ["client", "CPU per request × aiohttp's", "requests per second × aiohttp's"]
    return Table(title=load.words, columns=[*heads, "CPU per request", "goal"], rows=rows)


def _goal(load: _Load, turns: dict[str, list[Any]]) -> str:
    ratio = _cpu_ratio(turns, "sd3async").median
    others = {name: _cpu_ratio(turns, name).median for name in ("httpx", "openai")}
    below = "; ".join(f"below {name}: {verdict(ratio < other)}" for name, other in others.items())
    return f"{at_most(ratio, load.goal)}; {below}"


def _chart(load: _Load, turns: dict[str, list[Any]]) -> Chart:
    ratios = {name: _cpu_ratio(turns, name) for name in turns}
    return Chart(
        name=f"overhead_{load.size}",
        title=f"CPU per request, {load.words}",
        unit="times plain aiohttp (median and quartiles)",
        bars=[Bar(name, ratio.median, ratio.low, ratio.high) for name, ratio in ratios.items()],
        goal=load.goal,
        goal_words="goal for sd3async: at most",
    )


def _variants(plan: Plan, url: str) -> Table:
    """Return this project beside plain aiohttp, each time on the same loop and the same Python."""
    rows: list[list[Cell]] = []
    for words, how in _ways(plan):
        row: list[Cell] = [words]
        for load in _LOADS:
            turns = _take_turns(plan, url, load, ["aiohttp", "sd3async"], **how)
            row.append(str(_cpu_ratio(turns, "sd3async")))
            row.append(f"{statistics.median(cpu for cpu, _ in turns['sd3async']) * 1e6:,.0f} µs")
        rows.append(row)
    heads = [head for load in _LOADS for head in (f"× aiohttp's, {load.words}", "CPU per request")]
    return Table(
        title="sd3async on other loops and Pythons", columns=["loop and Python", *heads], rows=rows
    )


def _ways(plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "asyncio, this Python", {}
    if plan.uvloop:
        yield "uvloop, this Python", {"uvloop": True}
    if plan.newest:
        yield f"asyncio, {plan.newest_name}", {"python": plan.newest}
        yield f"uvloop, {plan.newest_name}", {"python": plan.newest, "uvloop": True}
