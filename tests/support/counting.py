"""A record that counts, and other processes that change it."""

import os
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from sd3async.limiter.stores import MachineStore, Store, open_store
from sd3async.limiter.stores.base import Work

Counted = tuple[int, float]
"""How many changes there have been, and the store's time at this one [s]."""

_TESTS = Path(__file__).parent.parent

_PROGRAM = f"""
import asyncio, gc, os, sys, time
sys.path.insert(0, {str(_TESTS)!r})
from support.counting import count, look, news, open_at
store = open_at(*sys.argv[1:])
def told(): return sys.stdin.readline().strip()
def tell(*words): print(*words, flush=True)
"""


def open_at(where: str, name: str) -> Store:
    """Open a record in a folder, or at a URL."""
    return open_store(where, name) if "://" in where else MachineStore(Path(where) / name)


def count(record: bytes, now: float) -> tuple[bytes, Counted]:
    """Add one to the second eight bytes."""
    number = int.from_bytes(record[8:], "little") + 1
    return (record[:8] or bytes(8)) + number.to_bytes(8, "little"), (number, now)


def look(record: bytes, now: float) -> tuple[bytes, Counted]:
    """Change nothing."""
    return record, (int.from_bytes(record[8:], "little"), now)


def news(beginning: bytes) -> Work[None]:
    """Set the first eight bytes."""
    return lambda record, _: (beginning + (record[8:] or bytes(8)), None)


@asynccontextmanager
async def program(code: str, where: str, name: str) -> AsyncGenerator[Process]:
    """Run a program beside the test, with `store`, `told()` and `tell()`; a warning ends it."""
    process = await create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", _PROGRAM + code, where, name),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")},
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        _ = await process.communicate()


async def hear(process: Process) -> str:
    """Return the next line that a program tells."""
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode().strip()
    if not line:
        assert process.stderr is not None
        raise AssertionError((await process.stderr.read()).decode())
    return line


async def tell(process: Process, line: str = "go") -> None:
    """Tell a program something."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n".encode())
    await process.stdin.drain()


async def ended_well(process: Process) -> bool:
    """Wait for a program's end; return whether it had nothing to complain of."""
    said, complaints = await process.communicate()
    assert complaints == b"", complaints.decode()
    return process.returncode == 0 and b"lost" not in said
