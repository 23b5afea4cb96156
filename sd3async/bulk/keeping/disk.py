"""Room on the disk: what is in flight counts as written, so that no answer comes to a full one."""

import math
import os
from contextlib import suppress
from pathlib import Path

from sd3async._clock import Clock
from sd3async._threads import in_thread
from sd3async.bulk.keeping.folder import IMAGES

# Before the first image has come: 1.5 megapixels, the largest that the endpoints make, as they are.
_LARGEST_GUESS = 5_000_000  # [bytes]
_BESIDE_EACH = 16 * 1024  # [bytes] sidecar, rows of the journal, and a part of a folder
_FILES_OF_EACH = 3  # image, sidecar, and the part that becomes one of them
_FOR_THE_JOB = 8 * 1024 * 1024  # [bytes] what the journal grows by; its log has taken its room
_RESULT = 2 * 1024  # [bytes] of each item in results.jsonl
_GOOD_FOR = 1.0  # [s]
_MB = 1e6


class DiskSpace:
    """Tells whether the disk has room for one more image.

    What a look at the disk found holds for a second, less what was begun since: other programs
    write to it as well, and asking the system for each image would hold up a fast job.

    Args:
        folder: The job's folder; its images may be on another disk, by a link.
        clock: Time.

    Attributes:
        largest: Size of the largest image seen so far [bytes]; 0 before the first.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._disks: list[os.statvfs_result] = []
        self._in_flight = 0  # when it was looked at, and those begun since
        self._is_good_until = -math.inf
        self.largest = 0

    @property
    def is_known(self) -> bool:
        """Whether it was looked at a moment ago."""
        return self._clock.monotonic() < self._is_good_until

    async def look(self, in_flight: int) -> None:
        """Ask the system.

        A disk that cannot be asked, or tells nothing of itself, has room.

        Args:
            in_flight: Images on their way.
        """
        self._disks = []
        for place in (self._folder, self._folder / IMAGES):
            with suppress(OSError):
                self._disks.append(await in_thread(os.statvfs, place))
        self._in_flight = in_flight
        self._is_good_until = self._clock.monotonic() + _GOOD_FOR

    def begin_one(self) -> None:
        """Take in that one more image is on its way."""
        self._in_flight += 1

    def note(self, size: int) -> None:
        """Take in how large an image was [bytes]."""
        self.largest = max(self.largest, size)

    def shortage(self, items: int) -> str:
        """Return why there is no room for one more image, or nothing if there is.

        Args:
            items: Of the whole job: each has a line in the results.
        """
        return next(filter(None, (self._lacking(disk, items) for disk in self._disks)), "")

    def _lacking(self, disk: os.statvfs_result, items: int) -> str:
        images = self._in_flight + 1
        free = disk.f_bavail * disk.f_frsize
        each = (self.largest or _LARGEST_GUESS) + _BESIDE_EACH
        needed = images * each + _FOR_THE_JOB + items * _RESULT
        if disk.f_blocks and free < needed:
            return self._words(f"{free / _MB:,.1f} MB", f"{needed / _MB:,.1f} MB")
        files = images * _FILES_OF_EACH
        if disk.f_files and disk.f_favail < files:
            return self._words(f"room for {disk.f_favail:,} files", f"room for {files:,}")
        return ""

    def _words(self, left: str, needed: str) -> str:
        return (
            f"the disk of {str(self._folder)!r} has {left} left, and {needed} are needed for the "
            "next image and what the job writes beside it; make room, and run the same command "
            "again to go on"
        )
