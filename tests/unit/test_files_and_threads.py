"""Files that appear whole, and threads that never outlive their caller."""

import asyncio
import threading
from pathlib import Path

import pytest

from sd3async._files import PartFile, write_atomically
from sd3async._threads import in_thread


def test_a_part_file_gets_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    """A reader of the folder never sees half a file under its final name."""
    target = tmp_path / "a.bin"
    part = PartFile(target)
    part.write(b"one")
    assert not target.exists()

    part.write(b"two")
    part.commit()
    assert target.read_bytes() == b"onetwo"
    assert list(tmp_path.iterdir()) == [target]


def test_what_is_not_committed_is_deleted(tmp_path: Path) -> None:
    """A cancelled download leaves nothing behind."""
    with PartFile(tmp_path / "a.bin") as part:
        part.write(b"one")

    assert list(tmp_path.iterdir()) == []


def test_a_long_name_still_has_room_for_the_part_suffix(tmp_path: Path) -> None:
    """File systems stop at 255 bytes."""
    assert write_atomically(tmp_path / ("x" * 240), b"a").read_bytes() == b"a"


async def test_a_result_and_an_error_come_back_from_the_thread() -> None:
    """It behaves as the function itself would."""
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0)


@pytest.mark.parametrize("error", [None, OSError("disk")])
async def test_a_cancelled_caller_waits_until_the_thread_is_done(error: Exception | None) -> None:
    """The file that the thread writes to is closed right after."""
    begun, may_end = threading.Event(), threading.Event()
    ended: list[bool] = []

    def work() -> None:
        begun.set()
        may_end.wait(5)
        ended.append(True)
        if error is not None:
            raise error

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ended == [True]
