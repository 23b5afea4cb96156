"""The emulator's table against the list of documented operations, and the page about both."""

from typing import Any

import pytest

from sd3async.emulator.api_table import ENDPOINTS, NOT_EMULATED
from unit.emulator.coverage_page import (
    DEPARTURES,
    OPERATIONS,
    PAGE,
    differences,
    is_wanted,
    page,
)

WANTED = [operation for operation in OPERATIONS if is_wanted(operation)]


def name_of(operation: dict[str, Any]) -> str:
    """Return a readable id."""
    return f"{operation['method']} {operation['path']}"


@pytest.mark.parametrize("operation", WANTED, ids=name_of)
def test_every_documented_operation_is_there_as_documented(operation: dict[str, Any]) -> None:
    """A field, a bound, a price that differs would be a second API."""
    unexplained = [
        difference
        for difference in differences(operation)
        if (difference.field, difference.bound) not in DEPARTURES
    ]

    assert unexplained == []


def test_every_departure_is_still_one() -> None:
    """An excuse that nothing needs any more would hide the next mistake."""
    found = {(d.field, d.bound) for operation in WANTED for d in differences(operation)}

    assert found == set(DEPARTURES)


def test_nothing_is_there_that_is_not_documented() -> None:
    """A path of our own invention would be a trap."""
    assert set(ENDPOINTS) == {o["path"] for o in WANTED if o["method"] == "POST"}


def test_what_is_left_out_says_so() -> None:
    """Every other documented operation answers 501, not 404."""
    left_out = [operation["path"] for operation in OPERATIONS if not is_wanted(operation)]

    assert len(left_out) == 9
    assert all(path.startswith(NOT_EMULATED) for path in left_out)


@pytest.mark.parametrize("change", ["drop a field", "another bound", "no longer required", "new"])
def test_the_comparison_sees_a_difference(change: str) -> None:
    """A comparison that finds nothing in anything would pass for ever."""
    (erase,) = [o for o in WANTED if o["path"].endswith("edit/erase")]
    fields: dict[str, Any] = dict(erase["fields"])
    other = {**erase, "fields": fields}
    match change:
        case "drop a field":
            del fields["mask"]
        case "another bound":
            fields["image"] = {**fields["image"], "max_pixels": 1}
        case "no longer required":
            other["required"] = []
        case _:
            other["path"] = "/v2beta/stable-image/edit/new"

    told = {(d.field, d.bound) for d in differences(other)} - set(DEPARTURES)
    assert len(told) == 1


def test_the_page_is_up_to_date() -> None:
    """Run `tests/unit/emulator/coverage_page.py` to write it anew."""
    assert PAGE.read_text("utf-8") == page()
