"""How a job ends before its manifest does, and how it goes on."""

import asyncio
import contextlib
import errno
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sd3async import InvalidRequestError, PaymentRequiredError, RetryPolicy, SD3Client
from sd3async._files import PartFile
from sd3async.bulk import (
    BulkJob,
    Defaults,
    FolderError,
    JobError,
    JobLockedError,
    JournalError,
    StorageError,
)
from sd3async.bulk.keeping.folder import JobFolder
from sd3async.bulk.report.write import ReportWriter
from sd3async.emulator import Fault
from support.pictures import picture

PROMPTS = [f"p{number}" for number in range(40)]


async def start(job: BulkJob, seconds: float) -> "asyncio.Task[Any]":
    """Begin to run a job that has been entered, and let it run for so long."""
    task = asyncio.create_task(job.run())
    await asyncio.sleep(seconds)
    return task


async def test_stop_lands_what_is_in_flight_and_the_next_run_does_the_rest(site: Any) -> None:
    """The first Ctrl-C must cost nothing that was paid."""
    here = await site(latency=5.0)
    async with here.job(PROMPTS, concurrency=10) as job:
        task = await start(job, 7.0)
        job.stop()
        await task
    stopped = job.stats
    async with here.job(PROMPTS) as rest:
        await rest.run()

    assert job.stop_reason == "interrupted"
    assert (stopped.done, stopped.possibly_paid, stopped.unsent) == (20, 0, 20)
    assert rest.stats.done == here.emulator.paid == 40


async def test_stop_takes_back_what_only_waits_for_the_limit(site: Any) -> None:
    """During a lock-out nothing is with the server, so stopping must not take a minute."""
    here = await site(faults=[Fault.rate_limited()])
    async with here.job(PROMPTS, concurrency=4) as job:
        task = await start(job, 20.0)
        job.stop()
        before = asyncio.get_running_loop().time()
        await task

    assert asyncio.get_running_loop().time() - before < 1.0
    assert job.stats.frozen == 1
    assert job.stats.possibly_paid == 0
    assert job.stats.done + job.stats.unsent == 40


async def test_cancel_counts_what_was_in_flight_as_possibly_paid(site: Any) -> None:
    """The second Ctrl-C is quick; the bill must not hide what it broke off."""
    here = await site(latency=5.0)
    async with here.job(PROMPTS, concurrency=10) as job:
        task = await start(job, 7.0)
        job.cancel()
        await task
    async with here.job(PROMPTS) as rest:
        await rest.run()

    assert job.stats.possibly_paid == 10
    assert rest.stats.done == 40
    assert here.emulator.paid <= 40 + job.stats.possibly_paid
    assert here.files(".*.part") == []


async def test_cancelling_the_task_leaves_a_job_that_goes_on(site: Any) -> None:
    """A caller's own timeout must leave no task, no file and no lock behind."""
    here = await site(latency=5.0)
    tasks = asyncio.all_tasks()

    async def work() -> None:
        async with here.job(PROMPTS, concurrency=10) as job:
            await job.run()

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(work(), 7.0)
    own = {task for task in asyncio.all_tasks() - tasks if "sd3async/bulk" in repr(task)}
    assert own == set()
    assert here.files(".*.part") == []
    async with here.job(PROMPTS) as rest:
        await rest.run()
    assert rest.stats.done == 40


