"""Files that appear whole, and threads that never outlive their caller."""

import asyncio
import errno
import io
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sd3async._files import PartFile, sync_folder, write_atomically
from sd3async._threads import in_thread, in_thread_or_leave


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
    for name in ("x" * 240, "é" * 127, "\N{CAT FACE}" * 63):
        assert write_atomically(tmp_path / name, b"a").read_bytes() == b"a"


def test_a_part_file_can_begin_anew(tmp_path: Path) -> None:
    """The next attempt's image is not the end of the last one's."""
    with PartFile(tmp_path / "a.bin") as part:
        part.write(b"a longer one")
        part.restart()
        part.write(b"two")
        part.commit()

    assert (tmp_path / "a.bin").read_bytes() == b"two"


def test_aborting_leaves_no_part_even_when_closing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network drive tells of a full disk when the file is closed."""

    class Drive(io.FileIO):
        def close(self) -> None:
            super().close()
            raise OSError(errno.ENOSPC, "No space left on device")

    def open_on_drive(path: Path, mode: str, **_: object) -> io.FileIO:
        return Drive(path, mode)

    monkeypatch.setattr(Path, "open", open_on_drive)
    PartFile(tmp_path / "a.bin").abort()

    assert list(tmp_path.iterdir()) == []


@contextmanager
def nobody() -> Generator[None]:
    """Be a user without rights, if this is root."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


def test_a_folder_that_may_be_written_but_not_read_keeps_the_file() -> None:
    """An image in a drop box is whole and paid for; it must not be told as lost."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o733)
        with nobody():
            write_atomically(folder / "a.bin", b"a")

        assert (folder / "a.bin").read_bytes() == b"a"


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    """Only what may not be asked is left to the system."""
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "gone")


async def test_a_result_and_an_error_come_back_from_the_thread() -> None:
    """It behaves as the function itself would."""
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0)


class Step:
    """A function that a thread is held in until it may end."""

    def __init__(self, outcome: Any = "made") -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.has_ended = False
        self._outcome = outcome

    def __call__(self, *_: object) -> Any:
        self.begun.set()
        assert self.may_end.wait(10)
        self.has_ended = True
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, 10)


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("outcome", ["made", OSError("disk")], ids=["made", "failed"])
async def test_a_cancelled_caller_waits_until_the_thread_is_done(
    outcome: str | Exception, times: int
) -> None:
    """The file that the thread writes to is closed right after."""
    work, disposed = Step(outcome), list[str]()
    task = asyncio.create_task(in_thread(work, dispose=disposed.append))
    await work.has_begun()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    work.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert work.has_ended
    assert disposed == ([outcome] if isinstance(outcome, str) else [])


async def test_what_a_cancelled_caller_is_handed_is_disposed_of_to_the_end() -> None:
    """A second cancellation let a file be deleted while it was still being written."""
    work, dispose = Step(), Step()
    task = asyncio.create_task(in_thread(work, dispose=dispose))
    await work.has_begun()
    task.cancel()
    work.may_end.set()
    await dispose.has_begun()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    dispose.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert dispose.has_ended


@pytest.mark.parametrize("run", [in_thread, in_thread_or_leave])
async def test_a_result_that_arrives_with_the_cancellation_has_an_owner(
    run: Callable[..., Any],
) -> None:
    """The thread is done and its caller has not yet run again: whose is the file?"""
    disposed, loop = asyncio.Event(), asyncio.get_running_loop()

    def cancel() -> None:
        loop.call_soon_threadsafe(task.cancel)

    def dispose(_: None) -> None:
        loop.call_soon_threadsafe(disposed.set)

    task: asyncio.Task[None] = asyncio.create_task(run(cancel, dispose=dispose))
    with pytest.raises(asyncio.CancelledError):
        await task

    await asyncio.wait_for(disposed.wait(), 10)


async def test_a_thread_can_be_left_and_what_it_makes_is_disposed_of() -> None:
    """A pipe that nobody writes to would hold a cancelled caller for ever."""
    work, dispose = Step(), Step()
    task = asyncio.create_task(in_thread_or_leave(work, dispose=dispose))
    await work.has_begun()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not work.has_ended
    work.may_end.set()
    dispose.may_end.set()
    await dispose.has_begun()


async def test_a_failure_of_a_thread_that_was_left_is_nobodys() -> None:
    """The loop would report an error that was never retrieved."""
    work = Step(OSError("late"))
    task = asyncio.create_task(in_thread_or_leave(work))
    await work.has_begun()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    work.may_end.set()
    await in_thread(int)


@pytest.mark.parametrize("run", [in_thread, in_thread_or_leave])
async def test_a_hundred_threads_that_hang_hold_nobody_up(run: Callable[..., Any]) -> None:
    """One dead network drive must not stop the images that go to another."""
    gate = threading.Event()
    hanging = [asyncio.create_task(run(gate.wait, 10)) for _ in range(100)]
    await asyncio.sleep(0)

    assert await asyncio.wait_for(in_thread(divmod, 7, 2), 5) == (3, 1)
    gate.set()
    await asyncio.gather(*hanging)


async def test_threads_are_used_again() -> None:
    """A thread for each piece of an upload would cost more than the piece."""
    before = threading.active_count()
    for _ in range(50):
        await in_thread(int)

    assert threading.active_count() <= before + 2
    assert (await in_thread(threading.current_thread)).name.startswith("sd3async-")


def python(script: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    return result.stdout.strip()


def test_a_thread_that_hangs_does_not_keep_the_interpreter() -> None:
    """Ctrl-C would seem to do nothing."""
    script = """
import asyncio, threading
from contextlib import suppress
from sd3async._threads import in_thread_or_leave

async def main():
    with suppress(TimeoutError):
        await asyncio.wait_for(in_thread_or_leave(threading.Event().wait), 0.05)
    print("left")

asyncio.run(main())
"""
    assert python(script) == "left"


def test_a_forked_process_has_threads_of_its_own() -> None:
    """A pre-forking web server would wait for the threads of its parent for ever."""
    script = """
import asyncio, os
from sd3async._threads import in_thread

print(asyncio.run(in_thread(divmod, 7, 2)), flush=True)
if os.fork() == 0:
    print(asyncio.run(in_thread(divmod, 9, 2)), flush=True)
    os._exit(0)
os.wait()
"""
    assert python(script).splitlines() == ["(3, 1)", "(4, 1)"]
