"""Image sources: read as often as needed, never closed, never moved."""

import array
import asyncio
import gc
import gzip
import io
import itertools
import os
import pickle
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sd3async import GeneratedImage, InvalidRequestError, SD3Request
from sd3async.models.sources import (
    MAX_BODY_BYTES,
    PIECE_BYTES,
    ImageFacts,
    Upload,
    as_source,
    prepare,
)
from support.pictures import IMAGE_KINDS, OneWayStream, padded_picture, picture

PICTURE = picture()
LARGE = padded_picture(3 * PIECE_BYTES + 1000)


async def upload_of(value: Any) -> Upload:
    return await prepare(as_source(value, "image"), "image")


async def read_into(sent: bytearray, upload: Upload) -> None:
    async for piece in upload.pieces():
        sent += piece


async def read_all(upload: Upload) -> bytes:
    sent = bytearray()
    await read_into(sent, upload)
    return bytes(sent)


def generated(**changes: Any) -> GeneratedImage:
    facts: dict[str, Any] = {
        "content_type": "image/png", "size": len(PICTURE), "seed": 1, "finish_reason": "SUCCESS",
        "request_id": None, "request": SD3Request("a"), "credits": 6.5,
    }  # fmt: skip
    return GeneratedImage(**facts | changes)


def temporary(make: Callable[[], Any]) -> Any:
    stream = make()
    stream.write(PICTURE)
    stream.seek(0)
    return stream


class UploadFile:
    """What Starlette hands to a view: its own methods are coroutines."""

    def __init__(self, file: Any) -> None:
        self.file = file

    async def read(self, size: int = -1) -> bytes:
        return bytes(self.file.read(size))


KINDS: dict[str, Callable[[Path], Any]] = {
    **IMAGE_KINDS,
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "array": lambda path: array.array("B", path.read_bytes()),
    "NumPy bytes": lambda path: np.frombuffer(path.read_bytes(), np.uint8),
    "generated": lambda _: generated(data=PICTURE),
    "generated, in a file": lambda path: generated(path=path),
    "raw file": lambda path: path.open("rb", buffering=0),
    "gzip": lambda path: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(path.read_bytes()))),
    "temporary file": lambda _: temporary(tempfile.TemporaryFile),
    "named temporary file": lambda _: temporary(tempfile.NamedTemporaryFile),
    "spooled, in memory": lambda _: temporary(tempfile.SpooledTemporaryFile),
    "spooled, on disk": lambda _: temporary(partial(tempfile.SpooledTemporaryFile, 1)),
    "Starlette's": lambda path: UploadFile(path.open("rb")),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(PICTURE)
    return path


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_gives_the_same_bytes_on_every_pass(kind: str, file: Path) -> None:
    """A retry that sends an empty or shortened image succeeds silently, and is charged."""
    value = KINDS[kind](file)
    upload = await upload_of(value)

    assert upload.is_replayable
    assert upload.size == len(PICTURE)
    assert upload.facts == ImageFacts("png", 96, 64)
    assert [await read_all(upload) for _ in range(3)] == [PICTURE] * 3
    stream = value.file if isinstance(value, UploadFile) else value
    if hasattr(stream, "close"):
        assert (stream.closed, stream.tell()) == (False, 0)
        stream.close()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_facts_come_from_the_header(kind: Any) -> None:
    """Format and sides decide whether the service will take an image."""
    assert as_source(picture(80, 70, kind), "image").facts == ImageFacts(kind, 80, 70)


def test_a_header_behind_a_megabyte_of_metadata_is_found() -> None:
    """Cameras put depth maps before the size of a JPEG."""
    start, rest = picture(kind="jpeg")[:2], picture(kind="jpeg")[2:]
    metadata = (b"\xff\xe1\xff\xff" + b"\0" * 0xFFFD) * 20

    assert as_source(start + metadata + rest, "image").facts == ImageFacts("jpeg", 96, 64)


