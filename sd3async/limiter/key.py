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
import struct
from array import array
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

_KEPT_ROUND_TRIPS = 64
_SPREAD_FACTOR = 1.5  # the spread of a few dozen round trips understates the worst
_MAX_MEASURED_DELAY = 0.5  # [s] one slow answer must not slow everything down
_LESS_REQUESTS = 0.9  # per remembered episode
_MORE_DELAY = 1.5  # per remembered episode
_MAX_DELAY_SHARE = 0.2  # of the period: how far episodes may stretch the delay bound
_MAX_SEVERITY = 20.0  # episodes; 0.9 ** 20 leaves an eighth of the limit
_RETIRED_FOR = 600.0  # [s]
_RECOVERY = 600.0  # [s] of calm that make up for one episode
_RECOVERY_STEPS = 10  # so that limits change once a minute, not at every grant


_STANDING = (
    "stage",
    "freezes",
    "given",
    "_probe",
    "last_instant",
    "retired_until",
    "_frozen_until",
    "_probe_over_at",
    "_ramp_over_at",
    "_severity",
    "_calm_since",
)
_HEAD = struct.Struct("=4q7d2I")


class Stage(enum.IntEnum):
    """Where a key stands between a 429 and business as usual."""

    OPEN = 0
    FROZEN = 1
    PROBING = 2
    RAMPING = 3


def _empty_window(limit: RateLimit) -> Window:
    return Window(limit.period, limit.max_requests, any_phase=limit.shape != "burst")


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


@attrs.frozen
class Slot:
    """Leave to begin one request at an instant.

    Attributes:
        number: Its own; a key never gives one twice.
        instant: When the request may begin [s, the key's clock].
        stamp: The latest instant at which the server can count it, unless it is held [s].
        freezes: How many 429s the key had met when it was given: void after the next one.
        is_probe: Whether it tests if a lock-out is over.
    """

    number: int
    instant: float
    stamp: float
    freezes: int
    is_probe: bool


