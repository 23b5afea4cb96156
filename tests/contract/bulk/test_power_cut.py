"""What a power cut leaves: only what was synced, under names whose folder was synced."""

import os
from pathlib import Path
from typing import Any

import attrs
import pytest

from sd3async.bulk.keeping.journal import Journal
from sd3async.bulk.keeping.ledger import Delivery


@attrs.define
class Diary:
    """What was done to the disk, in order.

    Attributes:
        entries: A verb and the inode it was done to; or "done" and an item's number.
    """

    entries: list[tuple[str, int]] = attrs.field(factory=list[tuple[str, int]])

    def synced(self, path: Path, *, before: int) -> int:
        """Return when a file or folder was last synced before a moment; -1 for never."""
        entry = ("fsync", path.stat().st_ino)
        return max(
            (at for at, past in enumerate(self.entries[:before]) if past == entry), default=-1
        )

    def named(self, path: Path) -> int:
        """Return when a file was given its name."""
        return self.entries.index(("replace", path.stat().st_ino))


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> Diary:
    made = Diary()
    fsync, replace, done = os.fsync, os.replace, Journal.done

    def note_fsync(descriptor: int) -> None:
        fsync(descriptor)
        made.entries.append(("fsync", os.fstat(descriptor).st_ino))

    def note_replace(source: Any, target: Any) -> None:
        replace(source, target)
        made.entries.append(("replace", Path(target).stat().st_ino))

    async def note_done(journal: Journal, number: int, delivery: Delivery, **facts: Any) -> int:
        made.entries.append(("done", number))
        return await done(journal, number, delivery, **facts)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    monkeypatch.setattr(Journal, "done", note_done)
    return made


@pytest.mark.parametrize("suffix", [".png", ".json"])
async def test_an_item_is_done_when_its_files_would_outlive_a_power_cut(
    site: Any, diary: Diary, suffix: str
) -> None:
    """A journal that names an image which the disk lost would never make it again."""
    here = await site()
    async with here.job([f"p{number}" for number in range(5)]) as job:
        await job.run()

    for record in job.records():
        path = (here.out / str(record.file)).with_suffix(suffix)
        done, named = diary.entries.index(("done", record.index)), diary.named(path)
        assert diary.synced(path, before=named) >= 0, "named before its bytes were synced"
        assert named < diary.synced(path.parent, before=done), "done before its name was synced"


async def test_new_folders_would_outlive_a_power_cut_before_anything_is_done(
    site: Any, diary: Diary, tmp_path: Path
) -> None:
    """An image in a folder that is gone is gone with it."""
    here = await site()
    out = tmp_path / "new" / "out"
    async with here.job(["x"], out=out) as job:
        await job.run()
    done = diary.entries.index(("done", 0))

    for folder in (out / "images/000000", out / "images", out, out.parent, out.parent.parent):
        assert diary.synced(folder, before=done) >= 0, folder