async def test_long_reports_can_be_called_off(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during ten thousand thumbnails must not wait for the last one."""
    here = await site()
    loop, started = asyncio.get_running_loop(), asyncio.Event()

    def make_for_ever(out: Path, images: Iterator[str]) -> None:
        for _ in images:
            loop.call_soon_threadsafe(started.set)

    monkeypatch.setattr("sd3async.bulk.report.write.make_thumbnails", make_for_ever)
    monkeypatch.setattr("sd3async.bulk.report.write.can_make_thumbnails", lambda: True)
    monkeypatch.setattr(ReportWriter, "images", itertools.repeat("one.png"))

    async def work() -> None:
        async with here.job(PROMPTS, reports=True) as job:
            await job.run()

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (here.out / "results.jsonl").exists()


async def test_the_cap_counts_what_is_in_flight_as_spent(site: Any) -> None:
    """A cap that is checked when images land is overshot by everything in flight."""
    here = await site(latency=5.0)
    async with here.job(PROMPTS, max_credits=65, concurrency=30) as job:
        await job.run()
    async with here.job(PROMPTS, max_credits=97.5) as more:
        await more.run()

    assert job.stop_reason == more.stop_reason == "budget"
    assert job.stats.credits_spent == 65
    assert here.emulator.credits_used == 97.5
    assert more.stats.unsent == 25


async def test_the_cap_counts_what_was_possibly_paid(site: Any) -> None:
    """Money that may be gone must not be spent a second time under the same cap."""
    here = await site(faults=[Fault.reset()] * 3)
    async with here.job(PROMPTS, max_credits=26, concurrency=1) as job:
        await job.run()

    assert job.stop_reason == "budget"
    assert here.emulator.credits_used <= 26
    assert job.stats.possibly_paid == 3
    assert job.stats.done == 1


async def test_the_cap_counts_what_failed_items_may_have_cost(site: Any) -> None:
    """An item that is given up has perhaps been paid, and the cap must know at once."""
    here = await site(retry=RetryPolicy(attempts=1), faults=[Fault.reset()] * 2)
    async with here.job(PROMPTS, max_credits=13.0, concurrency=1) as job:
        await job.run()

    assert here.emulator.paid == 2
    assert (job.stop_reason, job.stats.failed, job.stats.possibly_paid) == ("budget", 2, 2)


async def test_the_numbers_of_a_run_tell_failures_from_doubts_as_they_come(site: Any) -> None:
    """Whoever watches a job for a night decides by them whether to stop it."""
    here = await site(
        retry=RetryPolicy(attempts=1), faults=[Fault.status(403), Fault.reset()], latency=1.0
    )
    async with here.job(PROMPTS[:3], on_unknown="hold", concurrency=1) as job:
        seen = [(job.stats.failed, job.stats.unknown, job.stats.done) async for _ in job]

    assert seen == [(1, 0, 0), (1, 1, 0), (1, 1, 1)]
    assert (job.stats.retried, job.stats.frozen, job.stats.in_flight) == (0, 0, 0)


async def test_a_failed_item_frees_its_reservation(site: Any) -> None:
    """A refused prompt costs nothing, so another must fit in its place."""
    here = await site(faults=[Fault.status(403)] * 5)
    async with here.job(PROMPTS, max_credits=13, concurrency=30) as job:
        await job.run()

    assert (job.stats.done, job.stats.failed) == (2, 5)


async def test_402_stops_the_job_and_loses_nothing(site: Any) -> None:
    """An empty account must not turn a million prompts into a million failures."""
    here = await site(credits=65.0, latency=1.0)
    async with here.job(PROMPTS, concurrency=6) as job:
        await job.run()

    assert job.stop_reason == "payment"
    assert isinstance(job.failure, PaymentRequiredError)
    assert (job.stats.done, job.stats.failed, job.stats.unsent) == (10, 0, 30)
    assert job.stats.possibly_paid == 0


async def test_an_empty_key_of_a_pool_is_retired_and_the_job_goes_on(site: Any) -> None:
    """One empty account among several is no reason to stop."""
    here = await site(api_key=["a", "b"], credits={"a": 13.0, "b": 1000.0})
    async with here.job(PROMPTS) as job:
        await job.run()

    assert job.stop_reason is None
    assert job.stats.done == 40


async def test_unknown_charges_are_sent_again_and_counted(site: Any) -> None:
    """A lost answer must cost one more generation at most, and show in the sum."""
    here = await site(faults=[Fault.reset(), Fault.truncated(), Fault.status(500)])
    async with here.job(PROMPTS[:10]) as job:
        await job.run()

    assert job.stats.done == 10
    assert here.emulator.paid == 10 + job.stats.possibly_paid == 12
    assert job.stats.retried == 3


async def test_an_item_is_never_paid_for_more_often_than_there_are_attempts(site: Any) -> None:
    """Each try of these may be billed, so one more than asked for is money."""
    here = await site(retry=RetryPolicy(attempts=2), faults=[Fault.reset()] * 2)
    async with here.job(PROMPTS[:1]) as job:
        await job.run()

    assert here.emulator.paid == 2
    assert (job.stats.failed, job.stats.possibly_paid) == (1, 2)


async def test_what_is_sent_again_waits_as_long_as_the_policy_says(site: Any) -> None:
    """One answer that breaks off in each item would make a night's job a week's."""
    here = await site(retry=RetryPolicy(wait=0.1), faults=[Fault.reset(), None] * 4, latency=0.0)
    loop = asyncio.get_running_loop()
    async with here.job(PROMPTS[:4], concurrency=1) as job:
        before = loop.time()
        await job.run()

    assert job.stats.done == 4
    assert loop.time() - before < 5.0


async def test_unknown_charges_can_be_held_for_review(site: Any) -> None:
    """Who would rather look than pay twice must be able to."""
    here = await site(faults=[Fault.reset()])
    async with here.job(PROMPTS[:10], on_unknown="hold") as job:
        await job.run()
    async with here.job(PROMPTS[:10], on_unknown="hold") as still:
        await still.run()
    held = still.stats
    async with here.job(PROMPTS[:10]) as released:
        await released.run()

    assert (job.stats.done, job.stats.unknown, held.unknown) == (9, 1, 1)
    assert released.stats.done == 10
    assert here.emulator.paid == 11


async def test_failed_items_are_sent_again_only_when_asked(site: Any) -> None:
    """A moderated prompt resent on every resume would never end."""
    here = await site(faults=[Fault.status(403)] * 2)
    async with here.job(PROMPTS[:10]) as job:
        await job.run()
    async with here.job(PROMPTS[:10]) as again:
        await again.run()
    requests = here.emulator.stats.requests
    async with here.job(PROMPTS[:10], retry_failed=True) as retried:
        await retried.run()

    assert job.stats.failed == again.stats.failed == 2
    assert here.emulator.stats.requests == requests + 2 + 2  # the balance is asked twice
    assert (retried.stats.done, retried.stats.failed) == (10, 0)
    assert {record.attempts for record in retried.records()} == {1, 2}


async def test_a_deadline_fails_its_item_alone(site: Any) -> None:
    """One stuck request must not hold the job, nor take others with it."""
    here = await site(faults=[Fault.stall()], latency=1.0)
    async with here.job(PROMPTS[:5], deadline=10.0) as job:
        await job.run()

    assert (job.stats.done, job.stats.failed, job.stats.possibly_paid) == (4, 1, 1)
    (failed,) = [record for record in job.records() if record.state == "failed"]
    assert "deadline of 10 s" in failed.error


async def test_retries_do_not_starve_the_rest(site: Any) -> None:
    """Items that wait to be tried again must not stop the others from being sent."""
    here = await site(faults=[Fault.status(500)] * 8, latency=0.5)
    async with here.job(PROMPTS, concurrency=8) as job:
        first = [outcome.index async for outcome in job][:20]

    assert job.stats.done == 40
    assert len([index for index in first if index >= 8]) > 5


async def test_a_second_process_is_refused(site: Any) -> None:
    """Two writers would send everything twice."""
    here = await site()
    async with here.job(PROMPTS[:1]):
        with pytest.raises(JobLockedError, match=r"another process .* is at work"):
            await here.job(PROMPTS[:1]).__aenter__()


async def test_a_folder_with_images_and_no_journal_is_refused(site: Any) -> None:
    """Somebody's pictures must not be written over."""
    here = await site()
    (here.out / "images").mkdir(parents=True)
    with pytest.raises(FolderError, match="holds images but no journal"):
        await here.job(PROMPTS[:1]).__aenter__()


async def test_a_damaged_journal_is_said_in_a_sentence(site: Any) -> None:
    """A traceback out of SQLite tells nobody what to do."""
    here = await site()
    async with here.job(PROMPTS) as job:
        await job.run()
    journal = here.out / "journal.sqlite"
    journal.write_bytes(b"\x00garbage" * 2_000)
    with pytest.raises(JournalError, match=r"is damaged .* the images beside it are whole"):
        await here.job(PROMPTS).__aenter__()


async def test_a_folder_that_cannot_be_made_is_said_in_a_sentence(
    site: Any, tmp_path: Path
) -> None:
    """A wrong --out must be known before anything is sent."""
    here = await site()
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"cannot write in .*file/out"):
        await here.job(PROMPTS, out=tmp_path / "file" / "out").__aenter__()
    assert here.emulator.stats.requests == 0


