"""Every await is a place to be cancelled at: nothing may stay behind, and no credit be forgotten."""

import asyncio
import collections
import gc
import random
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from sd3async import SD3Error
from sd3async._files import PartFile
from sd3async.bulk import BulkJob
from sd3async.emulator import Fault
from sd3async.emulator.virtual_time import LoopClock

Strike = Callable[[], object]

TWINS: list[dict[str, Any]] = [{"prompt": "twin", "seed": 5}] * 2
SOURCE: list[dict[str, Any]] = [*({"prompt": f"p{number}"} for number in range(5)), *TWINS]
REQUESTS = 6
FAULTS = [Fault.status(500), Fault.reset(), Fault.truncated(), Fault.rate_limited(retry_after=5.0)]
PLACES = 6  # tried in each way


class Passes:
    """Counts the passes of the running loop, and has things happen after some of them.

    A task that looked on would keep the loop busy, and virtual time with it.
    """

    def __init__(self) -> None:
        self.strikes = collections.defaultdict[int, list[Strike]](list)
        self.count = 0
        self._loop = asyncio.get_running_loop()
        self._pass: Strike = getattr(self._loop, "_run_once")  # noqa: B009  # private to asyncio
        vars(self._loop)["_run_once"] = self._next

    def _next(self) -> None:
        self._pass()
        self.count += 1
        for strike in self.strikes.pop(self.count, ()):
            strike()


def states(out: Path) -> set[str]:
    """Return the states of a journal's items; none before it has any."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(out / "journal.sqlite")) as db:
        return {state for (state,) in db.execute("SELECT state FROM items")}
    return set()


async def work(job: BulkJob) -> None:
    async with job:
        await job.run()


WAYS: dict[str, Callable[[asyncio.Task[None], BulkJob], list[Strike]]] = {
    "cancelled": lambda task, _: [task.cancel],
    "cancelled five times": lambda task, _: [task.cancel] * 5,
    "stopped": lambda _, job: [job.stop],
    "stopped and broken off": lambda _, job: [job.stop, job.cancel],
    "stopped and cancelled": lambda task, job: [job.stop, task.cancel],
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_job_that_ends_at_any_pass_of_the_loop_leaves_nothing(site: Any, way: str) -> None:
    """No task, part, lock or mark may stay behind; every credit is an image or a told doubt."""
    here = await site(latency=0.5, faults=FAULTS)
    passes, rng = Passes(), random.Random(way)
    trouble: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    await work(here.job(SOURCE, out=here.out / "whole", concurrency=3))
    usual = passes.count
    for place in range(PLACES):
        out = here.out / str(place)
        others, paid = asyncio.all_tasks(), here.emulator.paid
        here.emulator.faults.script(FAULTS)
        job = here.job(SOURCE, out=out, concurrency=3)
        task = asyncio.create_task(work(job))
        at = passes.count + rng.randint(1, usual)
        for strike in WAYS[way](task, job):
            passes.strikes[at].append(strike)
            at += rng.choice([0, 1, 2, 10])
        with suppress(asyncio.CancelledError, SD3Error):
            await task
        passes.strikes.clear()
        here.emulator.faults.clear()
        own = {each for each in asyncio.all_tasks() - others if "sd3async/bulk" in repr(each)}
        if job.summary is not None:
            assert "sent" not in states(out)
        async with here.job(SOURCE, out=out) as rest:
            await rest.run()

        assert own == set()
        assert (rest.stats.done, rest.stats.credits_spent) == (len(SOURCE), REQUESTS * 6.5)
        assert here.emulator.paid - paid - REQUESTS <= rest.stats.possibly_paid
        assert list(out.rglob("*.part")) == []
    gc.collect()

    assert trouble == []


async def test_a_job_outlasts_every_cancellation_until_its_flights_have_landed(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who goes before closes the journal under them, and their last word is lost."""
    here = await site(latency=5.0)
    may_end = threading.Event()
    abort = PartFile.abort

    def abort_later(part: PartFile) -> None:
        may_end.wait()
        abort(part)

    monkeypatch.setattr(PartFile, "abort", abort_later)
    task = asyncio.create_task(work(here.job(SOURCE, concurrency=3)))
    await asyncio.sleep(3.0)
    for _ in range(4):
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
    for _ in range(30_000):  # time for threads to let go of journal and folder, should they
        await asyncio.sleep(0)
    was_done = task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not was_done
    assert not [each for each in asyncio.all_tasks() if "sd3async/bulk" in repr(each)]
    assert list(here.out.rglob("*.part")) == []


async def test_two_jobs_on_one_client_keep_their_own_books(site: Any) -> None:
    """They share connections and limit, and nothing else; a broken observer hurts neither."""
    here = await site(latency=0.5)

    def fail(event: object) -> None:
        raise ValueError(event)

    client = here.client.with_options(observers=(fail,))
    one, two = (
        BulkJob(client, source, out=here.out / name, reports=False, clock=LoopClock())
        for name, source in (("one", SOURCE), ("two", [*SOURCE, {"prompt": "one more"}]))
    )
    async with one, two:
        await asyncio.gather(one.run(), two.run())

    assert (one.stats.done, one.stats.credits_spent) == (len(SOURCE), 6.5 * REQUESTS)
    assert (two.stats.done, two.stats.credits_spent) == (len(SOURCE) + 1, 6.5 * (REQUESTS + 1))
    assert here.emulator.paid == 2 * REQUESTS + 1


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.7, 3.0])
async def test_a_client_closed_under_a_job_costs_no_image_in_silence(
    site: Any, seconds: float
) -> None:
    """Whoever closes a shared client in a program's shutdown must find the bill in order."""
    here = await site(latency=0.5)
    async with here.job(SOURCE, concurrency=2) as job:
        task = asyncio.create_task(job.run())
        await asyncio.sleep(seconds)
        await here.client.aclose()
        with suppress(SD3Error):
            await task
    async with here.job(SOURCE) as rest:
        await rest.run()

    assert job.stats.failed == 0
    assert rest.stats.done == len(SOURCE)
    assert here.emulator.paid - REQUESTS <= rest.stats.possibly_paid
