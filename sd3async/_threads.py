"""Blocking work off the event loop, in threads of our own."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeAlias, TypeVar, TypeVarTuple

P = ParamSpec("P")
T = TypeVar("T")
Args = TypeVarTuple("Args")
Dispose: TypeAlias = Callable[[T], object] | None


class _Threads(Executor):
    """As many threads as there are jobs at once, each kept for the next one.

    No job waits for a free thread: one that blocks for ever (a pipe, a network drive that hangs)
    costs its own thread and holds nobody up. They are daemons, because the interpreter joins the
    threads of a `ThreadPoolExecutor` before it exits, and would wait for such a job.
    """

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """Forget all threads: a forked process has none of them."""
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._spare = threading.Semaphore(0)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `Executor`."""
        future: Future[T] = Future()
        if not self._spare.acquire(blocking=False):
            threading.Thread(target=self._work, name="sd3async-worker", daemon=True).start()
        self._jobs.put((future, partial(fn, *args, **kwargs)))
        return future

    def _work(self) -> None:
        while True:
            future, work = self._jobs.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # noqa: BLE001  # it belongs to who awaits it
                    future.set_exception(error)
            del future, work  # what they hold must not wait for the next job
            self._spare.release()


_THREADS = _Threads()
os.register_at_fork(after_in_child=_THREADS.start_anew)


async def outlast(*futures: "asyncio.Future[Any]") -> asyncio.CancelledError | None:
    """Wait for tasks or threads through every cancellation, and return the last of these."""
    cancelled: asyncio.CancelledError | None = None
    while left := [future for future in futures if not future.done()]:
        try:
            await asyncio.wait(left)
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled


async def in_thread(work: Callable[[*Args], T], *args: *Args, dispose: Dispose[T] = None) -> T:
    """Run a blocking function in a thread, and never leave it running behind a cancellation.

    `asyncio.to_thread` returns at once when it is cancelled, while its thread goes on using a
    file that the caller is about to close. This waits for the thread, however often it is
    cancelled.

    Args:
        work: What to run; it should take milliseconds.
        *args: Its arguments.
        dispose: Given what it returned, in a thread and to its end, when the caller was cancelled.

    Returns:
        What it returns.
    """
    job = asyncio.get_running_loop().run_in_executor(_THREADS, work, *args)
    cancelled = await outlast(job)
    if cancelled is None:
        return job.result()
    if job.exception() is None and dispose:
        await in_thread(dispose, job.result())
    raise cancelled


async def in_thread_or_leave(
    work: Callable[[*Args], T], *args: *Args, dispose: Dispose[T] = None
) -> T:
    """Run a function that may block for ever, and leave it behind at once when cancelled.

    For reading what the caller handed in: a pipe, a network drive.

    Args:
        work: What to run.
        *args: Its arguments.
        dispose: Given what it returns after all, in a thread, when nobody waits any more.

    Returns:
        What it returns.
    """
    made: Future[T] = Future()

    def run() -> None:
        made.set_result(work(*args))

    try:
        await asyncio.get_running_loop().run_in_executor(_THREADS, run)
    except BaseException:
        if dispose:
            made.add_done_callback(lambda made: _THREADS.submit(dispose, made.result()))
        raise
    return made.result()
