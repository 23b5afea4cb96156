"""`results.jsonl`: every item, whatever became of it, a line each."""

import json
from pathlib import Path

from sd3async._files import PartFile
from sd3async.bulk.records import ItemRecord, JobSummary
from sd3async.bulk.report.plain import plain

FILE = "results.jsonl"

_WRITTEN_AT_ONCE = 256 * 1024  # [bytes]

_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class ResultsWriter:
    """Writes the list: an `Export`.

    Args:
        out: The job's folder.
    """

    def __init__(self, out: Path) -> None:
        self._part = PartFile(out / FILE)
        self._block = bytearray()

    def write(self, record: ItemRecord) -> None:
        """Add a line."""
        try:
            line = _to_json(record.to_dict())
        except ValueError:  # NaN, which Python writes and nothing else reads
            line = _to_json(plain(record.to_dict()))
        # A lone surrogate of a bad line becomes the escape that JSON has for it.
        self._block += line.encode(errors="backslashreplace") + b"\n"
        if len(self._block) >= _WRITTEN_AT_ONCE:
            self._flush()

    def close(self, summary: JobSummary) -> None:
        """Give the file its name."""
        self._flush()
        self._part.commit()

    def discard(self) -> None:
        """Leave nothing behind."""
        self._part.abort()

    def _flush(self) -> None:
        self._part.write(self._block)
        self._block.clear()
