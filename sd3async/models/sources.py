"""Where the bytes of an uploaded image come from, and how to read them again for a retry.

The client keeps sources, not bodies: every attempt reads its source afresh. One reading is a
generator of pieces; it yields None where its next step may block, and that step is then made in a
thread. The caller's own streams are never closed and never moved.
"""

import asyncio
import base64
import binascii
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

from sd3async._threads import in_thread_or_leave
from sd3async.errors import InvalidRequestError
from sd3async.models.fields import refuse

if TYPE_CHECKING:
    from array import array

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

StreamFactory: TypeAlias = Callable[[], BinaryIO]
PathOrBytes: TypeAlias = Union[
    str, os.PathLike[str], bytes, bytearray, memoryview, "array[int]", "GeneratedImage"
]
# Union rather than |, which takes no forward reference: Pillow is not imported here.
ImageInput: TypeAlias = Union[
    PathOrBytes, BinaryIO, "UploadedFile", StreamFactory, "PILImage", "PixelArray"
]

_SHOWN_CHARS = 200
_CHANGED = "changed after the request was made: it gives other bytes now"
_END: Piece = b""  # no reading yields it

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # one slash: a Path has folded the other
_BASE64 = re.compile(r"\s*(iVBORw0KGgo|(/9j/|UklGR)[\w+/=\s]{40}|[\w+/=\s]{200})")


class UploadedFile(Protocol):
    """A file that a web framework received, such as Starlette's `UploadFile`."""

    file: BinaryIO


class PixelArray(Protocol):
    """An array such as NumPy's: bytes of an image file, or pixels."""

    @property
    def __array_interface__(self) -> Any: ...


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
        raise refuse(field, "is empty; a jpeg, png or webp image is needed")
    if start.startswith((b"iVBORw0KGgo", b"/9j/", b"UklGR")):
        raise refuse(field, "holds base64 text; decode it with base64.b64decode first")
    kind = kind_of(start)
    if not kind:
        raise refuse(field, f"begins with {start[:8]!r}; a jpeg, png or webp image is needed")
    # Here, not at the top: it loads an HTTP client, which text-only programs need not pay for.
    import imagesize  # type: ignore[import-untyped]  # it ships no py.typed

    # Photographs may hold megabytes of other things before their size.
    for size in (_HEAD_BYTES, MAX_BODY_BYTES):
        head = _Head(start if size == _HEAD_BYTES else start_of(size))
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


def _check_size(field: str, size: int, start: int = 0) -> None:
    if size <= 0 and start:
        raise refuse(field, f"stands at byte {start}, its end; seek to the image first")
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
        name, words = getattr(error, "filename", None), str(error) or type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            words = error.strerror.lower()
        shown = "be read" if name is None else f"read {str(name)[-_SHOWN_CHARS:]!r}"
        raise refuse(field, f"cannot {shown}: {words[:_SHOWN_CHARS]}") from error


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
        piece: Piece | None = None
        ahead: asyncio.Task[Piece | None] | None = None
        try:
            while True:
                after = next(reading, _END)
                if after is None:
                    ahead = asyncio.create_task(_step(reading))
                if piece:
                    yield piece
                piece = await ahead if ahead else after
                ahead = None
                if not piece:
                    return
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
    return await in_thread_or_leave(_upload, source, field)


def _upload(source: ImageSource, field: str) -> Upload:
    with _blaming(field):
        return source.upload(field)


@attrs.frozen
class BytesSource(ImageSource):
    """Bytes in memory."""

    data: bytes = attrs.field(repr=False)
    facts: ImageFacts = attrs.field(eq=False, kw_only=True)

    @classmethod
    def of(cls, data: bytes, field: str, start: int = 0) -> "BytesSource":
        """Read the header of what stands at `start`."""
        _check_size(field, len(data) - start, start)
        data = data[start:]
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
            _check_size(field, size, start)
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
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "it is a folder" if stat.S_ISDIR(mode) else "it is a pipe, a device or a socket"
            raise OSError(errno.EINVAL, kind, str(file))
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
class FactorySource(ImageSource):
    """A callable that returns a fresh stream for each reading.

    Each piece must be what it was the last time: the digests of all that was read are kept.
    """

    factory: Callable[[], Any]

    def upload(self, field: str) -> Upload:
        """Look at a first stream."""
        with self._opened(field) as stream:
            size = _length(stream) if _is_seekable(stream) else 0
            head = _fill(stream, PIECE_BYTES if size else MAX_BODY_BYTES + 1)
            size = size or len(head)
            _check_size(field, size)
            facts = read_facts(field, lambda size: head + _fill(stream, size - len(head)))
        starts = range(0, len(head), PIECE_BYTES)
        seen = {start: zlib.crc32(head[start : start + PIECE_BYTES]) for start in starts}
        return Upload(size, facts, field, partial(self._read, size, seen, field))

    def _read(self, size: int, seen: dict[int, int], field: str) -> Reading:
        yield None
        with self._opened(field) as stream:
            for offset in range(0, size, PIECE_BYTES):
                wanted = min(PIECE_BYTES, size - offset)
                piece = _fill(stream, wanted)
                digest = zlib.crc32(piece)
                is_longer = offset + wanted == size and stream.read(1)
                if len(piece) < wanted or is_longer or seen.setdefault(offset, digest) != digest:
                    raise refuse(field, _CHANGED)
                yield piece
                yield None

    @contextmanager
    def _opened(self, field: str) -> Generator[Any]:
        stream = self.factory()
        try:
            _check_stream(stream, field, "what the callable returned ")
            yield stream
        finally:
            with suppress(Exception):
                stream.close()


