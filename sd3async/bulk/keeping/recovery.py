"""What became of the items that were on their way when a run was cut off."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sd3async._files import PART_SUFFIX, find_parts, finish_part, is_part
from sd3async._threads import in_thread
from sd3async.bulk.keeping.folder import INPUTS, JobFolder, hash_file
from sd3async.bulk.keeping.journal import Journal
from sd3async.bulk.keeping.ledger import Delivery, QueuedItem
from sd3async.bulk.keeping.sidecars import known_facts, read_sidecar
from sd3async.bulk.records import EMULATOR
from sd3async.models.sources import kind_of


async def recover(
    journal: Journal, folder: JobFolder, *, holds: bool, at: float, is_rehearsal: bool = False
) -> int:
    """Find out what became of items that were on their way when a run was cut off.

    An image that is there is adopted. Where none is, the request counts as possibly paid.

    Args:
        journal: Open.
        folder: Claimed, unless this is a rehearsal.
        holds: Keep the possibly paid ones for review, instead of sending them again.
        at: Now [s since the epoch].
        is_rehearsal: Change the journal only, and nothing in the folder.

    Returns:
        How many images were adopted.

    Raises:
        StorageError: The disk failed.
    """
    items = await journal.cut_off()
    adopted = 0
    for item in items:
        delivery = await in_thread(folder.on_disk, _find, folder, item, is_rehearsal)
        if delivery is not None:
            await journal.done(item.number, delivery, attempts=1, at=at)
            adopted += 1
        elif item.started is not None:  # nothing is lost: it is fetched
            journal.returned(item.number, attempts=1, unknown=0)
        elif holds:  # with those that share its image
            words = "cut off on its way; possibly paid"
            await journal.ended(item.number, "unknown", words, attempts=1, unknown=1, at=at)
        else:
            journal.returned(item.number, attempts=1, unknown=1)
    if not is_rehearsal:
        await in_thread(folder.on_disk, _sweep, folder)
    return adopted


def _find(folder: JobFolder, item: QueuedItem, is_rehearsal: bool) -> Delivery | None:
    """Return the image of an item, if it is there.

    A part that is whole by its sidecar's word is given its name. The sidecar says what the
    answer said; without one, the image alone tells its size and hash, and the request the
    seed it asked for.
    """
    name = folder.image_name(item.number, item.output_format)
    path = folder.path / name
    sidecar = read_sidecar(path)
    found = path if _is_image(path) else _find_whole_part(path, sidecar)
    if found is None:
        return None
    facts: dict[str, Any] = {
        "content_type": f"image/{item.output_format}",
        "size": found.stat().st_size,
        "sha256": hash_file(found),
        "seed": item.fields.get("seed") or None,
        "emulated": folder.service == EMULATOR,
    }
    if found != path and not is_rehearsal:
        finish_part(found, path)
    if sidecar.get("sha256") == facts["sha256"]:
        facts |= known_facts(sidecar) or {}
    return Delivery(file=name, credits=item.price, facts=facts)


def _is_image(path: Path) -> bool:
    """Whether a file is there and begins as an image; whole it is, or it had no such name."""
    try:
        with path.open("rb") as stream:
            return bool(kind_of(stream.read(12)))
    except OSError:
        return False


def _find_whole_part(path: Path, sidecar: Mapping[str, Any]) -> Path | None:
    """Return what an image's sidecar says is all of it, if it only lacks its name."""
    for part in find_parts(path):
        if part.stat().st_size == sidecar.get("size") and hash_file(part) == sidecar.get("sha256"):
            return part
    return None


def _sweep(folder: JobFolder) -> None:
    """Delete what a run that died left half-written, whether its item was marked as sent or not."""
    images = (folder.path / folder.image_name(first, "png") for first, _ in folder.ranges())
    for place in (folder.path, folder.path / INPUTS, *(image.parent for image in images)):
        for part in place.glob(f".*{PART_SUFFIX}") if place.is_dir() else ():
            if is_part(part):  # other programs have parts, too
                part.unlink(missing_ok=True)
