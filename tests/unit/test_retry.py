"""Which failures are tried again."""

import pytest

from sd3async import (
    APIError,
    ClientClosedError,
    ConnectFailedError,
    InvalidRequestError,
    NotEnoughTimeError,
    RateLimitError,
    RequestTimeoutError,
    ResponseReadError,
    RetryPolicy,
    ServerError,
    UnexpectedResponseError,
)
from sd3async.errors import error_class
from sd3async.retry import is_retryable


def answered(status: int) -> APIError:
    return error_class(status)(f"words of {status}", status=status)


RETRYABLE = [
    ConnectFailedError("a"),
    RequestTimeoutError("a"),
    ResponseReadError("a"),
    *[answered(status) for status in (429, 500, 502, 503, 504, *range(520, 525), 529)],
]
FINAL = [
    InvalidRequestError("a", field="prompt"),
    ClientClosedError("a"),
    ConnectFailedError("the certificate has expired", is_retryable=False),
    NotEnoughTimeError("a", wait=60.0),
    UnexpectedResponseError("a", status=200),
    *[answered(status) for status in (302, 400, 401, 402, 403, 404, 413, 422, 501, 525)],
    ValueError("a"),
]


@pytest.mark.parametrize("error", RETRYABLE, ids=repr)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    """These say nothing about the request itself."""
    assert is_retryable(error)
    assert RetryPolicy().allows_another(error, attempts=1, lockouts=1)


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_what_will_not_pass_is_raised_at_once(error: Exception) -> None:
    """Trying again would waste requests, or credits."""
    assert not is_retryable(error)
    assert not RetryPolicy().allows_another(error, attempts=1, lockouts=0)


def test_attempts_count_the_first_one() -> None:
    """`attempts=3` is three requests, not four."""
    policy = RetryPolicy(attempts=3)
    error = answered(500)

    assert [policy.allows_another(error, attempts=made, lockouts=0) for made in (1, 2, 3)] == [
        True,
        True,
        False,
    ]


def test_a_429_does_not_count_as_an_attempt_but_has_a_bound_of_its_own() -> None:
    """A lock-out says nothing about the request, yet no call should wait for ever."""
    policy = RetryPolicy(attempts=2, lockouts=2)

    assert policy.allows_another(RateLimitError("a", status=429), attempts=0, lockouts=2)
    assert not policy.allows_another(RateLimitError("a", status=429), attempts=0, lockouts=3)


def test_one_attempt_means_no_retry_of_any_kind() -> None:
    """Who asks for a single try wants to see the first error, a 429 too."""
    policy = RetryPolicy(attempts=1)

    assert not any(policy.allows_another(error, attempts=1, lockouts=1) for error in RETRYABLE)


def test_unknown_charges_are_raised_when_asked() -> None:
    """Who would rather lose an image than pay twice must be able to say so."""
    policy = RetryPolicy(on_unknown="raise")

    assert not policy.allows_another(ResponseReadError("a"), attempts=1, lockouts=0)
    assert policy.allows_another(ServerError("a", status=500), attempts=1, lockouts=0)
    assert policy.allows_another(ConnectFailedError("a"), attempts=1, lockouts=0)
    by_a_proxy = ServerError("a", status=504)
    assert policy.allows_another(by_a_proxy, attempts=1, lockouts=0)
    by_a_proxy.may_be_charged = True
    assert not policy.allows_another(by_a_proxy, attempts=1, lockouts=0)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("attempts", 0, "is 0; a whole number from 1 to 1000"),
        ("attempts", 1001, "is 1001; a whole number from 1 to 1000"),
        ("attempts", True, "is True; a whole number"),
        ("attempts", 2.5, "is 2.5; a whole number"),
        ("attempts", "3", "is '3'; a whole number"),
        ("attempts", None, "is None; a whole number"),
        ("lockouts", -1, "is -1; a whole number from 0 to 1000"),
        ("wait", -1, "is -1; a number from 0 to 86400"),
        ("wait", float("nan"), "is nan; a number from 0 to 86400"),
        ("wait", "1", "is '1'; a number"),
        ("max_wait", float("inf"), "is inf; a number from 0 to 86400"),
        ("max_wait", True, "is True; a number"),
        ("on_unknown", "hope", "is 'hope'; allowed are retry, raise"),
        ("on_unknown", None, "is None; allowed are retry, raise"),
    ],
)
def test_a_wrong_setting_gets_one_sentence(field: str, value: object, words: str) -> None:
    """A policy that exists is one that works."""
    with pytest.raises(InvalidRequestError, match=f"{field}: {words}") as caught:
        RetryPolicy(**{field: value})  # type: ignore[arg-type]

    assert isinstance(caught.value, ValueError)
    assert caught.value.field == field
