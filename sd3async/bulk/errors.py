"""What stops a bulk job, each in one sentence.

BulkError                    (an SD3Error)
├── ManifestError            (also an InvalidRequestError)  bad lines; nothing was sent
├── FolderError              (also an InvalidRequestError)  the folder is not this job's
├── JobError                                    an error in the program; .__cause__ is it
├── JobLockedError                              another process works in the folder
└── StorageError             (also OSError)     folder or disk: what was done stays usable
    └── JournalError                            the journal itself is damaged or foreign
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import attrs

from sd3async._files import disk_words
from sd3async.errors import InvalidRequestError, SD3Error

__all__ = [
    "BadLine",
    "BulkError",
    "FolderError",
    "JobError",
    "JobLockedError",
    "JournalError",
    "ManifestError",
    "StorageError",
]


@attrs.frozen
class BadLine:
    """A line of a manifest that makes no request.

    Attributes:
        number: The line, from 1; 0 for the manifest as a whole.
        reason: What is wrong with it and what is allowed.
    """

    number: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.reason}" if self.number else self.reason


class BulkError(SD3Error):
    """A bulk job could not start, or had to stop."""


class ManifestError(BulkError, InvalidRequestError):
    """The manifest has bad lines; nothing was sent.

    Attributes:
        bad_lines: The first of them.
        count: How many there are in all.
    """

    def __init__(self, source: str, bad_lines: Sequence[BadLine], count: int) -> None:
        lines = "line" if count == 1 else "lines"
        words = [f"{source}: {count:,} bad {lines}, nothing was sent"]
        words += [f"  {bad}" for bad in bad_lines]
        if count > len(bad_lines):
            words.append(f"  … and {count - len(bad_lines):,} more")
        if [bad.number for bad in bad_lines] == [0]:  # the source as a whole
            words = [f"{source} {bad_lines[0]}; nothing was sent"]
        super().__init__("\n".join(words), field="source")
        self.bad_lines = tuple(bad_lines)
        self.count = count


class FolderError(BulkError, InvalidRequestError):
    """The folder belongs to something else; nothing was sent, and nothing in it was changed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, field="out")


class JobError(BulkError):
    """Something that should not happen stopped the job; what was done stays usable.

    The cause (`__cause__`) is what happened; its traceback is in the job's folder.
    """


class JobLockedError(BulkError):
    """Another process is at work in the job's folder."""


class StorageError(BulkError, OSError):
    """The job's folder could not be read or written; what was done stays usable."""


class JournalError(StorageError):
    """The journal is damaged, or is no journal that this version can read."""


_RESUME = "what was done is safe; run the same command again to go on"


def storage_error(folder: Path, error: Exception) -> StorageError:
    """Return one sentence for a failure of the disk.

    Args:
        folder: The job's folder.
        error: What the system said.
    """
    return StorageError(f"cannot write in {str(folder)!r}: {disk_words(error)}; {_RESUME}")


def damaged_journal(path: Path, problem: str) -> JournalError:
    """Return one sentence for a journal that cannot be trusted.

    Args:
        path: The journal.
        problem: What is wrong with it.
    """
    return JournalError(
        f"the journal {str(path)!r} is damaged ({problem}); the images beside it are whole: "
        "restore the journal from a copy, or start anew in another folder"
    )


def journal_error(path: Path, error: sqlite3.Error) -> StorageError:
    """Return one sentence for a failure of the journal.

    Args:
        path: The journal.
        error: What SQLite said.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    where = repr(str(path))
    if code == sqlite3.SQLITE_FULL:
        return StorageError(f"cannot write {where}: the disk is full; {_RESUME}")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged_journal(path, str(error))
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StorageError(f"cannot write {where}: the folder is read-only or missing")
    return StorageError(f"cannot use the journal {where}: {error}; {_RESUME}")
