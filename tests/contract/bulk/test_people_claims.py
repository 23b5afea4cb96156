"""What people do around a job, and what they are told: every number and every sentence is true."""

import asyncio
import ctypes
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sd3async.bulk import Defaults, FolderError
from sd3async.bulk.keeping.verify import verify
from sd3async.progress import Usage

PROMPTS = [f"p{number}" for number in range(5)]


async def finished(site: Any, **settings: Any) -> Any:
    """Return a site whose job is done."""
    here = await site(**settings)
    async with here.job(PROMPTS) as job:
        await job.run()
    return here


def change(out: Path, words: str) -> None:
    """Change a journal that nobody has open."""
    with closing(sqlite3.connect(out / "journal.sqlite")) as db, db:
        db.execute(words)


async def test_an_image_that_lands_while_a_job_is_verified_is_no_flaw(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 246 looks at a running job nine called an image that had just come unknown, and left with 1."""
    here = await finished(site, image_bytes=None)
    change(here.out, "UPDATE items SET state = 'sent' WHERE number = 3")
    look = os.scandir

    def land_and_look(folder: Any) -> Any:
        if Path(folder).name == "000000":
            change(here.out, "UPDATE items SET state = 'done' WHERE number = 3")
        return look(folder)

    monkeypatch.setattr(os, "scandir", land_and_look)

    assert verify(here.out).flaws == ()


async def test_verifying_leaves_the_folder_as_it_was(site: Any) -> None:
    """It says that it changes nothing, and left journal.sqlite-wal and -shm behind."""
    here = await finished(site)
    before = here.files("*")
    verify(here.out)

    assert here.files("*") == before


def obey_permissions() -> None:
    """Let what is started next be held by the rights of files, even as the superuser."""
    drop, override, search = 24, 1, 2  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    for right in (override, search):
        ctypes.CDLL(None).prctl(drop, right, 0, 0, 0)


def verify_obediently(out: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sd3async", "bulk", "--verify", str(out)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=obey_permissions,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the superuser may write anywhere")
async def test_an_archive_that_may_only_be_read_can_be_verified(site: Any) -> None:
    """A snapshot, a DVD, somebody else's folder: `cannot write journal.sqlite` instead of an answer."""
    here = await finished(site, image_bytes=None)
    here.out.chmod(0o555)
    try:
        found = await asyncio.to_thread(verify_obediently, here.out)
    finally:
        here.out.chmod(0o755)

    assert (found.returncode, found.stderr) == (0, "sd3async: all 5 images are as received\n")


async def test_what_shares_the_image_of_a_held_item_is_held_as_well(site: Any) -> None:
    """`2 still to send`, said each run of a job that can never send them, for their model is held."""
    here = await site(latency=5.0)
    twins = [{"prompt": "a", "seed": 7}] * 3
    async with here.job(twins, on_unknown="hold") as job:
        running = asyncio.create_task(job.run())
        await asyncio.sleep(2.0)
        job.cancel()
        await running

    assert here.emulator.stats.requests >= 1
    assert (job.stats.unknown, job.stats.unsent) == (3, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("credits", "x"), ("credits", -100), ("attempts", "x"), ("timings", None), ("seed", "x")],
)
async def test_a_sidecar_that_somebody_edited_is_not_believed(
    site: Any, name: str, value: object
) -> None:
    """A journal is rebuilt from sidecars; one odd value was a traceback, in each run from then on."""
    here = await finished(site)
    for file in here.files("journal.sqlite*"):
        file.unlink()
    sidecar = here.files("00000001.json")[0]
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {name: value}))
    job = here.job(PROMPTS, force=True, reports=True, formats=["parquet"])
    try:
        async with job:
            await job.run()
    except FolderError:
        return  # refused, with the file's name

    assert job.stats.credits_spent == 5 * 6.5
    assert here.emulator.paid == 5


async def test_results_are_json_that_anything_reads(site: Any) -> None:
    """Python's NaN is no JSON: other programs refuse the line, and loaders the file."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    here = await site()
    line = {"prompt": "a", "scores": [1.0, float("nan"), float("inf")]}
    async with here.job([line], defaults=Defaults(keep_columns=True)) as job:
        await job.run()
    text = (here.out / "results.jsonl").read_text()

    assert json.loads(text, parse_constant=refuse)["columns"]


async def test_the_progress_never_reads_like_a_breach(site: Any) -> None:
    """`164 of 150 in 10 s` stood there while the server never saw more than 147."""
    here = await site(latency=0.1)
    shown: list[int] = []
    async with here.job([f"p{number}" for number in range(500)], concurrency=30) as job:
        async for _ in job:
            usage = Usage.of(here.client)
            assert usage is not None
            shown.append(usage.sent)

    assert here.emulator.max_in_any_window() <= 150
    assert max(shown) <= 150
