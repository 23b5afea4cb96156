"""One API key: its window, its lock-out after a 429, and how careful it has become.

Pure: every method is told the present instant. Nothing here knows an event loop.

After a 429 a key is *frozen* until the lock-out is over, then grants one *probe* and waits for
what comes of it, then *ramps*: for one period its grants are evenly spaced, so that a second
surprise meets a few requests and not a whole burst. Then it is *open* again.

A 429 says that an assumption is wrong: other programs use the key, or requests take longer to
arrive than believed. So the first one of each episode makes the key allow itself a tenth less and
assume half as much delay again; both creep back while it stays calm.
"""

import enum
import math
from collections import deque

import attrs

from sd3async.limiter.settings import RateLimit
from sd3async.limiter.window import CLOCK_MARGIN, Window

LOCKOUT_MARGIN = 0.5
"""Added to every lock-out [s]: coming back too early would start another."""

PROBE_PATIENCE = 1.0
"""A refusal comes at once, an image after seconds: a probe this old [s] was accepted."""

TICK = 1e-6
"""A timer may fire this much early [s]."""

_MAX_LEAD = 0.25  # [s] enough to open a connection in; longer would only hold more of them
_KEPT_ROUND_TRIPS = 64
_SPREAD_FACTOR = 1.5  # the spread of a few dozen round trips understates the worst
_MAX_MEASURED_DELAY = 0.5  # [s] one slow answer must not slow everything down
_LESS_REQUESTS = 0.9  # per remembered episode
_MORE_DELAY = 1.5  # per remembered episode
_MAX_DELAY_SHARE = 0.2  # of the period: how far episodes may stretch the delay bound
_MAX_SEVERITY = 20.0  # episodes; 0.9 ** 20 leaves an eighth of the limit
_RECOVERY = 600.0  # [s] of calm that make up for one episode
_RECOVERY_STEPS = 10  # so that limits change once a minute, not at every grant


class Stage(enum.Enum):
    """Where a key stands between a 429 and business as usual."""

    OPEN = "open"
    FROZEN = "frozen"
    PROBING = "probing"
    RAMPING = "ramping"


@attrs.frozen
class Freeze:
    """A 429 has shut a key out.

    Attributes:
        key: Its index in the pool.
        until: When it may be probed [s, the limiter's monotonic clock].
        seconds: How long from now [s].
        first_of_episode: Whether requests had been flowing; False for those in flight beside the
            first refused one, and for a refused probe.
    """

    key: int
    until: float
    seconds: float
    first_of_episode: bool


@attrs.define(eq=False)
class Probe:
    """The one request that tests whether a lock-out is over.

    Attributes:
        over_at: From when on it counts as accepted [s]; never, until it is written.
    """

    over_at: float = math.inf


