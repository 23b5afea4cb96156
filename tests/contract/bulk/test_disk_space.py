"""Disks that fill up: no image is paid for that cannot be kept."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from sd3async.bulk import StorageError

PROMPTS = [f"p{number}" for number in range(40)]
MIB = 2**20
PATIENCE = 120.0  # [s] for three programs on a busy machine


@attrs.define
class Disk:
    """A disk as the system tells of it: so large, less what lies in a folder.

    Attributes:
        folder: What fills it.
        size: How much it holds [bytes].
        files: How many files it holds; 0 says no number.
    """

    folder: Path
    size: int = 0
    files: int = 0

    def statvfs(self, _: object) -> SimpleNamespace:
        """Stand in for `os.statvfs`."""
        there = [path for path in self.folder.rglob("*") if path.is_file()]
        used = sum(path.stat().st_size for path in there if path.suffix != ".sqlite-shm")
        return SimpleNamespace(
            f_frsize=1,
            f_blocks=self.size,
            f_bavail=self.size - used,
            f_files=self.files,
            f_favail=self.files - len(there),
        )


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk(tmp_path / "out")
    monkeypatch.setattr(os, "statvfs", made.statvfs)
    return made


async def test_a_disk_that_fills_up_stops_the_job_with_every_paid_image_on_it(
    site: Any, disk: Disk
) -> None:
    """Five runs on a nearly full disk paid for 300 images and kept none."""
    here = await site(image_bytes=400_000, latency=1.0)
    disk.size = 24 * MIB
    async with here.job(PROMPTS, concurrency=10) as job:
        await job.run()
    images = here.files("*.png")

    assert job.stop_reason == "room"
    assert isinstance(job.failure, StorageError)
    assert here.emulator.paid == job.stats.done == len(images)
    assert (job.stats.possibly_paid, job.stats.failed) == (0, 0)
    assert 10 < len(images) < 40


async def test_room_is_looked_at_again_when_the_job_goes_on(site: Any, disk: Disk) -> None:
    """Nothing is paid until there is room, and then everything is made."""
    here = await site(image_bytes=400_000, latency=1.0)
    paid: list[int] = []
    reasons: list[str | None] = []
    for size in (24, 20, 100):
        disk.size = size * MIB
        async with here.job(PROMPTS, concurrency=10) as job:
            await job.run()
        paid.append(here.emulator.paid)
        reasons.append(job.stop_reason)

    assert reasons == ["room", "room", None]
    assert 0 < paid[0] == paid[1] < paid[2] == 40


async def test_a_job_that_knows_no_image_yet_begins_with_a_large_one_in_mind(
    site: Any, disk: Disk
) -> None:
    """The first three hundred must not be sent to find out how large they are."""
    here = await site(image_bytes=400_000, latency=1.0)
    disk.size = 18 * MIB
    async with here.job(PROMPTS) as job:
        await job.run()

    assert here.emulator.paid == 0
    assert (job.stop_reason, job.stats.unsent) == ("room", 40)
    assert "10." in str(job.failure)  # what the journal's log leaves of it
    assert "make room, and run the same command again" in str(job.failure)


async def test_how_large_images_are_is_known_from_earlier_runs(site: Any, disk: Disk) -> None:
    """Images may be larger than anybody would guess."""
    here = await site(image_bytes=6_000_000)
    disk.size = 100 * MIB
    async with here.job(PROMPTS[:2]) as job:
        await job.run()
    used = disk.size - disk.statvfs(None).f_bavail
    disk.size = used + 16 * MIB + 5_800_000
    async with here.job(PROMPTS[:3]) as again:
        await again.run()

    assert job.stats.done == here.emulator.paid == 2
    assert again.stop_reason == "room"


async def test_another_program_that_fills_the_disk_is_noticed_within_a_second(
    site: Any, disk: Disk
) -> None:
    """What was free an hour ago says nothing of now."""
    here = await site(latency=1.0)
    disk.size = 1_000 * MIB
    async with here.job(PROMPTS, concurrency=2) as job:
        task = asyncio.create_task(job.run())
        await asyncio.sleep(5.5)
        before, disk.size = here.emulator.paid, 8 * MIB
        await task

    assert job.stop_reason == "room"
    assert here.emulator.paid == job.stats.done <= before + 2 * 2


async def test_a_disk_may_have_room_for_bytes_and_none_for_files(site: Any, disk: Disk) -> None:
    """A disk of many small files is full long before its bytes are."""
    here = await site()
    disk.size, disk.files = 1_000 * MIB, 12
    async with here.job(PROMPTS, concurrency=4) as job:
        await job.run()

    assert job.stop_reason == "room"
    assert here.emulator.paid == job.stats.done < 5
    assert "files" in str(job.failure)


async def test_a_disk_that_tells_nothing_is_no_obstacle(site: Any, disk: Disk) -> None:
    """Some file systems say 0 of 0; a job must not wait for them to grow."""
    here = await site()
    async with here.job(PROMPTS) as job:
        await job.run()

    assert job.stats.done == 40


def test_on_a_real_small_disk_the_command_stops_and_goes_on_when_there_is_room(
    sd3_emulator_factory: Any, tmp_path: Path
) -> None:
    """What the system says of a disk must be what a job understands."""
    emulator = sd3_emulator_factory(limit=None, image_bytes=1_000_000, latency=0.2)
    mounted = tmp_path / "disk"
    mounted.mkdir()
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS))
    job = f"{sys.executable} -m sd3async bulk p.txt --out disk/out --concurrency 8 --json "
    job += f"--no-report --base-url {emulator.url}"
    script = (
        f"mount -t tmpfs -o size=40m none disk && ({job}; {job};"
        f" mount -o remount,size=100m none disk; {job}; du -sm disk >&2)"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"STABILITY_API_KEY": "sk-x"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    if done.stderr.startswith(("unshare: ", "mount: ")):
        pytest.skip("this machine lets nobody mount a disk")
    told = [json.loads(line) for line in done.stdout.splitlines()]

    assert [run["exit_code"] for run in told] == [1, 1, 0], done.stderr
    assert [run["stop_reason"] for run in told] == ["room", "room", None]
    assert 8 < told[0]["done"] == told[1]["done"] < 40
    assert [run["possibly_paid"] for run in told] == [0, 0, 0]
    assert told[2]["done"] == emulator.paid == 40
