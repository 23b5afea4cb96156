"""Records of made-up jobs, with small real pictures on disk."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sd3async.bulk.records import ItemRecord, JobSummary
from sd3async.bulk.report.exports import feed
from sd3async.bulk.report.write import ReportWriter
from support.pictures import picture

BEGAN = 1_795_000_000.0


def item(index: int, **facts: Any) -> ItemRecord:
    """Return a record that is done unless told otherwise."""
    defaults: dict[str, Any] = {
        "id": f"{index:08d}",
        "endpoint": "sd3",
        "prompt": f"prompt {index}",
        "request": {"endpoint": "sd3", "model": "sd3.5-large", "prompt": f"prompt {index}"},
        "state": "done",
        "attempts": 1,
    }
    return ItemRecord(index=index, **(defaults | facts))


def done(index: int, **facts: Any) -> ItemRecord:
    """Return a record of an image, whose file may or may not be there."""
    defaults: dict[str, Any] = {
        "file": f"images/{index // 1000:06d}/{index:08d}.png",
        "content_type": "image/png",
        "size": 1000 + index,
        "sha256": f"{index:064x}",
        "seed": index,
        "finish_reason": "SUCCESS",
        "credits": 6.5,
        "sent_at": BEGAN + index / 10,
        "finished_at": BEGAN + index / 10,
        "timings": {"total": 1.0 + index},
    }
    return item(index, **(defaults | facts))


def failed(index: int, error: str = "500 oops: no image", **facts: Any) -> ItemRecord:
    """Return a record of a failure."""
    ended: dict[str, Any] = {"finished_at": BEGAN + index / 10, "error": error}
    return item(index, state="failed", **(ended | facts))


def summary(records: list[ItemRecord], **facts: Any) -> JobSummary:
    """Return the sum of some records."""

    def count(state: str) -> int:
        return sum(record.state == state for record in records)

    spent = sum(record.credits for record in records)
    defaults: dict[str, Any] = {
        "name": "a job",
        "manifest": "prompts.jsonl",
        "started_at": BEGAN,
        "finished_at": BEGAN + 90.5,
        "seconds": 90.5,
        "total": len(records),
        "done": count("done"),
        "failed": count("failed"),
        "invalid": count("invalid"),
        "unknown": count("unknown"),
        "credits_spent": spent,
        "ceiling": 15.0,
        "retried": 0,
        "frozen": 0,
        "possibly_paid": 0,
        "balance_before": None,
        "balance_after": None,
        "base_url": "http://127.0.0.1:1",
    }
    return JobSummary(**(defaults | facts))


def write_report(out: Path, records: Iterable[ItemRecord], told: JobSummary) -> None:
    """Write the numbers and the gallery of a made-up job."""
    feed([ReportWriter(out)], records, told)


def write_pictures(out: Path, records: list[ItemRecord], width: int = 24, height: int = 16) -> None:
    """Write the file of each record that names one."""
    for record in records:
        if record.file is not None:
            target = out / record.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(picture(width, height, hue=record.index % 256))
