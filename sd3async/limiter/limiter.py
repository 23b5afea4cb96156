"""The rate limiter: one line of waiters before one or more API keys."""

import asyncio
import logging
import math
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import attrs

from sd3async._clock import SYSTEM_CLOCK, Clock, Timer
from sd3async.limiter.key import Freeze, Key, Probe
from sd3async.limiter.lag import LagWatch
from sd3async.limiter.line import Line
from sd3async.limiter.settings import RateLimit

if TYPE_CHECKING:
    from sd3async.limiter.pacer import Pacer

logger = logging.getLogger("sd3async.limiter")


@attrs.frozen
class LimiterState:
    """What a limiter knows of one key, for displays.

    Attributes:
        waiting: Callers that wait for a permit, of any key.
        in_window: Requests the server may count in the last period, by our own accounts.
        frozen_until: End of the lock-out [s, the limiter's monotonic clock], or None.
        delay_bound: The delay assumed now [s].
        max_requests: The requests per period it allows itself now.
        retired: Whether the key grants no more, for good.
        loop_lag: How late the event loop ran lately [s]; it should stay far below the delay bound.
    """

    waiting: int
    in_window: int
    frozen_until: float | None
    delay_bound: float
    max_requests: int
    retired: bool
    loop_lag: float


class Permit:
    """Leave to send one request with one key; a context manager that closes itself.

    Until `written`, the request is taken to reach the server at any time, and weighs in full. A
    permit closed without having been written is refunded; one that was written keeps its hold,
    whatever became of the request, because the server may count it.

    Attributes:
        key: Which key to send it with (its index).
        granted_at: When it was granted [s, the limiter's monotonic clock].
        waited: How long the caller waited for it [s].
    """

    __slots__ = (
        "_answered",
        "_closed",
        "_key",
        "_limiter",
        "_partly_written",
        "_pending",
        "_probe",
        "_stamp",
        "granted_at",
        "key",
        "waited",
    )

    def __init__(
        self, limiter: "Limiter", key: Key, probe: Probe | None, granted_at: float, waited: float
    ) -> None:
        self.key = key.index
        self.granted_at = granted_at
        self.waited = waited
        self._limiter = limiter
        self._key = key
        self._probe = probe
        self._pending = True  # the window counts it as unwritten
        self._stamp: float | None = None  # else: the latest instant the server can count it at
        self._partly_written = False
        self._answered = False
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def written(self, *, more: bool = False) -> None:
        """Note that a piece of the request has just been written; call it at each piece.

        Args:
            more: Whether another piece follows for certain. The server may count a request when
                its last byte arrives, so one that is still being written weighs in full, however
                long that takes. Without it every call might be the last, and the last call counts.
        """
        if self._answered:
            return
        now = self._limiter.clock.monotonic()
        if self._probe is not None:
            self._key.probe_written(self._probe, now)
        if more and self._pending:
            self._partly_written = True
        else:
            self._count_until(now + self._key.delay_bound(now))
        self._limiter.recheck()

    def answered(self) -> None:
        """Note that the head of the answer was seen: the server has counted the request by now."""
        if self._answered:
            return
        self._answered = True
        now = self._limiter.clock.monotonic()
        if self._pending or (self._stamp is not None and now < self._stamp):
            self._count_until(now)
            self._limiter.recheck()

    def refused(self, retry_after: float | None) -> None:
        """Freeze the key: the answer is a 429, received just now.

        Args:
            retry_after: What its `Retry-After` asks for [s]; None for the usual lock-out. The key
                stays shut for that and half a second more.
        """
        self.answered()
        self._limiter.shut_out(self._key, retry_after, of_probe=self._probe is not None)

    def close(self) -> None:
        """Give the permit back if it was not used; calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        now = self._limiter.clock.monotonic()
        if self._pending and self._partly_written:
            self._count_until(now + self._key.delay_bound(now))
        elif self._pending:
            self._pending = False
            self._key.window.refund()
        if self._probe is not None:
            self._key.probe_closed(self._probe, now, accepted=self._answered)
        self._limiter.recheck()

    def _count_until(self, stamp: float) -> None:
        window = self._key.window
        if self._pending:
            self._pending = False
            window.refund()
        elif self._stamp is not None:
            window.remove(self._stamp)
        window.add(stamp)
        self._stamp = stamp


class Limiter:
    """Grants permits so that no server sees more than the limit in any period.

    Fair: first come, first served, with retries before newcomers; a caller who finds others
    waiting joins them even if a key is free. An idle limiter grants without suspending. It has no
    tasks of its own, and outlives event loops: what was sent under one counts under the next. One
    loop at a time may use it.

    Args:
        limit: What the server allows each key.
        keys: How many keys there are. The head of the line gets the least loaded one that is free.
        clock: Where time comes from.
        on_freeze: Called with every 429 that shuts a key out.
    """

    def __init__(
        self,
        limit: RateLimit,
        *,
        keys: int = 1,
        clock: Clock = SYSTEM_CLOCK,
        on_freeze: Callable[[Freeze], None] | None = None,
    ) -> None:
        if keys < 1:
            raise ValueError(f"keys: {keys!r} is too few; at least 1 is needed")
        self.limit = limit
        self.clock = clock
        self._on_freeze = on_freeze
        self._keys = [Key(index, limit) for index in range(keys)]
        self._live = list(self._keys)
        self._last_retired_by: Exception | None = None
        self._pacers = _pacers(limit, self._keys)
        self._line: Line[Permit] = Line()
        self._lag = LagWatch()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: Timer | None = None
        self._timer_due = math.inf
        self._recheck_is_due = False

    def __repr__(self) -> str:
        keys = f"{len(self._live)}/{len(self._keys)}"
        return f"<Limiter {self.limit} keys={keys} waiting={len(self._line)}>"

    async def acquire(self, *, retry: bool = False) -> Permit:
        """Wait for leave to send one request.

        Ask for it last, with a connection in hand, and write at once: a permit that is held
        without writing takes its place in every window.

        Args:
            retry: Whether the request was sent before and refused with a 429; it then goes before
                all newcomers, behind earlier retries.

        Returns:
            The permit; close it whatever happens.

        Raises:
            Exception: Every key is retired; the error is what the last one was retired with.
            RuntimeError: Another running event loop uses this limiter.
        """
        if not self._live and self._last_retired_by is not None:
            raise self._last_retired_by.with_traceback(None)  # else it grows with every raise
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._move_to(loop)
        asked_at = self.clock.monotonic()
        if self._line.is_clear():
            key, _ = self._choose(asked_at)
            if key is not None:
                return self._grant(key, asked_at, asked_at)
        return await self._wait(loop.create_future(), asked_at, retry=retry)

    def retire(self, key: int, error: Exception) -> None:
        """Stop granting permits for a key (its answer was 401 or 402).

        Args:
            key: Its index; retiring it again does nothing.
            error: What everyone who waits or asks later gets once no key is left.
        """
        retiring = self._keys[key]
        if retiring not in self._live:
            return
        self._live.remove(retiring)
        if not self._live:
            self._last_retired_by = error
            self._line.dismiss(error)

    def observe_round_trip(self, key: int, seconds: float) -> None:
        """Learn the delay bound from how much the round trips of quick answers vary.

        Args:
            key: Which key it was.
            seconds: From the last byte written to the head of the answer [s]. Only of answers that
                take the server no work (errors, polls, balances); a generated image says nothing.
        """
        self._keys[key].observe_round_trip(seconds)

    def state(self, key: int = 0) -> LimiterState:
        """Return what a display may show about a key."""
        now = self.clock.monotonic()
        shown = self._keys[key]
        return LimiterState(
            waiting=len(self._line),
            in_window=shown.in_period(now),
            frozen_until=shown.frozen_until(now),
            delay_bound=shown.delay_bound(now),
            max_requests=shown.max_requests(now),
            retired=shown not in self._live,
            loop_lag=self._lag.worst,
        )

    def recheck(self) -> None:
        """Look at the line soon: something changed that may let its head go earlier.

        Many changes in one pass of the loop cost one look.
        """
        if self._line and not self._recheck_is_due and self._loop and not self._loop.is_closed():
            self._recheck_is_due = True
            self._loop.call_soon(self._serve)

    def shut_out(self, key: Key, retry_after: float | None, *, of_probe: bool) -> None:
        """Freeze a key after a 429."""
        if self.limit.is_unlimited:
            return
        now = self.clock.monotonic()
        freeze = key.freeze(now, retry_after, of_probe=of_probe)
        if freeze.first_of_episode:
            logger.warning(
                "429: key %d of %d is shut out for %.1f s. Either other programs use it too, or "
                "requests reach the server more unevenly than the delay bound allows for. From now "
                "on: %d requests per %g s and a delay bound of %.2f s, easing while it stays calm.",
                key.index + 1,
                len(self._keys),
                freeze.seconds,
                key.max_requests(now),
                self.limit.period,
                key.delay_bound(now),
            )
        else:
            logger.info("429: key %d stays shut out for %.1f s", key.index + 1, freeze.seconds)
        self.recheck()
        if self._on_freeze is not None:
            self._on_freeze(freeze)

    async def _wait(
        self, waiter: "asyncio.Future[Permit]", asked_at: float, *, retry: bool
    ) -> Permit:
        self._line.join(waiter, asked_at, retry=retry)
        if self._timer is None:
            self.recheck()
        try:
            return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                waiter.result().close()  # granted, and cancelled before it could be told
            raise
        finally:
            self._line.leave(waiter)
            if not self._line:
                self._disarm()

    def _serve(self) -> None:
        """Grant to the head of the line if a key is free, or set the timer for when one will be.

        One grant in a pass of the loop: the request is then written, and its place in the window
        known, before the next is decided.
        """
        self._recheck_is_due = False
        self._disarm()
        if not self._line:
            return
        now = self.clock.monotonic()
        key, opens_at = self._choose(now)
        if key is None:
            self._arm(now, opens_at)
        elif (called := self._line.call()) is not None:
            waiter, asked_at = called
            waiter.set_result(self._grant(key, now, asked_at))
            self.recheck()

    def _choose(self, now: float) -> tuple[Key | None, float]:
        """Return the key to grant with, or None and when to look again."""
        keys = self._live
        if len(keys) > 1:
            keys = sorted(keys, key=lambda key: key.load(now))
        soonest = math.inf
        for key in keys:
            opens_at = key.opens_at(now)
            if self._pacers and opens_at <= now:
                opens_at = self._pacers[key.index].ready_at(now)
            if opens_at <= now:
                return key, now
            soonest = min(soonest, opens_at)
        return None, soonest

    def _grant(self, key: Key, now: float, asked_at: float) -> Permit:
        if self._pacers:
            self._pacers[key.index].take(now)
        return Permit(self, key, key.grant(now), now, now - asked_at)

    def _arm(self, now: float, at: float) -> None:
        if at < math.inf:
            self._timer_due = at
            self._timer = self.clock.call_later(at - now, self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        now = self.clock.monotonic()
        self._lag.note(now - self._timer_due, now, bound=self.limit.delay_bound)
        self._serve()

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None and self._loop.is_running():
            raise RuntimeError("the limiter is in use by another running event loop")
        self._line.clear()
        self._disarm()
        self._recheck_is_due = False
        for pacer in self._pacers:
            pacer.reset()
        self._loop = loop


def _pacers(limit: RateLimit, keys: list[Key]) -> "list[Pacer]":
    if limit.shape != "bucket" and limit.max_rate is None:
        return []
    # Here, not at the top: aiolimiter is slow to import, and the default shape has no use for it.
    from sd3async.limiter.pacer import Pacer

    return [Pacer(limit, key) for key in keys]