@pytest.mark.parametrize(
    "value",
    [
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * (MAX_BODY_BYTES // 4 - 1),
        b"\xff\xd8" + b"\xff" * (MAX_BODY_BYTES - 2),
        "data:image/png;base64," + "iVBORw0KGgoA" * MAX_BODY_BYTES,
    ],
    ids=["empty parts", "nothing but marks", "data URI"],
)
def test_what_takes_long_to_look_at_is_refused_soon(value: Any) -> None:
    """Strangers upload what they like, and the event loop stands still meanwhile."""
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    sys.setprofile(count)
    try:
        with pytest.raises(InvalidRequestError, match=r"damaged header|MiB"):
            as_source(value, "image")
    finally:
        sys.setprofile(None)

    assert steps < 200_000  # looked at piece by piece, each took millions


@given(
    start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFFaaaaWEBP"]),
    rest=st.binary(),
)
def test_any_bytes_are_an_image_or_refused(start: bytes, rest: bytes) -> None:
    """A damaged header must not surface as an error of a parser."""
    with suppress(InvalidRequestError):
        facts = as_source(start + rest, "image").facts

        assert facts is not None
        assert min(facts.width, facts.height) > 0


async def test_the_callers_file_stays_open_and_where_it_stood(file: Path) -> None:
    """The caller may go on reading."""
    with file.open("rb") as stream:
        pieces = (await upload_of(stream)).pieces()
        await anext(pieces)

        assert stream.tell() == 0
        await pieces.aclose()
        assert stream.read() == PICTURE


@pytest.mark.parametrize(
    "make", [io.BytesIO, tempfile.TemporaryFile, tempfile.SpooledTemporaryFile]
)
async def test_a_stream_is_sent_from_where_it_stands(make: Callable[[], Any]) -> None:
    """What lies before the present position is the caller's own business."""
    with make() as stream:
        stream.write(b"header" + PICTURE)
        stream.seek(6)

        assert await read_all(await upload_of(stream)) == PICTURE
        assert stream.tell() == 6


@pytest.mark.parametrize("kind", ["open file", "gzip", "BytesIO"])
async def test_passes_over_one_stream_do_not_disturb_each_other(kind: str, file: Path) -> None:
    """The same open file may be uploaded by many tasks at once."""
    file.write_bytes(LARGE)
    with KINDS[kind](file) as stream:
        uploads = await asyncio.gather(*(upload_of(stream) for _ in range(5)))

        assert await asyncio.gather(*map(read_all, uploads)) == [LARGE] * 5
        assert stream.tell() == 0


def test_a_stream_at_its_end_is_named_as_such() -> None:
    """The commonest slip: a buffer just written to, not rewound."""
    stream = io.BytesIO()
    stream.write(PICTURE)

    with pytest.raises(InvalidRequestError, match="its end; seek to the image first"):
        as_source(stream, "image")


async def test_a_one_way_stream_is_read_once_and_says_so() -> None:
    """It cannot be replayed, so a second call must not send nothing."""
    source = as_source(OneWayStream(PICTURE), "image")
    upload = await prepare(source, "image")

    assert not upload.is_replayable
    assert await read_all(upload) == PICTURE
    with pytest.raises(InvalidRequestError, match="sent already; pass bytes, a path"):
        await prepare(source, "image")


async def test_a_pillow_image_is_sent_as_png() -> None:
    """Its pixels must arrive unchanged."""
    upload = await upload_of(Image.new("RGB", (70, 80), (1, 2, 3)))

    with Image.open(io.BytesIO(await read_all(upload))) as sent:
        assert (sent.format, sent.size, sent.getpixel((0, 0))) == ("PNG", (70, 80), (1, 2, 3))


async def test_one_pillow_image_can_be_sent_by_many_calls_at_once() -> None:
    """An image that was only opened is loaded by the first use, in whatever thread that is."""
    with Image.open(io.BytesIO(picture(800, 800))) as image:
        uploads = await asyncio.gather(*(upload_of(image) for _ in range(20)))

    assert len({await read_all(upload) for upload in uploads}) == 1


@pytest.mark.parametrize("shape", [(80, 70), (80, 70, 3), (80, 70, 4)])
async def test_pixels_are_an_image(shape: tuple[int, ...]) -> None:
    """People who compute images have them as arrays."""
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    upload = await upload_of(pixels)

    with Image.open(io.BytesIO(await read_all(upload))) as sent:
        assert np.array_equal(np.asarray(sent), pixels)


async def test_pixels_that_are_no_bytes_are_refused() -> None:
    """A float image has no agreed range."""
    with pytest.raises(InvalidRequestError, match="image: cannot be read: Cannot handle"):
        await upload_of(np.zeros((80, 70, 3)))


async def test_an_image_that_cannot_be_a_png_is_one_plain_error() -> None:
    """Pillow's own error would escape the tree."""
    with pytest.raises(InvalidRequestError, match="image: cannot be read: cannot write mode CMYK"):
        await upload_of(Image.new("CMYK", (64, 64)))


@pytest.mark.parametrize("opened", [False, True])
async def test_a_file_that_changes_is_noticed_before_it_is_sent_again(
    file: Path, opened: bool
) -> None:
    """Two attempts with different pictures would make the result a lottery."""
    with file.open("rb") as stream:
        upload = await upload_of(stream if opened else file)
        file.write_bytes(PICTURE + b"more")

        with pytest.raises(InvalidRequestError, match="changed after the request was made"):
            await read_all(upload)


async def test_a_file_that_changes_while_it_is_sent_never_arrives_whole(file: Path) -> None:
    """Half of one picture and half of another would be paid for."""
    file.write_bytes(LARGE)
    pieces = (await upload_of(file)).pieces()
    await anext(pieces)
    os.utime(file, (1, 1))

    with pytest.raises(InvalidRequestError, match="changed after the request was made"):
        await anext(pieces)


async def test_a_file_that_vanishes_is_named(file: Path) -> None:
    """The error must say which file, not just that something failed."""
    upload = await upload_of(file)
    file.unlink()

    with pytest.raises(InvalidRequestError, match=r"cannot read '.*a\.png': no such file"):
        await read_all(upload)


async def test_a_stream_closed_by_the_caller_is_named(file: Path) -> None:
    """The retry must say why it cannot go on."""
    with file.open("rb") as stream:
        upload = await upload_of(stream)

    with pytest.raises(InvalidRequestError, match="cannot be read: I/O operation on closed file"):
        await read_all(upload)


async def test_bytes_that_the_caller_changes_later_are_sent_as_they_were() -> None:
    """Every attempt must send what the request was made with."""
    data, stream = bytearray(PICTURE), io.BytesIO(PICTURE)
    uploads = [await upload_of(value) for value in (data, memoryview(data), stream)]
    data[:] = bytes(len(data))
    stream.write(b"other")
    stream.close()

    assert [await read_all(upload) for upload in uploads] == [PICTURE] * 3


def _closed() -> BinaryIO:
    stream = io.BytesIO(PICTURE)
    stream.close()
    return stream


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param(b"", "is empty", id="no bytes"),
        pytest.param(b"GIF89a" + b"\0" * 20, "begins with b'GIF89a", id="gif"),
        pytest.param(PICTURE[:12], "damaged header", id="cut header"),
        pytest.param(b"iVBORw0KGgoAAAANSUhEUg", "and no base64 text of one", id="base64 bytes"),
        pytest.param(
            "iVBORw0KGgoAAAANSUhEUg==",
            "is no file but a URL or base64; pass the bytes",
            id="base64",
        ),
        pytest.param(
            "/9j/4AAQSkZJRg" * 400,
            "is no file but a URL or base64; pass the bytes",
            id="long base64",
        ),
        pytest.param(
            "UklGR" + "A/bc" * 9_000,
            "is no file but a URL or base64; pass the bytes",
            id="webp base64",
        ),
        pytest.param("https://a.example/x.png?token=secret", "is no file but a URL", id="URL"),
        pytest.param(
            Path("https://a.example/secret.png"), "is no file but a URL", id="URL as a path"
        ),
        pytest.param("s3://bucket/secret.png", "is no file but a URL", id="S3"),
        pytest.param("", "is empty; a path is needed", id="no path"),
        pytest.param("a\0.png", "embedded null", id="NUL"),
        pytest.param("\udcffa.png", "no such file", id="odd name"),
        pytest.param("\ud800.png", "cannot be read", id="half a character"),
        pytest.param(".", "cannot read '.': it is a folder, a pipe", id="folder"),
        pytest.param("/dev/zero", "it is a folder, a pipe or a device", id="device"),
        pytest.param("x." * 150, "name too long", id="long name"),
        pytest.param(3.5, "is float; a path, bytes", id="float"),
        pytest.param({"a": 1}, "is dict; a path, bytes", id="dict"),
        pytest.param(np.float64(1), "", id="NumPy number"),
        pytest.param(array.array("d", [1.0]), "", id="array of floats"),
        pytest.param(12, "is int; a path, bytes", id="a number"),
        pytest.param("no/such.png", "no such file or directory", id="no file"),
        pytest.param(_closed(), "cannot be read: I/O operation on closed file", id="closed"),
        pytest.param(io.StringIO("x"), "open it in binary mode", id="text stream"),
        pytest.param("data:image/png,abc", "cannot be read: ", id="data URI without base64"),
        pytest.param(UploadFile(None), "is NoneType; a path, bytes", id="no file within"),
        pytest.param("data:image/png;base64,a", "cannot be read: Invalid base64", id="bad base64"),
        pytest.param(padded_picture(MAX_BODY_BYTES + 1), "is 10.0 MiB; the whole", id="too large"),
    ],
)
def test_what_is_no_image_is_refused_with_a_sentence(value: Any, words: str) -> None:
    """It is refused where the request is made, before anything is sent."""
    with pytest.raises(InvalidRequestError, match=r"^image: ") as caught:
        as_source(value, "image")

    assert words in str(caught.value)
    assert len(str(caught.value)) < 350
    assert "secret" not in str(caught.value)


