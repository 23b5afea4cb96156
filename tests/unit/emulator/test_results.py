"""Where results wait: bounded in number, time and size, and each for one key."""

import contextlib

import pytest

from sd3async.emulator.answers import Refusal
from sd3async.emulator.images import Picture
from sd3async.emulator.orders import Order
from sd3async.emulator.results import Generation, Results, check_id

ORDER = Order((Picture("a cat", "", "creative", 7, (64, 64)),), "started", 60)


def generation(size: int = 10, ready_at: float = 0.0) -> Generation:
    """Return a generation of a key."""
    return Generation("sk-own", ORDER, bytes(size), ready_at)


def kept(results: Results, *ids: str, now: float = 0.0, key: str = "sk-own") -> list[str]:
    """Return which of these ids can be found."""
    found: list[str] = []
    for generation_id in ids:
        with contextlib.suppress(Refusal):
            results.find(generation_id, key, now)
            found.append(generation_id)
    return found


def test_the_oldest_goes_when_there_are_too_many() -> None:
    """A test run of days may not fill the memory."""
    results = Results(limit=2, lifetime=100.0)
    for generation_id in "abc":
        results.add(generation_id, generation())

    assert kept(results, "a", "b", "c") == ["b", "c"]


def test_the_oldest_go_when_all_together_are_too_large() -> None:
    """Upscales have megabytes each; the newest one is there however large it is."""
    results = Results(limit=10, lifetime=100.0, most_bytes=25)
    for generation_id in "abc":
        results.add(generation_id, generation(10))
    after_three = kept(results, "a", "b", "c")
    results.add("d", generation(1000))

    assert after_three == ["b", "c"]
    assert kept(results, "b", "c", "d") == ["d"]


def test_what_has_expired_makes_room() -> None:
    """Its size may not count for ever."""
    results = Results(limit=10, lifetime=100.0, most_bytes=25)
    results.add("a", generation(20))
    expired = kept(results, "a", now=100.0)
    results.add("b", generation(20, ready_at=100.0))
    results.add("c", generation(5, ready_at=100.0))

    assert expired == []
    assert kept(results, "b", "c", now=199.9) == ["b", "c"]


def test_the_time_counts_from_when_it_is_done() -> None:
    """24 hours are for fetching, not for waiting."""
    results = Results(limit=10, lifetime=100.0)
    results.add("a", generation(ready_at=50.0))

    assert kept(results, "a", now=149.9) == ["a"]
    assert kept(results, "a", now=150.0) == []


def test_each_is_for_the_key_that_started_it() -> None:
    """Another key must not even learn that there is something."""
    results = Results(limit=10, lifetime=100.0)
    results.add("a", generation())

    assert kept(results, "a", key="sk-other") == []
    assert kept(results, "a") == ["a"]


@pytest.mark.parametrize(
    ("passed", "hurries"), [(0.0, True), (9.4, True), (9.6, False), (11, False)]
)
def test_haste_leaves_some_room_for_the_network(passed: float, *, hurries: bool) -> None:
    """Two polls that left 10 s apart may arrive a little closer."""
    asked = generation()
    first = asked.hurry(1000.0)
    asked.asked_at = 1000.0

    assert first is None
    assert (asked.hurry(1000.0 + passed) is not None) == hurries


def test_an_id_has_its_length() -> None:
    """Anything else never was an id."""
    check_id("a" * 64)
    with pytest.raises(Refusal):
        check_id("a" * 63)