class Key:
    """The limiter's knowledge of one API key.

    Args:
        limit: What the server allows.

    Attributes:
        limit: What the server allows.
        window: The requests the server may be counting.
        stage: Where it stands after a 429.
        last_instant: The latest instant given [s].
        freezes: How many 429s have shut it out.
        given: How many slots it has given.
        retired_until: It is known to be withdrawn (401), or its account to be empty (402) [s].
    """

    def __init__(self, limit: RateLimit) -> None:
        self.window = _empty_window(limit)
        self.stage = Stage.OPEN
        self.last_instant = -math.inf
        self.freezes = 0
        self.given = 0
        self.retired_until = -math.inf
        self.limit = limit
        self._spacing = limit.spacing
        self._frozen_until = -math.inf
        self._probe = 0  # its slot's number, while it is under way
        self._probe_over_at = math.inf  # from when on it counts as accepted [s]
        self._ramp_over_at = -math.inf
        self._severity = 0.0  # episodes remembered at `_calm_since`
        self._calm_since = math.inf
        self._round_trips: deque[float] = deque(maxlen=_KEPT_ROUND_TRIPS)
        self._usual_delay = limit.delay_bound

    def opens_at(self, now: float) -> float:
        """Return the instant from which it may give a slot: past, future, or infinity: "not yet".

        At infinity only an event can open it: an upload's end, a refund, a probe's end.
        """
        window = self.window
        window.forget(now)
        limit = self.max_requests(now) if self._severity else self.limit.max_requests
        opens_at = max(window.opens_at(limit), self.last_instant + self._spacing)
        if self.stage is Stage.OPEN:
            return opens_at
        return max(opens_at, self._stage_opens_at(now))

    def opens_behind(self, ahead: int, now: float) -> float:
        """Return when it can give a slot to somebody with others before him, as things stand.

        Args:
            ahead: How many others.
            now: The present instant [s].
        """
        limit = self.max_requests(now)
        span = self.limit.period + CLOCK_MARGIN + self.delay_bound(now)
        opens_at = max(now, self.opens_at(now))
        if self.stage is Stage.OPEN and self.window.opens_at(limit) <= now:
            opens_at = now
            room = limit - self.window.count_since(now - span)
            if ahead >= room:  # the others will take it
                opens_at = self.window.eases_at(now)
            ahead_of_me = max(0, ahead - room)
        else:
            room, ahead_of_me = 0, ahead
        if self.limit.shape == "burst" and room:
            opens_at += ahead_of_me // limit * span
        elif opens_at < math.inf:
            opens_at += ahead_of_me * span / max(1, limit - 1)
        spacing = self.limit.slowest_spacing
        spaced_at = max(now, self.last_instant + spacing) + ahead * spacing
        return max(now if opens_at == math.inf else opens_at, spaced_at)

    def give(
        self,
        now: float,
        *,
        lead: float,
        slack: float,
        is_upload: bool = False,
        patience: float = math.inf,
    ) -> Slot | None:
        """Give leave for a request, if it may begin soon.

        It is counted from this moment on: with the latest stamp that the request can get, or held.

        Args:
            now: The present instant.
            lead: How far ahead "soon" is [s].
            slack: How long after its instant the request may still be begun [s].
            is_upload: Whether its body takes time to leave: then it is held.
            patience: How long a process that says nothing is believed to be at work [s].
        """
        instant = max(now, self.opens_at(now))
        if instant > now + lead + TICK:
            return None
        self.given += 1
        self.last_instant = instant
        stamp = instant + slack + self.delay_bound(now)
        if is_upload:
            self.window.hold(self.given, now + patience)
        else:
            self.window.add(stamp)
        if self.stage is Stage.FROZEN:
            self.stage = Stage.PROBING
            self._probe = self.given
            self._probe_over_at = now + patience  # or a second after it is written
        is_probe = self._probe == self.given
        return Slot(self.given, instant, stamp, self.freezes, is_probe)

    def move(self, number: int, before: float | None, after: float | None) -> None:
        """Count a request by another stamp.

        Args:
            number: Its slot's.
            before: Its stamp so far; None if it was held.
            after: Its stamp from now on; None to take it back.
        """
        if before is None:
            if not self.window.release(number):
                return  # nobody had heard of it for too long: it was counted as sent
        else:
            self.window.remove(before)
        if after is not None:
            self.window.add(after)

    def hold(self, number: int, before: float | None, until: float) -> None:
        """Hold a request that is going out, from now on or still; see `move`."""
        if before is not None:
            self.window.remove(before)
        self.window.hold(number, until)

    def freeze(
        self, now: float, retry_after: float | None, *, of_probe: bool = False
    ) -> tuple[float, bool]:
        """Note a 429 that has just been received.

        Args:
            now: The instant of receipt.
            retry_after: What the answer asked for [s]; it takes the lock-out's place, unless a
                probe that trusted it was refused: then the longer of the two counts.
            of_probe: Whether a probe was refused: the lock-out goes on, which is no new surprise
                even if the probe was taken for accepted in the meantime.

        Returns:
            Until when nothing is given (a 429 never brings that forward), and whether it is the
            first of its episode.
        """
        self.freezes += 1
        probed = of_probe or self.stage is Stage.PROBING
        first_of_episode = self.stage in (Stage.OPEN, Stage.RAMPING) and not of_probe
        if first_of_episode:
            self._severity = min(self.severity(now) + 1, _MAX_SEVERITY)
        self._calm_since = math.inf
        self.stage = Stage.FROZEN
        self._probe = 0
        lockout = self._lockout(retry_after, was_refuted=probed)
        self._frozen_until = max(self._frozen_until, now + lockout + LOCKOUT_MARGIN)
        return self._frozen_until, first_of_episode

    def _lockout(self, retry_after: float | None, *, was_refuted: bool) -> float:
        if retry_after is None or not 0 <= retry_after < math.inf:
            return self.limit.lockout
        return max(self.limit.lockout, retry_after) if was_refuted else retry_after

    def probe_written(self, number: int, now: float) -> None:
        """Start, or start again, waiting for a refusal of the probe."""
        if number == self._probe:
            self._probe_over_at = now + PROBE_PATIENCE

    def probe_closed(self, number: int, now: float, *, accepted: bool) -> None:
        """Note the end of a probe; one that proved nothing is followed by another."""
        if number == self._probe:
            if accepted:
                self._begin_ramp(now)
            elif self._probe_over_at > now:
                self._probe = 0
                self.stage = Stage.FROZEN

    def retire(self, now: float) -> None:
        """Note that the key is withdrawn, or its account empty, which somebody may put right."""
        self.retired_until = now + _RETIRED_FOR

    def fill(self, last: float) -> None:
        """Take it for used up for two periods: what was counted is not known any more.

        Args:
            last: The latest instant at which any of it can have been begun [s].
        """
        latest = last + self.delay_bound(last) + self.limit.period + CLOCK_MARGIN
        self.window.add(latest, self.limit.max_requests)

    def observe_round_trip(self, seconds: float) -> None:
        """Learn the delay bound from the spread of quick answers."""
        self._round_trips.append(seconds)
        spread = max(self._round_trips) - min(self._round_trips)
        measured = min(_SPREAD_FACTOR * spread, _MAX_MEASURED_DELAY)
        self._usual_delay = max(self.limit.delay_bound, measured)

    def learn_from(self, other: "Key") -> None:
        """Take over what another one has learned of the way to the server."""
        self._round_trips, self._usual_delay = other._round_trips, other._usual_delay

    def severity(self, now: float) -> float:
        """Return how many episodes are still remembered, in tenths."""
        calm = max(0.0, now - self._calm_since)
        left = self._severity - calm / _RECOVERY
        return max(0.0, math.ceil(left * _RECOVERY_STEPS) / _RECOVERY_STEPS)

    def max_requests(self, now: float) -> int:
        """Return how many requests in a period it allows itself, at least 1."""
        if not self._severity:
            return self.limit.max_requests
        return max(1, int(self.limit.max_requests * _LESS_REQUESTS ** self.severity(now)))

    def delay_bound(self, now: float) -> float:
        """Return the delay it assumes [s]."""
        if not self._severity:
            return self._usual_delay
        stretched: float = self._usual_delay * _MORE_DELAY ** self.severity(now)
        return max(self._usual_delay, min(stretched, self.limit.period * _MAX_DELAY_SHARE))

    def frozen_until(self, now: float) -> float | None:
        """Return the end of the lock-out, or None when there is none."""
        return self._frozen_until if self._frozen_until > now else None

    def in_period(self, now: float) -> int:
        """Return how many requests the server may count in the last period."""
        return self.window.count_since(now - self.limit.period)

    def dump(self) -> bytes:
        """Write down what other processes need to know."""
        times, counts, held = self.window.dump()
        standing = [getattr(self, name) for name in _STANDING]
        head = _HEAD.pack(*standing, len(times), len(held))
        columns = array("d", times), array("I", counts), array("q", held), array("d", held.values())
        return b"".join([head, *columns])

    def load(self, data: bytes) -> bytes:
        """Take over what `dump` wrote; return what follows it."""
        *standing, stamps, held = _HEAD.unpack_from(data)
        for name, value in zip(_STANDING, standing, strict=True):
            setattr(self, name, value)
        self.stage = Stage(self.stage)
        times, counts, numbers, untils = array("d"), array("I"), array("q"), array("d")
        end = _HEAD.size
        for column, length in ((times, stamps), (counts, stamps), (numbers, held), (untils, held)):
            start, end = end, end + column.itemsize * length
            column.frombytes(data[start:end])
        self.window.load(times.tolist(), counts.tolist(), dict(zip(numbers, untils, strict=True)))
        return data[end:]

    def _stage_opens_at(self, now: float) -> float:
        if self.stage is Stage.PROBING and self._probe_over_at <= now:
            self._begin_ramp(now)
        if self.stage is Stage.RAMPING and self._ramp_over_at <= now:
            self.stage = Stage.OPEN
        match self.stage:
            case Stage.OPEN:
                return -math.inf
            case Stage.FROZEN:
                return self._frozen_until
            case Stage.PROBING:
                return self._probe_over_at
            case Stage.RAMPING:
                spacing = self.limit.period + CLOCK_MARGIN + self.delay_bound(now)
                return self.last_instant + spacing / self.max_requests(now)

    def _begin_ramp(self, now: float) -> None:
        self._probe = 0
        self.stage = Stage.RAMPING
        self._ramp_over_at = now + self.limit.period
        self._calm_since = now
