"""Looking at every image of a job: is it still what was paid for?"""

import functools
import hashlib
import importlib.util
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from sd3async._files import disk_words
from sd3async.bulk.errors import FolderError
from sd3async.bulk.keeping.folder import JobFolder, read_out
from sd3async.bulk.keeping.journal import read_records, reader
from sd3async.bulk.keeping.stock import unknown_pictures
from sd3async.bulk.records import ItemRecord

_BATCH = 64


@attrs.frozen
class Flaw:
    """An image that is not as it should be.

    Attributes:
        file: Relative to the job's folder.
        problem: What is wrong with it.
    """

    file: str
    problem: str


@attrs.frozen(kw_only=True)
class Verification:
    """What came of looking at every image of a job.

    Attributes:
        images: Images that the job has, or should have; shared ones count once.
        flaws: Those of them that are not whole, and images that the journal does not know.
        decoded: Whether they were decoded, too, which needs Pillow.
    """

    images: int
    flaws: tuple[Flaw, ...]
    decoded: bool


def verify(out: str | Path) -> Verification:
    """Check every image of a job: there, of its size, of its SHA-256, and a picture. Blocks.

    Nothing is changed. A job may be running meanwhile.

    Args:
        out: The job's folder.

    Raises:
        FolderError: There is no job in it.
        StorageError: The journal cannot be read.
    """
    folder = JobFolder(read_out(out), None)
    if not folder.journal.is_file():
        raise FolderError(f"{str(folder.path)!r} holds no job: there is no {folder.journal.name}")
    decoded = importlib.util.find_spec("PIL") is not None
    images = 0
    flaws: list[Flaw] = []
    look = functools.partial(_look, folder.path, decoded)
    with ThreadPoolExecutor(os.cpu_count(), "sd3async-verify") as pool:
        owners = _owners(read_records(folder.journal))
        while batch := list(itertools.islice(owners, _BATCH)):
            images += len(batch)
            flaws += (flaw for flaw in pool.map(look, batch) if flaw is not None)
    with reader(folder.journal) as db:
        for picture, item in unknown_pictures(db, folder):
            if (
                item is None or item.state != "sent"
            ):  # else it has just come, or will be adopted by the next run
                flaws.append(Flaw(picture.name, "is in no journal"))
    return Verification(images=images, flaws=tuple(flaws), decoded=decoded)


def _owners(records: Iterable[ItemRecord]) -> Iterator[ItemRecord]:
    for record in records:
        if record.state in ("done", "missing") and record.file and record.linked_to is None:
            yield record


def _look(out: Path, decodes: bool, record: ItemRecord) -> Flaw | None:
    """Return what is wrong with an item's image, or None."""
    file = record.file or ""
    try:
        problem = _problem(out / file, decodes, record)
    except FileNotFoundError:
        problem = "is gone"
    except OSError as error:
        problem = f"cannot be read: {disk_words(error)}"
    return Flaw(file, problem) if problem else None


def _problem(path: Path, decodes: bool, record: ItemRecord) -> str:
    size = path.stat().st_size
    if not size:
        return "is empty"
    if record.size not in (None, size):
        return f"has {size:,} bytes; {record.size:,} were received"
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if record.sha256 not in (None, sha256):
        return "is not what was received: its SHA-256 differs"
    return _undecodable(path) if decodes else ""


def _undecodable(path: Path) -> str:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"does not decode: {error}"
    return ""
