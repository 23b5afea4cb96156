"""What people do around a job, counted at the server: no image paid for nothing, and untold."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sd3async.bulk import Defaults
from sd3async.bulk.plan import plan
from sd3async.emulator import Emulator, Fault
from support.customizing import customize
from support.killing import start_job

PRICE = 6.5  # [credits] of an sd3 request without a model
PATIENCE = 60.0  # [s] for a program on a busy machine
MIB = 2**20


async def made(job: Any) -> Any:
    """Run a job to its end; return it."""
    async with job:
        await job.run()
    return job


def prompts(out: Any) -> list[str]:
    """Return the prompts of the images that were made."""
    return [record.prompt for record in out.records() if record.state == "done"]


def counts(out: Path, query: str) -> tuple[int, ...]:
    """Return one row of whole numbers from a journal that nobody writes."""
    with closing(sqlite3.connect(out / "journal.sqlite")) as db:
        return tuple(int(value or 0) for value in db.execute(query).fetchone())


def wait_for(is_so: Callable[[], object]) -> None:
    ends_at = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < ends_at
        time.sleep(0.005)


@pytest.mark.parametrize("on_unknown", ["retry", "hold"])
@pytest.mark.parametrize("trouble", [Fault.hang_up(), Fault.truncated(0.5), Fault.slow(30.0)])
async def test_a_service_whose_every_answer_breaks_off_stops_the_job(
    site: Any, trouble: Fault, on_unknown: Any
) -> None:
    """A gateway that cuts every answer bills each attempt: 130 items cost 650 images and gave none."""
    here = await site(faults=[None] * 20 + [trouble] * 2_000, limit=None)
    lines = [f"p{number}" for number in range(300)]
    job = await made(here.job(lines, concurrency=4, deadline=20, on_unknown=on_unknown))
    here.emulator.faults.clear()  # not all of them were meant to strike

    assert job.stop_reason == "service"
    assert job.stats.failed + job.stats.unknown < 30


async def test_room_is_looked_for_on_the_disk_that_holds_the_images(
    site: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With images/ a link to a full disk, each run paid for 52 images more and kept none."""
    here = await site(image_bytes=400_000)
    large = tmp_path / "large"
    large.mkdir()
    here.out.mkdir()
    (here.out / "images").symlink_to(large)

    def statvfs(path: Any) -> SimpleNamespace:
        free = 1 * MIB if Path(path).resolve().is_relative_to(large) else 1_000 * MIB
        return SimpleNamespace(
            f_frsize=1, f_blocks=1_000 * MIB, f_bavail=free, f_files=0, f_favail=0
        )

    monkeypatch.setattr(os, "statvfs", statvfs)
    job = await made(here.job(["a", "b", "c"], force=True))

    assert job.stop_reason == "room"
    assert here.emulator.paid == 0


SMALL_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
"""


def test_a_run_after_one_that_could_keep_nothing_pays_for_one_image_at_most(
    sd3_emulator_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a limit of the account, and not the disk, refuses images, each run lost all in flight."""
    emulator: Emulator = sd3_emulator_factory(limit=None, image_bytes=1_500_000, latency=0.5)
    (tmp_path / "p.txt").write_text("".join(f"p{number}\n" for number in range(60)))
    customize(monkeypatch, tmp_path, SMALL_FILES)
    paid: list[int] = []
    for _ in range(2):
        job = start_job(tmp_path / "p.txt", tmp_path / "out", emulator.url, "--concurrency=10")
        job.communicate(timeout=PATIENCE)
        paid.append(emulator.paid)

    assert paid[1] - paid[0] <= 1


SLOW_COMMITS = """
import sqlite3, time
connect = sqlite3.connect
class Slow(sqlite3.Connection):
    def execute(self, words, *values):
        if words == "COMMIT":
            time.sleep(0.5)
        return super().execute(words, *values)
sqlite3.connect = lambda *args, **options: connect(*args, **{"factory": Slow} | options)
"""


