"""Whose folder it is: nobody's files are touched, and one process works in it at a time."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from sd3async import InvalidRequestError, SD3Request
from sd3async.bulk import FolderError, JobLockedError, ManifestError, StorageError
from sd3async.bulk.plan import plan
from support.pictures import picture

PROMPTS = [f"p{number}" for number in range(10)]

MOMENTS = [0, *range(1, 10), *(int(10 * 1.5**power) for power in range(14))]
"""Passes of the event loop, from the first one to well after all is done."""


@pytest.fixture
def website(tmp_path: Path) -> Path:
    """Return a folder with somebody's home page in it, where the site's jobs go."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "index.html").write_text("my home page")
    return folder


async def test_a_folder_with_other_peoples_files_is_refused(site: Any, website: Path) -> None:
    """`--out .` in the wrong folder must not replace a home page by a gallery."""
    here = await site()
    with pytest.raises(FolderError, match=r"is not empty and holds no job \(index.html\)"):
        async with here.job(PROMPTS, reports=True) as job:
            await job.run()

    assert here.emulator.stats.requests == 0
    assert [path.name for path in website.iterdir()] == ["index.html"]
    assert (website / "index.html").read_text() == "my home page"


async def test_a_plan_refuses_the_folder_that_a_job_would(site: Any, website: Path) -> None:
    """A price for a job that cannot run is no price."""
    with pytest.raises(FolderError, match="holds no job"):
        await plan(PROMPTS, out=website)

    assert (await plan(PROMPTS, out=website, force=True)).to_send == 10


async def test_a_plan_keeps_no_starting_images(site: Any) -> None:
    """Looking at the price leaves nothing behind."""
    here = await site()
    here.out.mkdir()
    await plan([SD3Request("winter", image=picture(), strength=0.5)], out=here.out)

    assert list(here.out.iterdir()) == []


async def test_force_works_in_a_folder_that_holds_other_things(site: Any, website: Path) -> None:
    """Who keeps the manifest beside the images must be able to say so, once."""
    here = await site()
    (website / ".film.mkv.part").write_text("somebody's download")
    async with here.job(PROMPTS, force=True) as job:
        await job.run()
    async with here.job(PROMPTS) as again:
        pass

    assert again.stats.done == 10
    assert (website / ".film.mkv.part").exists()


async def test_an_empty_name_is_no_folder(site: Any, tmp_path: Path) -> None:
    """An unset variable in a script must not mean the working directory."""
    here = await site()
    with pytest.raises(InvalidRequestError, match="out: is empty"):
        here.job(PROMPTS, out="")


async def test_a_symbolic_link_in_place_of_a_lock_has_its_target_left_alone(
    site: Any, tmp_path: Path
) -> None:
    """A link that somebody put there must not make us write elsewhere."""
    here = await site()
    precious = tmp_path / "precious"
    precious.write_text("years of work")
    here.out.mkdir()
    (here.out / "job.lock").symlink_to(precious)
    async with here.job(PROMPTS, force=True) as job:
        await job.run()

    assert precious.read_text() == "years of work"


@pytest.mark.parametrize("name", ["journal.sqlite", "journal.sqlite-wal"])
async def test_a_journal_that_is_a_symbolic_link_is_refused(
    site: Any, tmp_path: Path, name: str
) -> None:
    """SQLite would follow the link and write its pages into somebody's file."""
    here = await site()
    precious = tmp_path / "precious"
    precious.write_bytes(b"")
    here.out.mkdir()
    (here.out / name).symlink_to(precious)
    with pytest.raises(FolderError, match="is a symbolic link"):
        await here.job(PROMPTS, force=True).__aenter__()

    assert precious.read_bytes() == b""


async def test_deleting_files_lets_no_second_run_in(site: Any) -> None:
    """Who tidies up during a run must not start a second bill."""
    here = await site()
    job = await here.job(PROMPTS).__aenter__()
    with pytest.raises(JobLockedError, match=rf"another process \({os.getpid()}\)"):
        await here.job(PROMPTS).__aenter__()
    for file in here.out.iterdir():
        file.unlink()
    with pytest.raises(JobLockedError, match="its number is not known"):
        await here.job(PROMPTS).__aenter__()
    with pytest.raises(StorageError):  # it can count nothing without its journal
        await job.__aexit__(None, None, None)


async def test_a_folder_is_free_again_after_a_refusal(site: Any, website: Path) -> None:
    """A refusal must leave no lock behind."""
    here = await site()
    for _ in range(2):
        with pytest.raises(FolderError):
            await here.job(PROMPTS).__aenter__()


async def test_a_refused_manifest_with_images_leaves_a_folder_that_can_be_used(site: Any) -> None:
    """Correcting a typo and running again must need no --force."""
    here = await site()
    start = SD3Request("winter", image=picture(), strength=0.5)
    with pytest.raises(ManifestError):
        await here.job([start, ""]).__aenter__()
    async with here.job([start]) as job:
        await job.run()

    assert job.stats.done == 1


@pytest.mark.parametrize("times", [1, 3])
async def test_entering_can_be_cancelled_at_any_point(site: Any, times: int) -> None:
    """A folder that stays locked by nobody can only be freed by ending the program."""
    here = await site()
    for passes in MOMENTS:
        task = asyncio.create_task(here.job(PROMPTS).__aenter__())
        await _let_pass(passes)
        for _ in range(times):
            task.cancel()
            await _let_pass(3)
        with contextlib.suppress(asyncio.CancelledError):
            job = await task
            await job.__aexit__(None, None, None)
        async with here.job(PROMPTS):
            pass


async def test_leaving_can_be_cancelled_at_any_point(site: Any) -> None:
    """So can leaving, and the lock goes all the same."""
    here = await site()
    for passes in MOMENTS[1:]:
        job = await here.job(PROMPTS).__aenter__()
        task = asyncio.create_task(job.__aexit__(None, None, None))
        await _let_pass(passes)
        for _ in range(2):
            task.cancel()
            await _let_pass(2)
        with contextlib.suppress(asyncio.CancelledError):
            await task
        async with here.job(PROMPTS):
            pass


async def _let_pass(passes: int) -> None:
    for _ in range(passes):
        await asyncio.sleep(0)
