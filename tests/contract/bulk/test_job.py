"""A whole job: files, sidecars, results, and the same again."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sd3async import CoreRequest, InvalidRequestError, SD3Request
from sd3async.bulk import BulkJob, Defaults, ManifestError
from sd3async.bulk.plan import plan
from sd3async.emulator import Fault
from sd3async.emulator.virtual_time import LoopClock
from support.pictures import picture


async def test_a_program_gets_every_format_it_asks_for(site: Any) -> None:
    """Who works from Python needs no command line for a table."""
    here = await site()
    async with here.job(["a", "b"], formats=["parquet", "webdataset", "parquet"]) as job:
        await job.run()

    assert (here.out / "results.parquet").exists()
    assert [path.name for path in here.files("*.tar")] == ["000000.tar"]


@pytest.mark.parametrize("formats", [["gif"], "parquet", [3]], ids=repr)
async def test_a_format_that_is_none_is_refused_at_once(site: Any, formats: Any) -> None:
    """A misspelt word must not be found out when everything is paid."""
    here = await site()
    with pytest.raises(InvalidRequestError, match="formats: is"):
        here.job(["a"], formats=formats)


async def test_every_line_becomes_an_image_with_a_sidecar_and_a_result(
    site: Any, tmp_path: Path
) -> None:
    """An image without its request, seed and price is a riddle a week later."""
    here = await site()
    manifest = tmp_path / "prompts.jsonl"
    manifest.write_text(
        '{"prompt": "a cat", "id": "cat", "tags": ["pet"], "seed": 7}\n'
        '{"prompt": "a dog", "endpoint": "core"}\n'
    )
    async with here.job(manifest) as job:
        outcomes = [outcome async for outcome in job]

    assert sorted(outcome.index for outcome in outcomes) == [0, 1]
    data = (here.out / "images/000000/00000000.png").read_bytes()
    sidecar = json.loads((here.out / "images/000000/00000000.json").read_text())
    assert sidecar["id"] == "cat"
    assert sidecar["tags"] == ["pet"]
    assert sidecar["model"] == "sd3.5-large"
    assert sidecar["sha256"] == hashlib.sha256(data).hexdigest()
    assert (sidecar["seed"], sidecar["credits"], sidecar["size"]) == (7, 6.5, len(data))
    assert sidecar["request_id"] in {seen.request_id for seen in here.emulator.requests}
    rows = [json.loads(line) for line in (here.out / "results.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == ["a cat", "a dog"]
    assert [row["state"] for row in rows] == ["done", "done"]
    assert job.summary is not None
    assert job.summary.credits_spent == here.emulator.credits_used == 9.5


async def test_images_do_not_stay_in_the_page_cache(site: Any, tmp_path: Path) -> None:
    """A job of a terabyte would push out all that the machine works with, and cost more CPU."""
    probe = tmp_path / "probe"
    probe.write_bytes(b"x")
    with probe.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if is_cached(probe):
        pytest.skip("this file system is memory")
    here = await site()
    async with here.job([f"p{number}" for number in range(20)]) as job:
        await job.run()

    # One may be in the system's own hands at the moment when it is let go.
    assert sum(is_cached(path) for path in here.files("*.png")) <= 2


def is_cached(path: Path) -> bool:
    with path.open("rb") as stream:
        try:
            return bool(os.preadv(stream.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT))
        except BlockingIOError:
            return False


async def test_the_same_job_again_sends_nothing(site: Any) -> None:
    """Resuming must never pay for what is there."""
    here = await site()
    prompts = [f"p{number}" for number in range(20)]
    async with here.job(prompts) as job:
        await job.run()
    async with here.job(prompts) as again:
        outcomes = [outcome async for outcome in again]

    assert outcomes == []
    assert here.emulator.paid == 20
    assert again.stats.resumed == again.stats.done == 20


async def test_a_job_without_a_source_goes_on_with_its_journal(site: Any) -> None:
    """An iterable that is gone must not strand the job that was made of it."""
    here = await site()
    async with here.job((f"p{number}" for number in range(5)), max_credits=13) as job:
        await job.run()
    async with here.job() as rest:
        await rest.run()

    assert job.stop_reason == "budget"
    assert rest.stats.done == 5
    assert here.emulator.paid == 5


async def test_a_job_that_is_told_nothing_leaves_a_gallery(site: Any) -> None:
    """A thousand files in folders are hard to look at."""
    here = await site()
    async with BulkJob(here.client, ["x"], out=here.out, clock=LoopClock()) as job:
        await job.run()

    assert "00000000" in (here.out / "index.html").read_text()


async def test_the_lines_of_a_long_manifest_stay_in_their_order(site: Any) -> None:
    """Sources are read in chunks; lines that took each other's place were never sent."""
    here = await site()
    prompts = [f"p{number}" for number in range(1_200)]
    async with here.job(prompts) as job:
        pass

    assert [record.prompt for record in job.records()] == prompts


