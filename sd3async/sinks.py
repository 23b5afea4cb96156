"""Where the bytes of an image go while they arrive: to memory, or to a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeAlias

from sd3async._files import PartFile, disk_words
from sd3async._threads import in_thread
from sd3async.models.fields import refuse

BeforeNaming: TypeAlias = Callable[[Path], object]

_FLUSH_BYTES = 256 * 1024


class Sink:
    """Takes the bytes of one image: entered once for a call, begun anew for each attempt.

    This one keeps them in memory.
    """

    def __init__(self) -> None:
        self._taken: list[bytes] = []  # a BytesIO copies what it has as it grows

    async def restart(self) -> None:
        """Forget what was taken."""
        self._taken.clear()

    async def write(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._taken.append(piece)

    async def finish(self, before_naming: BeforeNaming | None = None) -> bytes | Path:
        """Keep what was taken.

        Args:
            before_naming: Called in a thread with the part file, when all bytes are in it and on
                the disk, and before it gets its name; it must not raise. Not called for memory.

        Returns:
            The image, or the file that holds it.
        """
        image = b"".join(self._taken)
        self._taken.clear()  # of all images that arrive, one at a time is in memory twice
        return image

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._taken.clear()


class _FileSink(Sink):
    """Streams into a part file beside `path`, which gets its name when it is whole.

    The part is made on entry, before anything is sent: a folder that is missing or read-only
    must not cost an image.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._is_clean = True  # nothing has been written
        self._unwritten = 0
        self._is_kept = False

    async def __aenter__(self) -> Self:
        try:
            self._part = await in_thread(PartFile, self._path, dispose=PartFile.abort)
        except OSError as error:
            where = str(self._path.parent)
            raise refuse("to", f"cannot write in {where!r}: {disk_words(error)}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._is_kept:  # or one more place to be cancelled at, and lose what is whole
            await in_thread(self._part.abort)

    async def restart(self) -> None:
        await super().restart()
        if not self._is_clean:
            await in_thread(self._part.restart)

    async def write(self, piece: bytes) -> None:
        await super().write(piece)
        self._unwritten += len(piece)
        if self._unwritten >= _FLUSH_BYTES:
            await in_thread(self._flush)

    async def finish(self, before_naming: BeforeNaming | None = None) -> Path:
        path = await in_thread(self._commit, before_naming)
        self._is_kept = True
        return path

    def _flush(self) -> None:
        self._is_clean = False
        for piece in self._taken:  # joining them would only copy
            self._part.write(piece)
        self._taken.clear()
        self._unwritten = 0

    def _commit(self, before_naming: BeforeNaming | None) -> Path:
        self._flush()
        if before_naming is not None:
            self._part.sync()
            before_naming(self._part.path)
        return self._part.commit()


def open_sink(path: Path | None) -> Sink:
    """Return where an image will go; entering it makes sure that it can.

    Args:
        path: The file that appears when the image is whole; None keeps the image in memory.
    """
    return Sink() if path is None else _FileSink(path)
