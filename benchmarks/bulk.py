"""What does durability cost a bulk job, in time, in memory, and when it resumes?"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks import memory, raw_server, workers
from benchmarks.plan import Plan
from benchmarks.results import Cell, Chart, Ratio, Result, Series, Table, at_least, at_most
from sd3async import RateLimit, SD3Client, iter_generations
from sd3async.bulk import BulkJob
from sd3async.bulk.plan import plan as plan_job

_METHOD = """Images come from a local server that costs next to nothing; this project's rate limit is
switched off, 100 at once. *Overhead*: the same prompts through `iter_generations`, which keeps
nothing, through `iter_generations` with each image streamed to a file and made durable, and through
a bulk job, which also keeps a journal, a sidecar for each image and, at the end, its results;
fresh processes, in turns. One key at the documented limit brings 15 images a second, so the
headroom is what one process can do over that. *A million*: a job of a million prompts is taken in,
a few are generated, the process ends; then the same again, as after a crash. *Memory*: one run over
many prompts with images of 1 KB, its memory looked at twice a second."""
_CALLERS = 100
_SIZE = 1_500_000
_CEILING = 15.0  # images a second for one key
_KEYS_GOAL = 10.0  # keys whose images one process keeps up with: 150 images a second
_WAYS = ("nothing kept", "files", "bulk job")
_RESUME_GOAL = 200.0  # MiB, as for a dry run
_FLAT_GOAL = 1.25  # peak of the second half over that of the first


class _Killed(BaseException):
    """Leaves a job as a crash would: nothing is settled on the way out."""


@asynccontextmanager
async def _client(url: str, size: int) -> AsyncGenerator[SD3Client]:
    async with SD3Client(
        "sk-benchmark", base_url=f"{url}/image/{size}", rate_limit=RateLimit.unlimited()
    ) as client:
        yield client


def _prompts(count: int) -> Iterator[str]:
    return (f"a lighthouse at dusk, number {number}" for number in range(count))


async def measure_run(*, url: str, way: str, size: int, prompts: int) -> dict[str, float]:
    """Generate in one of the ways; return CPU and wall seconds per image."""
    with tempfile.TemporaryDirectory() as folder:
        async with _client(url, size) as client:
            await _run(client, "nothing kept", Path(folder), _CALLERS)  # connections, code paths
            wall, cpu = time.perf_counter(), time.process_time()
            await _run(client, way, Path(folder), prompts)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"cpu": cpu / prompts, "wall": wall / prompts}


async def _run(client: SD3Client, way: str, folder: Path, prompts: int) -> None:
    if way == "bulk job":
        job = BulkJob(
            client, _prompts(prompts), out=folder / "job", concurrency=_CALLERS, reports=False
        )
        async with job:
            await job.run()
        return
    if way == "files":
        await _run_to_files(client, folder, prompts)
        return
    async for outcome in iter_generations(client, _prompts(prompts), concurrency=_CALLERS):
        outcome.unwrap()


async def _run_to_files(client: SD3Client, folder: Path, prompts: int) -> None:
    texts = enumerate(_prompts(prompts))

    async def work() -> None:
        for number, text in texts:
            await client.sd3(text, to=folder / f"{number}.png")

    await asyncio.gather(*(work() for _ in range(_CALLERS)))


async def measure_resume(*, url: str, manifest: str, out: str) -> dict[str, float]:
    """Enter a job, generate a few, and leave as in a crash; return seconds and MiB."""
    async with _client(url, 1024) as client:
        job = BulkJob(client, manifest, out=out, concurrency=_CALLERS, reports=False)
        began = time.perf_counter()
        entered = landed = 0.0
        with suppress(_Killed):
            async with job:
                entered = time.perf_counter() - began
                done = 0
                async for _ in job:
                    done += 1
                    if done == 1:
                        landed = time.perf_counter() - began
                    if done == _CALLERS:
                        raise _Killed
    return {"entered": entered, "first": landed, "peak": memory.peak()}


async def measure_plan(*, manifest: str) -> dict[str, float]:
    """Plan a job without sending anything; return seconds, MiB and the price."""
    began = time.perf_counter()
    planned = await plan_job(manifest)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak": memory.peak(), "credits": planned.credits}


async def measure_curve(*, url: str, prompts: int) -> list[tuple[float, float]]:
    """Run a job over many prompts; return (images done, MiB)."""
    curve: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        async with _client(url, 1024) as client:
            job = BulkJob(
                client, _prompts(prompts), out=folder, concurrency=_CALLERS, reports=False
            )
            async with job:
                looked_at = 0.0
                async for _ in job:
                    now = time.perf_counter()
                    if now - looked_at > 0.5:
                        looked_at = now
                        curve.append((job.stats.done, memory.now()))
    return curve


def run(plan: Plan) -> Result:
    """Measure overhead, resuming, planning and memory."""
    count = 10_000 if plan.quick else 1_000_000
    with raw_server.running() as url, tempfile.TemporaryDirectory() as folder:
        overhead = _measure_overhead(plan, url)
        million = _measure_million(count, url, Path(folder))
        curve = workers.call(measure_curve, url=url, prompts=2_000 if plan.quick else 100_000)
    return Result(
        method=_METHOD,
        tables=[_overhead_table(overhead), _million_table(million, count), _curve_table(curve)],
        charts=[_chart(curve)],
    )


def _measure_overhead(plan: Plan, url: str) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {way: [] for way in _WAYS}
    for _ in range(2 if plan.quick else 5):
        for way in _WAYS:
            found[way].append(workers.call(measure_run, url=url, way=way, size=_SIZE, prompts=300))
    return found


def _overhead_table(found: dict[str, list[dict[str, float]]]) -> Table:
    rows: list[list[Cell]] = []
    basis = found[_WAYS[0]]
    for way, runs in found.items():
        cpu = Ratio.of([run["cpu"] for run in runs], [run["cpu"] for run in basis])
        wall = Ratio.of([run["wall"] for run in runs], [run["wall"] for run in basis])
        rate = 1 / statistics.median(run["wall"] for run in runs)
        cost = statistics.median(run["cpu"] for run in runs)
        row = [str(cpu), str(wall), f"{cost * 1e3:.1f} ms", f"{rate:,.0f}/s"]
        headroom = rate / _CEILING
        goal = at_least(headroom, _KEYS_GOAL) if way == "bulk job" else ""
        rows.append([way, *row, f"{headroom:.1f}", goal])
    heads = ["way", "CPU × nothing kept", "time × nothing kept", "CPU per image", "images"]
    return Table(
        title="Overhead, images of 1.5 MB", columns=[*heads, "× one key's limit", "goal"], rows=rows
    )


def _measure_million(count: int, url: str, folder: Path) -> dict[str, dict[str, float]]:
    manifest = folder / "manifest.jsonl"
    with manifest.open("w") as file:
        file.writelines(
            json.dumps({"endpoint": "core", "prompt": prompt}) + "\n" for prompt in _prompts(count)
        )
    out = str(folder / "job")

    def resume() -> Any:
        return workers.call(measure_resume, url=url, manifest=str(manifest), out=out)

    return {
        "plan it (a dry run)": workers.call(measure_plan, manifest=str(manifest)),
        "take it in, first image": resume(),
        "resume it, first image": resume(),
    }


def _million_table(found: dict[str, dict[str, float]], count: int) -> Table:
    rows: list[list[Cell]] = []
    for words, case in found.items():
        seconds = case.get("first") or case["seconds"]
        goal = at_most(case["peak"], _RESUME_GOAL, unit=" MiB")
        rows.append(
            [
                words,
                f"{seconds:.1f} s",
                f"{seconds / count * 1e6:.1f} µs",
                f"{case['peak']:.0f} MiB",
                goal,
            ]
        )
    return Table(
        title=f"A job of {count:,} prompts",
        columns=["what", "time", "per prompt", "peak of the process", "goal"],
        rows=rows,
    )


def _curve_table(curve: list[tuple[float, float]]) -> Table:
    half = len(curve) // 2
    first, second = (max(held for _, held in part) for part in (curve[:half], curve[half:]))
    done = curve[-1][0]
    row: list[Cell] = [f"{done:,.0f} images", f"{first:.0f} MiB", f"{second:.0f} MiB"]
    return Table(
        title="Memory of a long run",
        columns=[
            "run",
            "peak of the first half",
            "peak of the second half",
            "second / first",
            "goal",
        ],
        rows=[[*row, f"{second / first:.2f}", at_most(second / first, _FLAT_GOAL)]],
    )


def _chart(curve: list[tuple[float, float]]) -> Chart:
    every = max(1, len(curve) // 60)
    return Chart(
        name="bulk_memory",
        title="Memory of a bulk job while it runs",
        unit="memory of the process [MiB]",
        x_unit="images done",
        lines=[Series("sd3async, bulk job", curve[::every])],
    )
