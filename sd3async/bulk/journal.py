"""The journal: what is known of every item, durable before and after each request.

Rows change in this order: `sent` is on the disk before a request is; `done` comes after the
image is. So whatever a crash leaves behind can be told: rows that say `sent` are either whole on
the disk, or possibly paid.
"""

import json
import sqlite3
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from sd3async.bulk.errors import StorageError, journal_error
from sd3async.bulk.records import ItemRecord, State
from sd3async.bulk.registration import link_twins
from sd3async.bulk.schema import RECORD_COLUMNS, SCHEMA, record_of
from sd3async.bulk.store import Store

JOURNAL_NAME = "journal.sqlite"

# Before the first of all ranks and positions.
QUEUE_START = (-(2**62), -1)

_QUEUE_COLUMNS = "number, id, tags, rank, position, request, price"

_NOBODY_KNOWN = "its number is not known"

_ANYTHING_DONE = (
    "SELECT 1 FROM items WHERE state IN ('sent', 'done', 'missing') OR unknown_charges LIMIT 1"
)

_SUMS = """
SELECT state, position IS NOT NULL, count(*), count(linked_to), total(credits),
    sum(unknown_charges), total(unknown_charges * price),
    total(CASE WHEN linked_to IS NULL THEN price END)
FROM items GROUP BY 1, 2
"""

_NOTE_SIZE = """
INSERT INTO meta VALUES ('largest', ?) ON CONFLICT DO UPDATE SET value = excluded.value
WHERE CAST(value AS INTEGER) < CAST(excluded.value AS INTEGER)
"""


@attrs.frozen
class QueuedItem:
    """An item whose turn it is.

    Attributes:
        number: Names its files.
        id: The manifest's own name for it, or the number as 8 digits.
        tags: Words to search by.
        place: Where it stands in the queue.
        fields: Its request, as JSON values.
        price: Documented price [credits].
    """

    number: int
    id: str
    tags: tuple[str, ...]
    place: tuple[int, int]
    fields: Mapping[str, Any]
    price: float


