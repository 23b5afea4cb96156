"""Even pacing, by aiolimiter's token bucket.

aiolimiter binds a bucket to one event loop and one rate; a `Pacer` makes it anew when either
changes. A new bucket starts full, which would let a second burst go; that is harmless here because
the window behind every pacer counts all requests, whichever loop sent them.
"""

from collections.abc import Callable
from contextlib import suppress

from aiolimiter import AsyncLimiter

from sd3async.limiter.key import Key
from sd3async.limiter.settings import RateLimit
from sd3async.limiter.window import CLOCK_MARGIN

_BUCKET_BURST = 4
_BUCKET_BURST_SHARE = 0.03  # of the limit: what goes at once is lost to the lasting rate
_HALVINGS = 20  # a millionth of a token
_MIN_WAIT = 1e-6  # [s] a timer this short still moves time on


class Pacer:
    """A token bucket for one key: `max_rate`, or the bucket shape, whichever is slower.

    Args:
        limit: The key's settings.
        key: Its present limit and delay bound.
    """

    def __init__(self, limit: RateLimit, key: Key) -> None:
        self._limit = limit
        self._key = key
        self._tuning: tuple[float, float] | None = None
        self._bucket: AsyncLimiter | None = None

    def reset(self) -> None:
        """Forget the bucket: another event loop is running now."""
        self._bucket = None

    def ready_at(self, now: float) -> float:
        """Return the instant from which `take` may be called; needs a running event loop."""
        bucket = self._current_bucket(now)
        if bucket.has_capacity():
            return now
        seconds_per_token = bucket.time_period / bucket.max_rate
        return now + max((1 - _free_share(bucket.has_capacity)) * seconds_per_token, _MIN_WAIT)

    def take(self, now: float) -> None:
        """Take a token. Only after `ready_at` has come: then aiolimiter does not wait.

        Raises:
            RuntimeError: There was no token.
        """
        taking = self._current_bucket(now).acquire()
        with suppress(StopIteration):
            taking.send(None)
            taking.close()
            raise RuntimeError("a token was taken that was not there")

    def _current_bucket(self, now: float) -> AsyncLimiter:
        tuning = self._tune(self._key.max_requests(now), self._key.delay_bound(now))
        if self._bucket is None or tuning != self._tuning:
            self._tuning = tuning
            self._bucket = AsyncLimiter(*tuning)
        return self._bucket

    def _tune(self, max_requests: int, delay_bound: float) -> tuple[float, float]:
        """Return tokens and the time to refill them so that no server window overflows.

        What can be stamped within a period was granted within period + delay bound; a bucket
        grants at most its tokens plus rate times that, which must stay within the limit.
        """
        max_rate = self._limit.max_rate
        if self._limit.shape == "bucket":
            tokens = max(1, min(_BUCKET_BURST, int(max_requests * _BUCKET_BURST_SHARE)))
            window = self._limit.period + CLOCK_MARGIN + delay_bound
            rate = max(1, max_requests - tokens) / window
            if max_rate is None or max_rate >= rate:
                return (1, 1 / rate) if max_rate is not None else (tokens, tokens / rate)
        if max_rate is None:
            raise ValueError("a pacer needs max_rate or the bucket shape")
        return 1, 1 / max_rate


def _free_share(fits: Callable[[float], bool]) -> float:
    """Return how much of a token fits: aiolimiter tells whether an amount does, so halve."""
    free, too_much = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (free + too_much) / 2
        if fits(middle):
            free = middle
        else:
            too_much = middle
    return free
