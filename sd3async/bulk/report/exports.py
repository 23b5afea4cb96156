"""Feeding what a job leaves: its records are read once, and every export takes what it needs."""

from collections.abc import Generator, Iterable, Sequence
from typing import Protocol

from sd3async.bulk.records import ItemRecord, JobSummary


class Export(Protocol):
    """A file, or several, made of a job's records. Whole or not there: nothing before `close`."""

    def write(self, record: ItemRecord) -> None:
        """Take the next record, in the manifest's order."""
        ...

    def close(self, summary: JobSummary) -> None:
        """Make it whole.

        Args:
            summary: The job as a whole.
        """
        ...

    def discard(self) -> None:
        """Leave nothing of it behind; harmless after `close`."""
        ...


def feed(exports: Sequence[Export], records: Iterable[ItemRecord], summary: JobSummary) -> None:
    """Give each record to every export. One that fails is left out; the others go on.

    Args:
        exports: What to write.
        records: The items, in the manifest's order.
        summary: The job as a whole.

    Raises:
        OSError: What the first that failed met.
    """
    failures: list[OSError] = []
    going = list(exports)

    def drop(export: Export, error: OSError) -> None:
        going.remove(export)
        failures.append(error)

    try:
        for record in records:
            for export in tuple(going):
                try:
                    export.write(record)
                except OSError as error:
                    drop(export, error)
        for export in tuple(going):
            try:
                export.close(summary)
            except OSError as error:
                drop(export, error)
    finally:
        for export in exports:
            export.discard()
        if isinstance(records, Generator):
            records.close()  # here, in the thread that began to read
    if failures:
        raise failures[0]