class Key:
    """The limiter's knowledge of one API key.

    Args:
        index: Its place in the pool.
        limit: What the server allows.

    Attributes:
        window: The requests the server may be counting.
        last_instant: The latest instant granted [s].
        freezes: How many 429s have shut it out.
    """

    def __init__(self, index: int, limit: RateLimit) -> None:
        self.index = index
        self.window = Window(limit.period, any_phase=limit.shape != "burst")
        self._limit = limit
        self._stage = Stage.OPEN
        self._frozen_until = -math.inf
        self._probe: Probe | None = None
        self._ramp_over_at = -math.inf
        self.last_instant = -math.inf
        self.freezes = 0
        self._severity = 0.0  # episodes remembered at `_calm_since`
        self._calm_since = math.inf
        self._round_trips: deque[float] = deque(maxlen=_KEPT_ROUND_TRIPS)
        self._usual_delay = limit.delay_bound

    def opens_at(self, now: float) -> float:
        """Return the instant from which it may grant: past, future, or infinity for "not yet".

        At infinity only an event can open it: an upload's end, a refund, a probe's end.
        """
        window = self.window
        window.forget(now)
        limit = self.max_requests(now) if self._severity else self._limit.max_requests
        opens_at = window.opens_at(limit)
        if self._stage is Stage.OPEN:
            return opens_at
        return max(opens_at, self._stage_opens_at(now))

    def lead(self, now: float) -> float:
        """Return how long before its instant a request may be granted [s].

        No longer than the delay bound: so long as a request is not begun, others rely on its being
        counted by then, and one that turns out to be a slow upload must not break their sum. Not at
        all where many instants coincide: granted ahead, a burst would not be spread.
        """
        return 0.0 if self._limit.shape == "burst" else min(self.delay_bound(now), _MAX_LEAD)

    def is_near(self, now: float) -> bool:
        """Whether its next instant is near enough to be granted."""
        return self.opens_at(now) - self.lead(now) <= now + TICK

    def opens_behind(self, ahead: int, now: float) -> float:
        """Return when it can grant to somebody with others before him, as things stand.

        Args:
            ahead: How many others.
            now: The present instant [s].
        """
        limit = self.max_requests(now)
        span = self._limit.period + CLOCK_MARGIN + self.delay_bound(now)
        opens_at = max(now, self.opens_at(now))
        if self._stage is Stage.OPEN and opens_at <= now:
            room = limit - self.window.count_since(now - span)
            if ahead >= room:  # the others will take it
                opens_at = self.window.eases_at(now)
            ahead_of_me = max(0, ahead - room)
        else:
            room, ahead_of_me = 0, ahead
        if self._limit.shape == "burst" and room:
            opens_at += ahead_of_me // limit * span
        elif opens_at < math.inf:
            opens_at += ahead_of_me * span / max(1, limit - 1)
        tokens, seconds = self._limit.bucket or (1, 0)
        refills_at = max(now, self.last_instant + seconds / tokens) + ahead * seconds / tokens
        return max(now if opens_at == math.inf else opens_at, refills_at)

    def grant(self, instant: float) -> Probe | None:
        """Note that a request may begin at an instant, not before `opens_at`.

        Returns:
            The probe, if this request is one.
        """
        self.last_instant = instant
        if self._stage is not Stage.FROZEN:
            return None
        self._stage = Stage.PROBING
        self._probe = Probe()
        return self._probe

    def freeze(self, now: float, retry_after: float | None, *, of_probe: bool = False) -> Freeze:
        """Note a 429 that has just been received.

        Args:
            now: The instant of receipt.
            retry_after: What the answer asked for [s]; it takes the lock-out's place, unless a
                probe that trusted it was refused: then the longer of the two counts.
            of_probe: Whether a probe was refused: the lock-out goes on, which is no new surprise
                even if the probe was taken for accepted in the meantime.

        Returns:
            Until when nothing is granted; a 429 never brings that forward.
        """
        self.freezes += 1
        probed = of_probe or self._stage is Stage.PROBING
        first_of_episode = self._stage in (Stage.OPEN, Stage.RAMPING) and not of_probe
        if first_of_episode:
            self._severity = min(self.severity(now) + 1, _MAX_SEVERITY)
        self._calm_since = math.inf
        self._stage = Stage.FROZEN
        self._probe = None
        lockout = self._lockout(retry_after, was_refuted=probed)
        self._frozen_until = max(self._frozen_until, now + lockout + LOCKOUT_MARGIN)
        return Freeze(self.index, self._frozen_until, self._frozen_until - now, first_of_episode)

    def _lockout(self, retry_after: float | None, *, was_refuted: bool) -> float:
        if retry_after is None or not 0 <= retry_after < math.inf:
            return self._limit.lockout
        return max(self._limit.lockout, retry_after) if was_refuted else retry_after

    def probe_written(self, probe: Probe, now: float) -> None:
        """Start, or start again, waiting for a refusal of the probe."""
        probe.over_at = now + PROBE_PATIENCE

    def probe_closed(self, probe: Probe, now: float, *, accepted: bool) -> None:
        """Note the end of a probe; one that proved nothing is followed by another."""
        if probe is not self._probe:
            return
        if accepted:
            self._begin_ramp(now)
        elif probe.over_at > now:
            self._probe = None
            self._stage = Stage.FROZEN

    def observe_round_trip(self, seconds: float) -> None:
        """Learn the delay bound from the spread of quick answers."""
        self._round_trips.append(seconds)
        spread = max(self._round_trips) - min(self._round_trips)
        measured = min(_SPREAD_FACTOR * spread, _MAX_MEASURED_DELAY)
        self._usual_delay = max(self._limit.delay_bound, measured)

    def severity(self, now: float) -> float:
        """Return how many episodes are still remembered, in tenths."""
        calm = max(0.0, now - self._calm_since)
        left = self._severity - calm / _RECOVERY
        return max(0.0, math.ceil(left * _RECOVERY_STEPS) / _RECOVERY_STEPS)

    def max_requests(self, now: float) -> int:
        """Return how many requests in a period it allows itself, at least 1."""
        if not self._severity:
            return self._limit.max_requests
        return max(1, int(self._limit.max_requests * _LESS_REQUESTS ** self.severity(now)))

    def delay_bound(self, now: float) -> float:
        """Return the delay it assumes [s]."""
        if not self._severity:
            return self._usual_delay
        stretched: float = self._usual_delay * _MORE_DELAY ** self.severity(now)
        return max(self._usual_delay, min(stretched, self._limit.period * _MAX_DELAY_SHARE))

    def frozen_until(self, now: float) -> float | None:
        """Return the end of the lock-out, or None when there is none."""
        return self._frozen_until if self._frozen_until > now else None

    def in_period(self, now: float) -> int:
        """Return how many requests the server may count in the last period."""
        return self.window.count_since(now - self._limit.period)

    def _stage_opens_at(self, now: float) -> float:
        if self._probe is not None and self._probe.over_at <= now:
            self._begin_ramp(now)
        if self._stage is Stage.RAMPING and self._ramp_over_at <= now:
            self._stage = Stage.OPEN
        match self._stage:
            case Stage.OPEN:
                return -math.inf
            case Stage.FROZEN:
                return self._frozen_until
            case Stage.PROBING:
                return math.inf if self._probe is None else self._probe.over_at
            case Stage.RAMPING:
                spacing = self._limit.period + CLOCK_MARGIN + self.delay_bound(now)
                return self.last_instant + spacing / self.max_requests(now)

    def _begin_ramp(self, now: float) -> None:
        self._probe = None
        self._stage = Stage.RAMPING
        self._ramp_over_at = now + self._limit.period
        self._calm_since = now
