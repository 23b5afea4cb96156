"""Durable bulk jobs: a file of prompts in, a folder of images out, nothing paid twice.

async with BulkJob(client, "prompts.jsonl", out="images") as job:
    async for outcome in job:
        ...
"""

from sd3async.bulk.errors import (
    BadLine,
    BulkError,
    FolderError,
    JobError,
    JobLockedError,
    JournalError,
    ManifestError,
    StorageError,
)
from sd3async.bulk.job import BulkJob
from sd3async.bulk.options import Defaults, JobOptions
from sd3async.bulk.records import ItemRecord, JobSummary
from sd3async.bulk.status import JobStats

__all__ = [
    "BadLine",
    "BulkError",
    "BulkJob",
    "Defaults",
    "FolderError",
    "ItemRecord",
    "JobError",
    "JobLockedError",
    "JobOptions",
    "JobStats",
    "JobSummary",
    "JournalError",
    "ManifestError",
    "StorageError",
]
