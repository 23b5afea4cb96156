"""One key in several processes: real clients, real stores, real time, and a server that is strict."""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sd3async.emulator import Emulator
from support.databases import Database

KEY = "sk-test0123456789abcdef"
LIMIT = {"max_requests": 40, "period": 2.0, "lockout": 3.0}

PROGRAM = """
import asyncio, json, sys, time
from sd3async import RateLimit, SD3Client

count, limit = int(sys.argv[1]), json.loads(sys.argv[2])

async def main():
    done = []
    print("ready", flush=True)
    sys.stdin.readline()
    async with SD3Client(rate_limit=RateLimit(**limit)) as client:
        async def one(number):
            await client.core(f"study {number}")
            done.append(time.monotonic())
            if number == 0:
                print("begun", flush=True)
        await asyncio.gather(*(one(number) for number in range(count)))
        print(json.dumps({"done": done, "freezes": client.freezes}))

asyncio.run(main())
"""


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    """A strict log, which dates requests up to 0.15 s late."""
    async with Emulator(
        max_requests=40, period=2.0, lockout=3.0, arrival_jitter=0.15, image_bytes=1000
    ) as running:
        yield running


@asynccontextmanager
async def processes(
    emulator: Emulator, where: str, *, how_many: int, each: int
) -> AsyncGenerator[list[Process]]:
    """Let programs that share a key begin at once, and see that all end."""
    share = where if "://" in where else "machine"
    settings = {
        "STABILITY_API_KEY": KEY,
        "STABILITY_BASE_URL": emulator.url,
        "SD3ASYNC_SHARE": share,
        "XDG_CACHE_HOME": where,
    }
    arguments = [sys.executable, "-c", PROGRAM, str(each), json.dumps(LIMIT)]
    running = [
        await asyncio.create_subprocess_exec(
            *arguments, env=os.environ | settings, stdin=PIPE, stdout=PIPE
        )
        for _ in range(how_many)
    ]
    await asyncio.gather(*(line(process, "ready") for process in running))
    for process in running:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
    try:
        yield running
    finally:
        for process in running:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                await process.wait()


async def line(process: Process, words: str) -> None:
    """Wait until a program prints these words."""
    assert process.stdout is not None
    assert await process.stdout.readline() == f"{words}\n".encode()


async def begun(process: Process) -> None:
    """Wait for a program's first image."""
    await line(process, "begun")


async def told(process: Process) -> dict[str, Any]:
    """Return what a program printed at its end."""
    out, _ = await process.communicate()
    told: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return told


async def test_four_processes_meet_no_429_and_share_alike(emulator: Emulator, where: str) -> None:
    """They used to lock each other out: 194 seconds for what one process did in 41."""
    async with processes(emulator, where, how_many=4, each=60) as running:
        began = time.monotonic()
        ends = await asyncio.gather(*map(told, running))

    assert dict(emulator.stats.by_status) == {200: 240}
    assert [end["freezes"] for end in ends] == [0, 0, 0, 0]
    # While all are busy; the first second goes to the first. In virtual time it is 1.3.
    served = [sum(2.5 < done - began < 10.5 for done in end["done"]) for end in ends]
    assert max(served) <= 1.5 * min(served)


async def test_a_killed_and_a_stopped_process_cost_nobody_a_429(
    emulator: Emulator, where: str
) -> None:
    """Nothing of theirs has to be cleaned up, and who wakes up late writes nothing on an old slot."""
    async with processes(emulator, where, how_many=4, each=60) as running:
        killed, stopped, *others = running
        await asyncio.gather(*map(begun, running))
        killed.kill()
        stopped.send_signal(signal.SIGSTOP)
        await asyncio.gather(*map(told, others))
        stopped.send_signal(signal.SIGCONT)
        await told(stopped)

    assert set(emulator.stats.by_status) == {200}
    assert emulator.stats.paid >= 3 * 60


async def test_a_429_in_one_process_stops_the_others(where: str) -> None:
    """Each of them would walk into the lock-out by itself, and may make it longer."""
    async with (
        Emulator(max_requests=40, period=2.0, lockout=3.0, image_bytes=1000) as emulator,
        processes(emulator, where, how_many=4, each=30) as running,
    ):
        await asyncio.gather(*map(begun, running))
        of_another_program = await break_the_limit(emulator)
        ends = await asyncio.gather(*map(told, running))
        refused = emulator.stats.refused - of_another_program

    assert all(end["freezes"] <= 1 for end in ends)
    assert emulator.stats.paid == 4 * 30
    assert refused <= 8, "more than was on its way"


async def break_the_limit(emulator: Emulator) -> int:
    """Send what is too much, without a limiter; return how much of it was refused."""
    headers = {"authorization": f"Bearer {KEY}"}
    url = f"{emulator.url}/v1/user/balance"
    async with aiohttp.ClientSession(headers=headers) as session:

        async def ask() -> int:
            async with session.get(url) as response:
                return response.status

        return [await ask() for _ in range(45)].count(429)


async def test_a_store_that_is_restarted_breaks_nothing(
    emulator: Emulator, database: Database
) -> None:
    """Calls wait; what the store has forgotten is taken for used up."""
    async with processes(emulator, database.url, how_many=2, each=50) as running:
        await asyncio.gather(*map(begun, running))
        database.stop()
        await asyncio.sleep(1.0)
        database.start()
        await asyncio.gather(*map(told, running))

    assert dict(emulator.stats.by_status) == {200: 100}


async def test_a_job_right_behind_another_meets_no_429(tmp_path: Path) -> None:
    """What the first run sent is still in the server's window, its two looks at the balance too."""
    settings = {
        "STABILITY_API_KEY": KEY,
        "SD3ASYNC_SHARE": "machine",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    async with Emulator(arrival_jitter=0.15, image_bytes=1000, latency=0.5) as emulator:
        for name, count in (("first", 100), ("second", 60)):
            manifest = tmp_path / f"{name}.txt"
            manifest.write_text("".join(f"{name} {number}\n" for number in range(count)))
            arguments = [str(manifest), "--out", str(tmp_path / name), "--base-url", emulator.url]
            job = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "sd3async", "bulk", "--no-report", *arguments),
                env=os.environ | settings,
                stderr=PIPE,
            )
            _, words = await job.communicate()
            assert job.returncode == 0, words.decode()

        assert emulator.paid == 160
        assert emulator.refused == 0
        assert emulator.max_in_any_window() == 150
