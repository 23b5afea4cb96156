"""What `generate` says of an interruption, by the events of the call it watched."""

import pytest

from sd3async.cli.generate import Watcher
from sd3async.telemetry import Answered, AttemptSent, Event, Frozen, Retried

SENT = AttemptSent(at=0.0, attempt=1, size=100)
REFUSED = Answered(at=0.0, attempt=1, status=429, request_id=None, seconds=0.1)
ARRIVING = Answered(at=0.0, attempt=1, status=200, request_id=None, seconds=0.1)
FROZEN = Frozen(at=0.0, key=0, seconds=60.5)
CUT_OFF = Retried(at=0.0, attempt=1, problem="it broke off.", wait=0.5, may_be_charged=True)
FAILED = Retried(at=0.0, attempt=1, problem="500", wait=0.5, may_be_charged=False)


@pytest.mark.parametrize(
    ("events", "is_in_doubt"),
    [
        ([], False),
        ([SENT], True),
        ([SENT, ARRIVING], True),
        ([SENT, REFUSED, FROZEN], False),
        ([SENT, FAILED], False),
        ([SENT, CUT_OFF], True),
        ([SENT, CUT_OFF, SENT, REFUSED], True),
    ],
    ids=["unsent", "sent", "arriving", "refused", "failed", "cut off", "cut off, then refused"],
)
def test_an_interruption_tells_whether_money_may_be_gone(
    events: list[Event], is_in_doubt: bool
) -> None:
    """A person would look for a charge that never was, or miss one."""
    watcher = Watcher("sd3")
    for event in events:
        watcher(event)

    assert ("may be charged" in watcher.charge_words) is is_in_doubt


def test_trouble_is_told_as_it_happens(capsys: pytest.CaptureFixture[str]) -> None:
    """A lock-out of a minute would look like a hang."""
    watcher = Watcher("sd3")
    for event in (SENT, REFUSED, FROZEN, CUT_OFF):
        watcher(event)

    assert capsys.readouterr().err.splitlines() == [
        "sd3async: the service answered 429: the key is locked out for 60.5 s",
        "sd3async: attempt 1: it broke off; trying again in 0.5 s",
    ]
