"""An event loop whose time jumps: a minute of waiting passes in a blink, sockets and all.

Nothing here knows the emulator; it lives beside it because both serve tests. Whenever every task
waits and no byte is on its way, the loop moves its time to the next timer instead of sleeping.
Loopback sockets work, because what one end writes the other can read at once; so do threads,
because time stands still while a job handed to an executor runs. Other processes do not: their
work is invisible here.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

_GRACE = 0.0002  # [s] real time given to bytes that the kernel has not yet delivered
_TICK = 1e-6  # [s]


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


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time, like `asyncio.run`.

    Args:
        main: The coroutine.

    Returns:
        What it returns.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