@attrs.frozen(kw_only=True)
class Delivery:
    """An image that is on the disk, and what the answer said.

    Attributes:
        file: Relative to the job's folder.
        credits: What it cost, at the documented price.
        facts: The rest, by the names of `ItemRecord`.
    """

    file: str
    credits: float
    facts: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Totals:
    """Sums over the journal.

    Attributes:
        by_state: Items that the manifest names now, by state.
        linked: Those of them that share another's image.
        credits: Paid for images, at the documented prices, for items since removed too.
        unknown_charges: Requests that may have been paid without an image.
        unknown_credits: Their price.
        price_to_send: Price of what is still to be sent.
        to_send: How many requests that is.
        price_missing: Price of making the missing images again.
    """

    by_state: Mapping[State, int]
    linked: int
    credits: float
    unknown_charges: int
    unknown_credits: float
    price_to_send: float
    to_send: int
    price_missing: float


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
        self.store = Store(path, SCHEMA, is_scratch=is_scratch)

    async def sent(self, number: int, at: float) -> None:
        """Note that a request is about to be sent."""
        await self.store.submit(
            lambda db: (
                db.execute(
                    "UPDATE items SET state = 'sent', sent_at = ? WHERE number = ?",
                    (at, number),
                ).rowcount
            )
        )

    async def done(self, number: int, delivery: Delivery, *, attempts: int, at: float) -> int:
        """Note that the image is on the disk.

        Returns:
            How many further items share it.
        """
        return await self.store.submit(
            lambda db: write_done(db, number, delivery, attempts=attempts, at=at)
        )

    async def ended(
        self, number: int, state: State, error: str, *, attempts: int, unknown: int, at: float
    ) -> int:
        """Note that an item ended without an image.

        Args:
            number: The item.
            state: `failed` or `unknown`.
            error: Why, in words.
            attempts: Requests sent for it now.
            unknown: How many of those may have been paid.
            at: When.

        Returns:
            How many further items waited for its image, and end with it.
        """

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

    def returned(self, number: int, state: State, *, attempts: int, unknown: int) -> None:
        """Note that an item is not on its way any more; written with the next commit.

        Args:
            number: The item.
            state: `pending`, `sent` when it goes on, or `unknown`.
            attempts: Requests sent for it now.
            unknown: How many of those may have been paid.
        """
        error = "cut off on its way; perhaps paid" if state == "unknown" else ""
        _ = self.store.submit(
            lambda db: (
                db.execute(
                    "UPDATE items SET state = ?, error = ?, attempts = attempts + ?, "
                    "unknown_charges = unknown_charges + ? WHERE number = ?",
                    (state, error, attempts, unknown, number),
                ).rowcount
            )
        )

    async def queue(self, after: tuple[int, int], limit: int) -> list[QueuedItem]:
        """Return the next items to send.

        Args:
            after: The place of the last one seen; `QUEUE_START` for the first.
            limit: Most to return.
        """
        rows = await self.store.submit(
            lambda db: db.execute(
                f"SELECT {_QUEUE_COLUMNS} FROM items WHERE state = 'pending' AND linked_to IS NULL AND position IS NOT NULL "
                "AND (rank, position) > (?, ?) ORDER BY rank, position LIMIT ?",
                (*after, limit),
            ).fetchall()
        )
        return [_queued(row) for row in rows]

    async def cut_off(self) -> list[QueuedItem]:
        """Return the items that were on their way when the last run died."""
        rows = await self.store.submit(
            lambda db: db.execute(
                f"SELECT {_QUEUE_COLUMNS} FROM items WHERE state = 'sent'"
            ).fetchall()
        )
        return [_queued(row) for row in rows]

    async def reopen(self, *states: State) -> int:
        """Make items pending again.

        Args:
            *states: Which: `failed`, `unknown`, `missing`.

        Returns:
            How many.
        """
        marks = ", ".join("?" * len(states))

        def write(db: sqlite3.Connection) -> int:
            count = db.execute(
                f"UPDATE items SET state = 'pending', error = '', finished_at = NULL, file = NULL, facts = NULL "
                f"WHERE position IS NOT NULL AND state IN ({marks})",
                states,
            ).rowcount
            if count:
                link_twins(db)
            return count

        return await self.store.submit(write)

    async def linked(self, number: int, after: int, limit: int) -> list[int]:
        """Return items that share the image of another, in order.

        Args:
            number: The other.
            after: The last one seen; -1 for the first.
            limit: Most to return.
        """
        rows = await self.store.submit(
            lambda db: db.execute(
                "SELECT number FROM items WHERE linked_to = ? AND number > ? "
                "ORDER BY number LIMIT ?",
                (number, after, limit),
            ).fetchall()
        )
        return [linked for (linked,) in rows]

    async def is_empty(self) -> bool:
        """Return whether no manifest was ever taken in."""
        row = await self.store.submit(lambda db: db.execute("SELECT 1 FROM items").fetchone())
        return row is None

    async def totals(self) -> Totals:
        """Count."""
        return await self.store.submit(count_totals)

    async def largest(self) -> int:
        """Return the size of the largest image so far [bytes]; 0 before the first."""
        return int(await self.meta("largest") or 0)

    async def note(self, name: str, value: str) -> None:
        """Write something beside the items."""
        await self.store.submit(
            lambda db: (
                db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value)).rowcount
            )
        )

    async def meta(self, name: str) -> str | None:
        """Return what was written beside the items, or None."""
        return await self.store.submit(lambda db: _meta(db, name))

    async def begin_run(self, at: float) -> None:
        """Note that a run has begun."""

        def write(db: sqlite3.Connection) -> None:
            _put(db, "runs", int(_meta(db, "runs") or 0) + 1)
            _put(db, "run_began", at)

        await self.store.submit(write)

    async def end_run(self, at: float | None = None) -> tuple[int, float]:
        """Add the run that is on, if any, to those before it.

        Args:
            at: When it ended; None for one that died, which counts until its last sign of life.

        Returns:
            How many runs there were, and how long they took together [s].
        """

        def write(db: sqlite3.Connection) -> tuple[int, float]:
            worked = float(_meta(db, "worked") or 0)
            began = _meta(db, "run_began")
            if began is not None:
                ended = db.execute(_LAST_SIGN).fetchone()[0] if at is None else at
                worked += max(0.0, ended - float(began))
                _put(db, "worked", worked)
                db.execute("DELETE FROM meta WHERE name = 'run_began'")
            return int(_meta(db, "runs") or 0), worked

        return await self.store.submit(write)

    async def belong_to(self, service: str) -> str:
        """Bind the job to a service, unless another one has done anything for it.

        Args:
            service: A base URL, or `EMULATOR`.

        Returns:
            The service that the job belongs to.
        """

        def write(db: sqlite3.Connection) -> str:
            bound = _meta(db, "service")
            if bound not in (None, service) and db.execute(_ANYTHING_DONE).fetchone():
                return str(bound)
            db.execute("INSERT OR REPLACE INTO meta VALUES ('service', ?)", (service,))
            return service

        return await self.store.submit(write)


