"""The soak's own judgement: it has to see what it looks for."""

from typing import Any

import attrs
import pytest

from sd3async.emulator.journal import ReceivedRequest
from soak.books import Mark, audit, check_held, check_rate, count_unsent


def arrived(number: int, *, at: float = 0.0, charged: float = 0.0, **facts: Any) -> ReceivedRequest:
    return ReceivedRequest(
        number=number,
        at=at,
        key_id="k",
        method="POST",
        path="/core",
        headers={},
        fields={"prompt": "p"},
        charged=charged,
        request_id=f"r{number}",
        **facts,
    )


DONE: dict[str, Any] = {
    "id": "i",
    "prompt": "p",
    "state": "done",
    "file": "images/0.png",
    "linked_to": None,
    "credits": 3.0,
    "request_id": "r1",
    "unknown_charges": 1,
    "attempts": 2,
}
STATS = {"credits_spent": 3.0, "possibly_paid": 1}
TWICE = [arrived(1, charged=3.0), arrived(2, charged=3.0)]


def test_books_that_agree_are_summed_up() -> None:
    """An image, and one doubt that was told and real."""
    found = audit([DONE], TWICE, STATS)

    assert found.faults == ()
    assert (found.booked, found.spent, found.lost) == (6.0, 3.0, 3.0)
    assert (found.told, found.real, found.groundless) == (1, 1, 0)


@pytest.mark.parametrize(
    ("item", "requests", "stats", "words"),
    [
        (DONE, [*TWICE, arrived(3, charged=3.0)], STATS, "2 booked without an image, 1 told"),
        ({**DONE, "credits": 8.0}, TWICE, STATS, "costs 8.0, and 3.0 were booked"),
        ({**DONE, "request_id": "r9"}, TWICE, STATS, "costs 3.0, and None were booked for r9"),
        ({**DONE, "state": "failed"}, TWICE, STATS, "failed, and costs 3.0 credits"),
        ({**DONE, "state": "sent"}, TWICE, STATS, "still marked as sent"),
        ({**DONE, "file": None}, TWICE, STATS, "done, and its file is None"),
        (DONE, TWICE, STATS | {"credits_spent": 6.0}, "credits_spent is 6.0, and 3.0"),
        (DONE, TWICE, STATS | {"possibly_paid": 0}, "possibly_paid is 0, and 1"),
        ({**DONE, "attempts": 0}, TWICE, STATS, "1 doubts, and fewer attempts"),
        ({**DONE, "prompt": "q"}, TWICE, STATS, "'p': 2 requests of no item"),
    ],
)
def test_books_that_do_not_agree_are_told_apart(
    item: dict[str, Any], requests: list[ReceivedRequest], stats: dict[str, Any], words: str
) -> None:
    """A judge that overlooks one of these lets the job lose money."""
    assert words in "\n".join(audit([item], requests, stats).faults)


def test_more_requests_than_the_limit_are_seen() -> None:
    """A window that is one request too full brings a lock-out."""
    paced = [arrived(number, at=number / 4) for number in range(90)]

    assert list(check_rate(paced, 40, [])) == []
    assert "more than 39 requests" in next(iter(check_rate(paced, 39, [])))


def test_each_key_has_a_limit_of_its_own() -> None:
    """What one key may not send, another one may; neither may hide behind the other."""
    both = [attrs.evolve(arrived(number), key_id=f"k{number % 2}") for number in range(90)]

    assert list(check_rate(both, 45, [])) == []
    assert len(list(check_rate(both, 44, []))) == 2


def test_requests_in_a_known_lock_out_are_seen_unless_a_new_run_sent_them() -> None:
    """A new run cannot know what the last one was told."""
    refused = arrived(1, at=5.0, status=429, answered_at=5.0)
    knocking = attrs.evolve(arrived(2), at=12.0)

    assert list(check_rate([refused, knocking], 150, [8.0])) == []
    assert "after the 429 at 5.000 s" in next(iter(check_rate([refused, knocking], 150, [])))


def test_what_is_sent_again_in_a_run_that_holds_is_seen() -> None:
    """Whoever asks to look at doubts first must not find them paid a second time."""
    again = [arrived(2, at=1.0, charged=3.0), arrived(1, at=9.0, charged=3.0)]

    assert list(check_held([DONE], again, [(0.0, 5.0), (6.0, 20.0)])) == []
    assert "sent again at 9.0 s" in next(iter(check_held([DONE], again, [(0.0, 20.0)])))


def test_what_was_marked_and_never_sent_is_counted() -> None:
    """A request of an earlier run is no ground for a doubt of this one."""
    requests = [arrived(1, at=2.0)]
    marks = [Mark(0, 1.0, "p"), Mark(1, 1.0, "q")]

    assert count_unsent(marks, requests, since=1.0) == 1
    assert count_unsent(marks, requests, since=3.0) == 2
