"""The emulator in a process of its own, which tells at its end what it saw."""

import asyncio
import json
import math
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import attrs

from benchmarks import workers
from sd3async.emulator import Emulator
from sd3async.emulator.latency import Uniform

_REFUSED = 429


@attrs.define
class Running:
    """An emulator under way.

    Attributes:
        url: Where it listens.
        stats: What it saw (see `sd3async.emulator`), once it has ended; with the number of
            `lockouts`.
    """

    url: str
    stats: dict[str, Any] = attrs.field(factory=dict[str, Any])


@contextmanager
def running(**settings: Any) -> Generator[Running]:
    """Run an emulator while the block runs.

    Args:
        **settings: Of the emulator, as far as JSON carries them; `latency` is a pair of bounds.
    """
    command = [sys.executable, "-m", "benchmarks.emulator_process", json.dumps(settings)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the emulator has no pipes")
        emulator = Running(process.stdout.readline().strip())
        try:
            yield emulator
        finally:
            process.stdin.close()  # which is what ends it
            emulator.stats |= json.loads(process.stdout.readline() or "{}")


async def _serve(
    latency: tuple[float, float] = (0.0, 0.0), lockout: float = 60.0, **settings: Any
) -> None:
    loop = asyncio.get_running_loop()
    async with Emulator(latency=Uniform(*latency), lockout=lockout, **settings) as emulator:
        print(emulator.url, flush=True)
        await loop.run_in_executor(None, sys.stdin.read)
        stats = attrs.asdict(emulator.stats) | {"lockouts": _lockouts(emulator, lockout)}
        print(json.dumps(stats), flush=True)


def _lockouts(emulator: Emulator, lockout: float) -> int:
    """Count how often the key was shut out: each time, what comes meanwhile is refused too."""
    count, over_at = 0, -math.inf
    for at in sorted(request.at for request in emulator.requests if request.status == _REFUSED):
        if at >= over_at:
            count += 1
            over_at = at + lockout
    return count


if __name__ == "__main__":
    workers.pin("server")
    asyncio.run(_serve(**json.loads(sys.argv[1])))
