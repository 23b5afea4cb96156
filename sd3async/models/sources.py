"""Where the bytes of an uploaded image come from, and how to read them again for a retry.

The client keeps sources, not bodies: every attempt reads its source afresh. One reading is a
generator of pieces; it yields None where its next step may block, and that step is then made in a
thread. The caller's own streams are never closed and never moved.
"""

import asyncio
import base64
import errno
import inspect
import io
import os
import re
import stat
import threading
import zlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias, Union, cast

import attrs

from sd3async._files import disk_words
from sd3async._threads import in_thread_or_leave
from sd3async.errors import InvalidRequestError
from sd3async.models.fields import refuse

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from PIL.Image import Image as PILImage

    from sd3async.models.results import GeneratedImage

MAX_BODY_BYTES = 10 * 1024 * 1024
"""The whole request may be this large. Source: error 413, "10MiB"."""

PIECE_BYTES = 120 * 1024
"""How much of an image is read and written at once: of 128 KiB and more, glibc gets each piece
anew from the system, page by page."""
_HEAD_BYTES = 64 * 1024

MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff", "webp": b"RIFF"}
"""How the images of the API begin."""

Piece: TypeAlias = bytes | memoryview
Reading: TypeAlias = Generator[Piece | None]

# Union rather than |, which takes no forward reference: Pillow is not imported here.
ImageInput: TypeAlias = Union[
    str, os.PathLike[str], "ReadableBuffer", BinaryIO, "UploadedFile", Callable[[], BinaryIO],
    "PILImage", "GeneratedImage",
]  # fmt: skip

_SHOWN_CHARS = 200
_CHANGED = "changed after the request was made: it gives other bytes now"
_END: Piece = b""  # no reading yields it

# A URL, of which a Path has folded the second slash, or base64.
_NO_PATH = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]+:/|\s*(iVBORw0KGgo|(/9j/|UklGR)[\w+/=\s]{40}|[\w+/=\s]{200})"
)


class UploadedFile(Protocol):
    """A file that a web framework received, such as Starlette's `UploadFile`."""

    file: BinaryIO


@attrs.frozen
class ImageFacts:
    """What an image's header says.

    Attributes:
        format: `jpeg`, `png` or `webp`.
        width: Columns [px].
        height: Rows [px].
    """

    format: str
    width: int
    height: int


def kind_of(start: bytes) -> str:
    """Return the format of an image that begins so, or nothing; 12 bytes are enough."""
    for kind, magic in MAGIC.items():
        if start.startswith(magic) and (kind != "webp" or start[8:12] == b"WEBP"):
            return kind
    return ""


def read_facts(field: str, start_of: Callable[[int], bytes]) -> ImageFacts:
    """Read format and size from an image's header; nothing is decoded.

    Args:
        field: The parameter to name when it is no such image.
        start_of: Returns so many bytes from the image's beginning, or what there is.

    Raises:
        InvalidRequestError: Not a JPEG, PNG or WebP image, or its header is damaged.
    """
    start = start_of(_HEAD_BYTES)
    if not start:
        raise refuse(field, "is empty, or a stream at its end; seek to the image first")
    kind = kind_of(start)
    if not kind:
        needed = "a jpeg, png or webp image is needed, and no base64 text of one"
        raise refuse(field, f"begins with {start[:8]!r}; {needed}")
    # Here, not at the top: it loads an HTTP client, which text-only programs need not pay for.
    import imagesize  # type: ignore[import-untyped]  # it ships no py.typed

    # Photographs may hold megabytes of other things before their size.
    for size in (_HEAD_BYTES, MAX_BODY_BYTES):
        head = _Head(start_of(size))
        # The sides as stored: the service does not promise to heed an EXIF rotation.
        width, height = imagesize.get(head, exif_rotation=False)  # pyright: ignore[reportUnknownMemberType]
        if width > 0 and height > 0:
            return ImageFacts(kind, width, height)
    raise refuse(field, f"is a {kind} image with a damaged header; its size cannot be read")


class _Head(io.BytesIO):
    """An image's beginning. A real one is told in some reads; ten MiB may hold millions of parts."""

    _reads_left = 10_000

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads_left -= 1
        return super().read(size if self._reads_left > 0 else 0)


def _check_size(field: str, size: int) -> None:
    if size > MAX_BODY_BYTES:
        raise refuse(field, f"is {size / 2**20:.1f} MiB; the whole request may be at most 10 MiB")


