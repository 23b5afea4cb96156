"""Everything to look at after a run, from one pass over the job's records, or two."""

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

from sd3async._files import write_atomically
from sd3async.bulk.options import ExportFormat
from sd3async.bulk.records import ItemRecord, JobSummary
from sd3async.bulk.report.exports import Export, feed
from sd3async.bulk.report.gallery import GalleryWriter
from sd3async.bulk.report.numbers import JobNumbers
from sd3async.bulk.report.plain import plain
from sd3async.bulk.report.results import ResultsWriter
from sd3async.bulk.report.thumbnails import can_make_thumbnails, make_thumbnails

T = TypeVar("T")

Records: TypeAlias = Callable[[], Iterable[ItemRecord]]

REPORT = "report.json"


def write_out(
    out: Path,
    records: Records,
    summary: JobSummary,
    *,
    reports: bool = True,
    formats: Sequence[ExportFormat] = (),
    is_called_off: Callable[[], bool] = lambda: False,
) -> None:
    """Write what a job leaves; it blocks, so call it in a thread.

    What is quick comes first, whole: a run that is cut off at the thumbnails or the shards, which
    may take as long as the job, has its results, and a page that shows the images themselves.

    Args:
        out: The job's folder.
        records: Called for a fresh pass over the items, in manifest order; passes are streamed.
        summary: The job as a whole.
        reports: Whether to write `report.json` and the gallery beside `results.jsonl`.
        formats: What to write besides.
        is_called_off: Asked at each item; nothing half-written stays.

    Raises:
        OSError: A file could not be written; each one is whole or not there.
    """

    def until_called_off(things: Iterable[T]) -> Iterator[T]:
        try:
            for thing in things:
                if is_called_off():
                    raise InterruptedError("the reports were called off")
                yield thing
        finally:
            if isinstance(things, Generator):
                things.close()

    report = ReportWriter(out)
    quick: list[Export] = [ResultsWriter(out), *([report] if reports else [])]
    feed(quick, until_called_off(records()), summary)
    if reports:
        make_thumbnails(out, until_called_off(report.images))
    if formats:
        feed([export_to(out, name) for name in formats], until_called_off(records()), summary)


def export_to(out: Path, name: ExportFormat) -> Export:
    """Return what writes a format, by the library made for it.

    Args:
        out: The job's folder.
        name: `webdataset` for tar shards of the images, `parquet` for a table of the facts.
    """
    if name == "parquet":
        from sd3async.bulk.report.table import TableWriter

        return TableWriter(out)
    from sd3async.bulk.report.shards import ShardWriter

    return ShardWriter(out)


class ReportWriter:
    """Writes `report.json` and the gallery: an `Export`.

    Args:
        out: The job's folder.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._thumbnails = can_make_thumbnails()
        self._numbers = JobNumbers()
        self._gallery = GalleryWriter(out, thumbnails=self._thumbnails)

    def write(self, record: ItemRecord) -> None:
        """Take a record."""
        self._numbers.add(record)
        self._gallery.add(record)

    def close(self, summary: JobSummary) -> None:
        """Write the numbers, and the page."""
        # ASCII, because a lone surrogate in a tag or a file name has no place in UTF-8.
        text = json.dumps(plain(self._numbers.to_dict(summary)), indent=2, allow_nan=False)
        write_atomically(self._out / REPORT, f"{text}\n".encode("ascii"))
        self._gallery.finish(self._numbers, summary)

    def discard(self) -> None:
        """Leave nothing behind: each file was whole at once."""

    @property
    def images(self) -> Iterable[str]:
        """The images that the page shows, and that small copies are to be made of."""
        return self._gallery.images if self._thumbnails else ()
