"""One key in many processes: what comes of it with and without sharing the limit?"""

import asyncio
import importlib
import importlib.util
import math
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import workers
from benchmarks.clients import stubborn_aiohttp
from benchmarks.plan import Plan
from benchmarks.recipes import LOCKOUT, PERIOD, REQUESTS, Acquire, window_of_limits
from benchmarks.results import Bar, Cell, Chart, Result, Table, at_most
from sd3async import Outcome, SD3Client, gather_generations
from sd3async.cli.bench_emulator import emulator_process

_METHOD = """Real time, real HTTP: four processes begin at the same moment, each with all its prompts
in one `gather`, and all with one key. The emulator is a process of its own, with a strict sliding
log of 150 requests in 10 s, a lock-out of 60 s, and each request counted up to 200 ms after it
arrived. This project's client shares the limit with nothing set up, or, with `share="process"`,
does not. limits and pyrate-limiter keep it in a Redis server, as their documentation has it; around
them is aiohttp's form, with up to two retries per prompt after 1 and 2 s. *Fairness* is when the
slowest process had half of its prompts over when the fastest had."""
_NO_REDIS = " limits and pyrate-limiter are left out: there is no Redis on this machine."
_PROCESSES = 4
_PROMPTS = 150  # each
_QUICK = 60
_SECONDS = 44.0  # for 600 prompts; 40 are possible
_BEGINNING = 4.0  # [s] for all processes to start
_UNSHARED = "sd3async, share='process'"
_SHARED = "sd3async, share='machine'"
_THEIRS = {"limits + Redis": "limits", "pyrate-limiter + Redis": "pyrate"}


async def measure_ours(
    *, url: str, prompts: int, begin_at: float, share: str, folder: str
) -> dict[str, Any]:
    """Return when each image came, and when all was over [s, from the beginning]."""
    workers.pin("client")
    os.environ["XDG_CACHE_HOME"] = folder  # this run's own
    done: list[float] = []

    def note(outcome: Outcome) -> None:
        if outcome.ok:
            done.append(time.time() - begin_at)

    texts = [f"prompt {number}" for number in range(prompts)]
    async with SD3Client("sk-bench", base_url=url, share=share) as client:
        await asyncio.sleep(begin_at - time.time())
        await gather_generations(client, texts, on_outcome=note)
    return {"done": done, "over": time.time() - begin_at}


async def measure_theirs(
    *, url: str, prompts: int, begin_at: float, recipe: str, redis: str
) -> dict[str, Any]:
    """Return when each image came, and when all was over [s, from the beginning]."""
    workers.pin("client")
    acquire = _limits(redis) if recipe == "limits" else await _pyrate_limiter(redis)
    done: list[float] = []
    async with stubborn_aiohttp(url, acquire) as generate:

        async def note(prompt: str) -> None:
            if await generate(prompt):
                done.append(time.time() - begin_at)

        await asyncio.sleep(begin_at - time.time())
        await asyncio.gather(*(note(f"prompt {number}") for number in range(prompts)))
    return {"done": done, "over": time.time() - begin_at}


def _limits(redis: str) -> Acquire:
    storage: Any = importlib.import_module("limits.aio").storage
    return window_of_limits(
        REQUESTS,
        PERIOD,
        storage.RedisStorage(
            f"async+{redis}", implementation="redispy", connection_pool=_connections(redis)
        ),
    )


async def _pyrate_limiter(redis: str) -> Acquire:
    pyrate: Any = importlib.import_module("pyrate_limiter")
    client: Any = importlib.import_module("redis.asyncio").Redis(
        connection_pool=_connections(redis)
    )
    rate = pyrate.Rate(REQUESTS, int(PERIOD) * pyrate.Duration.SECOND)
    limiter = pyrate.Limiter(await pyrate.RedisBucket.init([rate], client, "key"))
    return lambda: limiter.try_acquire_async("key")


def _connections(redis: str) -> Any:
    """Return a pool that callers wait for; the usual one fails the 101st of them."""
    pool: Any = importlib.import_module("redis.asyncio").BlockingConnectionPool
    return pool.from_url(redis, timeout=None)


