"""What a header says of a session: the machine, the versions, the limit, the command."""

import asyncio
import datetime
import os
import platform
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs

from sd3async.bench.workload import Workload
from sd3async.limiter import RateLimit

_CPUINFO = Path("/proc/cpuinfo")


def now() -> str:
    """Return the present instant, ISO 8601 in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def command_line(arguments: Sequence[str], secrets: Iterable[str]) -> str:
    """Return a command line that can be run again, with no key in it.

    Args:
        arguments: The program's arguments, its own name left out.
        secrets: What must not appear: every occurrence becomes `***`.
    """
    line = shlex.join(["sd3async", *arguments])
    for secret in secrets:
        if secret:
            line = line.replace(secret, "***")
    return line


def limit(of: RateLimit) -> dict[str, Any] | None:
    """Return a limit as a header has it; None when it holds nothing back.

    Args:
        of: The client's limit.
    """
    return None if of.is_unlimited else attrs.asdict(of)


def workload(of: Workload) -> dict[str, Any]:
    """Return a workload as a header has it: prompts are counted, not shown.

    Args:
        of: What is asked for.
    """
    return {
        "mix": dict(of.mix),
        "prompts": len(of.prompts),
        "model": of.model,
        "output_format": of.output_format,
        "upload_bytes": of.upload_bytes,
    }


def versions() -> dict[str, str]:
    """Return the versions that matter for the figures; call it in the running loop."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: metadata.version(name) for name in ("sd3async", "aiohttp")},
        "loop": type(asyncio.get_running_loop()).__module__.partition(".")[0],
    }


def machine() -> dict[str, Any]:
    """Return what is known of this computer; its name is nobody's business."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": _processor(),
        "cpus": _usable_cpus(),
        "memory_bytes": _memory_bytes(),
    }


def _processor() -> str:
    with suppress(OSError):
        for line in _CPUINFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _usable_cpus() -> int | None:
    with suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_bytes() -> int | None:
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
