"""Taking a manifest into the journal: all of it or nothing, in one transaction.

Lines are appended to a scratch table first and compared with what the journal holds by set
operations afterwards: sorting a million rows is cheap and needs no memory, looking each of them
up in an index is neither.
"""

import itertools
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

import attrs

from sd3async.bulk.errors import BadLine, ManifestError
from sd3async.bulk.keeping.tables import IDENTITY_INDEX, link_twins, write_meta
from sd3async.bulk.records import State

_SHOWN = 20
_BATCH = 1_000  # rows in memory at once; also how soon a registration can be called off

_INCOMING = """
CREATE TEMP TABLE incoming (
    position INTEGER PRIMARY KEY, line INTEGER, rank INTEGER, id TEXT, identity BLOB,
    occurrence INTEGER, reproducible INTEGER, endpoint TEXT, request TEXT, tags TEXT,
    columns TEXT, price REAL, state TEXT, error TEXT, number INTEGER
)
"""

_INSERT = "INSERT INTO incoming VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, NULL)"

# Equal requests without an id are told apart by how many came before.
_COUNT_OCCURRENCES = """
UPDATE incoming SET occurrence = twins.before FROM (
    SELECT position, row_number() OVER (PARTITION BY identity ORDER BY position) - 1 AS before
    FROM incoming WHERE id = ''
) AS twins WHERE twins.position = incoming.position AND twins.before > 0
"""

_MARK_DOUBLE_IDS = """
UPDATE incoming SET state = 'invalid', id = '', reproducible = 0,
    error = 'id: ''' || doubles.id || ''''
        || ' is used already, on line '
        || doubles.first
FROM (
    SELECT position, id, min(line) OVER same AS first, row_number() OVER same AS nth
    FROM incoming WHERE id <> '' WINDOW same AS (PARTITION BY id ORDER BY position)
) AS doubles WHERE doubles.position = incoming.position AND doubles.nth > 1
"""

_BAD_LINES = """
SELECT line, min(error) FROM incoming WHERE state = 'invalid' GROUP BY line ORDER BY line LIMIT ?
"""

_MATCH = """
UPDATE incoming SET number = items.number FROM items
WHERE items.identity = incoming.identity AND items.id = incoming.id
    AND items.occurrence = incoming.occurrence
"""

_TAKE_OVER = """
UPDATE items SET position = incoming.position, rank = incoming.rank, tags = incoming.tags,
    columns = incoming.columns, request = incoming.request, price = incoming.price
FROM incoming WHERE incoming.number = items.number
"""

_NUMBER_NEW = """
UPDATE incoming SET number = fresh.number FROM (
    SELECT position, row_number() OVER (ORDER BY position) - 1 + ? AS number
    FROM incoming WHERE number IS NULL
) AS fresh WHERE fresh.position = incoming.position
"""

_ADD_NEW = """
INSERT INTO items (number, position, rank, id, identity, occurrence, reproducible, endpoint,
    request, tags, columns, price, state, error)
SELECT number, position, rank, id, identity, occurrence, reproducible, endpoint,
    request, tags, columns, price, state, error
FROM incoming WHERE number >= ? ORDER BY number
"""


class Incoming(NamedTuple):
    """A row of the journal to be: an item, or a bad line.

    Attributes:
        position: Its place in the manifest, from 0.
        line: The line it stands on, from 1.
        rank: Minus its priority.
        id: The manifest's own name for it; empty without one.
        identity: Hash of the request as the manifest states it [16 bytes].
        reproducible: Whether an identical request makes the identical image.
        endpoint: Of the request; empty for a bad line.
        request: As JSON; for a bad line, what could be read of it.
        tags: As JSON.
        columns: As JSON.
        price: Documented [credits].
        state: `pending` or `invalid`.
        error: What is wrong with a bad line.
    """

    position: int
    line: int
    rank: int
    id: str
    identity: bytes
    reproducible: bool
    endpoint: str
    request: str
    tags: str
    columns: str
    price: float
    state: State
    error: str