class AsyncFile:
    """A file as aiofiles and AnyIO have it."""

    async def read(self, size: int = -1) -> bytes:
        return PICTURE[:size]


def test_an_asynchronous_file_says_how_to_pass_it() -> None:
    """Its read() would give a coroutine instead of bytes."""
    with pytest.raises(InvalidRequestError, match="is asynchronous; await what it reads"):
        as_source(AsyncFile(), "image")
    with pytest.raises(InvalidRequestError, match="is asynchronous; await what it reads"):
        as_source(AsyncFile().read, "image")


async def _coroutine() -> BinaryIO:
    return io.BytesIO(PICTURE)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        pytest.param(lambda: None, "the callable returned is NoneType; a path", id="nothing"),
        pytest.param(lambda: PICTURE, "the callable returned is bytes; a path", id="bytes"),
        pytest.param(lambda: _coroutine(), "the callable returned is coroutine", id="coroutine"),
        pytest.param(AsyncFile, "the callable returned is asynchronous", id="asynchronous"),
        pytest.param(lambda: _closed(), "I/O operation on closed file", id="closed"),
        pytest.param(lambda: io.StringIO("x"), "open it in binary mode", id="text"),
        pytest.param(lambda: io.BytesIO(b"text"), "begins with b'text'", id="no image"),
        pytest.param(lambda: io.BytesIO(), "is empty", id="empty"),
        pytest.param(
            lambda: OneWayStream(padded_picture(MAX_BODY_BYTES + 70_000)), "MiB", id="too large"
        ),
        pytest.param(partial(open, "missing", "rb"), "cannot read 'missing'", id="missing"),
    ],
)
async def test_a_factory_is_looked_at_when_the_call_begins(factory: Any, words: str) -> None:
    """A callable may be slow, so it is not called when the request is made."""
    source = as_source(factory, "image")

    with pytest.raises(InvalidRequestError, match=f"^image: .*{words}"):
        await prepare(source, "image")


