"""Time, injected. The clocks of tests live beside the emulator."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A pending call that can be called off."""

    def cancel(self) -> None:
        """Call it off; harmless when it has fired already."""


class Clock:
    """What the package asks of time; durations and instants are seconds. This one's is real.

    Instants come from `time.monotonic()`, not from the loop: some loops cache their time for a
    whole pass, which would date a write too early when the loop was blocked.
    """

    def monotonic(self) -> float:
        """Return an instant on a clock that never goes back."""
        return time.monotonic()

    def time(self) -> float:
        """Return the wall clock, in seconds since the epoch: only HTTP dates need it."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait; `seconds <= 0` yields to the loop once."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` once, from the running loop, in `seconds`."""
        return asyncio.get_running_loop().call_later(max(0.0, seconds), callback)


SYSTEM_CLOCK = Clock()
