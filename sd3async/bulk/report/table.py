"""A Parquet table of every item (extra `sd3async[parquet]`)."""

# pyarrow names few of its types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no py.typed
from pyarrow import parquet

from sd3async._files import PartFile
from sd3async.bulk.records import ItemRecord, JobSummary
from sd3async.bulk.report.plain import encodable, plain
from sd3async.bulk.report.sink import PartStream
from sd3async.models.results import Timings

FILE = "results.parquet"
ROWS_PER_GROUP = 10_000

_INSTANT = pa.timestamp("us", tz="UTC")
_TIMINGS = tuple(field.name for field in attrs.fields(Timings))

SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("id", pa.string()),
        ("endpoint", pa.string()),
        ("prompt", pa.string()),
        ("request", pa.string()),  # JSON: its fields differ from endpoint to endpoint
        ("tags", pa.list_(pa.string())),
        ("columns", pa.string()),  # JSON: each manifest has its own
        ("priority", pa.int64()),
        ("state", pa.string()),
        ("file", pa.string()),
        ("linked_to", pa.int64()),
        ("content_type", pa.string()),
        ("size", pa.int64()),
        ("sha256", pa.string()),
        ("seed", pa.int64()),
        ("finish_reason", pa.string()),
        ("request_id", pa.string()),
        ("credits", pa.float64()),
        ("attempts", pa.int64()),
        ("unknown_charges", pa.int64()),
        ("error", pa.string()),
        ("sent_at", _INSTANT),
        ("finished_at", _INSTANT),
        ("service", pa.string()),
        ("emulated", pa.bool_()),
        ("timings", pa.struct([(name, pa.float64()) for name in _TIMINGS])),
    ]
)


class TableWriter:
    """Writes a row for each item, whatever its state: an `Export`.

    Args:
        out: The job's folder.
        rows_per_group: Rows in each group; one is in memory at a time.
    """

    def __init__(self, out: Path, *, rows_per_group: int = ROWS_PER_GROUP) -> None:
        self._part = PartFile(out / FILE)
        self._table = parquet.ParquetWriter(PartStream(self._part), SCHEMA, compression="zstd")
        self._rows_per_group = rows_per_group
        self._group: list[dict[str, Any]] = []

    def write(self, record: ItemRecord) -> None:
        """Add a row."""
        self._group.append(_row(record))
        if len(self._group) == self._rows_per_group:
            self._flush()

    def close(self, summary: JobSummary) -> None:
        """Give the table its name."""
        if self._group:
            self._flush()
        self._table.close()
        self._part.commit()

    def discard(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):
            self._table.close()
        self._part.abort()

    def _flush(self) -> None:
        self._table.write_table(pa.Table.from_pylist(self._group, schema=SCHEMA))
        self._group.clear()


def _row(record: ItemRecord) -> dict[str, Any]:
    row = record.to_dict()
    row["request"] = json.dumps(plain(record.request))
    row["columns"] = json.dumps(plain(record.columns))
    row["timings"] = {name: record.timings.get(name) for name in _TIMINGS}
    row["tags"] = [encodable(tag) for tag in record.tags]
    row["sent_at"] = _instant(record.sent_at)
    row["finished_at"] = _instant(record.finished_at)
    return {name: encodable(cell) if isinstance(cell, str) else cell for name, cell in row.items()}


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