@attrs.frozen(kw_only=True)
class Registered:
    """What a manifest changed in the journal.

    Attributes:
        total: Items that it names.
        added: New ones.
        removed: Items that an earlier manifest named and this one does not.
        invalid: Bad lines, skipped.
        is_first: Whether the journal was empty before.
    """

    total: int
    added: int
    removed: int
    invalid: int
    is_first: bool


class Registration:
    """Takes rows into the journal. Everything here blocks, and runs in the writer's thread.

    Args:
        connection: The journal, in a transaction from now on.
        source: The manifest's name, for messages.
        skip_invalid: Record bad lines and go on, instead of refusing the manifest.

    Attributes:
        total: Rows so far.
    """

    def __init__(self, connection: sqlite3.Connection, *, source: str, skip_invalid: bool) -> None:
        self._connection = connection
        self._source = source
        self._skip_invalid = skip_invalid
        self.total = 0
        connection.execute("DROP TABLE IF EXISTS temp.incoming")
        connection.execute(_INCOMING)

    def add(self, rows: Iterator[Incoming]) -> bool:
        """Take the next rows in; return whether there may be more."""
        batch = list(itertools.islice(rows, _BATCH))
        self._connection.executemany(_INSERT, batch)
        self.total += len(batch)
        return len(batch) == _BATCH

    def finish(self, meta: dict[str, str]) -> Registered:
        """Compare with what the journal holds; the transaction stays open.

        Args:
            meta: Written beside the items.

        Raises:
            ManifestError: There were bad lines.
        """
        connection = self._connection
        connection.execute(_MARK_DOUBLE_IDS)
        invalid = self._count_bad_lines()
        connection.execute(_COUNT_OCCURRENCES)
        registered = self._merge(invalid)
        if invalid:
            # Bad because of a missing image, a line may be good next time: do not trust a match.
            meta = meta | {"manifest": ""}
        for name, value in meta.items():
            write_meta(connection, name, value)
        connection.execute("DROP TABLE incoming")
        return registered

    def _count_bad_lines(self) -> int:
        (count,) = self._connection.execute(
            "SELECT count(DISTINCT line) FROM incoming WHERE state = 'invalid'"
        ).fetchone()
        if count and not self._skip_invalid:
            rows = self._connection.execute(_BAD_LINES, (_SHOWN,))
            bad = [BadLine(line, error) for line, error in rows]
            raise ManifestError(self._source, bad, count)
        return int(count)

    def _merge(self, invalid: int) -> Registered:
        connection = self._connection
        next_number, named_before = connection.execute(
            "SELECT coalesce(max(number) + 1, 0), count(position) FROM items"
        ).fetchone()
        kept = self._match() if next_number else 0
        connection.execute(_NUMBER_NEW, (next_number,))
        connection.execute("DROP INDEX IF EXISTS identities")
        added = connection.execute(_ADD_NEW, (next_number,)).rowcount
        connection.execute(IDENTITY_INDEX)
        link_twins(connection)
        return Registered(
            total=self.total,
            added=added,
            removed=named_before - kept,
            invalid=invalid,
            is_first=not next_number,
        )

    def _match(self) -> int:
        """Find the items that the journal knows; return how many were named all the time."""
        connection = self._connection
        connection.execute(IDENTITY_INDEX)
        connection.execute(_MATCH)
        (kept,) = connection.execute(
            "SELECT count(*) FROM incoming JOIN items USING (number) "
            "WHERE items.position IS NOT NULL"
        ).fetchone()
        connection.execute("UPDATE items SET position = NULL WHERE position IS NOT NULL")
        connection.execute(_TAKE_OVER)
        connection.execute("DELETE FROM items WHERE state = 'invalid' AND position IS NULL")
        return int(kept)
