"""Time for tests: an event loop whose time jumps, and a clock that is turned by hand.

Nothing here knows the emulator; it lives beside it because both serve tests. In the loop a minute
of waiting passes in a blink, sockets and all: whenever every task waits and no byte is on its way,
it moves its time to the next timer instead of sleeping. Loopback sockets work, because what one end
writes the other can read at once; so do threads, because time stands still while a job handed to an
executor runs. Other processes do not: their work is invisible here.
"""

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

import attrs

from sd3async._clock import Clock, Timer

T = TypeVar("T")

_GRACE = 0.0002  # [s] real time given to bytes that the kernel has not yet delivered
_TICK = 1e-6  # [s]
_HAIR = 1e-8  # [s]


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for files as usual, but never for time."""

    loop: "VirtualTimeLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0 and not vars(self.loop)["_ready"]:
            self.loop.jump(_TICK)  # or who waits for a hair's breadth would look again for ever
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if self.loop.has_jobs:
            return super().select(None)
        ready = super().select(_GRACE)
        if not ready:
            self.loop.jump(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A selector event loop with virtual `time()`, starting at zero.

    Use it with `asyncio.Runner(loop_factory=VirtualTimeLoop)` or `run_in_virtual_time`, and give
    what is under test a `LoopClock`.
    """

    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self._virtual_now = 0.0
        self._jobs = 0
        super().__init__(selector)

    def time(self) -> float:
        """Return the virtual instant [s]."""
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        """Move time forward by `seconds`."""
        self._virtual_now += seconds

    @property
    def has_jobs(self) -> bool:
        """Whether a thread is at work for this loop."""
        return self._jobs > 0

    def run_in_executor(  # type: ignore[override]  # typeshed's overload set has no single form
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        """Run `func` in a thread; time stands still until it is done."""
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        future.add_done_callback(self._job_done)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Join the threads, however long that takes: in virtual time any patience is over at once.

        Args:
            timeout: Ignored.
        """
        await super().shutdown_default_executor()

    def _job_done(self, _: object) -> None:
        self._jobs -= 1


class StuckError(Exception):
    """Somebody waits, and nothing is left that could wake them."""


class _NoSelector(selectors.DefaultSelector):
    """Waits neither for time nor for files."""

    loop: "SocketlessLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.loop.pass_takes:
            self.loop.jump(max(timeout or 0.0, self.loop.pass_takes))
            return super().select(0)  # a thread may have something to say
        if timeout is None:
            raise StuckError("nothing is ready and no timer is set")
        if not vars(self.loop)["_ready"]:
            self.loop.jump(max(timeout, _HAIR))  # or who waits for less would look for ever
        return []


class SocketlessLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps, for what needs no sockets: tens of times faster.

    Args:
        start: The first instant [s].
        pass_takes: How much time each pass takes, also when something is ready [s]: some code looks
            again and again until the clock has moved. With 0 a pass takes none, and threads are
            not heard.
    """

    def __init__(self, start: float = 0.0, *, pass_takes: float = 0.0) -> None:
        selector = _NoSelector()
        selector.loop = self
        self._virtual_now = start
        self.pass_takes = pass_takes
        super().__init__(selector)

    def time(self) -> float:
        """Return the virtual instant [s]."""
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        """Move time forward by `seconds`."""
        self._virtual_now += seconds

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return what is still to happen."""
        scheduled: list[asyncio.TimerHandle] = vars(self)["_scheduled"]
        return [timer for timer in scheduled if not timer.cancelled()]


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time, like `asyncio.run`.

    Args:
        main: The coroutine.

    Returns:
        What it returns.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


class LoopClock(Clock):
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


@attrs.define(eq=False)  # each is itself alone, so that it can be kept in a set
class _VirtualTimer:
    when: float
    number: int
    callback: Callable[[], object] | None

    def __lt__(self, other: "_VirtualTimer") -> bool:
        return (self.when, self.number) < (other.when, other.number)

    def cancel(self) -> None:
        self.callback = None


class VirtualClock(Clock):
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