class Failing(io.BytesIO):
    """A stream whose reads fail, from the nth one on."""

    opened: ClassVar[int] = 0

    def __init__(self, error: Exception, after: int, *, one_way: bool = False) -> None:
        super().__init__(LARGE)
        self._error, self._left, self._one_way = error, after, one_way
        Failing.opened += 1

    def seekable(self) -> bool:
        return not self._one_way

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise self._error
        return super().read(size)

    def close(self) -> None:
        Failing.opened -= not self.closed
        super().close()
        raise OSError("closing fails too")

    def __del__(self) -> None:
        """It was closed, or it was lost: the count tells."""


ERRORS = [OSError(5, "Input/output error"), ValueError("odd"), TimeoutError(), KeyError("k")]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("after", range(5))
async def test_whatever_a_stream_raises_is_one_error_of_the_source(
    error: Exception, after: int
) -> None:
    """It would be taken for a broken connection, and retried with a doubt about its charge."""
    Failing.opened = 0
    sent = bytearray()

    async def send() -> None:
        await read_into(sent, await upload_of(lambda: Failing(error, after)))

    with pytest.raises(InvalidRequestError, match=r"^image: cannot be read: ") as caught:
        await send()

    assert caught.value.field == "image"
    assert caught.value.__cause__ is error
    assert len(sent) < len(LARGE)
    assert Failing.opened == 0


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_whatever_a_lent_stream_raises_is_one_error_too(error: Exception) -> None:
    """A network drive that fails in the middle is no broken connection."""
    with pytest.raises(InvalidRequestError, match=r"^image: cannot be read: ") as caught:
        await upload_of(Failing(error, 1, one_way=True))
    assert caught.value.__cause__ is error


