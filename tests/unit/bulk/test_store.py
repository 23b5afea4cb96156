"""The store: what was awaited is on the disk, and a failure is told to everybody who waits."""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sd3async.bulk import JournalError, StorageError
from sd3async.bulk.keeping.store import APPLICATION_ID, Store, Work

SCHEMA = "CREATE TABLE notes (text TEXT);"


def write(text: str) -> Work[int]:
    return lambda db: db.execute("INSERT INTO notes VALUES (?)", (text,)).rowcount


def texts(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [text for (text,) in db.execute("SELECT text FROM notes ORDER BY rowid")]


async def test_writes_of_many_tasks_share_few_commits_and_keep_their_order(tmp_path: Path) -> None:
    """A commit for each row would make the disk the limit, not the service."""
    store = Store(tmp_path / "a.sqlite", SCHEMA)
    await store.open()
    commits = 0

    def count(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    await store.run(lambda db: db.set_trace_callback(count))
    await asyncio.gather(*(store.submit(write(str(number))) for number in range(200)))

    assert commits <= 3
    assert texts(tmp_path / "a.sqlite") == [str(number) for number in range(200)]
    await store.aclose()


@pytest.mark.parametrize(("is_scratch", "level"), [(False, 2), (True, 0)], ids=["kept", "scratch"])
async def test_what_is_kept_is_synced_at_every_commit(
    tmp_path: Path, is_scratch: bool, level: int
) -> None:
    """A row that was acknowledged must survive a power cut; 2 is SQLite's FULL, 0 its OFF."""
    store = Store(tmp_path / "a.sqlite", SCHEMA, is_scratch=is_scratch)
    await store.open()
    (synchronous,) = await store.run(lambda db: db.execute("PRAGMA synchronous").fetchone())
    (mode,) = await store.run(lambda db: db.execute("PRAGMA journal_mode").fetchone())
    await store.aclose()

    assert (synchronous, mode) == (level, "wal")


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no way to ask for room")
async def test_the_log_has_its_room_before_it_is_written(tmp_path: Path) -> None:
    """On a disk that fills up, what is in flight must still be noted when it lands."""
    store = Store(tmp_path / "a.sqlite", SCHEMA)
    await store.open()
    log = tmp_path / "a.sqlite-wal"
    before = log.stat()
    for number in range(50):
        await store.submit(write(f"{number}" * 2_000))
    after = log.stat()
    await store.aclose()

    assert (after.st_size, after.st_blocks) == (before.st_size, before.st_blocks)
    assert len(texts(tmp_path / "a.sqlite")) == 50


async def test_a_write_nobody_awaits_is_written_all_the_same(tmp_path: Path) -> None:
    """Cancelled tasks leave their last word behind without waiting for it."""
    store = Store(tmp_path / "a.sqlite", SCHEMA)
    await store.open()
    for number in range(3):
        _ = store.submit(write(str(number)))
    future = store.submit(write("cancelled"))
    future.cancel()
    await store.aclose()

    assert texts(tmp_path / "a.sqlite") == ["0", "1", "2", "cancelled"]


async def test_lone_work_waits_for_what_was_submitted(tmp_path: Path) -> None:
    """A manifest's transaction must not begin in the middle of a group commit's queue."""
    store = Store(tmp_path / "a.sqlite", SCHEMA)
    await store.open()
    for number in range(3):
        _ = store.submit(write(str(number)))
    await store.run(lambda db: db.execute("BEGIN"))
    await store.run(lambda db: db.execute("COMMIT"))
    await store.aclose()

    assert texts(tmp_path / "a.sqlite") == ["0", "1", "2"]


async def test_a_failed_commit_fails_its_whole_group_and_all_that_follow(tmp_path: Path) -> None:
    """A row that was not written must never look as if it were."""
    store = Store(tmp_path / "a.sqlite", SCHEMA)
    await store.open()
    good = store.submit(write("good"))
    bad = store.submit(lambda db: db.execute("INSERT INTO missing VALUES (1)").rowcount)
    also = store.submit(write("same group"))
    await good
    for future in (bad, also):
        with pytest.raises(StorageError, match="no such table"):
            await future
    with pytest.raises(StorageError):
        await store.submit(write("later"))
    await store.aclose()

    assert texts(tmp_path / "a.sqlite") == ["good"]


async def test_a_full_disk_is_said_and_what_was_written_stays(tmp_path: Path) -> None:
    """SQLite's own words, "database or disk is full", leave open which."""
    store = Store(tmp_path / "a.sqlite", SCHEMA)
    await store.open()
    await store.submit(write("before"))
    await store.run(lambda db: db.execute("PRAGMA max_page_count = 5").fetchone())
    with pytest.raises(StorageError, match="the disk is full; what was done is safe"):
        await store.submit(write("x" * 100_000))
    await store.aclose()

    assert texts(tmp_path / "a.sqlite") == ["before"]


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        ("CREATE TABLE other (x)", "is not the journal of a bulk job"),
        (f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 99", "format 99"),
    ],
    ids=["foreign", "newer"],
)
async def test_other_files_are_refused(tmp_path: Path, statements: str, words: str) -> None:
    """Writing into somebody else's database would ruin it."""
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(statements)
    store = Store(path, SCHEMA)
    with pytest.raises(JournalError, match=words):
        await store.open()
    await store.aclose()


async def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    """A folder deleted under a job must not end in a traceback."""
    store = Store(tmp_path / "no" / "a.sqlite", SCHEMA)
    with pytest.raises(StorageError, match="read-only or missing"):
        await store.open()
    await store.aclose()
