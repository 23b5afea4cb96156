"""What a crash leaves behind, and what the next run makes of it."""

import asyncio
import errno
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from sd3async._files import PartFile
from sd3async.bulk import StorageError
from sd3async.bulk.keeping.journal import Journal
from sd3async.bulk.records import ItemRecord
from sd3async.emulator import Fault
from support.journals import forget_the_end

PROMPTS = [f"p{number}" for number in range(10)]


def count_sent(out: Path) -> int:
    with closing(sqlite3.connect(out / "journal.sqlite")) as db:
        (count,) = db.execute("SELECT count(*) FROM items WHERE state = 'sent'").fetchone()
    return int(count)


async def finished(site: Any) -> tuple[Any, list[ItemRecord]]:
    here = await site()
    async with here.job(PROMPTS) as job:
        await job.run()
    return here, list(job.records())


async def test_an_image_that_was_not_written_down_is_adopted(site: Any) -> None:
    """A crash between rename and commit must not be paid for again."""
    here, before = await finished(site)
    forget_the_end(here.out, 3, 4)
    (here.out / "images/000000/00000004.json").unlink()
    async with here.job(PROMPTS) as job:
        await job.run()
    after = list(job.records())

    assert here.emulator.paid == 10
    assert (job.stats.adopted, job.stats.possibly_paid, job.stats.credits_spent) == (2, 0, 65.0)
    assert [record.file for record in after] == [record.file for record in before]
    assert after[3].request_id == before[3].request_id
    assert after[4].sha256 == before[4].sha256
    assert after[4].request_id is None


@pytest.mark.parametrize(("asked", "told", "emulated"), [(7, 7, False), (0, None, True)])
async def test_an_adopted_image_without_a_sidecar_is_told_by_what_was_asked_for(
    site: Any, asked: int, told: int | None, emulated: bool
) -> None:
    """Its seed makes it again, unless 0 asked for any; and a drawn one is no real one."""
    here = await site()
    async with here.job([{"prompt": "x", "seed": asked}], emulated=emulated) as job:
        await job.run()
    forget_the_end(here.out, 0)
    (here.out / "images/000000/00000000.json").unlink()
    async with here.job(emulated=emulated) as again:
        await again.run()
    (record,) = again.records()

    assert (record.seed, record.emulated, here.emulator.paid) == (told, emulated, 1)


async def test_a_sidecar_of_other_bytes_is_not_believed(site: Any) -> None:
    """Facts of one image must not be told of another."""
    here, _ = await finished(site)
    forget_the_end(here.out, 3)
    sidecar = here.out / "images/000000/00000003.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"sha256": "0" * 64}))
    async with here.job(PROMPTS) as job:
        await job.run()

    assert list(job.records())[3].request_id is None


@pytest.mark.parametrize(("on_unknown", "paid"), [("retry", 11), ("hold", 10)])
async def test_an_item_on_its_way_without_a_file_is_possibly_paid(
    site: Any, on_unknown: str, paid: int
) -> None:
    """What nobody can know must be counted, and sent again only if that is wanted."""
    here, _ = await finished(site)
    forget_the_end(here.out, 3)
    (here.out / "images/000000/00000003.png").unlink()
    (here.out / "images/000000/.00000003.png.0123456789ab.part").write_bytes(b"half")
    async with here.job(PROMPTS, on_unknown=on_unknown) as job:
        await job.run()

    assert here.emulator.paid == paid
    assert job.stats.possibly_paid == 1
    assert job.stats.unknown == (on_unknown == "hold")
    assert here.files(".*.part") == []


async def test_parts_of_items_whose_turn_had_not_come_are_swept_up(site: Any) -> None:
    """A part is made before its item is marked as sent: the dead leave more parts than marks."""
    here, _ = await finished(site)
    part = here.out / "images/000000/.00000003.png.0123456789ab.part"
    part.touch()
    foreign = here.out / "images/000000/.film.mkv.part"
    foreign.touch()
    async with here.job(PROMPTS) as job:
        await job.run()

    assert (part.exists(), foreign.exists()) == (False, True)


async def test_an_item_sent_again_counts_from_when_it_was_sent_again(site: Any) -> None:
    """After a second crash the window is full of requests first sent before the first one."""
    here, before = await finished(site)
    forget_the_end(here.out, 3)
    (here.out / "images/000000/00000003.png").unlink()
    await asyncio.sleep(100.0)
    async with here.job(PROMPTS) as job:
        await job.run()
    sent_at = list(job.records())[3].sent_at

    assert sent_at is not None
    assert sent_at - (before[3].sent_at or 0.0) >= 100.0


