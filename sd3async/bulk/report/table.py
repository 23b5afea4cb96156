"""A Parquet table of every item (extra `sd3async[parquet]`)."""

# pyarrow names few of its types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

import itertools
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no py.typed
from pyarrow import parquet

from sd3async._files import PartFile
from sd3async.bulk.records import ItemRecord
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


def write_table(
    out: Path, records: Iterable[ItemRecord], *, rows_per_group: int = ROWS_PER_GROUP
) -> Path:
    """Write a row for each item, whatever its state; one group of rows is in memory at a time.

    Args:
        out: The job's folder.
        records: The items, in manifest order.
        rows_per_group: Rows in each group.

    Returns:
        The table.

    Raises:
        OSError: It could not be written; nothing is left behind.
    """
    rows = map(_row, records)
    with PartFile(out / FILE) as part:
        with parquet.ParquetWriter(PartStream(part), SCHEMA, compression="zstd") as writer:
            while group := list(itertools.islice(rows, rows_per_group)):
                writer.write_table(pa.Table.from_pylist(group, schema=SCHEMA))
        return part.commit()


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