def _put(db: sqlite3.Connection, name: str, value: object) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, str(value)))


def _meta(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _queued(row: tuple[Any, ...]) -> QueuedItem:
    number, item_id, tags, rank, position, request, price = row
    return QueuedItem(
        number=number,
        id=item_id or f"{number:08d}",
        tags=tuple(json.loads(tags)),
        place=(rank, position or 0),
        fields=json.loads(request),
        price=price,
    )


def write_done(
    db: sqlite3.Connection, number: int, delivery: Delivery, *, attempts: int, at: float
) -> int:
    """Note that an image is on the disk.

    Args:
        db: The journal, in a transaction.
        number: The item.
        delivery: The image.
        attempts: Requests sent for it now.
        at: When.

    Returns:
        How many further items share it.
    """
    facts = json.dumps(delivery.facts)
    db.execute(
        "UPDATE items SET state = 'done', error = '', file = ?, credits = credits + ?, facts = ?, "
        "attempts = attempts + ?, finished_at = ? WHERE number = ?",
        (delivery.file, delivery.credits, facts, attempts, at, number),
    )
    db.execute(_NOTE_SIZE, (delivery.facts["size"],))
    if delivery.facts.get("emulated"):
        db.execute("INSERT OR REPLACE INTO meta VALUES ('emulated', 'yes')")
    return db.execute(
        "UPDATE items SET state = 'done', error = '', file = ?, facts = ?, "
        "finished_at = ? WHERE linked_to = ? AND state = 'pending'",
        (delivery.file, facts, at, number),
    ).rowcount


def count_totals(db: sqlite3.Connection) -> Totals:
    """Sum up a journal, in one pass.

    Args:
        db: The journal.
    """
    by_state: dict[State, int] = {}
    linked = to_send = unknown = 0
    spent = unknown_credits = price_to_send = price_missing = 0.0
    for state, is_named, count, links, paid, charges, charged, price in db.execute(_SUMS):
        spent += paid
        unknown += charges
        unknown_credits += charged
        if is_named:
            by_state[state] = count
            linked += links
        if is_named and state == "pending":
            to_send, price_to_send = count - links, price
        if is_named and state == "missing":
            price_missing = price
    return Totals(
        by_state=by_state,
        linked=linked,
        credits=spent,
        unknown_charges=unknown,
        unknown_credits=unknown_credits,
        price_to_send=price_to_send,
        to_send=to_send,
        price_missing=price_missing,
    )


@contextmanager
def reader(path: Path, how: str = "mode=ro") -> Generator[sqlite3.Connection]:
    """Open a journal beside its writer, which it never blocks.

    Args:
        path: The journal.
        how: SQLite's words for it.

    Raises:
        StorageError: It cannot be read.
    """
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
        query = f"SELECT {RECORD_COLUMNS} FROM items WHERE position IS NOT NULL ORDER BY position"
        service = _meta(db, "service") or ""
        for row in db.execute(query):
            yield record_of(row, service)


def read_owner(path: Path) -> str:
    """Return the number of the process that a journal says is at work, in words.

    Args:
        path: The journal; it may be missing, or anything else.
    """
    with suppress(StorageError), reader(path) as db:
        return _meta(db, "process") or _NOBODY_KNOWN
    return _NOBODY_KNOWN


def copy_journal(path: Path, target: Path) -> None:
    """Copy a journal, also while a job is writing it.

    Args:
        path: The journal.
        target: The copy; must not exist.

    Raises:
        StorageError: It cannot be read.
    """
    # A reader makes side files and may not delete them. Where there are none, nobody writes.
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    with reader(path, how) as db, closing(sqlite3.connect(target)) as copy:
        db.backup(copy)
