"""The journal: what is known of every item, durable before and after each request.

Rows change in this order: `sent` is on the disk before a request is; `done` comes after the
image is. So whatever a crash leaves behind can be told: rows that say `sent` are either whole on
the disk, or possibly paid.
"""

import json
import sqlite3
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from sd3async.bulk.errors import StorageError, journal_error
from sd3async.bulk.keeping import tables
from sd3async.bulk.keeping.ledger import Delivery, QueuedItem
from sd3async.bulk.keeping.store import Store
from sd3async.bulk.records import ItemRecord, State
from sd3async.bulk.status import JobStats

JOURNAL_NAME = "journal.sqlite"

_NOBODY_KNOWN = "its number is not known"

_ANYTHING_DONE = (
    "SELECT 1 FROM items WHERE state IN ('sent', 'done', 'missing') OR unknown_charges LIMIT 1"
)

_LAST_SIGN = """
SELECT max(coalesce(max(sent_at), 0), coalesce(max(finished_at), 0)) FROM items
"""


class Journal:
    """The journal of one job. Methods that return awaitables are durable once awaited.

    Args:
        path: The SQLite file; created when it is missing.
        is_scratch: Whether it may be lost with the process.
    """

    def __init__(self, path: Path, *, is_scratch: bool = False) -> None:
        self.path = path
        self.store = Store(path, tables.SCHEMA, is_scratch=is_scratch)

    async def queue(self, after: QueuedItem | None, limit: int) -> list[QueuedItem]:
        """As for `Ledger`."""
        return await self.store.submit(lambda db: tables.queue(db, after, limit))

    async def sent(self, number: int, at: float) -> None:
        """As for `Ledger`."""

        def write(db: sqlite3.Connection) -> None:
            query = "UPDATE items SET state = 'sent', sent_at = ? WHERE number = ?"
            db.execute(query, (at, number))

        await self.store.submit(write)

    async def started(self, number: int, pending: Mapping[str, Any] | None) -> None:
        """As for `Ledger`."""
        text = None if pending is None else json.dumps(pending)

        def write(db: sqlite3.Connection) -> None:
            db.execute("UPDATE items SET started = ? WHERE number = ?", (text, number))

        await self.store.submit(write)

    async def done(self, number: int, delivery: Delivery, *, attempts: int, at: float) -> int:
        """As for `Ledger`."""
        return await self.store.submit(
            lambda db: tables.write_done(db, number, delivery, attempts=attempts, at=at)
        )

    async def ended(
        self, number: int, state: State, error: str, *, attempts: int, unknown: int, at: float
    ) -> int:
        """As for `Ledger`."""

        def write(db: sqlite3.Connection) -> int:
            db.execute(
                "UPDATE items SET state = ?, error = ?, attempts = attempts + ?, "
                "unknown_charges = unknown_charges + ?, finished_at = ? WHERE number = ?",
                (state, error, attempts, unknown, at, number),
            )
            return db.execute(
                "UPDATE items SET state = ?, error = ?, finished_at = ? "
                "WHERE linked_to = ? AND state = 'pending'",
                (state, f"the identical item {number:08d}: {error}", at, number),
            ).rowcount

        return await self.store.submit(write)

    def returned(self, number: int, *, attempts: int, unknown: int) -> None:
        """As for `Ledger`."""

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE items SET state = 'pending', attempts = attempts + ?, "
                "unknown_charges = unknown_charges + ? WHERE number = ?",
                (attempts, unknown, number),
            )

        _ = self.store.submit(write)

    async def linked(self, number: int, after: int, limit: int) -> list[int]:
        """As for `Ledger`."""
        rows = await self.store.submit(
            lambda db: db.execute(
                "SELECT number FROM items WHERE linked_to = ? AND number > ? "
                "ORDER BY number LIMIT ?",
                (number, after, limit),
            ).fetchall()
        )
        return [linked for (linked,) in rows]

    async def cut_off(self) -> list[QueuedItem]:
        """Return the items that were on their way when the last run died."""
        return await self.store.submit(tables.cut_off)

    async def reopen(self, *states: State) -> int:
        """Make items pending again that are `failed`, `unknown` or `missing`; return how many."""
        return await self.store.submit(lambda db: tables.reopen(db, *states))

    async def count(self) -> JobStats:
        """Sum the items up."""
        return await self.store.submit(tables.count)

    async def is_empty(self) -> bool:
        """Return whether no manifest was ever taken in."""
        return await self.store.submit(tables.highest) < 0

    async def largest(self) -> int:
        """Return the size of the largest image so far [bytes]; 0 before the first."""
        return int(await self.meta("largest") or 0)

    async def note(self, name: str, value: str) -> None:
        """Write something beside the items."""
        await self.store.submit(lambda db: tables.write_meta(db, name, value))

    async def meta(self, name: str) -> str | None:
        """Return what was written beside the items, or None."""
        return await self.store.submit(lambda db: tables.read_meta(db, name))

    async def begin_run(self, at: float) -> None:
        """Note that a run has begun."""

        def write(db: sqlite3.Connection) -> None:
            tables.write_meta(db, "runs", int(tables.read_meta(db, "runs") or 0) + 1)
            tables.write_meta(db, "run_began", at)

        await self.store.submit(write)

    async def end_run(self, at: float | None = None) -> tuple[int, float]:
        """Add the run that is on, if any, to those before it.

        Args:
            at: When it ended; None for one that died, which counts until its last sign of life.

        Returns:
            How many runs there were, and how long they took together [s].
        """

        def write(db: sqlite3.Connection) -> tuple[int, float]:
            worked = float(tables.read_meta(db, "worked") or 0)
            began = tables.read_meta(db, "run_began")
            if began is not None:
                ended = db.execute(_LAST_SIGN).fetchone()[0] if at is None else at
                worked += max(0.0, ended - float(began))
                tables.write_meta(db, "worked", worked)
                db.execute("DELETE FROM meta WHERE name = 'run_began'")
            return int(tables.read_meta(db, "runs") or 0), worked

        return await self.store.submit(write)

    async def belong_to(self, service: str) -> str:
        """Bind the job to a service, unless another one has done anything for it.

        Args:
            service: A base URL, or `EMULATOR`.

        Returns:
            The service that the job belongs to.
        """

        def write(db: sqlite3.Connection) -> str:
            bound = tables.read_meta(db, "service")
            if bound not in (None, service) and db.execute(_ANYTHING_DONE).fetchone():
                return str(bound)
            tables.write_meta(db, "service", service)
            return service

        return await self.store.submit(write)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Store]:
        """Do several pieces of lone work, all of them or none; nothing else may be submitted."""
        await self.store.run(lambda db: db.execute("BEGIN IMMEDIATE"))
        try:
            yield self.store
            await self.store.run(lambda db: db.execute("COMMIT"))
        except BaseException:
            await self.store.run(_abandon)
            raise