async def test_a_factory_that_raises_is_named() -> None:
    """The same, before there is a stream."""

    def fail() -> BinaryIO:
        raise StopIteration("no more pictures")

    with pytest.raises(InvalidRequestError, match=r"image: cannot be read: .*StopIteration"):
        await upload_of(fail)


@pytest.mark.parametrize("is_one_way", [False, True])
@pytest.mark.parametrize("place", [-1, 0, 100, PIECE_BYTES, 2 * PIECE_BYTES + 9])
@pytest.mark.parametrize(
    ("instead", "also"), [(b"x", 0), (b"", 0), (b"x", 1)], ids=["another", "shorter", "longer"]
)
async def test_a_factory_that_gives_other_bytes_never_sends_all_of_them(
    is_one_way: bool, place: int, instead: bytes, also: int
) -> None:
    """The second attempt would ask for another picture than the first."""
    place %= len(LARGE)
    other = LARGE[:place] + instead + LARGE[place + 1 - also :]
    versions = itertools.chain([LARGE, LARGE], itertools.repeat(other))
    wrap = OneWayStream if is_one_way else io.BytesIO
    upload = await upload_of(lambda: wrap(next(versions)))
    assert await read_all(upload) == LARGE
    sent = bytearray()

    with pytest.raises(InvalidRequestError, match="it gives other bytes now"):
        await read_into(sent, upload)
    assert len(sent) < min(len(LARGE), len(other))


async def test_a_factory_is_held_to_what_was_sent_of_an_attempt_that_broke_off() -> None:
    """The first attempt rarely comes to its end when there is a second."""
    versions = iter([LARGE, LARGE, LARGE[:9] + b"x" + LARGE[10:]])
    upload = await upload_of(lambda: OneWayStream(next(versions)))
    pieces = upload.pieces()
    await anext(pieces)
    await pieces.aclose()

    with pytest.raises(InvalidRequestError, match="it gives other bytes now"):
        await read_all(upload)


async def test_streams_that_read_as_little_as_they_like_are_no_change() -> None:
    """A raw socket gives what it has."""
    rng = itertools.cycle([1000, 70_000, 3, 300_000])

    class Dribble(OneWayStream):
        def read(self, size: int = -1, /) -> bytes:
            return super().read(min(size, next(rng)))

    upload = await upload_of(lambda: Dribble(LARGE))
    assert [await read_all(upload) for _ in range(3)] == [LARGE] * 3


