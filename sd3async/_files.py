"""Files that appear whole or not at all. Everything here blocks: call it in a thread."""

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

PART_SUFFIX = ".part"


class PartFile:
    """A file being written beside its final name, and renamed when it is whole.

    As a context manager it cleans up after itself: what was not committed is deleted.

    Args:
        target: The final name; an existing file is replaced. Its folder must exist.

    Raises:
        OSError: The folder is missing, read-only or full.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        descriptor, name = tempfile.mkstemp(
            prefix=f".{target.name[:100]}.", suffix=PART_SUFFIX, dir=target.parent
        )
        self._part = Path(name)
        self._stream = os.fdopen(descriptor, "wb", buffering=0)
        self._is_committed = False

    def write(self, data: bytes | bytearray) -> None:
        """Append bytes."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._stream.write(rest) :]

    def commit(self) -> Path:
        """Make the bytes durable and give the file its name.

        Returns:
            The final name.

        Raises:
            OSError: The disk failed or is full; the part file is gone then.
        """
        try:
            os.fsync(self._stream.fileno())
            self._stream.close()
            self._part.chmod(0o666 & ~_UMASK)
            self._part.replace(self.target)
            self._is_committed = True
            sync_folder(self.target.parent)
        except BaseException:
            self.abort()
            raise
        return self.target

    def abort(self) -> None:
        """Delete what was written; harmless, and never blocking, after `commit`."""
        if self._is_committed:
            return
        self._stream.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()


def write_atomically(target: Path, data: bytes) -> Path:
    """Write a file whole and durably, or not at all.

    Args:
        target: The file; replaced if it exists. Its folder must exist.
        data: All its bytes.

    Returns:
        The file.

    Raises:
        OSError: It could not be written; nothing is left behind.
    """
    with PartFile(target) as part:
        part.write(data)
        return part.commit()


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable.

    Args:
        folder: The folder.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_umask() -> int:
    # The mask can only be read by setting it, which is safe at import and not among threads.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


_UMASK = _read_umask()
