"""How much memory this process holds, as the system sees it."""

import asyncio
import resource
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_MIB = 2**20


def forget_peak() -> None:
    """Let the peak begin anew, where the system can (Linux)."""
    with suppress(OSError):
        _CLEAR_REFS.write_text("5")


def peak() -> float:
    """Return the most memory held since `forget_peak`, or since the process began [MiB]."""
    return _read("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB


def now() -> float:
    """Return the memory held now [MiB]."""
    return _read("VmRSS") or peak()


async def watch(every: float, into: list[tuple[float, float]]) -> None:
    """Note (seconds since now, MiB) again and again, until cancelled."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        into.append((loop.time() - began, now()))
        await asyncio.sleep(every)


def _read(name: str) -> float | None:
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024 / _MIB
    return None