async def test_identical_requests_with_a_fixed_seed_are_generated_once(site: Any) -> None:
    """The same request twice gives the same image; paying for it twice gives nothing."""
    here = await site()
    same = {"prompt": "twin", "seed": 3}
    source = [same, {"prompt": "other", "seed": 3}, same, {**same, "id": "named"}]
    async with here.job(source) as job:
        outcomes = [outcome async for outcome in job]

    assert here.emulator.paid == 2
    assert sorted(outcome.index for outcome in outcomes) == [0, 1, 2, 3]
    records = list(job.records())
    assert [record.linked_to for record in records] == [None, None, 0, 0]
    assert {record.file for record in records} == {
        "images/000000/00000000.png",
        "images/000000/00000001.png",
    }
    assert [record.credits for record in records] == [6.5, 6.5, 0, 0]


async def test_items_that_share_an_image_are_counted_as_soon_as_it_is_there(site: Any) -> None:
    """A bar that runs backwards, or past its end, is believed by nobody."""
    here = await site()
    source = [{"prompt": "same", "seed": 3}] * 3
    async with here.job([*source, {"prompt": "late", "priority": -1}], concurrency=1) as job:
        seen = [job.stats.done async for _ in job]

    assert seen == [3, 3, 3, 4]


async def test_identical_requests_without_a_seed_are_variations(site: Any) -> None:
    """Asking ten times for a surprise is asking for ten surprises."""
    here = await site()
    async with here.job(["same"] * 10) as job:
        await job.run()

    assert here.emulator.paid == 10
    assert len(here.files("*.png")) == 10
    assert job.stats.linked == 0


async def test_a_twin_of_a_failed_request_fails_with_it(site: Any) -> None:
    """What waits for another's image must not wait for ever."""
    here = await site(faults=[Fault.status(403)])
    source = [{"prompt": "twin", "seed": 3}] * 3
    async with here.job(source) as job:
        outcomes = [outcome async for outcome in job]

    assert [outcome.ok for outcome in outcomes] == [False] * 3
    assert job.stats.failed == 3
    assert "the identical item 00000000" in list(job.records())[2].error


async def test_a_changed_manifest_adds_and_drops_and_keeps(site: Any, tmp_path: Path) -> None:
    """A line more at the top must not make every image below it a new one."""
    here = await site()
    manifest = tmp_path / "prompts.txt"
    manifest.write_text("one\ntwo\nthree\n")
    async with here.job(manifest) as job:
        await job.run()
    manifest.write_text("zero\none\nthree\n")
    async with here.job(manifest) as changed:
        await changed.run()

    assert here.emulator.paid == 4
    assert (changed.stats.added, changed.stats.removed) == (1, 1)
    records = list(changed.records())
    assert [record.prompt for record in records] == ["zero", "one", "three"]
    assert [record.index for record in records] == [3, 0, 2]
    assert len(here.files("*.png")) == 4


async def test_a_plan_leaves_out_what_is_done_and_changes_nothing(site: Any) -> None:
    """The price of the rest is what somebody who resumes wants to know."""
    here = await site()
    prompts = [f"p{number}" for number in range(10)]
    async with here.job(prompts, max_credits=26) as job:
        await job.run()
    before = (here.out / "journal.sqlite").read_bytes()
    planned = await plan([*prompts, "more"], out=here.out)

    assert (planned.total, planned.done, planned.to_send) == (11, 4, 7)
    assert (planned.credits, planned.credits_spent) == (7 * 6.5, 4 * 6.5)
    assert (here.out / "journal.sqlite").read_bytes() == before


async def test_higher_priorities_go_first(site: Any) -> None:
    """A priority that changes nothing is a lie."""
    here = await site(latency=1.0)
    source = [{"prompt": f"p{number}", "priority": number} for number in range(6)]
    async with here.job(source, concurrency=1) as job:
        indexes = [outcome.index async for outcome in job]

    assert indexes == [5, 4, 3, 2, 1, 0]


