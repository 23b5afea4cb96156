"""Where the bytes of an uploaded image come from, and how to read them again for a retry.

The client keeps sources, not bodies: every attempt opens its source afresh. The caller's own
streams are read at remembered offsets and put back where they stood after each piece, so they
are never closed and never moved.
"""

import base64
import binascii
import io
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias, Union, cast

import attrs

from sd3async.models.fields import refuse

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

MAX_BODY_BYTES = 10 * 1024 * 1024
"""The whole request may be this large. Source: error 413, "10MiB"."""

PIECE_BYTES = 64 * 1024

StreamFactory: TypeAlias = Callable[[], BinaryIO]
# Union rather than |, which takes no forward reference: Pillow is not imported here.
ImageInput: TypeAlias = Union[str, Path, bytes, BinaryIO, "PILImage", StreamFactory]


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

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.width * self.height


class Reader(Protocol):
    """One pass over a source's bytes."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most `size`; nothing at the end."""
        ...

    def close(self) -> None:
        """Give back what the pass holds; the caller's own stream stays open."""


@attrs.frozen
class Upload:
    """A source made ready for one call: its size and facts are known.

    Attributes:
        size: Bytes in all.
        facts: What the header says.
        open: Starts a pass; it may block, so large ones belong in a thread.
        replayable: Whether a second pass gives the same bytes.
        in_memory: Whether a pass never blocks.
    """

    size: int
    facts: ImageFacts
    open: Callable[[], Reader] = attrs.field(repr=False)
    replayable: bool = True
    in_memory: bool = False


class _ViewFrom:
    """A stream whose byte 0 is some byte of another: imagesize seeks to absolute places."""

    def __init__(self, stream: BinaryIO, origin: int) -> None:
        self._stream = stream
        self._origin = origin
        self.seek(0)

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        shift = self._origin if whence == os.SEEK_SET else 0
        return self._stream.seek(offset + shift, whence) - self._origin

    def tell(self) -> int:
        return self._stream.tell() - self._origin


def read_facts(field: str, stream: BinaryIO) -> ImageFacts:
    """Read format and size from an image's header; nothing is decoded.

    Args:
        field: The parameter to name when it is no such image.
        stream: A seekable stream standing at the image's first byte.

    Raises:
        InvalidRequestError: Not a JPEG, PNG or WebP image, or its header is damaged.
    """
    origin = stream.tell()
    start = stream.read(16)
    if not start:
        raise refuse(field, "is empty; a jpeg, png or webp image is needed")
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        kind = "png"
    elif start.startswith(b"\xff\xd8\xff"):
        kind = "jpeg"
    elif start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        kind = "webp"
    else:
        raise refuse(field, f"begins with {start[:8]!r}; a jpeg, png or webp image is needed")
    # Here, not at the top: it loads an HTTP client, which text-only programs need not pay for.
    import imagesize  # type: ignore[import-untyped]  # it ships no py.typed

    # The sides as stored: the service does not promise to heed an EXIF rotation.
    view = _ViewFrom(stream, origin)
    width, height = imagesize.get(view, exif_rotation=False)  # pyright: ignore[reportUnknownMemberType]
    if width <= 0 or height <= 0:
        raise refuse(field, f"is a {kind} image with a damaged header; its size cannot be read")
    return ImageFacts(kind, width, height)


def _check_size(field: str, size: int) -> None:
    if size > MAX_BODY_BYTES:
        raise refuse(
            field,
            f"is {size / 2**20:.1f} MiB; the whole request may be at most "
            f"{MAX_BODY_BYTES // 2**20} MiB",
        )


class ImageSource(ABC):
    """An image to upload, whatever it was given as."""

    @property
    def facts(self) -> ImageFacts | None:
        """What is known of the image before it is read in full; None when nothing is."""
        return None

    @abstractmethod
    def prepare(self, field: str) -> Upload:
        """Learn size and facts. Blocks: call it in a thread.

        Args:
            field: The parameter to name when the source is no good.

        Raises:
            InvalidRequestError: The source cannot be read, is no image, or is too large.
        """

    def to_text(self, field: str) -> str:
        """Return the source as a string that `as_source` takes back.

        Raises:
            InvalidRequestError: It has no such form.
        """
        raise refuse(field, "is a stream, which cannot be written down; use a path or bytes")


