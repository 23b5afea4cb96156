"""Measurements in processes of their own, so that none inherits another's memory or warmth.

A worker is a module-level function with keyword arguments and a result that JSON can carry. Its
process may run under another interpreter, or under uvloop.
"""

import asyncio
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

_ROOT = Path(__file__).resolve().parent.parent
_CPUS_NEEDED = 2


def call(
    worker: Callable[..., Any],
    *,
    python: str = sys.executable,
    uvloop: bool = False,
    **arguments: Any,
) -> Any:
    """Run a worker in a fresh process and return its result.

    Args:
        worker: What to run.
        python: The interpreter; it needs this project's dependencies.
        uvloop: Whether its event loops are uvloop's.
        **arguments: What to call it with.

    Raises:
        RuntimeError: It failed; the message ends with its own last words.
    """
    order = {
        "module": worker.__module__,
        "name": worker.__qualname__,
        "arguments": arguments,
        "uvloop": uvloop,
    }
    done = subprocess.run(
        [python, "-m", "benchmarks.workers"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=False,
        cwd=_ROOT,
    )
    if done.returncode:
        raise RuntimeError(f"{order['name']} failed: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def pin(role: Literal["client", "server"], pid: int = 0) -> None:
    """Keep a process, this one unless told, on a processor of its own, where there are two."""
    with suppress(AttributeError, OSError):
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) >= _CPUS_NEEDED:
            os.sched_setaffinity(pid, {cpus[0] if role == "client" else cpus[-1]})


def run_async(main: Coroutine[Any, Any, Any], *, uvloop: bool = False) -> Any:
    """Run a coroutine to its end, in asyncio's own loop or in uvloop's."""
    if not uvloop:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=importlib.import_module("uvloop").new_event_loop) as runner:
        return runner.run(main)


def _obey(order: dict[str, Any]) -> Any:
    worker = getattr(importlib.import_module(order["module"]), order["name"])
    result = worker(**order["arguments"])
    return run_async(result, uvloop=order["uvloop"]) if asyncio.iscoroutine(result) else result


if __name__ == "__main__":
    print(json.dumps(_obey(json.load(sys.stdin))))