async def test_the_intent_is_on_the_disk_before_the_request_leaves(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that the journal does not know of is a bill that nobody can explain."""
    here = await site()
    may_go_on = asyncio.Event()
    note = Journal.sent

    async def slow_disk(journal: Journal, number: int, at: float) -> None:
        await may_go_on.wait()
        await note(journal, number, at)

    monkeypatch.setattr(Journal, "sent", slow_disk)
    async with here.job(PROMPTS) as job:
        task = asyncio.create_task(job.run())
        await asyncio.sleep(100.0)
        paid = here.emulator.paid
        may_go_on.set()
        await task

    assert paid == 0
    assert here.emulator.paid == 10


async def test_few_items_are_marked_as_sent_that_only_wait_for_the_limit(site: Any) -> None:
    """A crash in a long queue must not report hundreds of requests that never left."""
    here = await site(latency=5.0)
    async with here.job([f"p{number}" for number in range(300)]) as job:
        task = asyncio.create_task(job.run())
        await asyncio.sleep(3.0)
        marked, arrived = count_sent(here.out), here.emulator.stats.requests - 1
        job.stop()
        await task

    assert arrived == 149  # the balance was the first of 150
    assert arrived <= marked <= arrived + 16


async def test_a_job_at_the_limit_takes_no_longer_than_the_limit_asks(site: Any) -> None:
    """The journal must cost nothing of the ceiling."""
    here = await site(latency=2.0)
    loop = asyncio.get_running_loop()
    async with here.job([f"p{number}" for number in range(299)]) as job:
        before = loop.time()
        await job.run()

    assert here.emulator.refused == 0
    assert loop.time() - before < 23.0


async def test_an_image_has_its_sidecar_before_it_has_its_name(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six of six images adopted after a kill had neither seed, finish reason nor request id."""
    here = await site()
    commit, sidecars = PartFile.commit, list[bool]()

    def watched(part: PartFile) -> Path:
        if part.target.suffix == ".png":
            sidecars.append(part.target.with_suffix(".json").exists())
        return commit(part)

    monkeypatch.setattr(PartFile, "commit", watched)
    async with here.job(PROMPTS) as job:
        await job.run()

    assert sidecars == [True] * 10


async def test_a_whole_part_is_adopted_with_all_its_facts(site: Any) -> None:
    """Killed before the rename, a filtered image must be found, and found to be filtered."""
    here = await site(faults=[Fault.filtered()] * 10)
    async with here.job(PROMPTS) as job:
        await job.run()
    before = list(job.records())
    forget_the_end(here.out, 3)
    image = here.out / "images/000000/00000003.png"
    image.rename(image.with_name(".00000003.png.0123456789ab.part"))
    async with here.job(PROMPTS) as again:
        await again.run()
    after = list(again.records())

    assert here.emulator.paid == 10
    assert (again.stats.adopted, again.stats.possibly_paid) == (1, 0)
    assert after[3].finish_reason == "CONTENT_FILTERED"
    assert attrs.evolve(after[3], sent_at=None, finished_at=None) == attrs.evolve(
        before[3], sent_at=None, finished_at=None
    )
    assert here.files(".*.part") == []


async def test_a_sidecar_that_cannot_be_written_costs_no_image(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last bytes of a full disk belong to what was paid for."""
    here = await site()
    write = PartFile.write

    def refuse_sidecars(part: PartFile, data: bytes) -> None:
        if part.target.suffix == ".json":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(part, data)

    monkeypatch.setattr(PartFile, "write", refuse_sidecars)
    async with here.job(PROMPTS, concurrency=1) as job:
        with pytest.raises(StorageError, match="the disk is full"):
            await job.run()
        monkeypatch.undo()
    async with here.job(PROMPTS) as rest:
        await rest.run()

    assert rest.stats.done == here.emulator.paid == 10


async def test_a_part_of_other_bytes_is_not_adopted(site: Any) -> None:
    """A sidecar of the image before must not make half of the next one a whole."""
    here, _ = await finished(site)
    forget_the_end(here.out, 3)
    image = here.out / "images/000000/00000003.png"
    part = image.rename(image.with_name(".00000003.png.0123456789ab.part"))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    async with here.job(PROMPTS) as job:
        await job.run()

    assert (job.stats.adopted, job.stats.possibly_paid, here.emulator.paid) == (0, 1, 11)
