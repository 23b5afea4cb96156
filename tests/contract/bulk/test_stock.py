"""What is in the folder against what the journal says, before money is spent."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from sd3async.bulk import FolderError
from sd3async.bulk.plan import plan
from support.journals import forget_the_end
from support.pictures import picture

PROMPTS = [f"p{number}" for number in range(20)]

Harm: TypeAlias = Callable[[Path], object]


def empty(journal: Path) -> None:
    """Leave a journal of no bytes, as a full disk or a careless copy does."""
    journal.write_bytes(b"")


def unknowing(journal: Path) -> None:
    """Leave the journal of a manifest that was taken in, and nothing else."""
    with closing(sqlite3.connect(journal)) as db, db:
        db.execute(
            "UPDATE items SET state = 'pending', credits = 0, attempts = 0, file = NULL, "
            "facts = NULL"
        )


def half_knowing(journal: Path) -> None:
    """Leave the journal as it was when every other image was still on its way or not sent."""
    with closing(sqlite3.connect(journal)) as db, db:
        db.execute(
            "UPDATE items SET state = iif(number % 4, 'pending', 'sent'), credits = 0, "
            "attempts = 0, file = NULL, facts = NULL WHERE number % 2 = 0"
        )


async def finished(site: Any, **options: Any) -> Any:
    here = await site()
    async with here.job(PROMPTS, **options) as job:
        await job.run()
    assert here.emulator.paid == 20
    return here


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "images").rglob("*.*")}


@pytest.mark.parametrize("harm", [empty, unknowing, half_knowing])
async def test_a_journal_older_than_the_images_is_brought_up_to_date(site: Any, harm: Harm) -> None:
    """Twenty images beside an empty journal were paid for a second time, and written over."""
    here = await finished(site)
    before, records = contents(here.out), (here.out / "results.jsonl").read_text()
    harm(here.out / "journal.sqlite")
    planned = await plan(PROMPTS, out=here.out)
    async with here.job(PROMPTS) as job:
        at_the_start = job.stats
        await job.run()

    assert (planned.done, planned.to_send, planned.credits_spent) == (20, 0, 130.0)
    assert here.emulator.paid == 20
    assert at_the_start.restored + at_the_start.adopted >= 10
    assert (job.stats.done, job.stats.credits_spent) == (20, 130.0)
    assert contents(here.out) == before
    old, new = (
        [json.loads(line) for line in text.splitlines()]
        for text in (records, (here.out / "results.jsonl").read_text())
    )
    for name in ("file", "seed", "request_id", "finish_reason", "sha256", "credits", "timings"):
        assert [row[name] for row in new] == [row[name] for row in old]


async def test_a_journal_that_is_gone_is_rebuilt_when_that_is_wanted(site: Any) -> None:
    """Backup tools leave out what they take for caches; the sidecars know enough."""
    here = await finished(site)
    (here.out / "journal.sqlite").unlink()
    with pytest.raises(FolderError, match="holds images but no journal"):
        await here.job(PROMPTS).__aenter__()
    async with here.job(PROMPTS, force=True) as job:
        await job.run()

    assert here.emulator.paid == 20
    assert (job.stats.restored, job.stats.done) == (20, 20)


async def test_a_job_that_was_moved_is_rebuilt_with_its_starting_images(
    site: Any, tmp_path: Path
) -> None:
    """Sidecars name absolute paths, which are others after a move."""
    here = await site()
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    (first / "start.png").write_bytes(picture())
    lines = [
        {"prompt": "winter", "image": "start.png", "strength": 0.5, "seed": 0},
        {"prompt": "fox", "endpoint": "core", "style_preset": "origami", "aspect_ratio": "16:9"},
        {"prompt": "owl", "endpoint": "ultra", "output_format": "webp", "seed": 9},
        {"prompt": "hare", "cfg_scale": 7, "model": "sd3.5-medium", "tags": ["x"], "priority": 2},
    ]
    (first / "p.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    async with here.job(first / "p.jsonl", out=first / "out") as job:
        await job.run()
    first.rename(second)
    empty(second / "out/journal.sqlite")
    async with here.job(second / "p.jsonl", out=second / "out") as moved:
        await moved.run()

    assert (moved.stats.restored, moved.stats.done, here.emulator.paid) == (4, 4, 4)


async def test_only_the_main_file_of_a_running_journal_was_copied(
    site: Any, tmp_path: Path
) -> None:
    """After a kill everything stood in the `-wal`, which people and backup tools leave behind."""
    here = await site(latency=1.0)
    async with here.job(PROMPTS, concurrency=5) as job:
        taken = 0
        async for _ in job:
            taken += 1
            if taken == 8:
                shutil.copytree(
                    here.out, tmp_path / "copy", ignore=shutil.ignore_patterns("*-wal", "*-shm")
                )
        await job.run()
    paid = here.emulator.paid
    images = contents(tmp_path / "copy")
    async with here.job(PROMPTS, out=tmp_path / "copy") as rest:
        await rest.run()

    assert here.emulator.paid - paid == 20 - len([name for name in images if name.endswith(".png")])
    now = contents(tmp_path / "copy")
    assert {name: now[name] for name in images if name.endswith(".png")} == {
        name: image for name, image in images.items() if name.endswith(".png")
    }
    assert rest.stats.done == 20


async def test_the_main_file_knows_everything_at_the_end(site: Any, tmp_path: Path) -> None:
    """Somebody who looks on must not keep the result in a file that nobody copies."""
    here = await site()
    async with here.job(PROMPTS) as job:
        onlooker = sqlite3.connect(here.out / "journal.sqlite")
        onlooker.execute("SELECT count(*) FROM items").fetchone()
        await job.run()
    shutil.copy(here.out / "journal.sqlite", tmp_path / "alone.sqlite")
    onlooker.close()
    with closing(sqlite3.connect(tmp_path / "alone.sqlite")) as db:
        (done,) = db.execute("SELECT count(*) FROM items WHERE state = 'done'").fetchone()

    assert done == 20


async def test_the_main_file_knows_the_manifest_before_anything_is_sent(
    site: Any, tmp_path: Path
) -> None:
    """What is on its way may be killed at any time; what was taken in must not be in a side file."""
    here = await site()
    async with here.job(PROMPTS):
        shutil.copy(here.out / "journal.sqlite", tmp_path / "alone.sqlite")
    with closing(sqlite3.connect(tmp_path / "alone.sqlite")) as db:
        (count,) = db.execute("SELECT count(*) FROM items").fetchone()

    assert count == 20


async def test_images_of_another_manifest_are_never_written_over(site: Any) -> None:
    """Item 3 of today's manifest is not item 3 of yesterday's."""
    here = await finished(site)
    before = contents(here.out)
    empty(here.out / "journal.sqlite")
    others = [f"another {prompt}" for prompt in PROMPTS]
    with pytest.raises(FolderError, match="20 images that its journal does not know"):
        await here.job(others).__aenter__()
    with pytest.raises(FolderError, match="20 images that its journal does not know"):
        await plan(others, out=here.out)
    async with here.job(PROMPTS) as right:
        await right.run()

    assert contents(here.out) == before
    assert right.stats.done == here.emulator.paid == 20


async def test_another_manifest_leaves_the_first_ones_images_where_they_are(site: Any) -> None:
    """An old journal and a new manifest together must still not cost an image."""
    here = await finished(site)
    before = contents(here.out)
    unknowing(here.out / "journal.sqlite")
    async with here.job([f"another {prompt}" for prompt in PROMPTS]) as job:
        await job.run()

    assert before.items() <= contents(here.out).items()
    assert (job.stats.done, job.stats.restored, here.emulator.paid) == (20, 20, 40)


async def test_an_image_without_a_sidecar_of_its_own_is_not_taken_for_ours(site: Any) -> None:
    """A picture that somebody put there must not be called paid for, nor be replaced."""
    here = await site()
    async with here.job(PROMPTS, max_credits=6.5) as job:
        await job.run()
    foreign = here.out / "images/000000/00000007.png"
    shutil.copy(here.out / "images/000000/00000000.png", foreign)
    with pytest.raises(FolderError, match=r"1 image that its journal does not know .*07\.png"):
        await here.job(PROMPTS).__aenter__()
    foreign.unlink()
    async with here.job(PROMPTS) as rest:
        await rest.run()

    assert rest.stats.done == here.emulator.paid == 20


async def test_an_image_that_is_not_whole_any_more_is_not_taken_over(site: Any) -> None:
    """What a sidecar says of an image holds for all of it, or for none."""
    here = await finished(site)
    unknowing(here.out / "journal.sqlite")
    cut = here.out / "images/000000/00000007.png"
    cut.write_bytes(cut.read_bytes()[:-1])
    with pytest.raises(FolderError, match=r"1 image that its journal does not know .*07\.png"):
        await here.job(PROMPTS).__aenter__()


async def test_an_image_made_from_another_picture_is_not_taken_over(
    site: Any, tmp_path: Path
) -> None:
    """The same words about another starting image ask for another result."""
    here = await site()
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(picture())
    line = {"prompt": "winter", "image": str(tmp_path / "a.png"), "strength": 0.5}
    async with here.job([line]) as job:
        await job.run()
    empty(here.out / "journal.sqlite")
    with pytest.raises(FolderError, match="1 image that its journal does not know"):
        await here.job([line | {"image": str(tmp_path / "b.png")}]).__aenter__()


async def test_items_that_share_an_image_share_it_again_when_it_is_taken_over(site: Any) -> None:
    """Twins of an image that is there must not be paid for one by one."""
    here = await site()
    source = [{"prompt": "twin", "seed": 3}] * 3
    async with here.job(source) as job:
        await job.run()
    empty(here.out / "journal.sqlite")
    async with here.job(source) as again:
        at_the_start = again.stats
        await again.run()

    assert (at_the_start.restored, at_the_start.done, at_the_start.linked) == (1, 3, 2)
    assert here.emulator.paid == 1


async def test_sidecars_of_another_service_are_not_taken_over(site: Any) -> None:
    """Losing the journal of a trial must not make its drawn images real ones."""
    here = await finished(site, emulated=True)
    (here.out / "journal.sqlite").unlink()
    with pytest.raises(FolderError, match="holds a job of the emulator"):
        await here.job(PROMPTS, force=True).__aenter__()

    assert here.emulator.paid == 20


async def test_sidecars_that_name_no_service_are_of_any(site: Any) -> None:
    """What a sidecar leaves unsaid must not strand images that were paid for."""
    here = await finished(site)
    for path in here.files("images/**/*.json"):
        facts = json.loads(path.read_text())
        del facts["service"]
        path.write_text(json.dumps(facts))
    empty(here.out / "journal.sqlite")
    async with here.job(PROMPTS) as again:
        await again.run()

    assert (again.stats.restored, here.emulator.paid) == (20, 20)


async def lose_images(here: Any) -> None:
    """Delete two images of a finished job, and empty a third."""
    for number in (3, 4):
        (here.out / f"images/000000/{number:08d}.png").unlink()
    (here.out / "images/000000/00000005.png").write_bytes(b"")


async def test_images_that_are_gone_are_told_at_the_start_and_in_every_report(site: Any) -> None:
    """Thirty of thirty, exit 0, and a folder of twenty-seven."""
    here = await finished(site)
    await lose_images(here)
    planned = await plan(PROMPTS, out=here.out)
    async with here.job(PROMPTS, reports=True) as job:
        at_the_start = job.stats
        await job.run()
    rows = [json.loads(line) for line in (here.out / "results.jsonl").read_text().splitlines()]
    report = json.loads((here.out / "report.json").read_text())

    assert here.emulator.paid == 20
    for stats in (at_the_start, job.stats, planned):
        assert (stats.done, stats.missing, stats.missing_credits) == (17, 3, 19.5)
    assert job.stats.credits_spent == 130.0
    assert [row["index"] for row in rows if row["state"] == "missing"] == [3, 4, 5]
    assert (report["items"]["done"], report["items"]["missing"]) == (17, 3)
    assert job.summary is not None
    assert job.summary.missing == 3


async def test_an_export_holds_what_the_job_says_is_done(site: Any) -> None:
    """A WebDataset of eight silently held four."""
    here = await finished(site)
    await lose_images(here)
    async with here.job(PROMPTS, formats=["webdataset"]) as job:
        await job.run()
    (shard,) = (here.out / "shards").iterdir()

    assert shard.read_bytes().count(b".png\0") == job.stats.done == 17


async def test_images_that_are_gone_are_made_again_when_asked_for(site: Any) -> None:
    """At the price that was told, and under the same cap."""
    here = await finished(site)
    await lose_images(here)
    planned = await plan(PROMPTS, out=here.out, remake_missing=True)
    async with here.job(PROMPTS, remake_missing=True, max_credits=130 + 13) as job:
        at_the_start = job.stats
        await job.run()
    async with here.job(PROMPTS, remake_missing=True) as rest:
        await rest.run()

    assert (planned.to_send, planned.credits, planned.credits_spent) == (3, 19.5, 130.0)
    assert at_the_start.remade == 3
    assert (job.stop_reason, job.stats.done) == ("budget", 19)
    assert (rest.stats.done, rest.stats.missing) == (20, 0)
    assert rest.stats.credits_spent == here.emulator.credits_used == 23 * 6.5


async def test_images_that_are_back_are_done_again(site: Any, tmp_path: Path) -> None:
    """Who moved a folder away and back must not pay."""
    here = await finished(site)
    (here.out / "images").rename(tmp_path / "elsewhere")
    async with here.job(PROMPTS) as without:
        await without.run()
    (tmp_path / "elsewhere").rename(here.out / "images")
    async with here.job(PROMPTS) as job:
        await job.run()

    assert (without.stats.missing, without.stats.done) == (20, 0)
    assert (job.stats.missing, job.stats.done) == (0, 20)
    assert here.emulator.paid == 20


async def test_items_that_share_an_image_miss_it_and_get_it_back_together(site: Any) -> None:
    """One lost file, three lost items, one payment."""
    here = await site()
    source = [{"prompt": "twin", "seed": 3}] * 3
    async with here.job(source) as job:
        await job.run()
    (here.out / "images/000000/00000000.png").unlink()
    async with here.job(source) as without:
        pass
    async with here.job(source, remake_missing=True) as remade:
        await remade.run()

    assert (without.stats.missing, without.stats.missing_credits) == (3, 6.5)
    assert (remade.stats.done, remade.stats.linked) == (3, 2)
    assert here.emulator.paid == 2
    assert len(here.files("*.png")) == 1


async def test_images_that_go_during_the_run_are_told_at_its_end(site: Any) -> None:
    """The report is about the folder as it is."""
    here = await site()
    async with here.job(PROMPTS) as job:
        await job.run()
        await lose_images(here)

    assert (job.stats.done, job.stats.missing) == (17, 3)


async def test_a_plan_after_a_crash_is_what_the_run_does(site: Any) -> None:
    """It said 3 to send and 19.5 credits; the run sent nothing."""
    here = await finished(site)
    forget_the_end(here.out, 0, 1, 2, 3, 4)
    image = here.out / "images/000000/00000003.png"
    image.rename(image.with_name(".00000003.png.0123456789ab.part"))
    (here.out / "images/000000/00000004.png").unlink()
    before = {path: path.read_bytes() for path in here.out.rglob("*") if path.is_file()}
    planned = await plan(PROMPTS, out=here.out)
    after = {path: path.read_bytes() for path in here.out.rglob("*") if path.is_file()}
    async with here.job(PROMPTS) as job:
        held = job.stats.unsent
        await job.run()

    assert (planned.done, planned.to_send, planned.credits) == (19, 1, 6.5)
    assert planned.credits_spent + planned.possibly_paid_credits == 130.0
    assert held == 1
    assert here.emulator.paid == 21
    assert after == before
