"""The journal's tables: what is asked of them, and what is written into them, on a connection."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from sd3async.bulk.keeping.ledger import Delivery, QueuedItem
from sd3async.bulk.records import ItemRecord, State
from sd3async.bulk.status import JobStats

SCHEMA = """
CREATE TABLE items (
    number INTEGER PRIMARY KEY,       -- names the files; the place in the manifest at first
    position INTEGER,                 -- place in the manifest as it is now; NULL: no longer in it
    rank INTEGER NOT NULL,            -- minus the priority: sorts with position
    id TEXT NOT NULL,                 -- the manifest's own; empty: none
    identity BLOB NOT NULL,           -- hash of the request as the manifest states it
    occurrence INTEGER NOT NULL,      -- how many equal ones without an id came before
    reproducible INTEGER NOT NULL,    -- its seed is fixed
    linked_to INTEGER,                -- the item whose image this one shares
    endpoint TEXT NOT NULL,
    request TEXT NOT NULL,            -- JSON
    tags TEXT NOT NULL,               -- JSON
    columns TEXT NOT NULL,            -- JSON: what else the manifest says
    price REAL NOT NULL,              -- documented, in credits
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    unknown_charges INTEGER NOT NULL DEFAULT 0,
    credits REAL NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    started TEXT,                     -- JSON: what the service has begun, and is to be fetched
    sent_at REAL,
    finished_at REAL,
    file TEXT,
    facts TEXT                        -- JSON: what the answer said
);
CREATE INDEX queue ON items (rank, position)
    WHERE state = 'pending' AND linked_to IS NULL AND position IS NOT NULL;
CREATE INDEX places ON items (position) WHERE position IS NOT NULL;
CREATE INDEX links ON items (linked_to) WHERE linked_to IS NOT NULL;
CREATE INDEX on_their_way ON items (number) WHERE state = 'sent';
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_QUEUED_COLUMNS = "number, id, tags, rank, position, request, price, started"

_QUEUE = f"""
SELECT {_QUEUED_COLUMNS} FROM items
WHERE state = 'pending' AND linked_to IS NULL AND position IS NOT NULL
    AND (rank, position) > (?, ?)
ORDER BY rank, position LIMIT ?
"""

_BEFORE_ALL = (-(2**62), -1)  # of rank and position

_SUMS = """
SELECT state, position IS NOT NULL, count(*), count(linked_to), total(credits),
    sum(unknown_charges), total(unknown_charges * price),
    total(CASE WHEN linked_to IS NULL AND started IS NULL THEN price END),
    count(started), total(CASE WHEN started IS NOT NULL THEN price END)
FROM items GROUP BY 1, 2
"""

_NOTE_SIZE = """
INSERT INTO meta VALUES ('largest', ?) ON CONFLICT DO UPDATE SET value = excluded.value
WHERE CAST(value AS INTEGER) < CAST(excluded.value AS INTEGER)
"""

# The first of identical requests is sent, or was; one that failed is nobody's model.
_FIRSTS = """
CREATE TEMP TABLE firsts AS
SELECT identity, coalesce(
    min(CASE WHEN state = 'done' THEN number END),
    min(CASE WHEN state = 'pending' THEN number END)) AS number
FROM items
WHERE reproducible AND ((state = 'done' AND linked_to IS NULL)
    OR (state = 'pending' AND position IS NOT NULL))
GROUP BY identity HAVING count(*) > 1
"""

_UNLINK = "UPDATE items SET linked_to = NULL WHERE state = 'pending' AND linked_to IS NOT NULL"

_LINK = """
UPDATE items SET linked_to = firsts.number FROM firsts
WHERE items.identity = firsts.identity AND items.state = 'pending'
    AND items.position IS NOT NULL AND items.reproducible AND items.number <> firsts.number
"""

_SHARE_DONE = """
UPDATE items SET state = 'done', file = model.file, facts = model.facts,
    finished_at = model.finished_at
FROM items AS model
WHERE items.state = 'pending' AND items.linked_to = model.number AND model.state = 'done'
"""

_IMAGES = """
SELECT number, state, file FROM items
WHERE number BETWEEN ? AND ? AND state IN ('done', 'missing') AND linked_to IS NULL
"""

_DELIVERED = (
    "SELECT number FROM items WHERE number BETWEEN ? AND ? AND state IN ('done', 'missing')"
)

