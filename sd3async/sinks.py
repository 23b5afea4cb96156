"""Where the bytes of an image go while they arrive: to memory, or to a file."""

from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import attrs

from sd3async._files import PartFile
from sd3async._threads import in_thread
from sd3async.models.fields import refuse

_START_BYTES = 12
_FLUSH_BYTES = 256 * 1024


@attrs.frozen
class Stored:
    """What a sink took in.

    Attributes:
        size: Length of the image [bytes].
        data: The image, or None when it went to a file.
        path: The file, or None.
    """

    size: int
    data: bytes | None = attrs.field(default=None, repr=False)
    path: Path | None = None


class Sink(Protocol):
    """Takes the bytes of one image."""

    @property
    def start(self) -> bytes:
        """The first bytes taken, at least 12 if there were as many."""
        ...

    async def write(self, piece: bytes) -> None:
        """Take the next bytes."""

    async def finish(self) -> Stored:
        """Keep what was taken."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class MemorySink:
    """Keeps the image in memory."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    @property
    def start(self) -> bytes:
        """The first bytes taken."""
        return b"".join(self._pieces[:_START_BYTES])[:_START_BYTES]

    async def write(self, piece: bytes) -> None:
        """Take the next bytes."""
        if piece:
            self._pieces.append(piece)

    async def finish(self) -> Stored:
        """Return the image."""
        data = b"".join(self._pieces)
        return Stored(len(data), data=data)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pieces.clear()


class FileSink:
    """Streams the image into a part file beside `path`, which gets its name when it is whole.

    The part file is opened on entry, before anything is sent: a folder that is missing or
    read-only must not cost an image.

    Args:
        path: The file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._buffer = bytearray()
        self._size = 0
        self.start = b""

    async def write(self, piece: bytes) -> None:
        """Take the next bytes; they are written in larger blocks."""
        if len(self.start) < _START_BYTES:
            self.start = (self.start + piece)[:_START_BYTES]
        self._size += len(piece)
        self._buffer += piece
        if len(self._buffer) >= _FLUSH_BYTES:
            await in_thread(self._flush)

    def _flush(self) -> None:
        self._part.write(self._buffer)
        self._buffer = bytearray()

    def _commit(self) -> Path:
        self._flush()
        return self._part.commit()

    async def finish(self) -> Stored:
        """Make the file durable and give it its name."""
        return Stored(self._size, path=await in_thread(self._commit))

    async def __aenter__(self) -> Self:
        try:
            self._part = await in_thread(PartFile, self._path)
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise refuse("to", f"cannot write in {str(self._path.parent)!r}: {reason}") from error
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._part.abort()