async def test_a_bad_manifest_sends_nothing_and_leaves_nothing(site: Any, tmp_path: Path) -> None:
    """A typo on line 900 must not cost 899 images."""
    here = await site()
    manifest = tmp_path / "prompts.jsonl"
    manifest.write_text('{"prompt": "good"}\n{"prompt": ""}\n{"prompt": "x", "seed": -1}\n')
    with pytest.raises(ManifestError) as caught:
        async with here.job(manifest):
            pass

    assert caught.value.count == 2
    assert [bad.number for bad in caught.value.bad_lines] == [2, 3]
    assert here.emulator.stats.requests == 0
    assert not here.out.exists()


async def test_bad_lines_can_be_skipped_and_are_recorded(site: Any) -> None:
    """Skipping must not mean forgetting."""
    here = await site()
    source: list[Any] = ["good", {"prompt": "\ud800", "style": "y"}, 5, "also good"]
    async with here.job(source, skip_invalid=True) as job:
        await job.run()

    assert (job.stats.done, job.stats.invalid) == (2, 2)
    records = list(job.records())
    assert [record.state for record in records] == ["done", "invalid", "invalid", "done"]
    rows = [json.loads(line) for line in (here.out / "results.jsonl").read_text().splitlines()]
    assert rows[1]["prompt"] == "\ud800"
    assert records[1].error.startswith("style: is no field of sd3")


async def test_images_come_from_beside_the_manifest_or_as_bytes(site: Any, tmp_path: Path) -> None:
    """A manifest in a folder of pictures must work from any working directory."""
    here = await site()
    (tmp_path / "start.png").write_bytes(picture(hue=1))
    manifest = tmp_path / "prompts.jsonl"
    manifest.write_text('{"prompt": "winter", "image": "start.png", "strength": 0.5}\n')
    async with here.job(manifest) as job:
        await job.run()
    request = SD3Request("spring", image=picture(hue=2), strength=0.5)
    async with here.job([request], out=tmp_path / "bytes") as second:
        await second.run()

    hashes = [hashlib.sha256(picture(hue=hue)).hexdigest() for hue in (1, 2)]
    sent = [part.sha256 for seen in here.emulator.requests for part in seen.parts if part.filename]
    assert sent == hashes
    assert [path.stem for path in (tmp_path / "bytes/inputs").iterdir()] == [hashes[1]]


async def test_a_starting_image_that_vanishes_fails_its_item_alone(
    site: Any, tmp_path: Path
) -> None:
    """One file moved away in the night must not stop the other thousand."""
    here = await site()
    start = tmp_path / "start.png"
    start.write_bytes(picture())
    source = [{"prompt": "winter", "image": str(start), "strength": 0.5}, "fine"]
    async with here.job(source) as job:
        start.unlink()
        outcomes = [outcome async for outcome in job]

    failed, fine = sorted(outcomes, key=lambda one: one.index)
    assert (failed.ok, fine.ok) == (False, True)
    assert "winter" in str(failed.request)
    assert "cannot read" in next(job.records()).error


async def test_async_sources_requests_and_defaults(site: Any) -> None:
    """Whatever iter_generations takes, a job takes."""
    here = await site()

    async def source() -> AsyncIterator[Any]:
        yield "a prompt"
        yield CoreRequest("a request")
        yield {"prompt": "a mapping", "seed": 100}

    defaults = Defaults(fields={"model": "sd3.5-medium"}, seed_start=5, repeat=2)
    async with here.job(source(), defaults=defaults) as job:
        await job.run()

    records = list(job.records())
    assert [record.seed for record in records] == [5, 6, 5, 6, 100, 101]
    assert [record.request.get("model") for record in records[1:4]] == ["sd3.5-medium", None, None]
    assert job.stats.credits_spent == 4 * 3.5 + 2 * 3


async def test_filtered_images_are_kept_and_flagged(site: Any) -> None:
    """A blurred image is charged like any other, so it is neither failed nor lost."""
    here = await site(faults=[Fault.filtered()])
    async with here.job(["x"]) as job:
        await job.run()

    (record,) = job.records()
    assert (record.state, record.finish_reason) == ("done", "CONTENT_FILTERED")


