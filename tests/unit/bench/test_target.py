"""What is made of a call's events."""

from sd3async import PaymentRequiredError, RequestTimeoutError
from sd3async.bench.target import Trace, name_of
from sd3async.telemetry import Answered, AttemptSent, Done, Event, PermitGranted, Queued, Retried


def trace_of(*events: Event) -> Trace:
    trace = Trace()
    for event in events:
        trace.note(event)
    return trace


def granted(at: float, attempt: int = 1, waited: float = 0.0) -> PermitGranted:
    return PermitGranted(at=at, attempt=attempt, key=2, waited=waited)


def retried(at: float, *, may_be_charged: bool) -> Retried:
    return Retried(at=at, attempt=1, problem="x", wait=1.0, may_be_charged=may_be_charged)


def test_the_wait_for_a_slot_ends_where_the_wait_for_the_limiter_begins() -> None:
    """Blaming the pool for the limiter sends people to the wrong option."""
    trace = trace_of(Queued(at=10.0), granted(17.0, waited=5.0))

    assert (trace.slot_wait, trace.limiter_wait) == (2.0, 5.0)


def test_the_limiter_waits_of_all_attempts_add_up() -> None:
    """A retry stands in the line again."""
    trace = trace_of(
        Queued(at=0.0),
        granted(3.0, waited=3.0),
        retried(4.0, may_be_charged=False),
        granted(9, 2, 4),
    )

    assert (trace.slot_wait, trace.limiter_wait, trace.attempts) == (0.0, 7.0, 2)


def test_an_upload_that_broke_off_counts_as_sent() -> None:
    """A server that counts heads has seen it: the worst window must not miss it."""
    broken = trace_of(Queued(at=0.0), granted(1.0), retried(2.0, may_be_charged=True))
    last = trace_of(
        Queued(at=0.0), granted(1.0), Done(at=2.0, attempts=1, seconds=2.0, unknown_charges=1)
    )

    assert broken.sends == last.sends == [(2, 1.0)]


def test_an_attempt_that_never_left_does_not_count_as_sent() -> None:
    """No connection, no request: the server saw nothing."""
    trace = trace_of(Queued(at=0.0), granted(1.0), retried(2.0, may_be_charged=False))

    assert trace.sends == []


def test_a_sent_attempt_counts_once_whatever_became_of_it() -> None:
    """Counting it at the write and again at the failure would show windows that never were."""
    trace = trace_of(
        Queued(at=0.0),
        granted(1.0),
        AttemptSent(at=1.5, attempt=1, size=99),
        retried(3.0, may_be_charged=True),
    )

    assert trace.sends == [(2, 1.5)]
    assert trace.sent_bytes == 99


def test_an_attempt_without_an_answer_does_not_inherit_the_status_before() -> None:
    """A 500 that was followed by a dead connection ended without a status."""
    trace = trace_of(
        Queued(at=0.0),
        granted(1.0),
        Answered(at=2.0, attempt=1, status=429, request_id=None, seconds=1.0),
        retried(2.0, may_be_charged=False),
        granted(70.0, 2),
    )

    assert (trace.status, trace.refused) == (None, 1)


def test_failures_are_named_by_kind_and_status() -> None:
    """Errors are counted by name: words that differ each time would make a list of ones."""
    assert name_of(PaymentRequiredError("no", status=402)) == "PaymentRequiredError 402"
    assert name_of(RequestTimeoutError("after 3.2 s")) == "RequestTimeoutError"
    assert name_of(OSError("disk\nfull")) == "OSError: disk"
    assert name_of(TimeoutError()) == "TimeoutError"