def _abandon(db: sqlite3.Connection) -> None:
    if db.in_transaction:
        db.execute("ROLLBACK")


@contextmanager
def reader(path: Path) -> Generator[sqlite3.Connection]:
    """Open a journal beside its writer, which it never blocks.

    Args:
        path: The journal.

    Raises:
        StorageError: It cannot be read.
    """
    # A reader makes side files and may not delete them. Where there are none, nobody writes.
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as db:
            yield db
    except sqlite3.Error as error:
        raise journal_error(path, error) from error


def read_records(path: Path) -> Iterator[ItemRecord]:
    """Read every item that the manifest names, in its order, a row at a time.

    Args:
        path: The journal; a job may be writing it.

    Raises:
        StorageError: It cannot be read.
    """
    with reader(path) as db:
        yield from tables.records(db)


def read_owner(path: Path) -> str:
    """Return the number of the process that a journal says is at work, in words.

    Args:
        path: The journal; it may be missing, or anything else.
    """
    with suppress(StorageError), reader(path) as db:
        return tables.read_meta(db, "process") or _NOBODY_KNOWN
    return _NOBODY_KNOWN


def copy_journal(path: Path, target: Path) -> None:
    """Copy a journal, also while a job is writing it.

    Args:
        path: The journal.
        target: The copy; must not exist.

    Raises:
        StorageError: It cannot be read.
    """
    with reader(path) as db, closing(sqlite3.connect(target)) as copy:
        db.backup(copy)
