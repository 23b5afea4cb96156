"""How much memory do large uploads take, and how fast are they, beside aiohttp's own form?"""

import asyncio
import gc
import io
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import memory, raw_server, workers
from benchmarks.clients import KEY, PATH
from benchmarks.plan import Plan
from benchmarks.results import Cell, Chart, Ratio, Result, Series, Table, at_least, at_most
from sd3async import RateLimit, SD3Client
from sd3async.bench.resources import forget_peak
from sd3async.bench.workload import noise_png

_METHOD = """Image-to-image with a PNG of 9.4 MB, sent to a local server that only counts. Memory is
measured in a fresh process for each client: how far its peak grew from before the first upload.
For throughput and CPU the clients take turns in one process, each turn 20 uploads or more, and
each is compared with the open file's turn beside it; a first round is for warming up. aiohttp is
given the file in the three ways its users give it: open, in a BytesIO, and as bytes read for each
request."""
_SIZE = 9_400_000
_AT_ONCE = (1, 10, 50)
_TURN = 20  # uploads, at least
_GOAL = 64.0  # MiB
_WAYS = ["sd3async", "aiohttp, open file", "aiohttp, BytesIO", "aiohttp, bytes"]


async def measure(
    *, url: str, ways: list[str], path: str, at_once: int, rounds: int
) -> dict[str, Any]:
    """Upload, and return MiB of growth, and (CPU, wall) seconds per upload of each turn."""
    workers.pin("client")
    turns: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    async with AsyncExitStack() as stack:
        opened = {way: await _open(stack, f"{url}/image/1024", way, Path(path)) for way in ways}
        gc.collect()
        forget_peak()
        before = memory.now()
        for _ in range(1 + rounds):
            for way, upload in opened.items():
                turns[way].append(await _take_turn(upload, at_once))
        growth = memory.peak() - before
    return {"growth": growth, "turns": {way: taken[1:] for way, taken in turns.items()}}


async def _take_turn(upload: Any, at_once: int) -> tuple[float, float]:
    times = max(1, _TURN // at_once)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        await asyncio.gather(*(upload() for _ in range(at_once)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return cpu / (times * at_once), wall / (times * at_once)


async def _open(stack: AsyncExitStack, url: str, way: str, path: Path) -> Any:
    if way == "sd3async":
        client = await stack.enter_async_context(
            SD3Client(KEY, base_url=url, rate_limit=RateLimit.unlimited())
        )

        async def upload() -> None:
            await client.sd3("the same, in winter", image=path, strength=0.6)

        return upload

    session = await stack.enter_async_context(
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=300), headers={"authorization": f"Bearer {KEY}"}
        )
    )

    async def upload_form() -> None:
        form = aiohttp.FormData(
            {"prompt": "the same, in winter", "model": "sd3.5-large", "strength": "0.6"}
        )
        form.add_field("image", _give(way, path), filename="image.png", content_type="image/png")
        async with session.post(url + PATH, data=form) as response:
            response.raise_for_status()
            await response.read()

    return upload_form


def _give(way: str, path: Path) -> Any:
    if way.endswith("open file"):
        return path.open("rb")
    data = path.read_bytes()
    if way.endswith("BytesIO"):
        return io.BytesIO(data)
    return data


def run(plan: Plan) -> Result:
    """Upload with every client, so many at once."""
    growth: dict[tuple[str, int], float] = {}
    turns: dict[int, dict[str, list[tuple[float, float]]]] = {}
    with tempfile.TemporaryDirectory() as folder, raw_server.running() as url:
        path = Path(folder) / "image.png"
        path.write_bytes(noise_png(_SIZE))
        for at_once in _AT_ONCE:
            given: dict[str, Any] = {"url": url, "path": str(path), "at_once": at_once}
            for way in _WAYS:
                alone = workers.call(measure, ways=[way], rounds=1, **given)
                growth[way, at_once] = alone["growth"]
            rounds = 2 if plan.quick else 9
            turns[at_once] = workers.call(measure, ways=_WAYS, rounds=rounds, **given)["turns"]
    return Result(
        method=_METHOD,
        tables=[_table(at_once, growth, turns[at_once]) for at_once in _AT_ONCE],
        charts=[_chart(growth)],
    )


def _table(
    at_once: int,
    growth: dict[tuple[str, int], float],
    turns: dict[str, list[tuple[float, float]]],
) -> Table:
    rows: list[list[Cell]] = []
    basis = turns["aiohttp, open file"]
    for way in _WAYS:
        grown, taken = growth[way, at_once], turns[way]
        throughput = Ratio.of([wall for _, wall in basis], [wall for _, wall in taken])
        cpu = Ratio.of([cpu for cpu, _ in taken], [cpu for cpu, _ in basis])
        goals = (
            at_most(grown, _GOAL, unit=" MiB"),
            "throughput " + at_least(throughput.median, 1.0),
            "CPU " + at_most(cpu.median, 1.0),
        )
        rows.append(
            [
                way,
                f"{grown:.0f} MiB",
                str(throughput),
                str(cpu),
                f"{_SIZE / 1e6 / statistics.median(wall for _, wall in taken):,.0f} MB/s",
                "; ".join(goals) if way == "sd3async" else "",
            ]
        )
    heads = ["client", "memory grew by", "throughput × open file's", "CPU × open file's"]
    return Table(
        title=f"{at_once} upload{'s' if at_once > 1 else ''} of 9.4 MB at once",
        columns=[*heads, "throughput", "goal"],
        rows=rows,
    )


def _chart(growth: dict[tuple[str, int], float]) -> Chart:
    return Chart(
        name="uploads",
        title="Memory that uploads of 9.4 MB take",
        unit="growth of the process [MiB]",
        x_unit="uploads at once",
        lines=[
            Series(way, [(at_once, growth[way, at_once]) for at_once in _AT_ONCE]) for way in _WAYS
        ],
        goal=_GOAL,
        goal_words="goal for sd3async: at most",
    )
