"""One job, one service: an emulated image never passes for a real one."""

import json
from pathlib import Path
from typing import Any

import pytest

from sd3async.bulk import FolderError
from sd3async.bulk.keeping.journal import read_records
from sd3async.bulk.plan import plan

PROMPTS = ["a", "b", "c"]


async def test_an_emulated_job_says_so_wherever_it_is_looked_at(site: Any) -> None:
    """A folder of drawn images, found a year later, must not look like bought ones."""
    here = await site()
    async with here.job(PROMPTS, emulated=True, reports=True) as job:
        await job.run()

    sidecar = json.loads((here.out / "images/000000/00000000.json").read_text())
    rows = [json.loads(line) for line in (here.out / "results.jsonl").read_text().splitlines()]
    report = json.loads((here.out / "report.json").read_text())["job"]
    for told in (sidecar, *rows, report):
        assert (told["service"], told["emulated"]) == ("emulator", True)
    page = (here.out / "index.html").read_text()
    assert '"service":"emulator"' in page
    assert '"emulated":true' in page


async def test_answers_of_an_emulator_are_known_by_themselves(site: Any) -> None:
    """An emulator behind a URL must not pass for a service because nobody mentioned it."""
    here = await site()
    async with here.job(PROMPTS, reports=True) as job:
        await job.run()

    assert [record.emulated for record in job.records()] == [True] * 3
    assert {record.service for record in job.records()} == {here.emulator.url}
    assert json.loads((here.out / "images/000000/00000000.json").read_text())["emulated"] is True
    assert json.loads((here.out / "report.json").read_text())["job"]["emulated"] is True
    assert job.summary is not None
    assert job.summary.emulated


@pytest.mark.parametrize("emulated_first", [True, False], ids=["then real", "then emulated"])
async def test_a_folder_of_one_service_is_refused_to_another(
    site: Any, emulated_first: bool
) -> None:
    """Trying it out and then doing it for real must not say 'done by earlier runs'."""
    here = await site()
    async with here.job(PROMPTS[:2], emulated=emulated_first) as job:
        await job.run()
    before = list(read_records(here.out / "journal.sqlite"))
    with pytest.raises(FolderError, match=r"holds a job of .*choose another folder") as refusal:
        await here.job(PROMPTS, emulated=not emulated_first).__aenter__()
    with pytest.raises(FolderError, match="holds a job of"):
        await plan(
            PROMPTS, out=here.out, service=here.emulator.url if emulated_first else "emulator"
        )

    assert "the emulator" in str(refusal.value)
    assert here.emulator.url in str(refusal.value)
    assert here.emulator.paid == 2
    assert list(read_records(here.out / "journal.sqlite")) == before


async def test_another_gateway_is_another_service(site: Any) -> None:
    """Two gateways' images may come from different models under one name."""
    here, there = await site(), await site()
    async with here.job(PROMPTS) as job:
        await job.run()
    with pytest.raises(FolderError, match="holds a job of"):
        await there.job(PROMPTS).__aenter__()

    assert there.emulator.paid == 0


async def test_an_emulated_job_resumes_on_another_port(site: Any, tmp_path: Path) -> None:
    """The embedded emulator listens elsewhere each time, and is the same service."""
    here, there = await site(), await site()
    async with here.job(PROMPTS, emulated=True) as job:
        await job.run()
    async with there.job([*PROMPTS, "d"], emulated=True) as again:
        await again.run()

    assert (again.stats.resumed, again.stats.done) == (3, 4)


async def test_a_service_that_did_nothing_binds_nobody(site: Any) -> None:
    """A wrong address, corrected, must not cost a new folder."""
    nowhere, here = await site(), await site()
    await nowhere.emulator.aclose()
    async with nowhere.job(PROMPTS) as wrong:
        await wrong.run()
    async with here.job(PROMPTS) as right:
        await right.run()

    assert wrong.stop_reason == "unreachable"
    assert {record.service for record in right.records()} == {here.emulator.url}
    assert right.stats.done == 3
