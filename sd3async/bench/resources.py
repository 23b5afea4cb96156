"""What a run costs the client's own process: processor, memory, and a loop that runs late."""

import asyncio
import resource
import sys
import time
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

from sd3async._clock import SYSTEM_CLOCK, Clock
from sd3async._percentiles import percentile
from sd3async.bench.samples import Usage

_TICK = 0.05  # [s] between two looks at the loop: fine enough to see, too rare to matter
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class Meter:
    """Measures while its block runs.

    Args:
        clock: The loop's time, for its lag.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lags = array("d")
        self._ticker: asyncio.Task[None] | None = None
        self._wall = self._cpu = 0.0

    async def __aenter__(self) -> Self:
        forget_peak()
        self._ticker = asyncio.create_task(self._tick())
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._wall = time.perf_counter() - self._wall
        self._cpu = time.process_time() - self._cpu
        if self._ticker is not None:
            self._ticker.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticker

    def usage(self) -> Usage:
        """Return what was measured, once the block has ended."""
        lags = sorted(self._lags) or [0.0]
        return Usage(
            wall=self._wall,
            cpu=self._cpu,
            peak_rss=memory("VmHWM"),
            lag_p99=percentile(lags, 99),
            lag_max=lags[-1],
        )

    async def _tick(self) -> None:
        while True:
            due = self._clock.monotonic() + _TICK
            await self._clock.sleep(_TICK)
            self._lags.append(max(0.0, self._clock.monotonic() - due))


def forget_peak() -> None:
    """Let the peak begin anew, where the system can (Linux); else it is that of the process."""
    with suppress(OSError):
        _CLEAR_REFS.write_text("5")


def memory(which: Literal["VmRSS", "VmHWM"]) -> int:
    """Return how much memory this process holds [bytes].

    Args:
        which: `VmRSS` for now, `VmHWM` for the most since `forget_peak`; elsewhere than on Linux
            both are the most since the process began.
    """
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{which}:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
