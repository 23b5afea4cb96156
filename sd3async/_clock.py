"""Time, injected: the system's clock, the running loop's, and one a test turns by hand."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

import attrs


class Timer(Protocol):
    """A pending call that can be called off."""

    def cancel(self) -> None:
        """Call it off; harmless when it has fired already."""


class Clock(Protocol):
    """What the package asks of time. Durations and instants are seconds."""

    def monotonic(self) -> float:
        """Return an instant on a clock that never goes back."""
        ...

    def time(self) -> float:
        """Return the wall clock, in seconds since the epoch: only HTTP dates need it."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; `seconds <= 0` yields to the loop once."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` once, from the running loop, in `seconds`."""
        ...


class SystemClock:
    """Real time.

    Instants come from `time.monotonic()`, not from the loop: some loops cache their time for a
    whole pass, which would date a write too early when the loop was blocked.
    """

    def monotonic(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    def time(self) -> float:
        """Return `time.time()`."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait with `asyncio.sleep`."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Arm a timer of the running loop."""
        return asyncio.get_running_loop().call_later(max(0.0, seconds), callback)


class LoopClock(SystemClock):
    """The running loop's own time, for loops whose time is virtual.

    Args:
        epoch: Wall-clock time [s since the epoch] at loop time zero.
    """

    def __init__(self, epoch: float = 1_700_000_000.0) -> None:
        self._epoch = epoch

    def monotonic(self) -> float:
        """Return the running loop's time."""
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        """Return the epoch plus the running loop's time."""
        return self._epoch + self.monotonic()


@attrs.define(order=True)
class _VirtualTimer:
    when: float
    number: int
    callback: Callable[[], object] | None = attrs.field(order=False)

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    """Time that stands still until `advance` is called. One event loop at a time.

    Args:
        start: The first instant [s].
        epoch: Wall-clock time [s since the epoch] at instant zero.
    """

    def __init__(self, start: float = 0.0, epoch: float = 1_700_000_000.0) -> None:
        self._now = start
        self._epoch = epoch
        self._numbers = itertools.count()
        self._timers: list[_VirtualTimer] = []

    def __repr__(self) -> str:
        return f"{type(self).__name__}(now={self._now:.3f}, timers={len(self._timers)})"

    def monotonic(self) -> float:
        """Return the present instant."""
        return self._now

    def time(self) -> float:
        """Return the epoch plus the present instant."""
        return self._epoch + self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been advanced far enough."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        timer = self.call_later(seconds, wake)
        try:
            await woken
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Queue `callback` for the `advance` that passes its instant."""
        timer = _VirtualTimer(self._now + max(0.0, seconds), next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Move time forward, firing what falls due, in order.

        Args:
            seconds: How far; never negative.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"seconds: cannot go back by {-seconds} s")
        target = self._now + seconds
        while self._timers and self._timers[0].when <= target:
            timer = heapq.heappop(self._timers)
            self._now = max(self._now, timer.when)
            if timer.callback is not None:
                timer.callback()
        self._now = target


SYSTEM_CLOCK = SystemClock()