def test_every_attempt_that_was_paid_is_told_after_a_kill(
    sd3_emulator_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow disk 22 requests were paid, the job was killed, and 16 were told of."""
    emulator: Emulator = sd3_emulator_factory(
        limit=None, faults=[None] * 4 + [Fault.hang_up()] * 200
    )
    (tmp_path / "p.txt").write_text("".join(f"p{number}\n" for number in range(16)))
    customize(monkeypatch, tmp_path, SLOW_COMMITS)
    job = start_job(tmp_path / "p.txt", tmp_path / "out", emulator.url, "--concurrency=4")
    wait_for(lambda: emulator.paid >= 14)
    job.kill()
    job.communicate()
    emulator.faults.clear()  # not all of them were meant to strike
    (told,) = counts(
        tmp_path / "out", "SELECT sum(unknown_charges) + sum(state IN ('sent', 'done')) FROM items"
    )

    assert told >= emulator.paid


@pytest.mark.parametrize("renamed", [True, False])
async def test_a_manifest_that_is_to_be_read_in_another_way_is_read_again(
    site: Any, tmp_path: Path, renamed: bool
) -> None:
    """Who sees the header drawn as a picture stops, says csv, and paid for the raw lines all the same."""
    here = await site()
    path = tmp_path / "p.txt"
    path.write_text("prompt,seed\na fox,7\na cat,8\n")
    await made(here.job(path, max_credits=PRICE))
    if renamed:
        path = path.rename(tmp_path / "p.csv")
    shape: Any = None if renamed else "csv"
    told = await plan(path, out=here.out, shape=shape)
    job = await made(here.job(path, shape=shape))

    assert told.to_send == 2
    assert prompts(job) == ["a fox", "a cat"]


async def test_an_image_that_is_put_back_is_not_paid_twice_on_paper(site: Any) -> None:
    """Remake, stop, find the backup: the job said 260 credits where 130 were paid, and hit its cap."""
    here = await site()
    await made(here.job(["a", "b"]))
    images = {path: path.read_bytes() for path in here.files("*.png")}
    for path in images:
        path.unlink()
    await made(here.job(["a", "b"], remake_missing=True, max_credits=2 * PRICE))
    for path, data in images.items():
        path.write_bytes(data)
    job = await made(here.job(["a", "b"]))

    assert (job.stats.done, here.emulator.paid) == (2, 2)
    assert job.stats.credits_spent == 2 * PRICE


SLOW_IMAGES = """
import os, time
fsync = os.fsync
def slow(descriptor):
    if ".png." in os.readlink(f"/proc/self/fd/{descriptor}"):
        time.sleep(1.5)
    return fsync(descriptor)
os.fsync = slow
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc to tell files by")
def test_a_deadline_that_passes_while_the_disk_works_loses_no_image(
    sd3_emulator_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten whole images lay in the folder, and the job said ten failed, perhaps paid."""
    emulator: Emulator = sd3_emulator_factory(limit=None, image_bytes=1_000)
    (tmp_path / "p.txt").write_text("".join(f"p{number}\n" for number in range(10)))
    customize(monkeypatch, tmp_path, SLOW_IMAGES)
    job = start_job(tmp_path / "p.txt", tmp_path / "out", emulator.url, "--deadline=1")
    job.communicate(timeout=PATIENCE)
    done, doubts = counts(
        tmp_path / "out", "SELECT sum(state = 'done'), sum(unknown_charges) FROM items"
    )

    assert done + doubts == emulator.paid == 10
    assert done == len(list((tmp_path / "out").rglob("*.png")))


def test_what_was_refused_is_no_doubt_after_a_kill(
    sd3_emulator_factory: Any, tmp_path: Path
) -> None:
    """Killed in a lock-out, where nothing can have been charged, a job told 17 doubts; they eat the cap."""
    trouble = [None] * 3 + [Fault.rate_limited()]
    emulator: Emulator = sd3_emulator_factory(faults=trouble, image_bytes=1_000)
    (tmp_path / "p.txt").write_text("".join(f"p{number}\n" for number in range(40)))
    job = start_job(tmp_path / "p.txt", tmp_path / "out", emulator.url, "--concurrency=20")
    wait_for(lambda: emulator.refused >= 1)
    time.sleep(1.0)  # all that was with the server has been answered by then
    job.kill()
    job.communicate()
    done, sent = counts(
        tmp_path / "out", "SELECT sum(state = 'done'), sum(state = 'sent') FROM items"
    )

    assert done == emulator.paid
    assert sent == 0


async def test_more_variations_keep_the_images_of_lines_that_have_an_id(site: Any) -> None:
    """Looking at one of each first, then --repeat 2, paid again for every line with an id."""
    here = await site()
    lines = [{"prompt": "a", "id": "x"}, {"prompt": "b"}]
    await made(here.job(lines))
    job = await made(here.job(lines, defaults=Defaults(repeat=2)))

    assert job.stats.done == 4
    assert here.emulator.paid == 4