def test_a_pipe_is_refused_without_being_opened(tmp_path: Path) -> None:
    """Opening one waits for a writer, with the whole event loop."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(InvalidRequestError, match="it is a folder, a pipe or a device"):
        as_source(tmp_path / "pipe", "image")


async def test_a_file_that_has_become_a_pipe_is_refused_too(file: Path) -> None:
    """The second attempt looks before it opens, as the first did."""
    upload = await upload_of(file)
    file.unlink()
    os.mkfifo(file)

    with pytest.raises(InvalidRequestError, match="it is a folder, a pipe or a device"):
        await read_all(upload)


class Hanging(io.BytesIO):
    """A stream that blocks until it is let go, on the nth reading of it."""

    def __init__(self, gate: threading.Event, at: int) -> None:
        super().__init__(LARGE)
        self._gate, self._at = gate, at

    def read(self, size: int | None = -1, /) -> bytes:
        self._at -= 1
        if self._at < 0:
            self._gate.wait(30)
        return super().read(size)


@pytest.mark.parametrize("at", range(5))
async def test_a_source_that_hangs_is_left_behind_and_closes_itself_later(at: int) -> None:
    """A deadline of 0.3 s took as long as the network drive did."""
    gate = threading.Event()
    streams: list[Hanging] = []

    def factory() -> BinaryIO:
        streams.append(Hanging(gate, at))
        return streams[-1]

    async def send() -> None:
        while True:
            await read_all(await upload_of(factory))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await send()
    assert not all(stream.closed for stream in streams)
    gate.set()
    assert await comes_true(lambda: all(stream.closed for stream in streams))


async def test_a_reading_ahead_that_hangs_does_not_hold_up_the_end() -> None:
    """The connection breaks while the network drive hangs: the error must not wait for it."""
    gate = threading.Event()
    pieces = (await upload_of(lambda: Hanging(gate, 1))).pieces()
    await anext(pieces)
    await asyncio.sleep(0.01)

    await asyncio.wait_for(pieces.aclose(), 5)
    gate.set()


async def test_a_factorys_streams_are_closed_in_threads() -> None:
    """Closing a connection may block as reading does."""
    closers: list[str] = []

    class Connection(io.BytesIO):
        def close(self) -> None:
            if not self.closed:
                closers.append(threading.current_thread().name)
            super().close()

    upload = await upload_of(lambda: Connection(LARGE))
    for count in range(6):
        pieces = upload.pieces()
        for _ in range(count):
            await anext(pieces, None)
        await asyncio.sleep(0.005)
        await pieces.aclose()

    assert set(closers) == {"sd3async-worker"}
    assert len(closers) == 1 + 5


async def test_what_the_caller_has_written_before_the_image_is_no_change(file: Path) -> None:
    """It is still in Python's buffer when the request is made, and reaches the disk later."""
    file.write_bytes(b"123456" + PICTURE)
    os.utime(file, (1, 1))
    with file.open("r+b") as stream:
        stream.write(b"header")
        upload = await upload_of(stream)
        stream.flush()

        assert await read_all(upload) == PICTURE


async def comes_true(claim: Callable[[], bool]) -> bool:
    """Give threads that were left behind a moment."""
    for _ in range(2000):
        if claim():
            return True
        await asyncio.sleep(0.001)
    return False


async def passes(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def open_files() -> set[str]:
    links = Path("/proc/self/fd").iterdir()
    return {str(link.readlink()) for link in links if link.is_symlink()}


@pytest.mark.parametrize("kind", ["path", "open file", "factory", "one-way factory", "gzip"])
@pytest.mark.parametrize("times", [1, 2])
async def test_a_cancellation_at_any_point_leaves_no_reader(
    kind: str, times: int, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files left open by calls that were cut off add up until none can be opened."""
    file.write_bytes(LARGE)
    if kind in ("path", "open file"):
        monkeypatch.delattr(os, "RWF_NOWAIT")  # a cold disk
    streams: list[Any] = []
    value = KINDS[kind](file)

    def factory() -> Any:
        streams.append(value())
        return streams[-1]

    async def send() -> None:
        upload = await upload_of(factory if callable(value) else value)
        async with aclosing(upload.pieces()) as pieces:
            async for _ in pieces:
                await asyncio.sleep(0)

    before, tasks = open_files(), asyncio.all_tasks()
    for count in itertools.count():
        task = asyncio.create_task(send())
        await passes(count)
        if task.done():
            break
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])
        assert asyncio.all_tasks() == tasks

    assert await comes_true(lambda: open_files() == before)
    assert await comes_true(lambda: all(stream.closed for stream in streams))
    if hasattr(value, "close"):
        assert not value.closed
        value.close()
    gc.collect()


def test_bytes_are_written_down_as_a_data_uri_and_a_path_as_itself(file: Path) -> None:
    """A request with an image can go into a journal and come back."""
    for value in (PICTURE, io.BytesIO(PICTURE), file):
        request = SD3Request("a", image=value, strength=1)
        assert SD3Request.from_dict(request.to_dict()) == request
        assert pickle.loads(pickle.dumps(request)) == request


def test_a_stream_cannot_be_written_down() -> None:
    """A journal line that cannot be resumed must not be written."""
    with pytest.raises(InvalidRequestError, match="use a path or bytes"):
        SD3Request("a", image=lambda: io.BytesIO(PICTURE), strength=1).to_dict()
