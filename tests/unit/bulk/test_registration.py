"""Taking manifests in: the journal follows them, and nothing is paid for twice."""

import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd3async.bulk import Defaults, ManifestError
from sd3async.bulk.intake.manifest import Line
from sd3async.bulk.intake.rows import rows_of
from sd3async.bulk.keeping.registration import Registered, Registration
from sd3async.bulk.keeping.tables import SCHEMA


@pytest.fixture
def journal() -> Iterator[sqlite3.Connection]:
    with closing(empty_journal()) as db:
        yield db


def empty_journal() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(SCHEMA)
    return db


def take_in(
    db: sqlite3.Connection, rows: list[Any], *, skip_invalid: bool = False, repeat: int = 1
) -> Registered:
    db.execute("BEGIN")
    registration = Registration(db, source="test", skip_invalid=skip_invalid)
    lines = [
        Line(number, {"prompt": row} if isinstance(row, str) else row)
        for number, row in enumerate(rows, start=1)
    ]
    try:
        rows_left = rows_of(lines, Defaults(repeat=repeat), relative_to=Path())
        while registration.add(rows_left):
            pass
        registered = registration.finish({})
    except BaseException:
        db.rollback()
        raise
    db.commit()
    return registered


def named(db: sqlite3.Connection) -> list[tuple[int, str]]:
    return db.execute(
        "SELECT number, json_extract(request, '$.prompt') FROM items "
        "WHERE position IS NOT NULL ORDER BY position"
    ).fetchall()


def test_variations_of_a_line_are_never_all_in_memory(journal: sqlite3.Connection) -> None:
    """`--repeat 1000000` is a night's job of one line."""
    tracemalloc.start()
    try:
        registered = take_in(journal, ["the same again"], repeat=10_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert registered.total == 10_000
    assert peak < 2 * 2**20


def test_double_ids_are_refused_with_both_lines(journal: sqlite3.Connection) -> None:
    """Two results under one name are one result lost."""
    rows = [{"prompt": "a", "id": "x"}, "b", {"prompt": "c", "id": "x"}]
    with pytest.raises(ManifestError, match="line 3: id: 'x' is used already, on line 1"):
        take_in(journal, rows)

    assert named(journal) == []
    assert take_in(journal, rows, skip_invalid=True).invalid == 1


def test_only_the_first_bad_lines_are_listed_and_all_are_counted(
    journal: sqlite3.Connection,
) -> None:
    """A million bad lines must not become a message of a million lines."""
    with pytest.raises(ManifestError) as caught:
        take_in(journal, ["good", *[""] * 50])

    assert caught.value.count == 50
    assert [bad.number for bad in caught.value.bad_lines] == list(range(2, 22))
    assert "… and 30 more" in str(caught.value)


def test_an_item_that_comes_back_is_the_one_it_was(journal: sqlite3.Connection) -> None:
    """A line taken out by mistake and put back must find its image."""
    take_in(journal, ["a", "b"])
    journal.execute("UPDATE items SET state = 'done', file = 'x.png' WHERE number = 0")
    take_in(journal, ["b"])
    back = take_in(journal, ["b", "a"])

    assert (back.added, back.removed) == (0, 0)
    assert named(journal) == [(1, "b"), (0, "a")]
    (state,) = journal.execute("SELECT state FROM items WHERE number = 0").fetchone()
    assert state == "done"


def test_a_twin_of_a_done_request_is_done_at_once(journal: sqlite3.Connection) -> None:
    """A line added later must find the image that was paid for earlier."""
    same = {"prompt": "a", "seed": 5}
    take_in(journal, [same])
    journal.execute("UPDATE items SET state = 'done', file = 'x.png', facts = '{}'")
    take_in(journal, [same, same])

    rows = journal.execute("SELECT state, file, linked_to FROM items ORDER BY number").fetchall()
    assert rows == [("done", "x.png", None), ("done", "x.png", 0)]


def test_a_twin_outlives_the_line_it_was_linked_to(journal: sqlite3.Connection) -> None:
    """Taking out the first of two equal lines must not strand the second."""
    first, second = {"prompt": "a", "seed": 5, "id": "1"}, {"prompt": "a", "seed": 5, "id": "2"}
    take_in(journal, [first, second])
    take_in(journal, [second])

    queue = journal.execute(
        "SELECT id FROM items WHERE state = 'pending' AND linked_to IS NULL "
        "AND position IS NOT NULL"
    ).fetchall()
    assert queue == [("2",)]


def test_a_bad_line_that_was_mended_is_an_item(journal: sqlite3.Connection) -> None:
    """A skipped line must get its turn once it is right."""
    take_in(journal, ["a", {"prompt": "b", "seed": -1}], skip_invalid=True)
    mended = take_in(journal, ["a", {"prompt": "b", "seed": 1}])

    assert mended.invalid == 0
    states = [state for (state,) in journal.execute("SELECT state FROM items")]
    assert states == ["pending", "pending"]


MANIFESTS = st.lists(st.lists(st.sampled_from("abcd"), max_size=8), min_size=1, max_size=4)


@given(MANIFESTS)
def test_the_journal_names_exactly_the_last_manifest(manifests: list[list[str]]) -> None:
    """However a manifest was edited, each line has one item, and no paid item is lost."""
    with closing(empty_journal()) as db:
        most: dict[str, int] = {}
        for rows in manifests:
            take_in(db, list(rows))
            assert [prompt for _, prompt in named(db)] == rows
            for prompt in set(rows):
                most[prompt] = max(most.get(prompt, 0), rows.count(prompt))
        # As many items as a prompt ever had lines at once: none is forgotten, none made twice.
        counts = dict(
            db.execute("SELECT json_extract(request, '$.prompt'), count(*) FROM items GROUP BY 1")
        )
        assert counts == most
