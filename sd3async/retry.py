"""Which failures are worth another attempt, how many, and after what wait.

tenacity runs the loop; the policy here is what it is told.
"""

from typing import Literal

import attrs

from sd3async.errors import (
    ConnectFailedError,
    RateLimitError,
    RequestTimeoutError,
    ResponseReadError,
    SD3Error,
    ServerError,
    UnexpectedResponseError,
)

_RETRYABLE_5XX = (500, 502, 503, 504)


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How hard to try.

    The wait before attempt *n* is drawn evenly from [0, min(`max_wait`, `wait` x 2^(n-2))]:
    exponential backoff with full jitter. A 429 waits for the key's lock-out instead.

    Attributes:
        attempts: Attempts in all, the first included; 1 turns every retry off. Those answered
            with 429 do not count.
        lockouts: How many 429s one call sits out before it gives up.
        wait: Longest wait before the second attempt [s].
        max_wait: Longest wait before any attempt [s].
        on_unknown: What to do when a request was sent and no whole answer came, so that it may
            have been charged: `retry`, or `raise` and let the caller decide.

    Raises:
        ValueError: A value is out of bounds.
    """

    attempts: int = 5
    lockouts: int = 5
    wait: float = 1.0
    max_wait: float = 30.0
    on_unknown: Literal["retry", "raise"] = "retry"

    def __attrs_post_init__(self) -> None:
        """Check the bounds."""
        if self.attempts < 1:
            raise ValueError(f"attempts: is {self.attempts}; at least 1 is needed")
        if self.lockouts < 0:
            raise ValueError(f"lockouts: is {self.lockouts}; 0 or more is needed")
        for name, value in (("wait", self.wait), ("max_wait", self.max_wait)):
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name}: is {value}; 0 or more seconds are needed")
        if self.on_unknown not in ("retry", "raise"):
            raise ValueError(f"on_unknown: is {self.on_unknown!r}; allowed are retry, raise")

    def allows_another(self, error: BaseException, *, attempts: int, lockouts: int) -> bool:
        """Whether to try again.

        Args:
            error: What the last attempt met.
            attempts: Attempts made so far that were not answered with 429.
            lockouts: Attempts made so far that were.
        """
        if not is_retryable(error):
            return False
        if isinstance(error, RateLimitError):
            return self.attempts > 1 and lockouts <= self.lockouts
        if may_be_charged(error) and self.on_unknown == "raise":
            return False
        return attempts < self.attempts


def is_retryable(error: BaseException) -> bool:
    """Whether the same request may well succeed when it is sent again.

    Args:
        error: What an attempt met.
    """
    if isinstance(error, ServerError):
        return error.status in _RETRYABLE_5XX
    return isinstance(
        error, ConnectFailedError | RequestTimeoutError | ResponseReadError | RateLimitError
    )


def may_be_charged(error: BaseException) -> bool:
    """Whether the service may have done the work, and billed it, all the same.

    Args:
        error: What an attempt met. Any error answer of the service counts as free, as documented
            ("not charged for failed generations").
    """
    return isinstance(error, RequestTimeoutError | ResponseReadError | UnexpectedResponseError)


def problem_of(error: SD3Error) -> str:
    """Return an error's own words, without the history of earlier attempts.

    Args:
        error: What an attempt met.
    """
    return str(error.args[0]) if error.args else type(error).__name__
