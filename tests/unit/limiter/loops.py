"""An event loop with no sockets and no waiting: when nothing is ready, time jumps."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from sd3async.emulator.virtual_time import LoopClock

T = TypeVar("T")

TICK = 1e-8


class StuckError(Exception):
    """Somebody waits, and nothing is left that could wake them."""


class _NoSelector(selectors.SelectSelector):
    loop: "SocketlessLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StuckError("nothing is ready and no timer is set")
        if not vars(self.loop)["_ready"]:
            # Time moves on, or aiolimiter would look again and again in one instant.
            self.loop.now += max(TICK, timeout)
        return []


class SocketlessLoop(asyncio.SelectorEventLoop):
    """A loop that a test can run for virtual hours; tens of times faster than one that polls."""

    def __init__(self, start: float = 0.0) -> None:
        selector = _NoSelector()
        selector.loop = self
        self.now = start
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return what is still to happen."""
        scheduled: list[asyncio.TimerHandle] = vars(self)["_scheduled"]
        return [timer for timer in scheduled if not timer.cancelled()]


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