_MARK = "UPDATE items SET state = ? WHERE (number = ? OR linked_to = ?) AND state = ?"

# Built after a large batch of rows was added, which is faster than keeping it up meanwhile.
IDENTITY_INDEX = """
CREATE UNIQUE INDEX IF NOT EXISTS identities ON items (identity, id, occurrence)
"""

_RECORD_COLUMNS = (
    "number, id, endpoint, request, tags, columns, rank, state, file, linked_to, credits, attempts, "
    "unknown_charges, error, sent_at, finished_at, facts"
)

_NO_FACTS: dict[str, Any] = {}


def records(db: sqlite3.Connection) -> Iterator[ItemRecord]:
    """Yield every item that the manifest names, in its order, a row at a time."""
    query = f"SELECT {_RECORD_COLUMNS} FROM items WHERE position IS NOT NULL ORDER BY position"
    service = read_meta(db, "service") or ""
    for row in db.execute(query):
        yield _record_of(row, service)


def record(db: sqlite3.Connection, number: int) -> ItemRecord | None:
    """Return an item, or None if there is none of that number."""
    query = f"SELECT {_RECORD_COLUMNS} FROM items WHERE number = ?"
    row = db.execute(query, (number,)).fetchone()
    return None if row is None else _record_of(row, read_meta(db, "service") or "")


def _record_of(row: tuple[Any, ...], service: str) -> ItemRecord:
    (number, item_id, endpoint, request, tags, columns, rank, state, file, linked_to) = row[:10]
    (spent, attempts, unknown_charges, error, sent_at, finished_at, facts) = row[10:]
    fields: dict[str, Any] = json.loads(request)
    known: dict[str, Any] = json.loads(facts) if facts else _NO_FACTS
    return ItemRecord(
        index=number,
        id=item_id or f"{number:08d}",
        endpoint=endpoint,
        prompt=_prompt_of(fields),
        request=fields,
        tags=tuple(json.loads(tags)),
        columns=json.loads(columns),
        priority=-rank,
        state=state,
        file=file,
        linked_to=linked_to,
        credits=spent,
        attempts=attempts,
        unknown_charges=unknown_charges,
        error=error,
        sent_at=sent_at,
        finished_at=finished_at,
        service=service,
        **known,
    )


def _prompt_of(fields: Mapping[str, Any]) -> str:
    """Return a request's prompt: of v1, which has several, those that are wished for."""
    told: Any = fields.get("text_prompts")
    if "prompt" in fields or not isinstance(told, list):
        return str(fields.get("prompt", ""))
    parts = cast("list[object]", told)
    prompts = [cast("dict[str, Any]", part) for part in parts if isinstance(part, dict)]
    return ", ".join(str(part.get("text")) for part in prompts if part.get("weight", 1) >= 0)