def run(plan: Plan) -> Result:
    """Run the shared and the unshared client, then the others side by side."""
    prompts = _QUICK if plan.quick else _PROMPTS
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for name, share in ((_SHARED, "machine"), (_UNSHARED, "process")):
            found[name] = _measure(measure_ours, prompts, share=share, folder=folder)
        has_redis = shutil.which("redis-server") and importlib.util.find_spec("redis")
        if has_redis:
            servers = {name: stack.enter_context(_redis()) for name in _THEIRS}
            pool = stack.enter_context(ThreadPoolExecutor(len(_THEIRS)))
            futures = {
                name: pool.submit(
                    _measure, measure_theirs, prompts, recipe=recipe, redis=servers[name]
                )
                for name, recipe in _THEIRS.items()
            }
            found |= {name: future.result() for name, future in futures.items()}
    return Result(
        method=_METHOD if has_redis else _METHOD + _NO_REDIS,
        tables=[_table(found, prompts)],
        charts=[_chart(found, prompts)],
    )


def _measure(worker: Any, prompts: int, **arguments: Any) -> dict[str, Any]:
    """Run one worker in all processes, against an emulator of their own."""
    with (
        emulator_process(arrival_jitter=0.2, image_bytes=10_000) as emulator,
        ThreadPoolExecutor(_PROCESSES) as pool,
    ):
        workers.pin("server", emulator.pid)
        arguments |= {"url": emulator.url, "prompts": prompts}
        arguments["begin_at"] = time.time() + _BEGINNING
        futures = [pool.submit(workers.call, worker, **arguments) for _ in range(_PROCESSES)]
        processes: list[dict[str, Any]] = [future.result() for future in futures]
    half = prompts // 2
    halves = [sorted(each["done"])[half - 1] for each in processes if len(each["done"]) >= half]
    return emulator.stats | {
        "lockouts": _lockouts(emulator.stats["refused_at"]),
        "delivered": sum(len(each["done"]) for each in processes),
        "seconds": max(each["over"] for each in processes),
        "fairness": max(halves) / min(halves) if len(halves) == _PROCESSES else None,
    }


def _lockouts(refused_at: list[float]) -> int:
    """Count how often the key was shut out: each time, what comes meanwhile is refused too."""
    count, over_at = 0, -math.inf
    for at in sorted(refused_at):
        if at >= over_at:
            count += 1
            over_at = at + LOCKOUT
    return count


@contextmanager
def _redis() -> Generator[str]:
    """Run a Redis server that keeps nothing while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", folder]
        command += ["--save", "", "--appendonly", "no"]
        with (
            (Path(folder) / "log").open("w") as log,
            subprocess.Popen(command, stdout=log, stderr=log) as process,
        ):
            try:
                _wait_for(port, process)
                yield f"redis://127.0.0.1:{port}/0"
            finally:
                process.terminate()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the Redis server did not start")


def _table(found: dict[str, dict[str, Any]], prompts: int) -> Table:
    total = prompts * _PROCESSES
    goal = _SECONDS * prompts / _PROMPTS
    rows: list[list[Cell]] = []
    for name, case in found.items():
        words = ""
        if name == _SHARED:
            missing = total - case["delivered"]
            words = f"429s {at_most(case['refused'], 0)}; missing {at_most(missing, 0)}; "
            words += at_most(case["seconds"], goal, unit=" s")
        rows.append(
            [
                name,
                f"{case['delivered']} of {total}",
                f"{case['seconds']:.1f} s",
                f"{case['refused']:,}",
                case["lockouts"],
                f"{case['fairness']:.2f}" if case["fairness"] else "–",
                words,
            ]
        )
    heads = ["limiter", "delivered", "seconds", "429s", "lock-outs", "fairness", "goal"]
    title = f"{_PROCESSES} processes of {prompts} prompts with one key, in real time"
    return Table(title=title, columns=heads, rows=rows)


def _chart(found: dict[str, dict[str, Any]], prompts: int) -> Chart:
    return Chart(
        name="many",
        title=f"Images delivered of {prompts * _PROCESSES}, by {_PROCESSES} processes with one key",
        unit="images",
        bars=[Bar.exact(name, float(case["delivered"])) for name, case in found.items()],
    )