@contextmanager
def _blaming(field: str) -> Generator[None]:
    """Make one error, which names the field, of whatever a source raises."""
    try:
        yield
    except InvalidRequestError:
        raise
    except Exception as error:
        name = getattr(error, "filename", None)
        shown = "be read" if name is None else f"read {str(name)[-_SHOWN_CHARS:]!r}"
        raise refuse(field, f"cannot {shown}: {disk_words(error)[:_SHOWN_CHARS]}") from error


@attrs.frozen
class Upload:
    """A source made ready for one call: its size and facts are known.

    Attributes:
        size: Bytes in all.
        facts: What the header says.
        field: The parameter to name when it can no longer be read.
        read: Begins a reading.
        is_replayable: Whether it can be read again.
    """

    size: int
    facts: ImageFacts
    field: str
    read: Callable[[], Reading] = attrs.field(repr=False)
    is_replayable: bool = True

    async def pieces(self) -> AsyncGenerator[Piece]:
        """Yield the bytes from the beginning, reading the next piece while one is being sent.

        Raises:
            InvalidRequestError: The source cannot be read, or gives other bytes than before;
                its last piece is not yielded then.
        """
        reading = self._reading()
        piece, ahead = None, None
        try:
            while piece is not _END:
                after = next(reading, _END)
                ahead = asyncio.create_task(_step(reading)) if after is None else None
                if piece:
                    yield piece
                piece = await ahead if ahead else after
        except BaseException:
            if ahead:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)
            with suppress(ValueError):  # a step is being made, by a thread that will close it
                await in_thread_or_leave(reading.close)
            raise

    def _reading(self) -> Reading:
        with _blaming(self.field):
            yield from self.read()


async def _step(reading: Reading) -> Piece | None:
    return await in_thread_or_leave(next, reading, _END, dispose=lambda _: reading.close())


@attrs.frozen
class ImageSource(ABC):
    """An image to upload, whatever it was given as.

    Attributes:
        facts: What is known of it before it is read; None when nothing is.
    """

    facts: ImageFacts | None = attrs.field(default=None, eq=False, kw_only=True)

    @abstractmethod
    def upload(self, field: str) -> Upload:
        """Make ready for a call; blocks when no facts are known.

        Args:
            field: The parameter to name when the source is no good.
        """

    def to_text(self, field: str) -> str:
        """Return the source as a string that `as_source` takes back.

        Raises:
            InvalidRequestError: It has no such form.
        """
        raise refuse(field, "is a stream, which cannot be written down; use a path or bytes")


async def prepare(source: ImageSource, field: str) -> Upload:
    """Make a source ready for one call; what blocks in it is left behind by a cancellation.

    Args:
        source: The source.
        field: The parameter to name when it is no good.

    Raises:
        InvalidRequestError: The source cannot be read, is no image, or is too large.
    """
    if source.facts:
        return source.upload(field)
    return await in_thread_or_leave(_blaming(field)(source.upload), field)


@attrs.frozen
class BytesSource(ImageSource):
    """Bytes in memory."""

    data: bytes = attrs.field(repr=False)
    facts: ImageFacts = attrs.field(eq=False, kw_only=True)

    @classmethod
    def of(cls, data: bytes, field: str) -> "BytesSource":
        """Read the header."""
        _check_size(field, len(data))
        return cls(data, facts=read_facts(field, lambda size: data[:size]))

    def upload(self, field: str) -> Upload:
        """See `ImageSource`."""
        return Upload(len(self.data), self.facts, field, partial(_slices, self.data))

    def to_text(self, field: str) -> str:
        """Return a data URI."""
        encoded = base64.b64encode(self.data).decode("ascii")
        return f"data:image/{self.facts.format};base64,{encoded}"


def _slices(data: bytes) -> Reading:
    for start in range(0, len(data), PIECE_BYTES):
        yield memoryview(data)[start : start + PIECE_BYTES]