async def test_the_balance_before_and_after_is_told_where_there_is_one(site: Any) -> None:
    """The account's own numbers settle what the job cannot know."""
    here = await site(credits=100.0)
    async with here.job(["x"]) as job:
        await job.run()

    assert job.summary is not None
    assert (job.summary.balance_before, job.summary.balance_after) == (100.0, 93.5)


async def test_a_job_that_filled_the_window_does_not_wait_to_ask_for_the_balance(
    site: Any,
) -> None:
    """A number that is nice to know must not keep a finished job for ten seconds."""
    here = await site(latency=2.0)
    loop = asyncio.get_running_loop()
    async with here.job([f"p{number}" for number in range(149)]) as job:
        await job.run()
        landed = loop.time()

    assert loop.time() - landed < 0.5
    assert job.summary is not None
    assert job.summary.balance_after is None


async def test_leaving_the_loop_lands_what_is_in_flight(site: Any) -> None:
    """`break` must not throw away images that are being paid for."""
    here = await site(latency=5.0)
    async with here.job([f"p{number}" for number in range(100)], concurrency=10) as job:
        async for _ in job:
            break

    assert job.stop_reason == "interrupted"
    assert job.stats.done == here.emulator.paid == len(here.files("*.png"))
    assert job.stats.possibly_paid == 0
    assert 10 <= job.stats.done < 30


async def test_an_error_in_the_loop_lands_what_is_in_flight_and_is_raised(site: Any) -> None:
    """The caller's own bug must not cost more than it has to."""
    here = await site(latency=5.0)
    job = here.job([f"p{number}" for number in range(50)], concurrency=5)

    async def work() -> None:
        async with job:
            async for _ in job:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert job.stats.done == here.emulator.paid
    assert (here.out / "results.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"concurrency": True}, "concurrency: is True"),
        ({"concurrency": 0}, "concurrency: is 0; a whole number of at least 1"),
        ({"max_credits": float("nan")}, "max_credits: is nan; a number of credits, 0 or more"),
        ({"max_credits": "10"}, "max_credits: is '10'"),
        ({"deadline": "30"}, "deadline: is '30'; a number of seconds above 0"),
        ({"on_unknown": "raise"}, "on_unknown: is 'raise'; allowed are retry, hold"),
        ({"source": b"a cat"}, "source: is a single bytes"),
    ],
)
async def test_a_wrong_option_is_refused_before_the_folder_is_made(
    site: Any, options: dict[str, Any], words: str
) -> None:
    """A job that begins with a mistake must not leave a folder, or spend."""
    here = await site()
    arguments = {"source": ["a"], **options}
    with pytest.raises(InvalidRequestError, match=words):
        here.job(arguments.pop("source"), **arguments)

    assert not here.out.exists()
    assert here.emulator.requests == []


async def test_time_is_that_of_all_runs_and_not_of_the_pause_between(site: Any) -> None:
    """A job that was resumed for its last image would be told to have taken a second."""
    here = await site(latency=20.0)
    async with here.job(["one"]) as first:
        await first.run()
    await asyncio.sleep(3600)
    async with here.job(["one", "two"]) as second:
        await second.run()

    one, two = first.summary, second.summary
    assert (one.runs, two.runs) == (1, 2)
    assert one.seconds == pytest.approx(one.finished_at - one.started_at)
    assert two.seconds == pytest.approx(one.seconds + two.finished_at - two.started_at)
    assert 40 < two.seconds < 60


async def test_a_run_that_died_counts_until_its_last_sign_of_life(site: Any) -> None:
    """The hours of a run that was killed would be missing from the time of the job."""
    here = await site(latency=20.0)
    first = here.job(["one"])
    await first.__aenter__()
    await first.run()
    died = asyncio.CancelledError()
    await first.__aexit__(type(died), died, None)
    assert first.summary is None
    await asyncio.sleep(3600)
    async with here.job(["one"]) as second:
        await second.run()

    assert second.summary.runs == 2
    assert 20 < second.summary.seconds < 40


async def test_an_item_of_v1_has_its_prompt_in_the_records(site: Any) -> None:
    """The gallery would show cards without words, and its search find nothing."""
    here = await site()
    line = {
        "endpoint": "v1.text-to-image",
        "text_prompts": ["a fox", {"text": "snow", "weight": 0.5}, {"text": "fog", "weight": -1}],
    }
    async with here.job([line]) as job:
        await job.run()

    assert [(record.state, record.prompt) for record in job.records()] == [("done", "a fox, snow")]