def read_meta(db: sqlite3.Connection, name: str) -> str | None:
    """Return what was written beside the items, or None."""
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def write_meta(db: sqlite3.Connection, name: str, value: object) -> None:
    """Write something beside the items."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, storable(str(value))))


def storable(text: str) -> str:
    """Return a text with lone surrogates escaped, as SQLite needs it and JSON reads it back."""
    return text.encode(errors="backslashreplace").decode()


def queue(db: sqlite3.Connection, after: QueuedItem | None, limit: int) -> list[QueuedItem]:
    """Return the next items to send.

    Args:
        db: The journal.
        after: The last one seen; None for the first.
        limit: Most to return.
    """
    turn = _BEFORE_ALL if after is None else after.turn
    return [_queued(row) for row in db.execute(_QUEUE, (*turn, limit))]


def cut_off(db: sqlite3.Connection) -> list[QueuedItem]:
    """Return the items that were on their way when the last run died."""
    rows = db.execute(f"SELECT {_QUEUED_COLUMNS} FROM items WHERE state = 'sent'")
    return [_queued(row) for row in rows]


def _queued(row: tuple[Any, ...]) -> QueuedItem:
    number, item_id, tags, rank, position, request, price, started = row
    return QueuedItem(
        number=number,
        id=item_id or f"{number:08d}",
        tags=tuple(json.loads(tags)),
        turn=(rank, position or 0),
        fields=json.loads(request),
        price=price,
        started=None if started is None else json.loads(started),
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
        "UPDATE items SET state = 'done', error = '', started = NULL, file = ?, "
        "credits = credits + ?, facts = ?, attempts = attempts + ?, finished_at = ? WHERE number = ?",
        (delivery.file, delivery.credits, facts, attempts, at, number),
    )
    db.execute(_NOTE_SIZE, (delivery.facts["size"],))
    if delivery.facts.get("emulated"):
        write_meta(db, "emulated", "yes")
    return db.execute(
        "UPDATE items SET state = 'done', error = '', file = ?, facts = ?, "
        "finished_at = ? WHERE linked_to = ? AND state = 'pending'",
        (delivery.file, facts, at, number),
    ).rowcount


def reopen(db: sqlite3.Connection, *states: State) -> int:
    """Make items pending again that are in one of these states; return how many."""
    marks = ", ".join("?" * len(states))
    count = db.execute(
        "UPDATE items SET state = 'pending', error = '', finished_at = NULL, file = NULL, "
        f"facts = NULL WHERE position IS NOT NULL AND state IN ({marks})",
        states,
    ).rowcount
    if count:
        link_twins(db)
    return count


def link_twins(db: sqlite3.Connection) -> None:
    """Link pending items whose identical request was, or will be, generated already.

    Args:
        db: The journal, in a transaction.
    """
    db.execute("DROP TABLE IF EXISTS temp.firsts")
    db.execute(_UNLINK)
    db.execute(_FIRSTS)
    db.execute(_LINK)
    db.execute("DROP TABLE firsts")
    db.execute(_SHARE_DONE)


def images(db: sqlite3.Connection, first: int, last: int) -> list[tuple[int, State, str]]:
    """Return the images that a range of items has, or had: number, state and file of each owner."""
    return db.execute(_IMAGES, (first, last)).fetchall()


def delivered(db: sqlite3.Connection, first: int, last: int) -> set[int]:
    """Return the items of a range that have, or had, an image of their own or another's."""
    return {number for (number,) in db.execute(_DELIVERED, (first, last))}


def mark(db: sqlite3.Connection, number: int, before: State, after: State) -> None:
    """Change the state of an item and of those that share its image.

    Args:
        db: The journal, in a transaction.
        number: The item.
        before: Those in another state stay as they are.
        after: What they are to be.
    """
    db.execute(_MARK, (after, number, number, before))


def highest(db: sqlite3.Connection) -> int:
    """Return the highest number of an item; -1 without any."""
    (number,) = db.execute("SELECT coalesce(max(number), -1) FROM items").fetchone()
    return int(number)


class Known(NamedTuple):
    """What the journal knows of an item whose image turned up.

    Attributes:
        state: Its state.
        fields: Its request, as JSON values.
        price: Documented [credits].
        credits: What was paid for it so far [credits].
    """

    state: State
    fields: Mapping[str, Any]
    price: float
    credits: float


def find(db: sqlite3.Connection, number: int) -> Known | None:
    """Return an item, or None if there is none of that number."""
    query = "SELECT state, request, price, credits FROM items WHERE number = ?"
    row = db.execute(query, (number,)).fetchone()
    return None if row is None else Known(row[0], json.loads(row[1]), row[2], row[3])


def count(db: sqlite3.Connection) -> JobStats:
    """Sum the items up, in one pass."""
    named: dict[str, int] = {}
    linked = to_send = unknown = 0
    spent = unknown_credits = credits_to_send = credits_started = missing_credits = 0.0
    for state, is_named, items, links, paid, charges, charged, price, begun, cost in db.execute(
        _SUMS
    ):
        spent += paid
        unknown += charges
        unknown_credits += charged
        if state in ("pending", "sent"):
            credits_started += cost
        if not is_named:
            continue
        named[state] = items
        linked += links
        if state == "pending":
            to_send, credits_to_send = items - links - begun, price
        elif state == "missing":
            missing_credits = price
    return JobStats(
        total=sum(named.values()),
        done=named.get("done", 0),
        failed=named.get("failed", 0),
        invalid=named.get("invalid", 0),
        unknown=named.get("unknown", 0),
        missing=named.get("missing", 0),
        linked=linked,
        missing_credits=missing_credits,
        credits_spent=spent,
        possibly_paid=unknown,
        possibly_paid_credits=unknown_credits,
        to_send=to_send,
        credits_to_send=credits_to_send,
        credits_started=credits_started,
    )
