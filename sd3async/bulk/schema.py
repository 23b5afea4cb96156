"""The tables of the journal, and rows of it as records."""

import json
import sqlite3
from typing import Any

from sd3async.bulk.records import ItemRecord

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

# Built after a large batch of rows was added, which is faster than keeping it up meanwhile.
IDENTITY_INDEX = """
CREATE UNIQUE INDEX IF NOT EXISTS identities ON items (identity, id, occurrence)
"""

RECORD_COLUMNS = (
    "number, id, endpoint, request, tags, columns, rank, state, file, linked_to, credits, attempts, "
    "unknown_charges, error, sent_at, finished_at, facts"
)

NO_FACTS: dict[str, Any] = {}


def record_of(row: sqlite3.Row | tuple[Any, ...], service: str) -> ItemRecord:
    """Make a record of a row.

    Args:
        row: The values of `RECORD_COLUMNS`.
        service: The service that the job belongs to.
    """
    (number, item_id, endpoint, request, tags, columns, rank, state, file, linked_to) = row[:10]
    (spent, attempts, unknown_charges, error, sent_at, finished_at, facts) = row[10:]
    fields: dict[str, Any] = json.loads(request)
    known: dict[str, Any] = json.loads(facts) if facts else NO_FACTS
    return ItemRecord(
        index=number,
        id=item_id or f"{number:08d}",
        endpoint=endpoint,
        prompt=str(fields.get("prompt", "")),
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
