"""Taking a manifest into the journal: all of it or nothing, in one transaction.

Lines are appended to a scratch table first and compared with what the journal holds by set
operations afterwards: sorting a million rows is cheap and needs no memory, looking each of them
up in an index is neither.
"""

import hashlib
import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from sd3async.bulk.errors import BadLine, ManifestError
from sd3async.bulk.items import Defaults, Item, SaveInput, items_of
from sd3async.bulk.manifest import Line
from sd3async.bulk.schema import IDENTITY_INDEX
from sd3async.errors import InvalidRequestError

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
    """Takes lines into the journal. Everything here blocks, and runs in the writer's thread.

    Args:
        connection: The journal.
        source: The manifest's name, for messages.
        defaults: What its lines do not say.
        folder: What image paths are relative to.
        skip_invalid: Record bad lines and go on, instead of refusing the manifest.
        save_input: Keeps images that came as bytes; None keeps none.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        source: str,
        defaults: Defaults,
        folder: Path,
        skip_invalid: bool,
        save_input: SaveInput | None,
    ) -> None:
        self._connection = connection
        self._source = source
        self._defaults = defaults
        self._folder = folder
        self._skip_invalid = skip_invalid
        self._save_input = save_input
        self._position = 0

    def begin(self) -> None:
        """Open the transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("DROP TABLE IF EXISTS temp.incoming")
        self._connection.execute(_INCOMING)

    def rows_of(self, lines: Iterable[Line | BadLine]) -> Iterator[tuple[Any, ...]]:
        """Yield what lines come to, for `add` to take in: many rows of one, if it is repeated."""
        for line in lines:
            if isinstance(line, BadLine):
                yield self._bad_row(line.number, line.reason, {})
                continue
            items = items_of(line, self._defaults, folder=self._folder, save_input=self._save_input)
            try:
                for item in items:
                    yield self._row(line.number, item)
            except InvalidRequestError as error:
                yield self._bad_row(line.number, str(error), line.fields)

    def add(self, rows: Iterator[tuple[Any, ...]]) -> bool:
        """Take the next rows in; return whether there may be more."""
        batch = list(itertools.islice(rows, _BATCH))
        self._connection.executemany(_INSERT, batch)
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
        rows = [(name, storable(value)) for name, value in meta.items()]
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)
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
            total=self._position,
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

    def _row(self, line: int, item: Item) -> tuple[Any, ...]:
        return self._numbered(
            line,
            -item.priority,
            item.id,
            item.identity,
            item.is_reproducible,
            item.request.endpoint,
            storable(item.fields),
            json.dumps(item.tags, ensure_ascii=False) if item.tags else "[]",
            item.columns,
            item.request.credits,
            "pending",
            "",
        )

    def _bad_row(self, line: int, reason: str, fields: Any) -> tuple[Any, ...]:
        text = json.dumps(fields, default=str, sort_keys=True)
        identity = hashlib.sha256(b"invalid" + text.encode()).digest()[:16]
        values = ("", identity, False, "", text, "[]", "{}", 0.0, "invalid", storable(reason))
        return self._numbered(line, 0, *values)

    def _numbered(self, *values: Any) -> tuple[Any, ...]:
        self._position += 1
        return (self._position - 1, *values)


def storable(text: str) -> str:
    """Return a text with lone surrogates escaped, as SQLite needs it and JSON reads it back."""
    return text.encode(errors="backslashreplace").decode()


def link_twins(connection: sqlite3.Connection) -> None:
    """Link pending items whose identical request was, or will be, generated already.

    Args:
        connection: The journal, in a transaction.
    """
    connection.execute("DROP TABLE IF EXISTS temp.firsts")
    connection.execute(_UNLINK)
    connection.execute(_FIRSTS)
    connection.execute(_LINK)
    connection.execute("DROP TABLE firsts")
    connection.execute(_SHARE_DONE)
