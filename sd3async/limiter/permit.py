"""Leave to send one request, at an instant that is known a little ahead."""

import math
from types import TracebackType
from typing import Self

from sd3async.limiter.key import TICK
from sd3async.limiter.supply import Grant, PermitLostError, Supply


class Permit:
    """Leave to begin one request at an instant, or very soon after; a context manager.

    From the moment it is granted it is entered in the key's window with the latest instant at
    which the server could count it. Nothing has to be reported for the limit to be kept; what is
    reported (a write, an answer) only brings that instant forward. A request that goes out in
    pieces weighs in full until its last byte is out. A permit closed without having been written
    is given back; one that was written keeps its hold, whatever became of the request.

    Attributes:
        key: Which key to send the request with (its index).
        asked_at: When the caller asked [s].
    """

    def __init__(
        self, supply: Supply, grant: Grant, *, asked_at: float, is_upload: bool = False
    ) -> None:
        self.key = supply.index
        self.asked_at = asked_at
        self._supply = supply
        self._clock = supply.clock
        self._grant = grant
        self._is_upload = is_upload
        self._written = False
        self._answered = False

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
    def instant(self) -> float:
        """When the request may begin [s, the limiter's monotonic clock]."""
        return self._grant.instant

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
        while True:
            now = await self._sleep_until(self.instant)
            if self._grant.slot.freezes != self._supply.freezes:
                raise PermitLostError
            if now <= self._grant.latest:
                return
            self._supply.give_back(self._grant)
            another = await self._supply.take([self._is_upload])
            if another is None:
                raise PermitLostError
            self._grant = another

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
        self._supply.probe_written(self._grant)
        self._supply.count(self._grant, None if more else self._latest_count())

    def answered(self) -> None:
        """Note that the head of the answer was seen: the server has counted the request by now."""
        self._written = self._answered = True
        now = self._clock.monotonic()
        if self._grant.stamp is None or not -math.inf < self._grant.stamp <= now:
            self._supply.count(self._grant, now)

    def refused(self, retry_after: float | None) -> None:
        """Freeze the key: the answer is a 429, received just now.

        Args:
            retry_after: What its `Retry-After` asks for [s]; None for the usual lock-out. The key
                stays shut for that and half a second more.
        """
        self.answered()
        if not self._supply.limit.is_unlimited:
            self._supply.freeze(self._grant, retry_after)

    def close(self) -> None:
        """Give the permit back if it was not used; calling it again does nothing."""
        if not self._written:
            self._supply.give_back(self._grant)
            return
        if self._grant.stamp is None:  # cut off while it went out
            self._supply.count(self._grant, self._latest_count())
        self._supply.probe_closed(self._grant, accepted=self._answered)

    async def _sleep_until(self, instant: float) -> float:
        while (now := self._clock.monotonic()) < instant - TICK:
            await self._clock.sleep(instant - now)
        return now

    def _latest_count(self) -> float:
        return self._clock.monotonic() + self._supply.key.delay_bound(self._supply.now())
