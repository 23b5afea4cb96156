"""How much memory do large uploads take, and how fast are they, beside aiohttp's own form?"""

import asyncio
import gc
import io
import os
import statistics
import struct
import tempfile
import time
import zlib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import memory, raw_server, workers
from benchmarks.plan import Plan
from benchmarks.results import Cell, Chart, Ratio, Result, Series, Table, at_most
from sd3async import RateLimit, SD3Client

_METHOD = """Image-to-image with a PNG of 9.4 MB, sent to a local server that only counts. Each row is
a fresh process for each client, five rounds of so many uploads at once; memory is how far the peak
of the process grew from before the first. aiohttp is given the file in the three ways its users
give it: open, in a BytesIO, and as bytes read for each request."""
_SIZE = 9_400_000
_AT_ONCE = (1, 10, 50)
_GOAL = 64.0  # MiB
_WAYS = ("sd3async", "aiohttp, open file", "aiohttp, BytesIO", "aiohttp, bytes")
_KEY = "sk-benchmark"
_PATH = "/v2beta/stable-image/generate/sd3"


def make_png(path: Path) -> None:
    """Write a valid PNG of about `_SIZE` bytes: noise, which does not compress."""
    width, height = 1536, 2040
    rows = b"".join(b"\0" + os.urandom(width * 3) for _ in range(height))
    pieces = [b"\x89PNG\r\n\x1a\n"]
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b"")):
        checksum = zlib.crc32(kind + data)
        pieces.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum))
    path.write_bytes(b"".join(pieces))


async def measure(*, url: str, way: str, path: str, at_once: int, rounds: int) -> dict[str, Any]:
    """Upload, and return MiB of growth, and (CPU, wall) seconds per upload of each round."""
    workers.pin("client")
    turns: list[tuple[float, float]] = []
    async with AsyncExitStack() as stack:
        upload = await _open(stack, f"{url}/image/1024", way, Path(path))
        gc.collect()
        memory.forget_peak()
        before = memory.now()
        for _ in range(rounds):
            wall, cpu = time.perf_counter(), time.process_time()
            await asyncio.gather(*(upload() for _ in range(at_once)))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            turns.append((cpu / at_once, wall / at_once))
        growth = memory.peak() - before
    return {"growth": growth, "turns": turns}


async def _open(stack: AsyncExitStack, url: str, way: str, path: Path) -> Any:
    if way == "sd3async":
        client = await stack.enter_async_context(
            SD3Client(_KEY, base_url=url, rate_limit=RateLimit.unlimited())
        )

        async def upload() -> None:
            await client.sd3("the same, in winter", image=path, strength=0.6)

        return upload

    session = await stack.enter_async_context(
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=300), headers={"authorization": f"Bearer {_KEY}"}
        )
    )

    async def upload_form() -> None:
        form = aiohttp.FormData(
            {"prompt": "the same, in winter", "model": "sd3.5-large", "strength": "0.6"}
        )
        form.add_field("image", _give(way, path), filename="image.png", content_type="image/png")
        async with session.post(url + _PATH, data=form) as response:
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
    found: dict[tuple[str, int], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, raw_server.running() as url:
        path = Path(folder) / "image.png"
        make_png(path)
        for at_once in _AT_ONCE:
            for way in _WAYS:
                found[way, at_once] = workers.call(
                    measure,
                    url=url,
                    way=way,
                    path=str(path),
                    at_once=at_once,
                    rounds=2 if plan.quick else 5,
                )
    return Result(
        name="",
        question="",
        method=_METHOD,
        tables=[_table(found, at_once) for at_once in _AT_ONCE],
        charts=[_chart(found)],
    )


def _table(found: dict[tuple[str, int], dict[str, Any]], at_once: int) -> Table:
    rows: list[list[Cell]] = []
    basis = found["aiohttp, open file", at_once]["turns"]
    for way in _WAYS:
        growth, turns = found[way, at_once]["growth"], found[way, at_once]["turns"]
        rows.append(
            [
                way,
                f"{growth:.0f} MiB",
                str(Ratio.of([wall for _, wall in basis], [wall for _, wall in turns])),
                str(Ratio.of([cpu for cpu, _ in turns], [cpu for cpu, _ in basis])),
                f"{_SIZE / 1e6 / statistics.median(wall for _, wall in turns):,.0f} MB/s",
                at_most(growth, _GOAL, unit=" MiB") if way == "sd3async" else "",
            ]
        )
    heads = ["client", "memory grew by", "throughput × open file's", "CPU × open file's"]
    return Table(
        title=f"{at_once} upload{'s' if at_once > 1 else ''} of 9.4 MB at once",
        columns=[*heads, "throughput", "goal"],
        rows=rows,
    )


def _chart(found: dict[tuple[str, int], dict[str, Any]]) -> Chart:
    return Chart(
        name="uploads",
        title="Memory that uploads of 9.4 MB take",
        unit="growth of the process [MiB]",
        x_unit="uploads at once",
        lines=[
            Series(way, [(at_once, found[way, at_once]["growth"]) for at_once in _AT_ONCE])
            for way in _WAYS
        ],
        goal=_GOAL,
        goal_words="goal for sd3async: at most",
    )
