"""The job's folder: where its files lie, who may work in it, what a crash left there.

DIR/journal.sqlite
DIR/images/000123/00123456.png      the image, byte for byte as it was received
DIR/images/000123/00123456.json     its sidecar
DIR/inputs/<sha256>.png             images to start from that came as bytes
DIR/results.jsonl                   every item, in the manifest's order

Everything here blocks: call it in a thread.
"""

import fcntl
import functools
import hashlib
import json
import os
import re
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import attrs

from sd3async._files import (
    PART_SUFFIX,
    PartFile,
    find_parts,
    finish_part,
    is_part,
    make_folder,
    sync_folder,
    write_atomically,
)
from sd3async.bulk.errors import FolderError, JobError, JobLockedError, StorageError, storage_error
from sd3async.bulk.items import INPUTS
from sd3async.bulk.journal import JOURNAL_NAME, Delivery, QueuedItem, read_owner
from sd3async.bulk.records import EMULATOR, ItemRecord
from sd3async.bulk.sidecars import FACTS, facts_of, read_sidecar, write_sidecar
from sd3async.models.fields import refuse
from sd3async.models.results import GeneratedImage
from sd3async.wire import redact

IMAGES = "images"
RESULTS_NAME = "results.jsonl"
ERROR_LOG_NAME = "error.log"

_FILES_PER_FOLDER = 1_000
_READ_BYTES = 256 * 1024
_SHOWN_NAMES = 3
_FOLDER_NAME = re.compile(r"[0-9]{6,}")
_IMAGE_NAME = re.compile(r"([0-9]{8,})\.(?:png|jpeg|webp)")
_JOURNAL_SUFFIXES = ("", "-wal", "-shm")
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")

T = TypeVar("T")

_to_json = json.JSONEncoder(ensure_ascii=False).encode


