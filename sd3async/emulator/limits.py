"""The rate limit as a server may implement it: four models, each with a lock-out per key.

Pure functions of the stamps they are given: no clock, no loop. Which model the service runs is
not published, so a client has to be safe under all four.

Source:
    "150 requests within a 10 second period, and have been timed out for 60 seconds": the error of
    status 429 in the OpenAPI document of v2beta; that the limit is per key: a help-desk article.
"""

import collections
import math
from typing import Literal, Protocol, TypeAlias

import attrs

__all__ = ["Gate", "LimitModel", "Verdict", "WindowMeter", "build_limit"]

LimitModel: TypeAlias = Literal["log", "fixed", "counter", "bucket"]


class Limit(Protocol):
    """Decides whether one more request fits. Stamps never go back."""

    def admit(self, now: float) -> bool:
        """Take the request stamped `now` [s] in, or refuse it and remember nothing."""
        ...


@attrs.define
class SlidingLog:
    """Remembers each stamp: never more than `most` in any half-open window of `period`."""

    most: int
    period: float
    _stamps: collections.deque[float] = attrs.field(factory=collections.deque[float], init=False)

    def admit(self, now: float) -> bool:
        """See `Limit.admit`."""
        while self._stamps and self._stamps[0] <= now - self.period:
            self._stamps.popleft()
        if len(self._stamps) >= self.most:
            return False
        self._stamps.append(now)
        return True


@attrs.define
class FixedWindow:
    """Counts anew in each window; windows begin at `phase` plus multiples of `period`."""

    most: int
    period: float
    phase: float = 0.0
    _window: int | None = attrs.field(default=None, init=False)
    _count: int = attrs.field(default=0, init=False)

    def admit(self, now: float) -> bool:
        """See `Limit.admit`."""
        window = math.floor((now - self.phase) / self.period)
        if window != self._window:
            self._window, self._count = window, 0
        if self._count >= self.most:
            return False
        self._count += 1
        return True


@attrs.define
class SlidingCounter:
    """Two fixed windows, the one before weighted by its overlap, as large CDNs do it."""

    most: int
    period: float
    phase: float = 0.0
    _window: int | None = attrs.field(default=None, init=False)
    _count: int = attrs.field(default=0, init=False)
    _before: int = attrs.field(default=0, init=False)

    def admit(self, now: float) -> bool:
        """See `Limit.admit`."""
        window, into = divmod(now - self.phase, self.period)
        if window != self._window:
            adjacent = self._window is not None and window == self._window + 1
            self._before = self._count if adjacent else 0
            self._window, self._count = int(window), 0
        if self._before * (1.0 - into / self.period) + self._count + 1 > self.most:
            return False
        self._count += 1
        return True


@attrs.define
class TokenBucket:
    """Holds `most` tokens, refilled evenly at `most` per `period`."""

    most: int
    period: float
    _tokens: float = attrs.field(init=False)
    _filled_at: float | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._tokens = float(self.most)

    def admit(self, now: float) -> bool:
        """See `Limit.admit`."""
        if self._filled_at is not None:
            gained = (now - self._filled_at) * self.most / self.period
            self._tokens = min(float(self.most), self._tokens + gained)
        self._filled_at = now
        if self._tokens < 1.0 - 1e-9:  # sums of many small refills miss 1 by rounding
            return False
        self._tokens -= 1.0
        return True


def build_limit(model: LimitModel, most: int, period: float, phase: float = 0.0) -> Limit:
    """Return a fresh limit.

    Args:
        model: Which algorithm.
        most: Requests allowed in `period`.
        period: Length of the window [s].
        phase: When a fixed window begins [s]; only "fixed" and "counter" have one.
    """
    match model:
        case "log":
            return SlidingLog(most, period)
        case "fixed":
            return FixedWindow(most, period, phase)
        case "counter":
            return SlidingCounter(most, period, phase)
        case "bucket":
            return TokenBucket(most, period)


@attrs.frozen
class Verdict:
    """What the limit says about one request.

    Attributes:
        admitted: Whether it may go on.
        remaining: How long the key stays shut out from now on [s]; zero when it is not.
    """

    admitted: bool
    remaining: float = 0.0


@attrs.define
class Gate:
    """One key's limit and lock-out.

    Attributes:
        limit: The model, or None for no limit.
        lockout: How long a key is shut out for one request too many [s].
        extends: Whether knocking during the lock-out starts it again.
    """

    limit: Limit | None
    lockout: float
    extends: bool
    _locked_until: float = attrs.field(default=-math.inf, init=False)

    def judge(self, now: float) -> Verdict:
        """Decide on the request stamped `now` [s]."""
        if now < self._locked_until:
            if self.extends:
                self.lock(now)
            return Verdict(False, self._locked_until - now)
        if self.limit is None or self.limit.admit(now):
            return Verdict(True)
        self.lock(now)
        return Verdict(False, self.lockout)

    def lock(self, now: float, seconds: float | None = None) -> None:
        """Shut the key out from `now` on, for `seconds` or the usual time."""
        until = now + (self.lockout if seconds is None else seconds)
        self._locked_until = max(self._locked_until, until)


@attrs.define
class WindowMeter:
    """Measures the fullest half-open window of `period` [s] among the stamps it is shown."""

    period: float
    fullest: int = attrs.field(default=0, init=False)
    _recent: collections.deque[float] = attrs.field(factory=collections.deque[float], init=False)

    def note(self, now: float) -> None:
        """Count a request stamped `now` [s]."""
        self._recent.append(now)
        while self._recent[0] <= now - self.period:
            self._recent.popleft()
        self.fullest = max(self.fullest, len(self._recent))
