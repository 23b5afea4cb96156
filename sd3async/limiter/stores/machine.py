"""A small file that the processes of one user on one machine share."""

import asyncio
import errno
import hashlib
import logging
import os
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from sd3async.limiter.stores.base import Store, StoreAwayError, Work

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

T = TypeVar("T")

logger = logging.getLogger("sd3async.limiter")

_HEAD = struct.Struct("=8sII")  # what is heard, length, checksum
_ROOM = 8 * 1024  # [bytes] what a record takes, but for hundreds of uploads at once
_MOST_BYTES = 64 * 1024
_PATIENCE = 2.0  # [s] a lock is held for 0.1 ms: whoever holds it longer is stopped
_PAUSE = 0.002  # [s]
_OLD = 30 * 86_400.0  # [s] whoever has sent nothing for so long holds nothing


def boot_clock() -> float:
    """Return the time since the machine was started, which all its processes agree on [s]."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()  # since the start as well, on macOS and Windows


class MachineStore(Store):
    """A file, locked while it is changed.

    The lock is `flock` (`msvcrt.locking` on Windows): it goes with its process. A record that a
    process was killed in the middle of writing has a wrong checksum, and counts as lost. The
    file may be deleted at any time.

    Args:
        path: The file; made with its folder, for this user alone.

    Raises:
        OSError: It cannot be made or locked.
    """

    slack = 0.06
    lead = 1.0

    def __init__(self, path: Path) -> None:
        self.name = f"the file {str(path)!r}"
        self._path, self._where = path, str(path)  # a Path is slow to use
        self._file = -1
        self._process = 0  # a fork shares the lock with its parent: it needs a file of its own
        if not path.exists():
            _delete_old(path.parent)
        self._open()
        try:
            self._make_room()
        finally:
            self._close()

    async def change(self, work: Work[T]) -> T:
        """See `Store`."""
        try:
            await self._lock()
            try:
                return self._changed(work)
            finally:
                _unlock(self._file)
        except OSError as error:
            self._close()
            raise StoreAwayError(f"{self.name}: {error.strerror or error}") from error

    def listen(self) -> bytes:
        """See `Store`."""
        with suppress(OSError):
            if self._file >= 0 and self._process == os.getpid():
                self.heard = _read(self._file, 8) or self.heard
        return self.heard

    async def aclose(self) -> None:
        """See `Store`."""
        self._close()

    async def _lock(self) -> None:
        give_up_at = time.monotonic() + _PATIENCE
        while True:
            self._open()
            if _try_lock(self._file):
                if self._is_the_one():
                    return
                self._close()
            elif time.monotonic() > give_up_at:
                raise TimeoutError("another process holds its lock, and seems to be stopped")
            await asyncio.sleep(_PAUSE)

    def _changed(self, work: Work[T]) -> T:
        earliest = time.monotonic()
        now = boot_clock()
        self.offset = (earliest - now, time.monotonic() - now)
        before = self._read()
        after, result = work(before, now)
        if after != before:
            record = _HEAD.pack(after[:8], len(after), zlib.crc32(after)) + after
            _write(self._file, record)
        self.heard = after[:8]
        return result

    def _read(self) -> bytes:
        record = _read(self._file, _MOST_BYTES)
        if len(record) < _HEAD.size:
            return b""
        _, length, checksum = _HEAD.unpack_from(record)
        data = record[_HEAD.size : _HEAD.size + length]
        return data if len(data) == length and zlib.crc32(data) == checksum else b""

    def _open(self) -> None:
        if self._process != os.getpid():
            self._close()
        if self._file < 0:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
            flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            self._file = os.open(self._path, flags, 0o600)
            self._process = os.getpid()

    def _make_room(self) -> None:
        """Let the file be as long as a record: a disk that is full says so now."""
        if os.fstat(self._file).st_size < _ROOM and _try_lock(self._file):
            try:
                length = os.fstat(self._file).st_size
                _write(self._file, bytes(max(0, _ROOM - length)), at=length)
            finally:
                _unlock(self._file)

    def _close(self) -> None:
        if self._file >= 0:
            with suppress(OSError):
                os.close(self._file)
        self._file = -1

    def _is_the_one(self) -> bool:
        """Whether the file that was locked still is the one of that name."""
        try:
            return os.path.samestat(os.fstat(self._file), os.stat(self._where))  # noqa: PTH116
        except FileNotFoundError:
            return False


if sys.platform == "win32":

    def _try_lock(file: int) -> bool:
        os.lseek(file, _MOST_BYTES, os.SEEK_SET)  # a mandatory lock: not on what others read
        with suppress(OSError):
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            return True
        return False

    def _unlock(file: int) -> None:
        os.lseek(file, _MOST_BYTES, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

    def _read(file: int, size: int) -> bytes:
        os.lseek(file, 0, os.SEEK_SET)
        return os.read(file, size)

    def _write_at(file: int, data: bytes, at: int) -> int:
        os.lseek(file, at, os.SEEK_SET)
        return os.write(file, data)

else:

    def _try_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)

    def _read(file: int, size: int) -> bytes:
        return os.pread(file, size, 0)

    _write_at = os.pwrite


def _write(file: int, data: bytes, at: int = 0) -> None:
    if _write_at(file, data, at) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def folder() -> Path:
    """Return where this user's files of limits are.

    It hangs on the home folder alone: a cron job has no runtime folder, and must share too.

    Raises:
        OSError: The user has no home.
    """
    try:
        return _cache() / "sd3async" / "limits"
    except RuntimeError as error:
        raise OSError("the user has no home folder") from error


def _cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home())
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return chosen if chosen.is_absolute() else Path.home() / ".cache"


def since_boot(name: str) -> str:
    """Return a file's name that is another one on another machine, and after the next start."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        name += hashlib.sha256(f"{os.uname().nodename}{boot}".encode()).hexdigest()[:8]
    return name


def _delete_old(where: Path) -> None:
    """Delete the files that nobody has used for a month: most are of an earlier start."""
    for path in where.glob("*"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - _OLD:
                path.unlink()


def stores_here() -> Iterator[MachineStore]:
    """Yield the stores of all limits that were shared on this machine since its start."""
    for path in sorted(folder().glob("*")):
        if path.name == since_boot(path.name[: -len(since_boot(""))]):
            yield MachineStore(path)