@attrs.frozen
class FileSource(ImageSource):
    """A file on disk, by its path or open: each reading has a descriptor of its own."""

    file: Path | BinaryIO
    start: int
    size: int
    facts: ImageFacts = attrs.field(eq=False, kw_only=True)
    _identity: tuple[int, ...] = attrs.field(eq=False, repr=False)

    @classmethod
    def of(cls, file: Path | BinaryIO, field: str) -> "FileSource":
        """Read the header, and remember which file it was."""
        start = 0 if isinstance(file, Path) else file.tell()
        with _descriptor(file) as descriptor:
            identity = _identity(descriptor)
            size = os.fstat(descriptor).st_size - start
            _check_size(field, size)
            facts = read_facts(field, lambda size: os.pread(descriptor, size, start))
        return cls(file, start, size, identity, facts=facts)

    def upload(self, field: str) -> Upload:
        """See `ImageSource`."""
        return Upload(self.size, self.facts, field, partial(self._read, field))

    def to_text(self, field: str) -> str:
        """Return the path."""
        return str(self.file) if isinstance(self.file, Path) else super().to_text(field)

    def _read(self, field: str) -> Reading:
        yield None
        end = self.start + self.size
        with _descriptor(self.file) as descriptor:
            for offset in range(self.start, end, PIECE_BYTES):
                size = min(PIECE_BYTES, end - offset)
                piece: Piece | None = _read_cached(descriptor, size, offset)
                if piece is None:
                    if offset > self.start:  # the first step is made in a thread anyway
                        yield None
                    piece = os.pread(descriptor, size, offset)
                if len(piece) < size or _identity(descriptor) != self._identity:
                    raise refuse(field, _CHANGED)
                yield piece


@contextmanager
def _descriptor(file: Path | BinaryIO) -> Generator[int]:
    if isinstance(file, Path):
        # Asked before it is opened: opening a pipe waits for a writer, and a device may act.
        if not stat.S_ISREG(file.stat().st_mode):
            raise OSError(errno.EINVAL, "it is a folder, a pipe or a device", str(file))
        descriptor = os.open(file, os.O_RDONLY)
    else:
        descriptor = os.dup(file.fileno())
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _identity(descriptor: int) -> tuple[int, ...]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _read_cached(descriptor: int, size: int, offset: int) -> memoryview | None:
    """Read what the system has in memory; None when it would wait for the disk, or cannot say."""
    piece = bytearray(size)
    with suppress(AttributeError, OSError):
        if os.preadv(descriptor, [piece], offset, os.RWF_NOWAIT) == size:
            return memoryview(piece)
    return None


@attrs.frozen(eq=False)
class LaterSource(ImageSource):
    """An image that is only looked at when a call begins, and anew for each call."""

    look: Callable[[str], Upload]

    def upload(self, field: str) -> Upload:
        """See `ImageSource`."""
        return self.look(field)


def _look_into(factory: Callable[[], Any], field: str) -> Upload:
    with _opened(factory, field) as stream:
        start = stream.tell() if _is_seekable(stream) else None
        head = _fill(stream, MAX_BODY_BYTES + 1 if start is None else PIECE_BYTES)
        facts = read_facts(field, lambda size: head + _fill(stream, size - len(head)))
        size = len(head) if start is None else stream.seek(0, os.SEEK_END) - start
        _check_size(field, size)
    return Upload(size, facts, field, partial(_read_anew, factory, size, {}, field))


def _read_anew(
    factory: Callable[[], Any], size: int, digests: dict[int, int], field: str
) -> Reading:
    """Read a fresh stream, each of whose pieces must be what it was in the attempt before."""
    yield None
    with _opened(factory, field) as stream:
        for offset in range(0, size, PIECE_BYTES):
            wanted = min(PIECE_BYTES, size - offset)
            piece = _fill(stream, wanted)
            digest = zlib.crc32(piece)
            is_longer = offset + wanted == size and stream.read(1)
            if len(piece) < wanted or is_longer or digests.setdefault(offset, digest) != digest:
                raise refuse(field, _CHANGED)
            yield piece
            yield None


@contextmanager
def _opened(factory: Callable[[], Any], field: str) -> Generator[Any]:
    stream = factory()
    try:
        _check_stream(stream, field, "what the callable returned ")
        yield stream
    finally:
        with suppress(Exception):
            stream.close()


def _fill(stream: Any, size: int) -> bytes:
    """Read so many bytes, fewer only at the end: raw streams stop where it suits them."""
    pieces: list[bytes] = []
    while size > 0 and (piece := stream.read(size)):
        if not isinstance(piece, bytes):
            raise TypeError(f"its read() gave {type(piece).__name__}; open it in binary mode")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


