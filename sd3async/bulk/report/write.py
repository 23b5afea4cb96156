"""Everything to look at after a run, from one pass over the job's records."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from sd3async._files import write_atomically
from sd3async.bulk.records import ItemRecord, JobSummary
from sd3async.bulk.report.gallery import MOST_RECORDS, GalleryWriter
from sd3async.bulk.report.numbers import JobNumbers
from sd3async.bulk.report.plain import plain
from sd3async.bulk.report.thumbnails import can_make_thumbnails, make_thumbnails

Records: TypeAlias = Callable[[], Iterable[ItemRecord]]

REPORT = "report.json"


def write_reports(
    out: Path, records: Records, summary: JobSummary, *, thumbnails: bool = True
) -> None:
    """Write `report.json` and the gallery, `index.html`; it blocks, so call it in a thread.

    The page comes before the thumbnails, which take the longest: a run that is cut off there
    leaves a whole page that shows the images themselves.

    Args:
        out: The job's folder.
        records: Called for a fresh pass over the items, in manifest order; passes are streamed.
        summary: The job as a whole.
        thumbnails: Whether to make small copies for the page, where Pillow is installed.

    Raises:
        OSError: A file could not be written; each one is whole or not there.
    """
    thumbnails = thumbnails and can_make_thumbnails()
    numbers = JobNumbers()
    gallery = GalleryWriter(out, thumbnails=thumbnails)
    for record in records():
        numbers.add(record)
        gallery.add(record)
    write_atomically(out / REPORT, _json(numbers.to_dict(summary)))
    gallery.finish(numbers, summary)
    if thumbnails:
        make_thumbnails(out, _shown_images(records))


def _shown_images(records: Records) -> Iterator[str]:
    for shown, record in enumerate(records()):
        if shown == MOST_RECORDS:
            return
        if record.file is not None and record.linked_to is None:
            yield record.file


def _json(report: dict[str, Any]) -> bytes:
    # ASCII, because a lone surrogate in a tag or a file name has no place in UTF-8.
    return (json.dumps(plain(report), indent=2, allow_nan=False) + "\n").encode("ascii")
