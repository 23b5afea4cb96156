"""Blocking work off the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Args = TypeVarTuple("Args")


async def in_thread(function: Callable[[*Args], T], *args: *Args) -> T:
    """Run a blocking function in a thread, and never leave it running behind a cancellation.

    `asyncio.to_thread` returns at once when it is cancelled, while its thread goes on using a
    file that the caller is about to close. This waits for the thread first.

    Args:
        function: What to run; it should take milliseconds.
        *args: Its arguments.

    Returns:
        What it returns.
    """
    job = asyncio.get_running_loop().run_in_executor(None, function, *args)
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        await asyncio.wait([job])
        if not job.cancelled():
            job.exception()  # seen, so that the loop does not report it as forgotten
        raise
