"""Items whose image the service makes in its own time: begun once, and fetched by whoever is there."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from sd3async.bulk.plan import plan
from sd3async.emulator import Emulator, Fault
from sd3async.emulator import latency as latencies
from support.killing import start_job
from support.pictures import picture

PRICE = 60.0  # [credits] of upscale.creative
DAY = 24 * 3600.0  # [s]
PATIENCE = 60.0  # [s] for a program on a busy machine


@pytest.fixture
def lines(tmp_path: Path) -> list[dict[str, Any]]:
    image = tmp_path / "start.png"
    image.write_bytes(picture())
    same = {"endpoint": "upscale.creative", "image": str(image)}
    return [same | {"prompt": f"p{number}"} for number in range(4)]


async def break_off(job: Any, after: float) -> None:
    """Run a job and break it off, as a second Ctrl-C does."""
    async with job:
        running = asyncio.create_task(job.run())
        await asyncio.sleep(after)
        job.cancel()
        await running


async def finish(job: Any) -> Any:
    async with job:
        await job.run()
    return job


async def test_what_is_begun_is_looked_for_until_it_is_there(site: Any, lines: Any) -> None:
    """A batch of creative upscales is a job like any other."""
    here = await site(result_latency=latencies.Constant(25.0))
    job = await finish(here.job(lines))

    assert (job.stats.done, job.stats.credits_spent) == (4, 4 * PRICE)
    assert (here.emulator.paid, here.emulator.stats.polls) == (4, 12)
    assert [record.attempts for record in job.records()] == [1] * 4
    assert len(here.files("*.png")) == 4


async def test_what_a_run_has_begun_the_next_one_fetches(site: Any, lines: Any) -> None:
    """Each of them costs 60 credits: beginning anew would pay it again."""
    here = await site(result_latency=latencies.Constant(60.0))
    first = here.job(lines)
    await break_off(first, after=30.0)
    planned = await plan(lines, out=here.out)
    job = await finish(here.job(lines))

    assert (first.stats.done, first.stats.possibly_paid) == (0, 0)
    assert first.stats.credits_started == planned.credits_started == 4 * PRICE
    assert (planned.to_send, planned.credits) == (0, 0.0)
    assert (job.stats.done, job.stats.possibly_paid, here.emulator.paid) == (4, 0, 4)


async def test_what_is_begun_counts_under_the_cap(site: Any, lines: Any) -> None:
    """Or two runs under a cap of 120 would cost 240."""
    here = await site(result_latency=latencies.Constant(60.0))
    await break_off(here.job(lines, max_credits=2 * PRICE), after=30.0)
    job = await finish(here.job(lines, max_credits=2 * PRICE))

    assert (job.stop_reason, here.emulator.paid) == ("budget", 2)
    assert (job.stats.done, job.stats.credits_spent) == (2, 2 * PRICE)


async def test_what_was_begun_and_has_come_counts_once_under_the_cap(site: Any, lines: Any) -> None:
    """Counted as begun and as spent, half of what was allowed would never be made."""
    here = await site(result_latency=latencies.Constant(5.0))
    job = await finish(here.job(lines, max_credits=4 * PRICE, concurrency=1))

    assert (job.stats.done, job.stop_reason) == (4, None)


async def test_a_held_job_fetches_what_is_begun(site: Any, lines: Any) -> None:
    """Nothing is in doubt about a generation whose id is known."""
    here = await site(result_latency=latencies.Constant(60.0))
    await break_off(here.job(lines, on_unknown="hold"), after=30.0)
    job = await finish(here.job(lines, on_unknown="hold"))

    assert (job.stats.done, job.stats.unknown, here.emulator.paid) == (4, 0, 4)


async def test_what_has_expired_is_a_doubt_and_begun_anew_when_asked(site: Any, lines: Any) -> None:
    """After a day the service has thrown it away, and it was paid."""
    here = await site(result_latency=latencies.Constant(5.0))
    await break_off(here.job(lines), after=2.0)
    await asyncio.sleep(DAY + 10)
    late = here.job(lines)
    async with late:
        begun = [late.stats.credits_started async for _ in late]
    again = await finish(here.job(lines, retry_failed=True))

    assert begun[-1] == 0.0
    assert (late.stats.failed, late.stats.possibly_paid) == (4, 4)
    assert (again.stats.done, here.emulator.paid) == (4, 8)
    assert again.stats.possibly_paid == 4


async def test_a_deadline_that_passes_in_the_wait_keeps_what_is_begun(
    site: Any, lines: Any
) -> None:
    """It was paid, and is still there."""
    here = await site(result_latency=latencies.Constant(60.0))
    late = await finish(here.job(lines, deadline=25.0))
    again = await finish(here.job(lines, retry_failed=True))

    assert (late.stats.failed, late.stats.possibly_paid) == (4, 4)
    assert (again.stats.done, here.emulator.paid) == (4, 4)


async def test_a_start_that_found_no_answer_is_a_doubt(site: Any, lines: Any) -> None:
    """Its id was lost with the connection: it may have been begun."""
    here = await site(faults=[Fault.hang_up()], result_latency=latencies.Constant(5.0))
    job = await finish(here.job(lines[:1]))

    assert (job.stats.done, job.stats.possibly_paid, here.emulator.paid) == (1, 1, 2)


async def test_trouble_while_looking_costs_nothing(site: Any, lines: Any) -> None:
    """A look that fails is made again; the image is not begun again."""
    here = await site(result_latency=latencies.Constant(5.0))
    here.emulator.faults.script([Fault.status(500)] * 7, path="results")
    job = await finish(here.job(lines[:1]))

    assert (job.stats.done, job.stats.possibly_paid, here.emulator.paid) == (1, 0, 1)


def test_a_job_killed_between_start_and_image_pays_once(
    sd3_emulator_factory: Any, tmp_path: Path
) -> None:
    """Killed three times while its images were made, it fetches all of them in the end."""
    emulator: Emulator = sd3_emulator_factory(
        limit=None, image_bytes=20_000, result_latency=latencies.Constant(0.5)
    )
    (tmp_path / "start.png").write_bytes(picture())
    manifest = tmp_path / "p.csv"
    rows = "".join(f"upscale.creative,p{number},start.png\n" for number in range(12))
    manifest.write_text("endpoint,prompt,image\n" + rows)
    for waited in (0.0, 0.3, 0.6):
        job = start_job(manifest, tmp_path / "out", emulator.url, "--concurrency=4")
        ends_at = time.monotonic() + PATIENCE
        while emulator.paid < 4:
            assert time.monotonic() < ends_at
            time.sleep(0.005)
        time.sleep(0.5 + waited)  # its answers have come, and the next look is seconds away
        job.kill()
        job.communicate()
    job = start_job(manifest, tmp_path / "out", emulator.url)
    _, err = job.communicate(timeout=PATIENCE)

    assert (job.returncode, emulator.paid) == (0, 12), err
    assert len(list((tmp_path / "out").rglob("*.png"))) == 12
