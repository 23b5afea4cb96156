"""What the limiter's tests run in: a loop with no sockets and no waiting."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sd3async.emulator.virtual_time import LoopClock, SocketlessLoop

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, start: float = 0.0) -> T:
    """Run `main` as `asyncio.run` would, with time beginning at `start` [s].

    The current event loop, which belongs to pytest-asyncio, is left as it is.
    """
    loop = SocketlessLoop(start)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(_cancel_the_others())
        loop.close()


async def _cancel_the_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


CLOCK = LoopClock()


async def at(instant: float) -> None:
    """Sleep until an instant of the loop's time, or yield once if it has passed."""
    await asyncio.sleep(max(0.0, instant - CLOCK.monotonic()))
