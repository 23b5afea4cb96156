"""Files that appear whole or not at all. Everything here blocks: call it in a thread."""

import errno
import os
import re
from contextlib import AbstractContextManager, suppress
from pathlib import Path

PART_SUFFIX = ".part"

_NAME_BYTES = 64  # of the final name in a part's: every file system has room for the rest

_PART_NAME = re.compile(rf"\..+\.[0-9a-f]{{12}}{re.escape(PART_SUFFIX)}", re.DOTALL)

_DISK_WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk failed",
}


def disk_words(error: Exception) -> str:
    """Return what an error of the disk means, as people say it, or the words of any other.

    Args:
        error: What the system said.
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error) or type(error).__name__
    return _DISK_WORDS.get(error.errno or 0) or error.strerror.lower()


def is_part(path: Path) -> bool:
    """Whether a file's name is one that `PartFile` gives."""
    return _PART_NAME.fullmatch(path.name) is not None


def find_parts(target: Path) -> list[Path]:
    """Return the parts of a file that processes which died have left beside it."""
    start = f".{target.name}."
    return [
        part
        for part in target.parent.glob(f".*{PART_SUFFIX}")
        if part.name.startswith(start) and is_part(part)
    ]


def finish_part(part: Path, target: Path) -> Path:
    """Do for a part that was left whole what `PartFile.commit` would have done.

    Args:
        part: One of `find_parts`.
        target: Its final name.

    Raises:
        OSError: The disk failed.
    """
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    return _give_name(part, target)


def _give_name(part: Path, target: Path) -> Path:
    part.replace(target)
    sync_folder(target.parent)
    return target


class PartFile(AbstractContextManager["PartFile"]):
    """A file being written beside its final name, and renamed when it is whole.

    As a context manager it cleans up after itself: what was not committed is deleted.

    Args:
        target: The final name; an existing file is replaced. Its folder must exist.

    Raises:
        OSError: The folder is missing, read-only or full.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        start = target.name.encode(errors="ignore")[:_NAME_BYTES].decode(errors="ignore")
        self._part = target.parent / f".{start}.{os.urandom(6).hex()}{PART_SUFFIX}"
        self._stream = self._part.open("xb")

    @property
    def path(self) -> Path:
        """Where the bytes are until they have their name; not all of them before a `sync`."""
        return self._part

    def sync(self) -> None:
        """Make what was written durable, and let readers of `path` see it."""
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def write(self, data: bytes | bytearray) -> None:
        """Append bytes."""
        self._stream.write(data)

    def restart(self) -> None:
        """Drop what was written and begin anew."""
        self._stream.seek(0)
        self._stream.truncate()

    def commit(self) -> Path:
        """Make the bytes durable and give the file its name.

        Returns:
            The final name.

        Raises:
            OSError: The disk failed or is full; `abort` is still needed then.
        """
        self.sync()
        self._stream.close()
        return _give_name(self._part, self.target)

    def abort(self) -> None:
        """Delete what was written; harmless after `commit`."""
        for put_away in (self._stream.close, self._part.unlink):
            with suppress(OSError):  # an earlier error has said it
                put_away()

    def __exit__(self, *_: object) -> None:
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


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, durably.

    Args:
        folder: The folder; it may be there.

    Raises:
        OSError: It could not be made.
    """
    missing = [above for above in folder.parents if not above.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in (folder, *missing):
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable.

    Args:
        folder: The folder. One that may be written but not read is left to the system.
    """
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
