"""The loop of attempts after the first, run by tenacity."""

from collections.abc import Awaitable, Callable

import tenacity

from sd3async.errors import AuthenticationError, PaymentRequiredError, RateLimitError
from sd3async.retry import RetryPolicy


def retrying(
    policy: RetryPolicy,
    *,
    sleep: Callable[[float], Awaitable[None]],
    wants_another: Callable[[BaseException], bool],
    before_sleep: Callable[[float], None],
) -> tenacity.AsyncRetrying:
    """Return what calls a coroutine function until it succeeds or nobody wants another attempt.

    Args:
        policy: How long to wait.
        sleep: Waits [s].
        wants_another: Whether to try again after an error.
        before_sleep: Told of each wait [s] before it begins.
    """
    backoff = tenacity.wait_random_exponential(multiplier=policy.wait, max=policy.max_wait)

    def wants(state: tenacity.RetryCallState) -> bool:
        error = _error_of(state)
        return error is not None and wants_another(error)

    def wait(state: tenacity.RetryCallState) -> float:
        # The limiter holds back whoever was refused, and so does a key that is gone.
        is_for_the_limiter = isinstance(
            _error_of(state), RateLimitError | AuthenticationError | PaymentRequiredError
        )
        return 0.0 if is_for_the_limiter else backoff(state)

    return tenacity.AsyncRetrying(
        sleep=sleep,
        retry=wants,
        wait=wait,
        stop=tenacity.stop_never,
        before_sleep=lambda state: before_sleep(state.upcoming_sleep),
        reraise=True,
    )


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