async def test_a_full_disk_stops_the_job_and_what_was_done_stays(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk must stop the spending, and the next run must go on."""
    here = await site(latency=0.5)
    write, room = PartFile.write, 12

    def write_while_there_is_room(part: PartFile, data: bytes) -> None:
        nonlocal room
        if part.target.suffix == ".png":
            room -= 1
        if room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(part, data)

    monkeypatch.setattr(PartFile, "write", write_while_there_is_room)
    job = here.job(PROMPTS, concurrency=4)

    async def work() -> None:
        async with job:
            await job.run()

    with pytest.raises(StorageError, match="the disk is full; what was done is safe"):
        await work()
    monkeypatch.undo()
    paid = here.emulator.paid
    async with here.job(PROMPTS) as rest:
        await rest.run()

    assert paid <= 12 + 4
    assert rest.stats.resumed == 12
    assert rest.stats.done == 40
    assert here.emulator.paid == 40 + rest.stats.possibly_paid
    assert here.files(".*.part") == []


async def test_caution_after_a_full_disk_outlasts_an_item_that_fails(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal says nothing of the disk: the next item still goes alone, and goes."""
    here = await site(latency=0.1, faults=[None, *[Fault.status(403)] * 2])

    def refuse_to_write(_: PartFile, __: bytes) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(PartFile, "write", refuse_to_write)
    with pytest.raises(StorageError):
        async with here.job(PROMPTS, concurrency=1) as full:
            await full.run()
    monkeypatch.undo()
    async with here.job(PROMPTS) as job, asyncio.timeout(60.0):
        beside = [job.stats.in_flight async for outcome in job if not outcome.ok]

    assert (job.stats.failed, job.stats.done) == (2, 38)
    assert max(beside) <= 1


async def test_lockouts_longer_than_patience_fail_items_without_paying(site: Any) -> None:
    """A key that stays locked must end in failures that say so, not in a hang."""
    here = await site(
        retry=RetryPolicy(lockouts=1), faults=[Fault.rate_limited(lock_out=False)] * 2
    )
    async with here.job(PROMPTS[:1]) as job:
        await job.run()

    assert job.stats.failed == 1
    assert here.emulator.paid == 0


async def test_items_whose_start_image_vanished_end_one_after_the_other(
    site: Any, tmp_path: Path
) -> None:
    """What never stood in line for the limit must leave its place there all the same."""
    here = await site()
    source: list[dict[str, Any]] = []
    for number in range(40):
        start_image = tmp_path / f"{number}.png"
        start_image.write_bytes(picture())
        source.append({"prompt": "x", "image": str(start_image), "strength": 0.5})
    job = here.job([*source, "fine"])
    async with job, asyncio.timeout(60.0):
        for path in tmp_path.glob("*.png"):
            path.unlink()
        await job.run()

    assert (job.stats.failed, job.stats.done) == (40, 1)


async def test_what_may_have_been_paid_is_not_sent_again_after_stop(site: Any) -> None:
    """Ctrl-C must not begin a second payment for what the first one may have bought."""
    here = await site(latency=5.0, faults=[Fault.reset()] * 10)
    async with here.job(PROMPTS, concurrency=10) as job:
        task = await start(job, 3.0)
        job.stop()
        await task
    stopped = job.stats
    paid = here.emulator.paid
    async with here.job(PROMPTS) as rest:
        await rest.run()

    assert (paid, stopped.done, stopped.possibly_paid, stopped.unsent) == (10, 0, 10, 40)
    assert here.emulator.paid == 50


async def test_a_reader_who_falls_behind_holds_the_job_up(site: Any) -> None:
    """Outcomes that nobody takes must not gather in memory, nor images be paid unseen."""
    here = await site()
    async with here.job(PROMPTS, concurrency=4) as job:
        outcomes = aiter(job)
        await anext(outcomes)
        await asyncio.sleep(60.0)
        paid = here.emulator.paid

    assert 4 <= paid <= 1 + 2 * 4


async def test_a_service_that_was_never_reached_stops_the_job(site: Any) -> None:
    """A wrong address must be one sentence, not a million failures."""
    here = await site()
    await here.emulator.aclose()
    async with here.job(PROMPTS) as job:
        await job.run()

    assert job.stop_reason == "unreachable"
    assert (job.stats.failed, job.stats.possibly_paid, job.stats.unsent) == (0, 0, 40)


WRONG = {
    "404": Fault.status(404, page=True),
    "redirect": Fault.redirect("https://elsewhere.example/"),
    "html": Fault.html(),
    "json": Fault.no_image(paid=False),
    "forbidden": Fault.status(403, page=True),
    "bad gateway": Fault.status(502, paid=False),
}


@pytest.mark.parametrize("fault", WRONG.values(), ids=WRONG)
async def test_a_service_that_is_simply_wrong_stops_the_job(site: Any, fault: Fault) -> None:
    """A wrong base path must cost a handful of failures, not a million."""
    here = await site(faults={fault: 1.0}, retry=RetryPolicy(attempts=2))
    async with here.job(PROMPTS, concurrency=10) as job:
        await job.run()
    here.emulator.faults.by_chance({})
    async with here.job(PROMPTS, retry_failed=True) as rest:
        await rest.run()

    assert job.stop_reason == "service"
    assert job.stats.failed <= 4
    assert job.stats.unsent == 40 - job.stats.failed
    assert rest.stats.done == 40


async def test_a_base_path_that_serves_nothing_stops_the_job(site: Any, tmp_path: Path) -> None:
    """The gateway's address without its prefix answers 404 to everything."""
    here = await site(prefix="/sd")
    async with (
        SD3Client("sk-test", base_url=here.emulator.url.removesuffix("/sd")) as client,
        BulkJob(client, PROMPTS, out=tmp_path / "out", reports=False) as job,
    ):
        await job.run()

    assert job.stop_reason == "service"
    assert "404" in str(job.failure)
    assert job.stats.failed <= 4


async def test_a_model_that_the_service_refuses_stops_the_job(site: Any) -> None:
    """A model that was withdrawn must not fail a million lines that only have to name another."""
    here = await site(models=["sd3.5-flash"])
    lines = [{"prompt": prompt, "model": "sd3-medium"} for prompt in PROMPTS]
    defaults = Defaults(fields={"model": "sd3.5-flash"})
    async with here.job(["x", *lines], defaults=defaults, concurrency=1) as job:
        await job.run()

    assert job.stop_reason == "service"
    assert "model" in str(job.failure)
    assert (job.stats.done, job.stats.failed, job.stats.unsent) == (1, 4, 36)


async def test_an_endpoint_that_is_not_served_is_told_beside_one_that_is(site: Any) -> None:
    """Every other image comes, and half of a million items would fail for good."""
    here = await site(faults=[None, Fault.status(404)] * 5)
    lines = [{"prompt": "x", "endpoint": endpoint} for endpoint in ("sd3", "core") * 20]
    async with here.job(lines, concurrency=1) as job:
        await job.run()

    assert job.stop_reason == "service"
    assert (job.stats.done, job.stats.failed, job.stats.unsent) == (5, 4, 31)


async def test_what_is_wrong_with_items_stops_no_job(site: Any) -> None:
    """A hundred prompts that are flagged say nothing about the next one."""
    script = [Fault.status(code) for code in (400, 403, 413, 422)] * 5
    here = await site(faults=script)
    async with here.job(PROMPTS, concurrency=1) as job:
        await job.run()

    assert job.stop_reason is None
    assert (job.stats.done, job.stats.failed) == (20, 20)


async def test_a_service_that_has_worked_is_given_more_time(site: Any) -> None:
    """A proxy that restarts answers 404 for a second."""
    here = await site(faults=[None, *[Fault.status(404)] * 10])
    async with here.job(PROMPTS, concurrency=1) as job:
        await job.run()

    assert job.stop_reason is None
    assert (job.stats.done, job.stats.failed) == (30, 10)


async def test_a_doubt_about_a_wrong_service_is_held_when_asked(site: Any) -> None:
    """An answer of HTML may have been paid: who wants to look first gets to look."""
    here = await site(faults={Fault.html(paid=True): 1.0})
    async with here.job(PROMPTS, concurrency=1, on_unknown="hold") as job:
        await job.run()

    assert job.stop_reason == "service"
    assert (job.stats.unknown, job.stats.failed, job.stats.unsent) == (5, 0, 35)
    assert here.emulator.paid == job.stats.possibly_paid == 5


async def test_an_error_of_the_program_is_what_it_is(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who is told of a bad disk buys a new one."""
    here = await site(latency=1.0)
    seal, calls = JobFolder.seal, 0

    def seal_or_fail(folder: JobFolder, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise TypeError("unsupported operand, sk-secret0123456789")
        return seal(folder, *args)

    monkeypatch.setattr(JobFolder, "seal", seal_or_fail)
    job = here.job(PROMPTS, concurrency=4)
    with pytest.raises(JobError, match=r"TypeError: unsupported operand.* its traceback is in"):
        async with job:
            await job.run()
    monkeypatch.undo()
    log = (here.out / "error.log").read_text()
    async with here.job(PROMPTS) as rest:
        await rest.run()

    assert job.stop_reason == "error"
    assert isinstance(job.failure, JobError)
    assert isinstance(job.failure.__cause__, TypeError)
    assert "seal_or_fail" in log
    assert "secret" not in log + str(job.failure)
    assert len((here.out / "results.jsonl").read_text().splitlines()) == 40
    assert rest.stats.done == here.emulator.paid == 40


async def test_an_error_in_the_admission_is_what_it_is(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is read by a task of its own, whose errors must not be lost, nor renamed."""
    here = await site()

    async def fail(*_: Any) -> None:
        raise KeyError("place")

    async with here.job(PROMPTS) as job:
        monkeypatch.setattr("sd3async.bulk.keeping.journal.Journal.queue", fail)
        with pytest.raises(JobError, match="KeyError: 'place'"):
            await job.run()

    assert "KeyError" in (here.out / "error.log").read_text()


async def test_an_outage_is_sat_out(site: Any) -> None:
    """An hour without network in the night must cost an hour, and no item."""
    here = await site(latency=1.0)
    async with here.job(PROMPTS, concurrency=2) as job:
        task = await start(job, 5.5)
        port = int(here.emulator.url.rpartition(":")[2])
        await here.emulator.aclose()
        await asyncio.sleep(3600.0)
        here.emulator.port = port
        async with here.emulator:
            await task

    assert job.stats.done == 40
    assert job.stats.failed == 0


async def test_a_job_stopped_before_it_began_sends_nothing(site: Any) -> None:
    """A Ctrl-C that is a moment early is a Ctrl-C all the same."""
    here = await site()
    async with here.job(PROMPTS) as job:
        job.stop()
        await job.run()

    assert here.emulator.paid == 0
    assert job.stats.unsent == 40


async def test_a_job_stopped_before_it_was_entered_sends_nothing(site: Any) -> None:
    """Taking a million lines in takes a minute, in which people press a button, too."""
    here = await site()
    job = here.job(PROMPTS)
    job.stop()
    async with job:
        await job.run()

    assert (here.emulator.paid, job.stop_reason) == (0, "interrupted")
    assert job.stats.unsent == 40


async def test_a_job_that_is_stopped_when_all_is_done_was_not_interrupted(site: Any) -> None:
    """A program that stops its job in any case must not be told to run it again."""
    here = await site()
    async with here.job(PROMPTS) as job:
        await job.run()
        job.stop()
        job.cancel()

    assert (job.stats.done, job.stop_reason) == (40, None)


async def test_leaving_a_job_that_another_task_runs_lands_what_is_in_flight(site: Any) -> None:
    """Whoever leaves has closed the journal under images that are being paid for."""
    here = await site(latency=5.0)
    async with here.job(PROMPTS, concurrency=10) as job:
        task = await start(job, 7.0)
    stats = await task

    assert job.stop_reason == "interrupted"
    assert here.emulator.paid == job.stats.done == stats.done == 20
    assert (job.stats.possibly_paid, job.stats.unsent) == (0, 20)


async def test_a_job_is_entered_once(site: Any) -> None:
    """What is at its end must say so, in words that help."""
    here = await site()
    async with here.job(PROMPTS) as job:
        with pytest.raises(RuntimeError, match="make another BulkJob"):
            await job.__aenter__()
        await job.run()
    with pytest.raises(RuntimeError, match="make another BulkJob"):
        await job.__aenter__()
    async with here.job(PROMPTS) as again:
        await again.run()

    assert again.stats.resumed == 40


async def test_an_item_that_cannot_be_tried_again_under_the_cap_waits(site: Any) -> None:
    """A second try that could be charged needs room under the cap like a first one."""
    here = await site(faults=[Fault.reset()] * 2)
    async with here.job(PROMPTS[:1], max_credits=13) as job:
        await job.run()

    assert job.stop_reason == "budget"
    assert (job.stats.possibly_paid, job.stats.unsent, job.stats.failed) == (2, 1, 0)
    assert here.emulator.credits_used == 13


async def test_a_folder_that_became_read_only_stops_the_job_unpaid(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that could not be kept must not be asked for."""
    here = await site()

    def refuse(part: PartFile, target: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    job = here.job(PROMPTS)
    async with job:
        monkeypatch.setattr(PartFile, "__init__", refuse)
        with pytest.raises(StorageError, match="the disk is read-only"):
            await job.run()
        monkeypatch.undo()

    assert here.emulator.paid == 0
    assert job.stats.possibly_paid == 0
    assert job.stop_reason == "storage"


async def test_an_image_that_cannot_be_read_back_stops_the_job_and_is_adopted(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was paid, so the job stops for a disk that fails, and the next run finds it."""
    here = await site()
    job = here.job(["x"])

    def fail(_: Path) -> str:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("sd3async.bulk.keeping.folder.hash_file", fail)
        with pytest.raises(StorageError, match="the disk failed"):
            async with job:
                await job.run()
    async with here.job(["x"]) as again:
        await again.run()

    assert (job.stop_reason, again.stats.done, here.emulator.paid) == ("storage", 1, 1)


async def test_cancelling_while_things_land_breaks_them_off(site: Any) -> None:
    """Who cancels a job that is stopping wants out now."""
    here = await site(latency=500.0)
    job = here.job(PROMPTS, concurrency=3)

    async def work() -> None:
        async with job:
            await job.run()

    task = asyncio.create_task(work())
    await asyncio.sleep(5.0)
    job.stop()
    await asyncio.sleep(5.0)
    task.cancel()
    before = asyncio.get_running_loop().time()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert asyncio.get_running_loop().time() - before < 1.0


@pytest.mark.parametrize(
    "options",
    [{"concurrency": 0}, {"max_credits": -1}, {"deadline": 0}, {"on_unknown": "maybe"}],
    ids=["concurrency", "max_credits", "deadline", "on_unknown"],
)
async def test_bad_options_are_refused_by_name(site: Any, options: dict[str, Any]) -> None:
    """A cap of minus one must not be found out in the morning."""
    here = await site()
    with pytest.raises(InvalidRequestError, match=next(iter(options))):
        here.job(PROMPTS, **options)


async def test_a_job_must_be_entered_before_it_runs(site: Any) -> None:
    """The mistake is common, so its sentence says what to write."""
    here = await site()
    with pytest.raises(RuntimeError, match="async with BulkJob"):
        await here.job(PROMPTS).run()
