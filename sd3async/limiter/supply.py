"""Where one process gets the slots of an API key that nobody outside of it uses."""

import math
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager

import attrs

from sd3async._clock import Clock
from sd3async.limiter.key import Freeze, Key, Slot
from sd3async.limiter.settings import RateLimit

SLACK = 0.06
"""How long after its instant a request may still be begun [s]."""

_MAX_LEAD = 0.25  # [s] enough to open a connection in; longer would only hold more of them
_LOOK_AGAIN = 0.25  # [s] another thread may have changed what nobody told this one


class PermitLostError(Exception):
    """The key was shut out, or the instant missed, before anything was sent: ask for another."""


@attrs.define(eq=False)
class Grant:
    """A slot in the hands of one request. Instants are those of the limiter's clock [s].

    Attributes:
        slot: What the key gave.
        instant: When the request may begin.
        latest: When it is too late to begin.
        stamp: The latest instant at which the server can count it; None while it goes out, minus
            infinity when the slot was given back.
    """

    slot: Slot
    instant: float
    latest: float
    stamp: float | None


class Supply:
    """One API key as this process sees it: its slots, and what becomes of them.

    Args:
        index: Its place in the pool.
        limit: What the server allows.
        clock: Where time comes from.
        key: What is known of it, in the hands of several clients perhaps.
        lock: Held while it is used, if other threads use it.

    Attributes:
        key: What is known of it.
        on_change: Called when something may let a request go earlier.
        on_freeze: Called when a 429 has shut it out, here or elsewhere.
    """

    def __init__(
        self,
        index: int,
        limit: RateLimit,
        clock: Clock,
        key: Key | None = None,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self.index = index
        self.limit = limit
        self.clock = clock
        self.key = key or Key(limit)
        self.on_change: Callable[[], None] = lambda: None
        self.on_freeze: Callable[[Freeze], None] = lambda _: None
        self._lock = lock or threading.RLock()
        self._may_change_unheard = lock is not None
        self._freezes_seen = self.key.freezes

    @property
    def rested(self) -> tuple[float, int]:
        """Less for a key that has rested longer."""
        return self.key.last_instant, len(self.key.window)

    @property
    def freezes(self) -> int:
        """How many 429s have shut the key out, as far as is known this moment."""
        return self.key.freezes

    @property
    def trouble(self) -> str:
        """Why there are no slots beside the limit itself, or nothing."""
        return ""

    def now(self) -> float:
        """Return the present instant on the key's clock [s]."""
        return self.clock.monotonic()

    def near_at(self, now: float, *, is_upload: bool = False) -> float:
        """Return from when on it is worth asking for a slot [s]."""
        del is_upload  # see `take`
        with self._lock:
            near_at = self.key.opens_at(now) - self._lead(now)
        if near_at > now and self._may_change_unheard:
            return min(near_at, now + _LOOK_AGAIN)
        return near_at

    async def take(self, wanted: Collection[bool]) -> Grant | None:
        """Take a slot for the first in line, if there is one near.

        Args:
            wanted: Of each request that waits for one, whether its body takes time to leave.
        """
        del wanted  # what is reported here is known at once
        now = self.clock.monotonic()
        with self._lock:
            slot = self.key.give(now, lead=self._lead(now), slack=SLACK)
        self._notice(now)
        if slot is None:
            return None
        return Grant(slot, slot.instant, slot.instant + SLACK, slot.stamp)

    def count(self, grant: Grant, stamp: float | None) -> None:
        """Take note of when a request is counted at the latest; None while it goes out."""
        before, grant.stamp = grant.stamp, stamp
        if stamp == before:
            return
        with self._lock:
            if stamp is None:
                self.key.hold(grant.slot.number, before, math.inf)
            else:
                self.key.move(grant.slot.number, before, stamp)
        if before is None or (stamp is not None and stamp < before):
            self.on_change()

    def give_back(self, grant: Grant) -> None:
        """Take a slot back that was not used; again is harmless."""
        if grant.stamp == -math.inf:
            return
        before, grant.stamp = grant.stamp, -math.inf
        with self._lock:
            self.key.move(grant.slot.number, before, None)
        self.probe_closed(grant, accepted=False)
        self.on_change()

    def probe_written(self, grant: Grant) -> None:
        """Take note that something of a probe has been sent."""
        if grant.slot.is_probe:
            with self._lock:
                self.key.probe_written(grant.slot.number, self.clock.monotonic())
            self.on_change()

    def probe_closed(self, grant: Grant, *, accepted: bool) -> None:
        """Take note of the end of a probe."""
        if grant.slot.is_probe:
            with self._lock:
                now = self.clock.monotonic()
                self.key.probe_closed(grant.slot.number, now, accepted=accepted)
            self.on_change()

    def freeze(self, grant: Grant, retry_after: float | None) -> None:
        """Shut the key out after a 429 that has just been received."""
        now = self.clock.monotonic()
        with self._lock:
            until, is_first = self.key.freeze(now, retry_after, of_probe=grant.slot.is_probe)
            self._freezes_seen = self.key.freezes
        self.on_freeze(Freeze(self.index, until, until - now, is_first))

    @property
    def is_retired(self) -> bool:
        """Whether somebody has found the key withdrawn lately, or its account empty."""
        return self.key.retired_until > self.now()

    def retire(self) -> None:
        """Take note that the key is withdrawn, or its account empty."""
        self.key.retire(self.now())

    def wait_behind(self, ahead: int) -> float:
        """Return how long somebody with so many others before him waits, as things stand [s]."""
        now = self.now()
        with self._lock:
            return self.key.opens_behind(ahead, now) - now

    def of_others(self) -> int:
        """Return how many of the requests in the last period are other processes' own."""
        return 0

    async def aclose(self) -> None:
        """Let go of what this process holds for it."""

    def _lead(self, now: float) -> float:
        # No longer than the delay bound: as long as a request is not begun, others rely on its
        # being counted by then, and one that turns out to be slow must not break their sum.
        return min(self.key.delay_bound(now), _MAX_LEAD)

    def _notice(self, now: float) -> None:
        """Tell of a 429 that somebody else met."""
        if self._freezes_seen != self.key.freezes:
            self._freezes_seen = self.key.freezes
            until = self.key.frozen_until(now)
            if until is not None:
                self.on_freeze(Freeze(self.index, until, until - now, first_of_episode=False))


class Unlimited(Supply):
    """A key that nothing holds back, and that is only counted by whoever looks."""

    def near_at(self, now: float, *, is_upload: bool = False) -> float:
        """See `Supply`."""
        return now

    async def take(self, wanted: Collection[bool]) -> Grant:
        """See `Supply`."""
        now = self.key.last_instant = self.clock.monotonic()
        slot = Slot(0, now, now, self.key.freezes, is_probe=False)
        return Grant(slot, now, math.inf, now)

    def count(self, grant: Grant, stamp: float | None) -> None:
        """See `Supply`."""

    def give_back(self, grant: Grant) -> None:
        """See `Supply`."""