@attrs.frozen
class PathSource(ImageSource):
    """A file, opened once for each attempt."""

    path: Path
    _upload: Upload = attrs.field(eq=False, repr=False)
    _identity: tuple[int, int, int] = attrs.field(eq=False, repr=False)

    @classmethod
    def look_up(cls, path: Path, field: str) -> "PathSource":
        """Read the file's header and remember which file it was."""
        try:
            with path.open("rb") as stream:
                status = os.fstat(stream.fileno())
                _check_size(field, status.st_size)
                facts = read_facts(field, stream)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise refuse(field, f"cannot read {str(path)!r}: {reason.lower()}") from error
        identity = (status.st_ino, status.st_size, status.st_mtime_ns)
        upload = Upload(status.st_size, facts, _FileOpener(path, identity, field))
        return cls(path, upload, identity)

    @property
    def facts(self) -> ImageFacts:
        """What the header said when the request was made."""
        return self._upload.facts

    def prepare(self, field: str) -> Upload:
        """Return what was learned when the request was made."""
        return self._upload

    def to_text(self, field: str) -> str:
        """Return the path."""
        return str(self.path)


@attrs.frozen
class _FileOpener:
    path: Path
    identity: tuple[int, int, int]
    field: str

    def __call__(self) -> Reader:
        try:
            stream = self.path.open("rb", buffering=0)
        except OSError as error:
            raise refuse(self.field, f"{str(self.path)!r} can no longer be read") from error
        status = os.fstat(stream.fileno())
        if (status.st_ino, status.st_size, status.st_mtime_ns) != self.identity:
            stream.close()
            raise refuse(self.field, f"{str(self.path)!r} changed after the request was made")
        return stream


@attrs.frozen
class BytesSource(ImageSource):
    """Bytes in memory."""

    data: bytes = attrs.field(repr=False)
    _facts: ImageFacts = attrs.field(eq=False)

    @classmethod
    def look_at(cls, data: bytes, field: str) -> "BytesSource":
        """Read the header."""
        _check_size(field, len(data))
        return cls(data, read_facts(field, io.BytesIO(data)))

    @property
    def facts(self) -> ImageFacts:
        """What the header says."""
        return self._facts

    def prepare(self, field: str) -> Upload:
        """Return the bytes as they are."""
        data = self.data
        return Upload(len(data), self._facts, lambda: io.BytesIO(data), in_memory=True)

    def to_text(self, field: str) -> str:
        """Return a data URI."""
        encoded = base64.b64encode(self.data).decode("ascii")
        return f"data:image/{self._facts.format};base64,{encoded}"


# One lock for each stream of the caller's: two uploads of one stream must not move it at once.
_stream_locks: "weakref.WeakKeyDictionary[Any, threading.Lock]" = weakref.WeakKeyDictionary()
_stream_locks_guard = threading.Lock()


def _lock_of(stream: BinaryIO) -> threading.Lock:
    with _stream_locks_guard:
        return _stream_locks.setdefault(stream, threading.Lock())


class _BorrowedReader:
    """Reads the caller's stream from an offset and leaves it standing where it stood."""

    def __init__(self, stream: BinaryIO, start: int, field: str) -> None:
        self._stream = stream
        self._offset = start
        self._field = field

    def read(self, size: int, /) -> bytes:
        try:
            with _lock_of(self._stream):
                home = self._stream.tell()
                try:
                    self._stream.seek(self._offset)
                    piece = self._stream.read(size)
                finally:
                    self._stream.seek(home)
        except ValueError as error:
            raise refuse(self._field, "the stream was closed before it was sent") from error
        self._offset += len(piece)
        return piece

    def close(self) -> None:
        pass


@attrs.frozen(eq=False)
class SeekableSource(ImageSource):
    """The caller's own stream, from where it stood when the request was made to its end."""

    stream: BinaryIO
    start: int
    size: int
    _facts: ImageFacts

    @classmethod
    def look_at(cls, stream: BinaryIO, field: str) -> "SeekableSource":
        """Read the header and the length, and put the stream back."""
        with _lock_of(stream):
            start = stream.tell()
            try:
                size = stream.seek(0, os.SEEK_END) - start
                if size <= 0:
                    raise refuse(field, f"stands at byte {start}, its end; seek to the image first")
                _check_size(field, size)
                stream.seek(start)
                facts = read_facts(field, stream)
            finally:
                stream.seek(start)
        return cls(stream, start, size, facts)

    @property
    def facts(self) -> ImageFacts:
        """What the header said when the request was made."""
        return self._facts

    def prepare(self, field: str) -> Upload:
        """Return what was learned when the request was made."""
        stream, start = self.stream, self.start
        return Upload(
            self.size,
            self._facts,
            lambda: _BorrowedReader(stream, start, field),
            in_memory=isinstance(stream, io.BytesIO),
        )


