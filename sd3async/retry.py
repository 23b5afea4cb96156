"""Which failures are worth another attempt, how many, and after what wait.

tenacity runs the loop; the policy here is what it is told.
"""

import asyncio
from typing import Literal

import attrs

from sd3async.errors import (
    PROXY_FAILURES,
    ConnectFailedError,
    NotEnoughTimeError,
    RateLimitError,
    RequestTimeoutError,
    ResponseReadError,
    SD3Error,
    ServerError,
)
from sd3async.models.fields import Choice, Number, Seconds, to_seconds

_RETRYABLE_5XX = PROXY_FAILURES | {500, 503, 529}
_SECONDS = Seconds(0, 86_400)
CUT_OFF = "cut off"
"""What a call met that its caller cancelled."""


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How hard to try.

    The wait before attempt *n* is drawn evenly from [0, min(`max_wait`, `wait` x 2^(n-2))]:
    exponential backoff with full jitter. A 429 waits for the key's lock-out instead.

    Attributes:
        attempts: Attempts in all, the first included, 1 to 1000; 1 turns every retry off. Those
            answered with 429 do not count.
        lockouts: How many 429s one call sits out before it gives up, 0 to 1000.
        wait: Longest wait before the second attempt [s], at most a day.
        max_wait: Longest wait before any attempt [s], at most a day.
        on_unknown: What to do when a request was sent and no whole answer came, so that it may
            have been charged: `retry`, or `raise` and let the caller decide.

    Raises:
        InvalidRequestError: A value is out of bounds.
    """

    attempts: int = attrs.field(default=5, validator=Number(1, 1000, whole=True))
    lockouts: int = attrs.field(default=5, validator=Number(0, 1000, whole=True))
    wait: float = attrs.field(default=1.0, converter=to_seconds, validator=_SECONDS)
    max_wait: float = attrs.field(default=30.0, converter=to_seconds, validator=_SECONDS)
    on_unknown: Literal["retry", "raise"] = attrs.field(
        default="retry", validator=Choice(("retry", "raise"))
    )

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
        if isinstance(error, SD3Error) and error.may_be_charged and self.on_unknown == "raise":
            return False
        return attempts < self.attempts


def is_retryable(error: BaseException) -> bool:
    """Whether the same request may well succeed when it is sent again.

    Args:
        error: What an attempt met.
    """
    if isinstance(error, ServerError):
        return error.status in _RETRYABLE_5XX
    if isinstance(error, ConnectFailedError):
        return error.is_retryable
    return isinstance(
        error, RequestTimeoutError | ResponseReadError | RateLimitError
    ) and not isinstance(error, NotEnoughTimeError)


def problem_of(error: BaseException) -> str:
    """Return an error in words, without the history of earlier attempts.

    Args:
        error: What an attempt or a call met.
    """
    if isinstance(error, asyncio.CancelledError):
        return CUT_OFF
    words = error.args[:1] if isinstance(error, SD3Error) else [error]
    return "".join(map(str, words)) or type(error).__name__
