"""What does a prompt cost in memory and time when there are a million of them?"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from typing import Any

from benchmarks import memory, workers
from benchmarks.plan import Plan
from benchmarks.results import Cell, Chart, Ratio, Result, Series, Table, at_most
from sd3async import GeneratedImage, RateLimit, SD3Client, SD3Request, iter_generations
from sd3async.models.base import GenerationRequest

_METHOD = """Only the fan-out itself: the client's `generate` is replaced by one that yields to the
event loop once and returns an empty image, so that neither network nor server is in the numbers.
Prompts come from a generator, 150 at once; beside it `asyncio.gather` over all of them with a
semaphore. Peak memory of a fresh process each."""
_WIDTH = 150
_GOAL = 150.0  # MiB at a million
_WAYS = ("sd3async, iter_generations", "gather + semaphore")


class _InstantClient(SD3Client):
    """A client whose images are there at once, and empty."""

    async def generate(self, request: GenerationRequest, **_: Any) -> GeneratedImage:
        await asyncio.sleep(0)
        return GeneratedImage(
            data=b"",
            content_type="image/png",
            size=0,
            seed=None,
            finish_reason="SUCCESS",
            request_id=None,
            request=request,
            credits=request.credits,
        )


async def measure(*, way: str, prompts: int) -> dict[str, Any]:
    """Go through the prompts; return peak and growth [MiB], and CPU and wall seconds."""
    workers.pin("client")
    client = _InstantClient("sk-benchmark", rate_limit=RateLimit.unlimited())
    texts = (f"prompt {number}" for number in range(prompts))
    gc.collect()
    before = memory.now()
    wall, cpu = time.perf_counter(), time.process_time()
    done = 0
    async for _ in _outcomes(way, client, texts):
        done += 1
    if done != prompts:
        raise ValueError(f"{done} of {prompts} came back")
    return {
        "peak": memory.peak(),
        "growth": memory.peak() - before,
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
    }


async def _outcomes(way: str, client: SD3Client, texts: Any) -> AsyncIterator[object]:
    if way.startswith("sd3async"):
        async for outcome in iter_generations(client, texts, concurrency=_WIDTH):
            yield outcome
        return
    slots = asyncio.Semaphore(_WIDTH)

    async def generate(text: str) -> GeneratedImage:
        async with slots:
            return await client.generate(SD3Request(text))

    for image in await asyncio.gather(*map(generate, texts)):
        yield image


def run(plan: Plan) -> Result:
    """Fan out ever more prompts."""
    sizes = (1_000, 10_000) if plan.quick else (10_000, 100_000, 1_000_000)
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for size in sizes:
        for way in _WAYS:
            found[way, size] = workers.call(measure, way=way, prompts=size)
    return Result(
        method=_METHOD,
        tables=[_table(found, size) for size in sizes],
        charts=[_chart(found, sizes)],
    )


def _table(found: dict[tuple[str, int], dict[str, Any]], size: int) -> Table:
    rows: list[list[Cell]] = []
    basis = found[_WAYS[1], size]
    for way in _WAYS:
        own = found[way, size]
        rows.append(
            [
                way,
                f"{own['peak']:.0f} MiB",
                str(Ratio.of([own["growth"]], [basis["growth"]])).partition(" ")[0],
                str(Ratio.of([own["cpu"]], [basis["cpu"]])).partition(" ")[0],
                f"{own['cpu'] / size * 1e6:.0f} µs",
                at_most(own["peak"], _GOAL, unit=" MiB") if way.startswith("sd3async") else "",
            ]
        )
    heads = ["way", "peak of the process", "growth × gather's", "CPU × gather's"]
    return Table(title=f"{size:,} prompts", columns=[*heads, "CPU per prompt", "goal"], rows=rows)


def _chart(found: dict[tuple[str, int], dict[str, Any]], sizes: tuple[int, ...]) -> Chart:
    return Chart(
        name="fan_out",
        title="Peak memory against the number of prompts",
        unit="peak of the process [MiB]",
        x_unit="prompts",
        lines=[Series(way, [(size, found[way, size]["peak"]) for size in sizes]) for way in _WAYS],
        goal=_GOAL,
        goal_words="goal for sd3async: at most",
        scale="log",
        x_scale="log",
    )
