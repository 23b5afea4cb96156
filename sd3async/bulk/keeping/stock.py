"""Taking stock: the images in the folder against those in the journal.

Images can be deleted, and a journal can be lost, or be older than the images beside it. Both are
found out before anything is paid for: an image that is gone is no longer called done, and one
that the journal does not know is taken over by what its sidecar says, or stops the job.

Everything here blocks, and runs in the journal's thread, a thousand items at a time.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from sd3async.bulk.errors import FolderError, StorageError
from sd3async.bulk.keeping import tables
from sd3async.bulk.keeping.folder import JobFolder, Picture
from sd3async.bulk.keeping.ledger import Delivery
from sd3async.bulk.keeping.sidecars import FACTS, known_facts, read_sidecar, write_sidecar
from sd3async.bulk.records import ItemRecord, State
from sd3async.models.requests import IMAGE_FIELDS


def note_missing(db: sqlite3.Connection, folder: JobFolder) -> None:
    """Mark done items whose image is gone or empty as missing, and those whose image is back as done.

    Args:
        db: The journal, in a transaction.
        folder: The job's folder.
    """
    for first, last in folder.ranges(tables.highest(db)):
        present = {picture.name for picture in folder.pictures(first)}
        for number, state, file in tables.images(db, first, last):
            now: State = "done" if file in present else "missing"
            if now != state:
                tables.mark(db, number, state, now)


def take_over(db: sqlite3.Connection, folder: JobFolder) -> int:
    """Take the images over that the journal does not know, by what their sidecars say.

    Args:
        db: The journal, in a transaction, with the manifest's items.
        folder: The job's folder.

    Returns:
        How many.

    Raises:
        FolderError: Some are no images of these items; the transaction is to be rolled back.
    """
    taken = 0
    strays: list[Picture] = []
    for picture, item in unknown_pictures(db, folder):
        sidecar = read_sidecar(folder.path / picture.name)
        facts = known_facts(sidecar)
        if item is None or facts is None or not _fits(picture, item.fields, sidecar):
            strays.append(picture)
            continue
        folder.check_service(sidecar.get("service"))
        _write_down(db, folder, picture, item, facts)
        taken += 1
    if strays:
        raise _not_ours(folder.path, strays)
    if taken:
        tables.link_twins(db)
    return taken


def complete_sidecars(db: sqlite3.Connection, folder: JobFolder) -> None:
    """Write the sidecars that are missing, such as those that a full disk had no room for.

    What cannot be written is left to the next run. The model of a request that names none is not
    known any more.

    Args:
        db: The journal.
        folder: The job's folder.
    """
    for first, _ in folder.ranges():
        for picture in folder.pictures(first):
            if not picture.has_sidecar and (record := tables.record(db, picture.number)):
                with suppress(StorageError):
                    folder.on_disk(_describe, folder, picture, record)


def _describe(folder: JobFolder, picture: Picture, record: ItemRecord) -> None:
    known = {name: getattr(record, name) for name in FACTS}
    if record.state == "done" and record.file == picture.name and known_facts(known):
        write_sidecar(
            folder.path / picture.name,
            {"index": record.index, "id": record.id, "tags": record.tags},
            record.request,
            known,
            price=record.credits,
            attempts=record.attempts,
            service=record.service,
        )


def unknown_pictures(
    db: sqlite3.Connection, folder: JobFolder
) -> Iterator[tuple[Picture, tables.Known | None]]:
    """Yield the images that do not belong to an item that is done.

    Args:
        db: The journal; a job may be writing it.
        folder: The job's folder.

    Yields:
        The image, and the item it is named after, if there is one.
    """
    for first, last in folder.ranges():
        known = tables.delivered(db, first, last)
        strays = [picture for picture in folder.pictures(first) if picture.number not in known]
        for picture in sorted(strays, key=lambda picture: picture.name):
            item = tables.find(db, picture.number)
            if item is None or item.state not in ("done", "missing"):  # or it has come meanwhile
                yield picture, item


def _fits(picture: Picture, fields: Mapping[str, Any], sidecar: Mapping[str, Any]) -> bool:
    """Whether a sidecar describes this image, and as one of this request."""
    made: Any = sidecar.get("request")
    if not isinstance(made, dict) or sidecar.get("size") != picture.size:
        return False
    made = cast("dict[str, Any]", made)
    # The client fills the model in.
    return _movable({"model": made.get("model"), **fields}) == _movable({"model": None, **made})


def _movable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request without the folders of its images: a job that was moved is the same job."""
    images = {name: Path(str(fields[name])).name for name in IMAGE_FIELDS & fields.keys()}
    return {**fields, **images}


def _write_down(
    db: sqlite3.Connection,
    folder: JobFolder,
    picture: Picture,
    item: tables.Known,
    facts: Mapping[str, Any],
) -> None:
    # What the journal knows to be paid is this image: it was gone, and is back.
    price = 0.0 if item.credits else item.price
    delivery = Delivery(file=picture.name, credits=price, facts=facts)
    at = (folder.path / picture.name).stat().st_mtime
    attempts = 0 if item.credits else 1
    tables.write_done(db, picture.number, delivery, attempts=attempts, at=at)


def _not_ours(folder: Path, strays: list[Picture]) -> FolderError:
    images = "image" if len(strays) == 1 else "images"
    return FolderError(
        f"{str(folder)!r} holds {len(strays):,} {images} that its journal does not know and that no "
        f"sidecar describes as whole and this manifest's, such as {strays[0].name}: put back the "
        "journal that they were made with (journal.sqlite and, if there is one, "
        "journal.sqlite-wal), or choose another folder"
    )
