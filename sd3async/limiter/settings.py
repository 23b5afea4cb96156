"""What is promised about the rate, as one frozen value."""

import math
import sys
from typing import Literal, Self, get_args

import attrs

from sd3async.limiter.window import CLOCK_MARGIN
from sd3async.models.fields import ABOVE_0, AT_LEAST_ONE, SECONDS, Choice, Seconds, to_seconds

Shape = Literal["paced", "burst", "bucket"]

_UNLIMITED = sys.maxsize
_NOT_NEGATIVE = Seconds(0, words="a number of seconds, 0 or more,")
_SPREAD_OF_BURSTS = 10  # times the ceiling
_BUCKET_BURST = 4  # tokens
_BUCKET_BURST_SHARE = 0.03  # of the limit: what goes at once is lost to the lasting rate


@attrs.frozen
class RateLimit:
    """The rate limit of one API key, and how closely to follow it.

    Every number is for each key: a pool of three keys may send three times as much. Durations may
    also be given as `timedelta`.

    Attributes:
        max_requests: Requests the server allows in any `period`; at least 1.
        period: Length of the server's window [s]; above 0.
        lockout: How long a key stays shut out after a 429 [s]; at least 0. A `Retry-After` wins,
            until a probe that trusted it is refused: then the longer of the two counts.
        delay_bound: The most by which the way from writing a request to the server's counting it
            may vary [s]; at least 0. The promise of the limiter rests on it.
        max_rate: Send no faster than this [requests/s], evenly spaced; None for no such limit.
        shape: `"paced"` lets an idle client's first `max_requests` leave within a tenth of the
            period, then goes evenly; no kind of server refuses it. `"burst"` repeats the burst
            every period: a little faster, and safe on every kind but the two-window counter.
            `"bucket"` is aiolimiter's token bucket, smooth from the first second.

    Raises:
        InvalidRequestError: A value is out of its bounds; the message names field, value and
            bounds.

    Source:
        "Rate limiting: 150 requests within 10 seconds; beyond that 429 and a timeout of
        60 seconds" (API reference and help-desk article 150000186026). `delay_bound` is measured,
        not documented.
    """

    max_requests: int = attrs.field(default=150, validator=AT_LEAST_ONE)
    period: float = attrs.field(default=10.0, converter=to_seconds, validator=SECONDS)
    lockout: float = attrs.field(default=60.0, converter=to_seconds, validator=_NOT_NEGATIVE)
    delay_bound: float = attrs.field(default=0.22, converter=to_seconds, validator=_NOT_NEGATIVE)
    max_rate: float | None = attrs.field(default=None, validator=ABOVE_0)
    shape: Shape = attrs.field(default="paced", validator=Choice(get_args(Shape)))

    @classmethod
    def unlimited(cls) -> Self:
        """Return a limit that never holds anything back: for measuring, not for a real service.

        A 429 freezes nothing either; what to do about it is left to the caller's retries.
        """
        return cls(max_requests=_UNLIMITED)

    @property
    def is_unlimited(self) -> bool:
        """Whether this is `RateLimit.unlimited()`."""
        return self.max_requests == _UNLIMITED

    @property
    def shared(self) -> Self:
        """The limit as processes share it: how fast each of them sends at most is its own matter."""
        return attrs.evolve(self, max_rate=None)

    @property
    def spacing(self) -> float:
        """The least time between two requests of a key [s]: a tenth of what the ceiling asks for.

        A server that is hit by 150 requests in one instant takes longer than the delay bound to
        count them. The bucket shape has a rate of its own.
        """
        if self.is_unlimited or self.shape == "bucket":
            return 0.0
        return 1 / (_SPREAD_OF_BURSTS * self.ceiling)

    @property
    def slowest_spacing(self) -> float:
        """The least time between two requests in the long run, as far as it is fixed [s]."""
        return max(self.spacing, self.bucket[1] / self.bucket[0] if self.bucket else 0.0)

    @property
    def bucket(self) -> tuple[float, float] | None:
        """Tokens, and the seconds in which they refill, of the bucket that paces a process.

        What is counted within a period was written within period + delay bound. The bucket shape
        lets at most its tokens plus rate times that go, which stays within the limit.
        """
        tokens, rate = 1, math.inf
        if self.shape == "bucket" and not self.is_unlimited:
            tokens = max(1, min(_BUCKET_BURST, int(self.max_requests * _BUCKET_BURST_SHARE)))
            window = self.period + CLOCK_MARGIN + self.delay_bound
            rate = max(1, self.max_requests - tokens) / window
        if self.max_rate is not None and self.max_rate < rate:
            tokens, rate = 1, self.max_rate
        return (tokens, tokens / rate) if rate < math.inf else None

    @property
    def ceiling(self) -> float:
        """The fastest lasting rate the server allows [requests/s]."""
        return math.inf if self.is_unlimited else self.max_requests / self.period