# One image may be given to many calls at once, and Pillow loads and saves in place.
_COPYING = threading.Lock()


def _encode(image: "PILImage", field: str) -> Upload:
    buffer = io.BytesIO()
    with _COPYING:
        image = image.copy()
    image.save(buffer, format="PNG", compress_level=3)
    return BytesSource.of(buffer.getvalue(), field).upload(field)


def _encode_pixels(pixels: Any, field: str) -> Upload:
    from PIL import Image

    return _encode(Image.fromarray(pixels), field)


def _read_once(streams: list[Any], field: str) -> Upload:
    if not streams:
        raise refuse(field, "is a stream that was sent already; pass bytes, a path, or a callable")
    data = _fill(streams.pop(), MAX_BODY_BYTES + 1)
    return attrs.evolve(BytesSource.of(data, field).upload(field), is_replayable=False)


def as_source(value: Any, field: str) -> ImageSource:
    """Turn any image input into a source.

    Args:
        value: A path (`str` or `Path`), a data URI, bytes of any kind, a binary stream, a file
            that a web framework received, a Pillow image, an array of pixels (uint8, height x
            width, with 3 or 4 channels in RGB order), a `GeneratedImage`, a callable returning a
            fresh stream, or a source.
        field: The parameter to name when it is none of these.

    Returns:
        The source. Paths, bytes and open files have had their header read; other streams that
        can seek were read to their end, and put back where they stood.

    Raises:
        InvalidRequestError: None of these, no readable image, or too large.
    """
    with _blaming(field):
        if isinstance(value, ImageSource):
            return value
        if hasattr(value, "finish_reason"):  # a GeneratedImage
            return as_source(value.path if value.data is None else value.data, field)
        if isinstance(value, str | os.PathLike):
            return _of_text(os.fsdecode(cast("str", value)), field)
        if hasattr(value, "save") and hasattr(value, "width"):
            return LaterSource(partial(_encode, value))
        with suppress(TypeError):
            return _of_buffer(value, memoryview(value), field)
        if inspect.iscoroutinefunction(getattr(value, "read", None)) and hasattr(value, "file"):
            value = value.file
        if callable(value) and not inspect.iscoroutinefunction(value):
            return LaterSource(partial(_look_into, value))
        return _of_stream(value, field)


def _of_text(text: str, field: str) -> ImageSource:
    if text.startswith("data:"):
        encoded = text.partition(",")[2]
        _check_size(field, len(encoded) // 4 * 3 - 2)
        return BytesSource.of(base64.b64decode(encoded, validate=True), field)
    if not text:
        raise refuse(field, "is empty; a path is needed")
    try:
        return FileSource.of(Path(text), field)
    except OSError:
        if _NO_PATH.match(text):
            problem = "is no file but a URL or base64; pass the bytes: fetch or decode them first"
            raise refuse(field, problem) from None
        raise


def _of_buffer(value: Any, buffer: memoryview, field: str) -> ImageSource:
    if buffer.ndim in (2, 3):
        return LaterSource(partial(_encode_pixels, value))
    _check_size(field, buffer.nbytes)
    return BytesSource.of(value if isinstance(value, bytes) else bytes(buffer), field)


def _of_stream(stream: Any, field: str) -> ImageSource:
    _check_stream(stream, field)
    if not _is_seekable(stream):
        return LaterSource(partial(_read_once, [stream]))
    start = stream.tell()
    # Not whatever has a descriptor: that of a GzipFile is the packed file's.
    raw = getattr(stream, "raw", stream)
    if type(raw) is io.FileIO and stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        stream.flush()
        return FileSource.of(stream, field)
    try:
        return BytesSource.of(_fill(stream, MAX_BODY_BYTES + 1), field)
    finally:
        stream.seek(start)


def _is_seekable(stream: Any) -> bool:
    return hasattr(stream, "seekable") and stream.seekable()


def _check_stream(stream: Any, field: str, which: str = "") -> None:
    read = getattr(stream, "read", stream)
    if inspect.iscoroutinefunction(read):
        raise refuse(field, f"{which}is asynchronous; await what it reads, and pass the bytes")
    if read is stream:
        raise refuse(
            field,
            f"{which}is {type(stream).__name__}; a path, bytes, a binary stream, a Pillow image "
            "or a callable returning a fresh stream is needed",
        )
