"""At real scale, in real time: do 450 prompts through one gather meet a single 429?"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiolimiter import AsyncLimiter

from benchmarks import workers
from benchmarks.clients import stubborn_aiohttp
from benchmarks.plan import Plan
from benchmarks.results import Bar, Cell, Chart, Result, Table, at_most
from sd3async import RateLimit, SD3Client, gather_generations
from sd3async.cli.bench_emulator import emulator_process
from sd3async.limiter import Shape

_METHOD = """Real time, real HTTP: the emulator in a process of its own, with a strict sliding log of
150 requests in 10 s, a lock-out of 60 s, each request counted up to 250 ms after it arrived, and
images after 0.5 to 1.5 s. First this project's two bursting shapes, one after the other; then the
recipes people use, side by side, each with an emulator of its own: aiohttp's form, all prompts in
one `gather`, and up to two retries per prompt after 1 and 2 s, which is what the usual SDKs do."""
_PROMPTS = 450
_LEAST = 20.0  # [s] 450 prompts at 150 in any 10 s
_SHAPES: dict[Shape, float] = {"paced": 33.0, "burst": 23.5}
_NAIVE: dict[str, tuple[float, float] | None] = {
    "no limiter": None,
    "AsyncLimiter(150, 10)": (150, 10),
    "AsyncLimiter(75, 5)": (75, 5),
    "AsyncLimiter(15, 1)": (15, 1),
}


async def measure_ours(*, url: str, shape: Shape, prompts: int) -> dict[str, float]:
    """Generate everything; return how many images came, and in how many seconds."""
    workers.pin("client")
    texts = [f"prompt {number}" for number in range(prompts)]
    async with SD3Client(
        "sk-bench", base_url=url, rate_limit=RateLimit(shape=shape), share="process"
    ) as client:
        began = time.perf_counter()
        outcomes = await gather_generations(client, texts)
        seconds = time.perf_counter() - began
    return {"delivered": sum(outcome.ok for outcome in outcomes), "seconds": seconds}


async def _at_once() -> None:
    """Be no limiter."""


async def measure_naive(
    *, url: str, bucket: tuple[float, float] | None, prompts: int
) -> dict[str, float]:
    """Do the same with a common recipe."""
    limiter = AsyncLimiter(*bucket) if bucket else None
    async with stubborn_aiohttp(url, limiter.acquire if limiter else _at_once) as generate:
        began = time.perf_counter()
        images = await asyncio.gather(*(generate(f"prompt {n}") for n in range(prompts)))
        seconds = time.perf_counter() - began
    return {"delivered": sum(images), "seconds": seconds}


def run(plan: Plan) -> Result:
    """Run the shapes, then the recipes."""
    prompts = 300 if plan.quick else _PROMPTS
    found: dict[str, dict[str, Any]] = {}
    for shape in _SHAPES:
        found[f"sd3async, {shape}"] = _with_emulator(measure_ours, shape=shape, prompts=prompts)
    with ThreadPoolExecutor(len(_NAIVE)) as pool:
        futures = {
            name: pool.submit(_with_emulator, measure_naive, bucket=bucket, prompts=prompts)
            for name, bucket in _NAIVE.items()
        }
        found |= {name: future.result() for name, future in futures.items()}
    return Result(
        method=_METHOD,
        tables=[_table(found, prompts)],
        charts=[_chart(found, prompts)],
    )


def _with_emulator(worker: Any, **arguments: Any) -> dict[str, Any]:
    settings = {"latency": "0.5..1.5", "arrival_jitter": 0.25, "image_bytes": 10_000}
    with emulator_process(**settings) as emulator:
        workers.pin("server", emulator.pid)
        result: dict[str, Any] = workers.call(worker, url=emulator.url, **arguments)
    return result | emulator.stats


def _table(found: dict[str, dict[str, Any]], prompts: int) -> Table:
    goals = {f"sd3async, {shape}": seconds for shape, seconds in _SHAPES.items()}
    rows: list[list[Cell]] = []
    for name, case in found.items():
        goal = ""
        if name in goals:
            missing = prompts - case["delivered"]
            goal = f"429s {at_most(case['refused'], 0)}; missing {at_most(missing, 0)}; "
            goal += at_most(case["seconds"], goals[name], unit=" s")
        rows.append(
            [
                name,
                f"{case['delivered']} of {prompts}",
                f"{case['refused']:,}",
                case["max_in_any_window"],
                f"{case['seconds']:.1f} s",
                f"{case['seconds'] / _LEAST:.2f}" if case["delivered"] == prompts else "–",
                goal,
            ]
        )
    heads = ["limiter", "delivered", "429s", "worst window", "took", f"× {_LEAST:g} s", "goal"]
    return Table(title=f"{prompts} prompts, a sliding log, in real time", columns=heads, rows=rows)


def _chart(found: dict[str, dict[str, Any]], prompts: int) -> Chart:
    return Chart(
        name="acceptance",
        title=f"Images delivered of {prompts}, in real time",
        unit="images",
        bars=[Bar.exact(name, float(case["delivered"])) for name, case in found.items()],
    )
