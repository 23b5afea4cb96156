"""Sinks: an image is kept whole, or nothing of it is."""

import asyncio
import errno
import itertools
import os
import threading
import time
import tracemalloc
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from sd3async import InvalidRequestError
from sd3async._files import PartFile
from sd3async.sinks import open_sink

PIECES = [b"a" * 200_000, b"b" * 100_000, b"", b"c" * 300_000, b"d"]
IMAGE = b"".join(PIECES)


def kept(result: bytes | Path) -> bytes:
    return result if isinstance(result, bytes) else result.read_bytes()


@pytest.mark.parametrize("in_file", [False, True])
async def test_an_image_is_kept_as_it_came(tmp_path: Path, in_file: bool) -> None:
    """Its bytes are signed."""
    path = tmp_path / "a.png" if in_file else None
    async with open_sink(path) as sink:
        await sink.restart()
        for piece in PIECES:
            await sink.write(piece)
        result = await sink.finish()

    assert kept(result) == IMAGE
    assert list(tmp_path.iterdir()) == ([path] if path else [])


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("before", [[b"old"], PIECES], ids=["little", "much"])
async def test_an_attempt_begins_anew(tmp_path: Path, before: list[bytes], in_file: bool) -> None:
    """Half of a first answer in front of the second is no image."""
    async with open_sink(tmp_path / "a.png" if in_file else None) as sink:
        for _ in range(2):
            await sink.restart()
            for piece in before:
                await sink.write(piece)
        await sink.restart()
        await sink.write(b"new")

        assert kept(await sink.finish()) == b"new"


async def test_of_many_large_images_one_at_a_time_is_in_memory_twice() -> None:
    """Joining the pieces copies an image; what was joined must not wait for its sink to close."""
    async with AsyncExitStack() as stack:
        sinks = [await stack.enter_async_context(open_sink(None)) for _ in range(8)]
        tracemalloc.start()
        try:
            for _ in range(4):
                for sink in sinks:
                    await sink.write(bytes(1_000_000))
            images = [kept(await sink.finish()) for sink in sinks]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert [len(image) for image in images] == [4_000_000] * 8
    assert peak < 37_000_000


async def test_leaving_with_a_whole_image_waits_for_nothing(tmp_path: Path) -> None:
    """A cancellation or a close that struck there hid an image that was on disk, and paid for."""
    sink = open_sink(tmp_path / "a.png")
    async with sink:
        await sink.restart()
        await sink.write(IMAGE)
        await sink.finish()
        with pytest.raises(StopIteration):
            sink.__aexit__(None, None, None).send(None)


async def test_the_file_is_made_on_entry_and_gone_unless_it_was_finished(tmp_path: Path) -> None:
    """A folder that cannot be written must be known before an image is paid for."""
    async with open_sink(tmp_path / "a.png") as sink:
        [part] = tmp_path.iterdir()
        await sink.write(IMAGE)

        assert part.name.startswith(".a.png.")
        assert part.suffix == ".part"
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error says where, and keeps what the system said."""
    with pytest.raises(
        InvalidRequestError, match=r"to: cannot write in '.*gone': no such"
    ) as caught:
        async with open_sink(tmp_path / "gone" / "a.png"):
            pass

    assert caught.value.field == "to"
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize("step", ["write", "restart", "commit"])
async def test_what_the_disk_refuses_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Half an image on a disk that is full takes room from the next one."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def receive() -> None:
        async with open_sink(tmp_path / "a.png") as sink:
            for _ in range(2):
                await sink.restart()
                await sink.write(IMAGE)
            await sink.finish()

    monkeypatch.setattr(PartFile, step, fail)
    with pytest.raises(OSError, match="No space left"):
        await receive()

    assert list(tmp_path.iterdir()) == []


class SlowDisk:
    """Every step of a part file takes a while, before and after it has its effect."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.running = 0
        for name in ("__init__", "write", "restart", "commit", "abort"):
            monkeypatch.setattr(PartFile, name, self._slow(getattr(PartFile, name)))

    def _slow(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def slowly(*args: Any) -> Any:
            assert threading.current_thread().name.startswith("sd3async-")
            assert self.running == 0, "two threads are at one file"
            self.running += 1
            time.sleep(0.0003)
            try:
                return step(*args)
            finally:
                time.sleep(0.0003)
                self.running -= 1

        return slowly


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("times", [1, 2])
async def test_a_cancellation_at_any_point_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Part files stayed behind, and threads went on writing into files that were closed."""
    disk = SlowDisk(monkeypatch)
    path = tmp_path / "a.png"

    async def receive() -> None:
        async with open_sink(path) as sink:
            for pieces in (PIECES[:3], PIECES):
                await sink.restart()
                for piece in pieces:
                    await sink.write(piece)
            await sink.finish()

    descriptors = open_descriptors()
    for count in itertools.count(step=10):
        task = asyncio.create_task(receive())
        for _ in range(count):
            await asyncio.sleep(0)
        if task.done():
            assert count > 100
            assert path.read_bytes() == IMAGE
            return
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])

        assert task.cancelled()
        assert disk.running == 0
        left = [path] if path.exists() else []  # cancelled while it was given its name
        assert list(tmp_path.iterdir()) == left
        assert all(file.read_bytes() == IMAGE for file in left)
        path.unlink(missing_ok=True)
        assert open_descriptors() == descriptors