@attrs.frozen
class Picture:
    """An image file of a job that is not empty.

    Attributes:
        number: The item that it is named after.
        name: Relative to the job's folder.
        size: [bytes].
    """

    number: int
    name: str
    size: int


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

    @property
    def results(self) -> Path:
        """The list of what came of every item."""
        return self.path / RESULTS_NAME

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
        return self._on_disk(_find_pictures, folder)

    def sidecar_of(self, name: str) -> dict[str, Any]:
        """Return what an image's sidecar says; nothing when there is none that can be read.

        Args:
            name: The image, relative to the job's folder.
        """
        return read_sidecar(self.path / name)

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

    def has_room(self, name: str) -> bool:
        """Whether `make_room` has nothing to do. Never blocks.

        Args:
            name: The file, relative to the job's folder.
        """
        return (self.path / name).parent in self._made

    def make_room(self, name: str) -> Path:
        """Make the folder of a file durably.

        Args:
            name: The file, relative to the job's folder.

        Returns:
            The file's path.

        Raises:
            StorageError: It cannot be made.
        """
        path = self.path / name
        if path.parent not in self._made:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                sync_folder(path.parent.parent)
                sync_folder(self.path)
            except OSError as error:
                raise storage_error(self.path, error) from error
            self._made.add(path.parent)
        return path

    def save_input(self, name: str, data: bytes) -> None:
        """Keep an image to start from; harmless when it is there."""
        path = self.make_room(name)
        if not path.exists():
            self._on_disk(write_atomically, path, data)

    def resolve(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a journalled request with its image's path as it can be opened."""
        image = fields.get("image")
        return fields if image is None else {**fields, "image": str(self.path / image)}

    def seal(self, item: Mapping[str, Any], image: GeneratedImage, part: Path) -> Delivery:
        """Write the sidecar of an image that is whole and about to get its name.

        The sidecar comes first, so that an image which has its name has its facts, and a part
        that a crash left can be told to be whole.

        Args:
            item: What identifies it: `index`, `id`, `tags`.
            image: The image.
            part: The file that holds its bytes.

        Raises:
            StorageError: The disk failed.
        """
        path = image.path
        if path is None:
            raise ValueError("the image was not streamed to a file")
        emulated = image.emulated or self.service == EMULATOR
        facts = facts_of(image, sha256=self._on_disk(_hash, part), emulated=emulated)
        write = functools.partial(write_sidecar, service=self.service)
        self._on_disk(write, path, item, image, facts)
        name = path.relative_to(self.path).as_posix()
        return Delivery(file=name, credits=image.credits, facts=facts)

    def find_delivery(self, item: QueuedItem, is_rehearsal: bool) -> Delivery | None:
        """Return the image of an item that was on its way when a run died, if it is there.

        A part that is whole by its sidecar's word is given its name. The sidecar says what the
        answer said; without one, the image alone tells its size and hash, and the request the
        seed it asked for.

        Args:
            item: The item.
            is_rehearsal: Look only.

        Raises:
            StorageError: The disk failed.
        """
        return self._on_disk(self._find, item, is_rehearsal)

    def sweep(self, numbers: Iterable[int]) -> int:
        """Delete what a run that died left half-written.

        Args:
            numbers: The items that were on their way.

        Returns:
            How many files.
        """
        folders = {self.path, self.path / INPUTS}
        folders |= {(self.path / self.image_name(number, "png")).parent for number in numbers}
        count = 0
        for folder in folders:
            for part in folder.glob(f".*{PART_SUFFIX}") if folder.is_dir() else ():
                if is_part(part):  # other programs have parts, too
                    part.unlink(missing_ok=True)
                    count += 1
        return count

    def write_results(self, records: Iterable[ItemRecord]) -> Path:
        """Write `results.jsonl`: whole, or not at all.

        Raises:
            StorageError: The disk failed.
        """
        return self._on_disk(_write_results, self.results, records)

    def log_error(self, error: BaseException) -> JobError:
        """Keep the traceback of an error that nobody expected.

        Args:
            error: The error.

        Returns:
            One sentence for people.
        """
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

    def _find(self, item: QueuedItem, is_rehearsal: bool) -> Delivery | None:
        output_format = str(item.fields.get("output_format", "png"))
        name = self.image_name(item.number, output_format)
        path = self.path / name
        sidecar = read_sidecar(path)
        found = path if _is_image(path) else _find_whole_part(path, sidecar)
        if found is None:
            return None
        facts: dict[str, Any] = {
            "content_type": f"image/{output_format}",
            "size": found.stat().st_size,
            "sha256": _hash(found),
            "seed": item.fields.get("seed") or None,
            "emulated": self.service == EMULATOR,
        }
        if found != path and not is_rehearsal:
            finish_part(found, path)
        if sidecar.get("sha256") == facts["sha256"]:
            facts |= {name: sidecar[name] for name in FACTS if name in sidecar}
        return Delivery(file=name, credits=item.price, facts=facts)

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

    def _on_disk(self, function: Callable[..., T], *args: Any) -> T:
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
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            match = _IMAGE_NAME.fullmatch(entry.name)
            if match and entry.is_file() and (size := entry.stat().st_size):
                found.append(Picture(int(match[1]), f"{IMAGES}/{folder.name}/{entry.name}", size))
    return found


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _hash(path: Path) -> str:
    """Return the SHA-256 of a file, and leave nothing of it in the page cache.

    A terabyte of images that nobody reads again would push out everything else. And in a virtual
    machine, writing to a page that was used before costs a third of writing to a new one.
    """
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return digest


def _is_image(path: Path) -> bool:
    """Whether a file is there and begins as an image; whole it is, or it had no such name."""
    try:
        with path.open("rb") as stream:
            return stream.read(12).startswith(_STARTS)
    except OSError:
        return False


def _find_whole_part(path: Path, sidecar: Mapping[str, Any]) -> Path | None:
    """Return what an image's sidecar says is all of it, if it only lacks its name."""
    for part in find_parts(path):
        if part.stat().st_size == sidecar.get("size") and _hash(part) == sidecar.get("sha256"):
            return part
    return None


def _write_results(path: Path, records: Iterable[ItemRecord]) -> Path:
    with PartFile(path) as part:
        block = bytearray()
        for record in records:
            # A lone surrogate of a bad line becomes the escape that JSON has for it.
            block += _to_json(record.to_dict()).encode(errors="backslashreplace") + b"\n"
            if len(block) >= _READ_BYTES:
                part.write(block)
                block.clear()
        part.write(block)
        return part.commit()
