"""The job's folder: where its files lie, who may work in it, what a crash left there.

DIR/journal.sqlite
DIR/images/000123/00123456.png      the image, byte for byte as it was received
DIR/images/000123/00123456.json     its sidecar
DIR/inputs/<sha256>.png             images to start from that came as bytes
DIR/results.jsonl                   every item, in the manifest's order

What is not a coroutine blocks: call it in a thread.
"""

import fcntl
import functools
import hashlib
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import attrs

from sd3async._files import make_folder, sync_folder, write_atomically
from sd3async._threads import in_thread
from sd3async.bulk.errors import FolderError, JobError, JobLockedError, StorageError, storage_error
from sd3async.bulk.keeping.journal import JOURNAL_NAME, read_owner
from sd3async.bulk.keeping.ledger import Delivery, QueuedItem
from sd3async.bulk.keeping.sidecars import facts_of, write_sidecar
from sd3async.bulk.records import EMULATOR
from sd3async.models.fields import refuse
from sd3async.models.requests import IMAGE_FIELDS
from sd3async.models.results import GeneratedImage
from sd3async.wire import redact

IMAGES = "images"
INPUTS = "inputs"
"""Images to start from that came as bytes, named by their hash."""
ERROR_LOG_NAME = "error.log"

_FILES_PER_FOLDER = 1_000
_SHOWN_NAMES = 3
_FOLDER_NAME = re.compile(r"[0-9]{6,}")
_IMAGE_NAME = re.compile(r"([0-9]{8,})\.(?:png|jpeg|webp)")
_JOURNAL_SUFFIXES = ("", "-wal", "-shm")

T = TypeVar("T")


@attrs.frozen
class Picture:
    """An image file of a job that is not empty.

    Attributes:
        number: The item that it is named after.
        name: Relative to the job's folder.
        size: [bytes].
        has_sidecar: Whether there is a sidecar beside it.
    """

    number: int
    name: str
    size: int
    has_sidecar: bool