def _drain(stream: BinaryIO, field: str) -> bytes:
    """Read a stream to its end, but never more than a request may hold."""
    pieces: list[bytes] = []
    size = 0
    while piece := stream.read(PIECE_BYTES):
        size += len(piece)
        _check_size(field, size)
        pieces.append(piece)
    return b"".join(pieces)


@attrs.define(eq=False)
class OneShotSource(ImageSource):
    """A stream that cannot seek: read when it is sent, sent once, never retried.

    Its bytes are let go after the first attempt, so that calls parked on a lock-out hold none.
    """

    stream: BinaryIO
    _is_spent: bool = False

    def prepare(self, field: str) -> Upload:
        """Read the stream to learn its length; a second call is refused."""
        if self._is_spent:
            raise refuse(
                field,
                "is a stream that cannot seek and was sent already; "
                "pass bytes, a path, or a callable that returns a fresh stream",
            )
        self._is_spent = True
        data = _drain(self.stream, field)
        facts = read_facts(field, io.BytesIO(data))
        passes = [io.BytesIO(data)]
        return Upload(len(data), facts, passes.pop, replayable=False, in_memory=True)


@attrs.frozen
class FactorySource(ImageSource):
    """A callable that returns a fresh stream; each stream is closed after its attempt."""

    factory: StreamFactory

    def prepare(self, field: str) -> Upload:
        """Open one stream to learn its facts and length."""
        with self._fresh(field) as stream:
            if stream.seekable():
                start = stream.tell()
                facts = read_facts(field, stream)
                size = stream.seek(0, os.SEEK_END) - start
                _check_size(field, size)
            else:
                data = _drain(stream, field)
                facts, size = read_facts(field, io.BytesIO(data)), len(data)
        return Upload(size, facts, lambda: self._fresh(field))

    def _fresh(self, field: str) -> BinaryIO:
        stream = self.factory()
        if not callable(getattr(stream, "read", None)) or getattr(stream, "closed", False):
            raise refuse(field, f"the callable returned {stream!r}; an open stream is needed")
        return stream


@attrs.frozen(eq=False)
class PILSource(ImageSource):
    """A Pillow image, encoded as PNG when it is sent."""

    image: "PILImage"

    def prepare(self, field: str) -> Upload:
        """Encode the image."""
        buffer = io.BytesIO()
        self.image.save(buffer, format="PNG", compress_level=3)
        return BytesSource.look_at(buffer.getvalue(), field).prepare(field)

    @property
    def facts(self) -> ImageFacts:
        """What the encoded image will say."""
        return ImageFacts("png", self.image.width, self.image.height)


def _decode_data_uri(text: str, field: str) -> bytes:
    head, separator, encoded = text.partition(";base64,")
    if not separator or not head.startswith("data:image/"):
        raise refuse(field, "is a data URI, but not data:image/…;base64,…")
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise refuse(field, f"is a data URI with damaged base64: {error}") from error


def as_source(value: Any, field: str) -> ImageSource:
    """Turn any image input into a source.

    Args:
        value: A path (`str` or `Path`), a data URI, bytes, a binary stream, a Pillow image, a
            callable returning a fresh stream, or a source.
        field: The parameter to name when it is none of these.

    Returns:
        The source. Paths, bytes and seekable streams have had their header read.

    Raises:
        InvalidRequestError: None of these, no readable image, or too large.
    """
    if isinstance(value, ImageSource):
        return value
    if isinstance(value, str) and value.startswith("data:"):
        return BytesSource.look_at(_decode_data_uri(value, field), field)
    if isinstance(value, str | os.PathLike):
        return PathSource.look_up(Path(os.fspath(value)), field)
    if isinstance(value, bytes | bytearray):
        return BytesSource.look_at(bytes(value), field)
    if callable(getattr(value, "save", None)) and hasattr(value, "width"):
        return PILSource(value)
    if callable(getattr(value, "read", None)):
        return _as_stream_source(value, field)
    if callable(value):
        return FactorySource(cast("StreamFactory", value))
    raise refuse(
        field,
        f"is {type(value).__name__}; a path, bytes, a binary stream, a Pillow image or a "
        "callable returning a fresh stream is needed",
    )


def _as_stream_source(stream: Any, field: str) -> ImageSource:
    if getattr(stream, "closed", False):
        raise refuse(field, "is a closed stream; an open one is needed")
    if isinstance(stream, io.TextIOBase):
        raise refuse(field, "is a text stream; open it in binary mode")
    seekable = getattr(stream, "seekable", None)
    if seekable is not None and seekable():
        return SeekableSource.look_at(stream, field)
    return OneShotSource(stream)