def _length(stream: BinaryIO) -> int:
    home = stream.tell()
    end = stream.seek(0, os.SEEK_END)
    stream.seek(home)
    return end - home


def _fill(stream: Any, size: int) -> bytes:
    """Read so many bytes, fewer only at the end: raw streams stop where it suits them."""
    pieces: list[bytes] = []
    while size > 0 and (piece := stream.read(size)):
        if not isinstance(piece, bytes):
            raise TypeError(f"its read() gave {type(piece).__name__}, not bytes")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


@attrs.frozen(eq=False)
class MadeSource(ImageSource):
    """Bytes that are made when a call begins, once for all its attempts."""

    make: Callable[[str], bytes]
    is_replayable: bool = True

    def upload(self, field: str) -> Upload:
        """Make the bytes."""
        upload = BytesSource.of(self.make(field), field).upload(field)
        if self.is_replayable:
            return upload
        # Let go when they are sent: calls that wait for a lock-out to end hold no images.
        readings = [upload.read]
        return attrs.evolve(upload, read=lambda: readings.pop()(), is_replayable=False)


# One image may be given to many calls at once, and Pillow loads and saves in place.
_COPYING = threading.Lock()


def _encode(image: "PILImage", _: str) -> bytes:
    buffer = io.BytesIO()
    with _COPYING:
        image = image.copy()
    image.save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def _encode_pixels(pixels: Any, field: str) -> bytes:
    from PIL import Image

    return _encode(Image.fromarray(pixels), field)


def _read_once(streams: list[Any], field: str) -> bytes:
    if streams:
        return _fill(streams.pop(), MAX_BODY_BYTES + 1)
    raise refuse(
        field,
        "is a stream that cannot seek and was sent already; "
        "pass bytes, a path, or a callable that returns a fresh stream",
    )


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
            return MadeSource(partial(_encode, value))
        with suppress(TypeError):
            return _of_buffer(value, memoryview(value), field)
        if not _can_read(value) and hasattr(value, "file"):
            return _of_stream(value.file, field)
        if callable(value) and not inspect.iscoroutinefunction(value):
            return FactorySource(value)
        return _of_stream(value, field)


def _of_text(text: str, field: str) -> ImageSource:
    if text.startswith("data:"):
        head, _, encoded = text.partition(",")
        if not re.fullmatch(r"data:image/[\w.+-]+;base64", head):
            raise refuse(field, "is a data URI, but not data:image/…;base64,…")
        _check_size(field, len(encoded) // 4 * 3 - 2)
        try:
            return BytesSource.of(base64.b64decode(encoded, validate=True), field)
        except binascii.Error as error:
            raise refuse(field, f"is a data URI with damaged base64: {error}") from error
    if not text or "\0" in text:
        raise refuse(field, f"{'holds a NUL character' if text else 'is empty'}; a path is needed")
    try:
        return FileSource.of(Path(text), field)
    except OSError:
        if _URL.match(text):
            raise refuse(field, "is a URL; fetch it, and pass the bytes") from None
        if _BASE64.match(text):
            raise refuse(field, "is text; if it is base64, pass base64.b64decode(it)") from None
        raise


def _of_buffer(value: Any, buffer: memoryview, field: str) -> ImageSource:
    if buffer.ndim in (2, 3):
        return MadeSource(partial(_encode_pixels, value))
    _check_size(field, buffer.nbytes)
    return BytesSource.of(value if isinstance(value, bytes) else bytes(buffer), field)


def _of_stream(stream: Any, field: str) -> ImageSource:
    _check_stream(stream, field)
    if not _is_seekable(stream):
        return MadeSource(partial(_read_once, [stream]), is_replayable=False)
    inner = stream
    if type(stream).__module__ == "tempfile":  # its classes wrap another stream
        inner = getattr(stream, "file", None) or stream._file
    start = stream.tell()
    if type(inner) is io.BytesIO:
        return BytesSource.of(inner.getvalue(), field, start)
    # Not whatever has a descriptor: that of a GzipFile is the packed file's.
    if type(inner) in (io.BufferedReader, io.BufferedRandom, io.FileIO):
        raw = getattr(inner, "raw", inner)
        if type(raw) is io.FileIO and stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
            stream.flush()
            return FileSource.of(stream, field)
    try:
        return BytesSource.of(_fill(stream, MAX_BODY_BYTES + 1), field)
    finally:
        stream.seek(start)


def _is_seekable(stream: Any) -> bool:
    return hasattr(stream, "seekable") and stream.seekable()


def _can_read(stream: Any) -> bool:
    read = getattr(stream, "read", None)
    return callable(read) and not inspect.iscoroutinefunction(read)


def _check_stream(stream: Any, field: str, which: str = "") -> None:
    problem = None
    if inspect.iscoroutinefunction(getattr(stream, "read", stream)):
        problem = "asynchronous; await what it reads, and pass the bytes"
    elif not _can_read(stream):
        problem = (
            f"{type(stream).__name__}; a path, bytes, a binary stream, a Pillow image or a "
            "callable returning a fresh stream is needed"
        )
    elif getattr(stream, "closed", False):
        problem = "a closed stream; an open one is needed"
    elif isinstance(stream, io.TextIOBase):
        problem = "a text stream; open it in binary mode"
    if problem:
        raise refuse(field, f"{which}is {problem}")
