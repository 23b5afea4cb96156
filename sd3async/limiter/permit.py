"""Leave to send one request, at an instant that is known a little ahead."""

import math
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sd3async.limiter.key import TICK, Key

if TYPE_CHECKING:
    from sd3async.limiter.limiter import Limiter

SLACK = 0.06
"""How long after its instant a request may still be begun [s]."""


class PermitLostError(Exception):
    """The key was shut out, or the instant missed, before anything was sent: ask for another."""


class Permit:
    """Leave to begin one request within `SLACK` of an instant; a context manager.

    From the moment it is granted it is entered in the key's window with the latest instant at
    which the server could count it. Nothing has to be reported for the limit to be kept; what is
    reported (a write, an answer) only brings that instant forward. A request that goes out in
    pieces weighs in full until its last byte is out. A permit closed without having been written
    is given back; one that was written keeps its hold, whatever became of the request.

    Attributes:
        key: Which key to send the request with (its index).
        instant: When the request may begin [s, the limiter's monotonic clock].
        asked_at: When the caller asked [s].
    """

    def __init__(self, limiter: "Limiter", key: Key, asked_at: float) -> None:
        self.key = key.index
        self.asked_at = asked_at
        self._limiter = limiter
        self._key = key
        self._written = False
        self._answered = False
        self._stamp: float | None = None  # the latest instant of being counted, while it is entered
        self._take(limiter.clock.monotonic())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def waited(self) -> float:
        """From asking to the instant [s]."""
        return self.instant - self.asked_at

    async def ready(self) -> None:
        """Wait for the instant, with the connection in hand; then write at once.

        Who comes too late gets another instant, if there is one near.

        Raises:
            PermitLostError: There is none, or the key was shut out meanwhile: write nothing.
        """
        clock = self._limiter.clock
        while (now := clock.monotonic()) < self.instant - TICK:
            await clock.sleep(self.instant - now)
        if now > self.instant + SLACK:
            self._give_back(now)
            if self._key.is_near(now):
                self._take(now)
                await self.ready()
        if self._stamp is None or self._freezes != self._key.freezes:
            raise PermitLostError

    def written(self, *, more: bool = False) -> None:
        """Note that a piece of the request is being, or was, written.

        Args:
            more: Whether something of it has yet to leave this machine. The server may count a
                request when its last byte arrives, so one that is still going out weighs in full,
                however long that takes.
        """
        if self._answered:
            return
        self._written = True
        now = self._limiter.clock.monotonic()
        if self._probe is not None:
            self._key.probe_written(self._probe, now)
            self._limiter.wake()
        self._count_until(math.inf if more else now + self._key.delay_bound(now))

    def answered(self) -> None:
        """Note that the head of the answer was seen: the server has counted the request by now."""
        self._written = self._answered = True
        now = self._limiter.clock.monotonic()
        if self._stamp is None or now < self._stamp:
            self._count_until(now)

    def refused(self, retry_after: float | None) -> None:
        """Freeze the key: the answer is a 429, received just now.

        Args:
            retry_after: What its `Retry-After` asks for [s]; None for the usual lock-out. The key
                stays shut for that and half a second more.
        """
        self.answered()
        self._limiter.freeze(self._key, retry_after, of_probe=self._probe is not None)

    def close(self) -> None:
        """Give the permit back if it was not used; calling it again does nothing."""
        now = self._limiter.clock.monotonic()
        if not self._written:
            self._give_back(now)
        elif self._stamp == math.inf:  # cut off while it went out
            self._count_until(now + self._key.delay_bound(now))
        if self._written and self._probe is not None:
            self._key.probe_closed(self._probe, now, accepted=self._answered)
            self._limiter.wake()

    def _take(self, now: float) -> None:
        self.instant = max(now, self._key.opens_at(now))
        self._probe = self._key.grant(self.instant)
        self._freezes = self._key.freezes
        self._count_until(self.instant + SLACK + self._key.delay_bound(now))

    def _give_back(self, now: float) -> None:
        if self._stamp is not None:
            self._key.window.remove(self._stamp)
            self._stamp = None
            if self._probe is not None:
                self._key.probe_closed(self._probe, now, accepted=False)
            self._limiter.wake()

    def _count_until(self, stamp: float) -> None:
        if stamp == self._stamp:
            return
        before, self._stamp = self._stamp, stamp
        if before is not None:
            self._key.window.remove(before)
        self._key.window.add(stamp)
        if before is not None and stamp < before:
            self._limiter.wake()