class JobFolder:
    """The folder of one job.

    Args:
        path: The folder; made when it is missing.
        service: The service that the job belongs to, for the sidecars; None is not known.
    """

    def __init__(self, path: Path, service: str | None) -> None:
        self.path = path
        self.service = service
        self._lock: int | None = None
        self._is_new = False
        self._has_new_journal = False
        self._made: set[Path] = set()

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.path / JOURNAL_NAME

    def claim(self, *, force: bool = False) -> None:
        """Make the folder if need be, and keep other processes out.

        Args:
            force: Work in it also when it holds other things.

        Raises:
            JobLockedError: Another process is at work in it.
            FolderError: It holds other things, and no job.
            StorageError: It cannot be made or locked.
        """
        try:
            self._is_new = not self.path.exists()
            make_folder(self.path)
            self._take_lock()
            try:
                self.check(force=force)
                self._has_new_journal = not self.journal.exists()
            except BaseException:
                self.release()
                raise
        except (FolderError, StorageError):
            raise
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise storage_error(self.path, error) from error

    def check(self, *, force: bool) -> None:
        """See that the folder is a job's, or free for one; looks only.

        Args:
            force: Whether other things in it are no hindrance.

        Raises:
            FolderError: It is not.
            StorageError: It cannot be looked at.
        """
        try:
            self._check(force)
        except OSError as error:
            raise storage_error(self.path, error) from error

    def release(self, *, forget: bool = False) -> None:
        """Let other processes in.

        Args:
            forget: Delete what `claim` and the journal made, if they made it: nothing was sent.
        """
        if self._lock is None:
            return
        if forget and self._has_new_journal:
            for suffix in _JOURNAL_SUFFIXES:
                self.journal.with_name(JOURNAL_NAME + suffix).unlink(missing_ok=True)
            if self._is_new:
                _remove_if_empty(self.path)
        os.close(self._lock)
        self._lock = None

    def image_name(self, number: int, output_format: str) -> str:
        """Return where an item's image goes, relative to the folder.

        Args:
            number: The item.
            output_format: `png`, `jpeg` or `webp`.
        """
        return f"{IMAGES}/{number // _FILES_PER_FOLDER:06d}/{number:08d}.{output_format}"

    def ranges(self, last: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield the first and last number of each folder of images, in order.

        Args:
            last: The highest number there is; None for the folders that are there.
        """
        if last is not None:
            numbers = list(range(last // _FILES_PER_FOLDER + 1))
        else:
            names = (path.name for path in (self.path / IMAGES).glob("[0-9]*"))
            numbers = sorted(int(name) for name in names if _FOLDER_NAME.fullmatch(name))
        for number in numbers:
            first = number * _FILES_PER_FOLDER
            yield first, first + _FILES_PER_FOLDER - 1

    def pictures(self, number: int) -> list[Picture]:
        """Return the images in one of the folders, in no order, without empty ones.

        Args:
            number: Any item whose image belongs there.

        Raises:
            StorageError: The disk failed.
        """
        folder = (self.path / self.image_name(number, "png")).parent
        return self.on_disk(_find_pictures, folder)

    def check_service(self, bound: str | None) -> None:
        """See that what is here is for the service of this run.

        Args:
            bound: What it belongs to; None is not known.

        Raises:
            FolderError: It belongs to another.
        """
        if bound is None or self.service in (None, bound):
            return
        names = [f"the {EMULATOR}" if name == EMULATOR else name for name in (bound, self.service)]
        raise FolderError(
            f"{str(self.path)!r} holds a job of {names[0]}, and this run is for {names[1]}: their "
            "images must not be mixed up; choose another folder, or go on with the first"
        )

    async def place_for(self, number: int, output_format: str) -> Path:
        """As for `Shelf`."""
        path = self.path / self.image_name(number, output_format)
        if path.parent not in self._made:  # a thread's trip for each image would be felt
            await in_thread(self._make_parent, path)
        return path

    def save_input(self, name: str, data: bytes) -> None:
        """Keep an image to start from; harmless when it is there."""
        path = self.path / name
        self._make_parent(path)
        if not path.exists():
            self.on_disk(write_atomically, path, data)

    def resolve(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """As for `Shelf`."""
        paths = {name: str(self.path / fields[name]) for name in IMAGE_FIELDS & fields.keys()}
        return {**fields, **paths} if paths else fields

    def describe(self, image: GeneratedImage, part: Path) -> Delivery:
        """As for `Shelf`."""
        if image.path is None:
            raise ValueError("the image was not streamed to a file")
        emulated = image.emulated or self.service == EMULATOR
        facts = facts_of(image, sha256=self.on_disk(hash_file, part), emulated=emulated)
        name = image.path.relative_to(self.path).as_posix()
        return Delivery(file=name, credits=image.credits, facts=facts)

    def seal(self, item: QueuedItem, image: GeneratedImage, delivery: Delivery) -> None:
        """As for `Shelf`: write the sidecar.

        It comes before the image's name, so that an image which has its name has its facts, and a
        part that a crash left can be told to be whole.
        """
        names = {"index": item.number, "id": item.id, "tags": item.tags}
        write = functools.partial(
            write_sidecar, price=image.credits, attempts=image.attempts, service=self.service
        )
        request = image.request.to_dict()
        self.on_disk(write, self.path / delivery.file, names, request, delivery.facts)

    def log_error(self, error: BaseException) -> JobError:
        """As for `Shelf`."""
        lines = "".join(traceback.format_exception(error))
        words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        told = JobError(
            f"an error that is none of the disk or the service ({redact(words, ())}); its traceback "
            f"is in {str(self.path / ERROR_LOG_NAME)!r}; what was done is safe"
        )
        told.__cause__ = error
        with suppress(OSError), (self.path / ERROR_LOG_NAME).open("a", errors="replace") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{redact(lines, ())}\n")
        return told

    def _take_lock(self) -> None:
        # The folder itself is locked: a file in it could be deleted, and the next run let in.
        lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(lock)
            if not isinstance(error, BlockingIOError):
                raise
            raise JobLockedError(
                f"another process ({read_owner(self.journal)}) is at work in {str(self.path)!r}; "
                "wait for it, or choose another folder"
            ) from error
        self._lock = lock

    def _check(self, force: bool) -> None:
        for suffix in _JOURNAL_SUFFIXES:
            file = self.journal.with_name(JOURNAL_NAME + suffix)
            if file.is_symlink():  # SQLite would write where it leads
                raise FolderError(f"{str(file)!r} is a symbolic link; put the file in its place")
        if force or self.journal.exists() or not self.path.exists():
            return
        if (self.path / IMAGES).exists():
            raise FolderError(
                f"{str(self.path)!r} holds images but no journal, so nobody knows what was paid: "
                "put journal.sqlite back (and journal.sqlite-wal, if there is one), choose another "
                "folder, or have the images taken over by their sidecars with --force (force=True)"
            )
        # A manifest that was refused may have left its starting images, named by their hash.
        names = sorted(file.name for file in self.path.iterdir() if file.name != INPUTS)
        if names:
            shown = ", ".join(names[:_SHOWN_NAMES]) + (", …" if names[_SHOWN_NAMES:] else "")
            raise FolderError(
                f"{str(self.path)!r} is not empty and holds no job ({shown}); choose another "
                "folder, or add --force (force=True): files named like a job's own are replaced"
            )

    def _make_parent(self, path: Path) -> None:
        """Make the folder of a file durably."""
        if path.parent in self._made:
            return
        self.on_disk(path.parent.mkdir, 0o777, True, True)
        self.on_disk(sync_folder, path.parent.parent)
        self.on_disk(sync_folder, self.path)
        self._made.add(path.parent)

    def on_disk(self, function: Callable[..., T], *args: Any) -> T:
        """Do what touches the disk.

        Raises:
            StorageError: The disk failed.
        """
        try:
            return function(*args)
        except StorageError:
            raise
        except OSError as error:
            raise storage_error(self.path, error) from error


def read_out(out: str | Path) -> Path:
    """Return the folder that a job is given, as an absolute path.

    Args:
        out: What the caller says.

    Raises:
        InvalidRequestError: It is an empty text, which would mean the working directory.
    """
    if out == "":
        raise refuse("out", "is empty; a folder is needed")
    return Path(out).absolute()


def _find_pictures(folder: Path) -> list[Picture]:
    found: list[Picture] = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as listing:
        entries = {entry.name: entry for entry in listing}
        for name, entry in entries.items():
            match = _IMAGE_NAME.fullmatch(name)
            if match and entry.is_file() and (size := entry.stat().st_size):
                has_sidecar = f"{match[1]}.json" in entries
                path = f"{IMAGES}/{folder.name}/{name}"
                found.append(Picture(int(match[1]), path, size, has_sidecar))
    return found


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, and leave nothing of it in the page cache.

    A terabyte of images that nobody reads again would push out everything else. And in a virtual
    machine, writing to a page that was used before costs a third of writing to a new one.
    """
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return digest
