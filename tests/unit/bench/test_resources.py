"""What a run costs the client's process."""

import asyncio

from sd3async.bench.resources import Meter
from sd3async.emulator.virtual_time import LoopClock


async def test_a_loop_that_runs_late_is_seen() -> None:
    """A blocked loop adds its delay to every latency: it must not go unseen."""
    async with Meter(LoopClock()) as meter:
        await asyncio.sleep(0.06)
        # Stands for work that blocks the loop: time passes and nothing else runs.
        asyncio.get_running_loop().jump(0.5)  # type: ignore[attr-defined]  # virtual time
        await asyncio.sleep(1.0)
    usage = meter.usage()

    assert 0.4 < usage.lag_max <= 0.5
    assert usage.lag_p99 == usage.lag_max


async def test_an_idle_loop_has_no_lag() -> None:
    """The measuring itself must not show."""
    async with Meter(LoopClock()) as meter:
        await asyncio.sleep(2.0)

    assert meter.usage().lag_max < 1e-6


async def test_memory_that_was_held_in_between_is_seen() -> None:
    """The peak matters, not what is left at the end."""
    async with Meter(LoopClock()) as small:
        await asyncio.sleep(0)
    before = small.usage().peak_rss
    async with Meter(LoopClock()) as large:
        ballast = bytearray(b"x" * 80_000_000)
        del ballast
    during = large.usage().peak_rss

    assert before is not None
    assert during is not None
    assert during - before > 60_000_000


async def test_processor_time_is_that_of_this_process() -> None:
    """A run that worked must not look idle."""
    async with Meter(LoopClock()) as meter:
        sum(range(300_000))
    usage = meter.usage()

    assert 0 < usage.cpu <= usage.wall * 8
