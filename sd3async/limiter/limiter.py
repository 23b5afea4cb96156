"""The rate limiter: one line of callers before one or more API keys."""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import attrs

from sd3async._clock import SYSTEM_CLOCK, Clock
from sd3async.limiter.key import TICK, Freeze
from sd3async.limiter.lag import LagWatch
from sd3async.limiter.permit import Permit
from sd3async.limiter.settings import RateLimit
from sd3async.limiter.supply import Grant, Supply, Unlimited

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

logger = logging.getLogger("sd3async.limiter")


@attrs.frozen
class LimiterState:
    """What a limiter knows of one key, for displays.

    Attributes:
        waiting: Callers that wait for a permit, of any key.
        in_window: Requests the server may count in the last period, by our own accounts, whichever
            process sent them.
        of_others: How many of these other processes sent that share the key.
        frozen_until: End of the lock-out [s, the limiter's monotonic clock], or None.
        delay_bound: The delay assumed now [s].
        max_requests: The requests per period it allows itself now.
        retired: Whether the key grants no more, for good.
        loop_lag: How late the event loop ran lately [s]; it should stay far below the delay bound.
    """

    waiting: int
    in_window: int
    of_others: int
    frozen_until: float | None
    delay_bound: float
    max_requests: int
    retired: bool
    loop_lag: float


class Limiter:
    """Grants permits so that no server sees more than the limit in any period.

    One caller at a time stands at the front, and takes the next slot of a key when it is near.
    First come, first served; retries go before all newcomers but the one at the front. An idle
    limiter grants without suspending. It has no tasks of its own, and outlives event loops: what
    was sent under one counts under the next. One loop at a time may use it.

    Args:
        limit: What the server allows each key.
        keys: How many keys there are. Whoever is at the front gets the one that has rested longest.
        clock: Where time comes from.
        on_freeze: Called with every 429 that shuts a key out.
        supplies: Where the slots of each key come from; None counts for this limiter alone.
    """

    def __init__(
        self,
        limit: RateLimit,
        *,
        keys: int = 1,
        clock: Clock = SYSTEM_CLOCK,
        on_freeze: Callable[[Freeze], None] | None = None,
        supplies: Sequence[Supply] | None = None,
    ) -> None:
        if keys < 1:
            raise ValueError(f"keys: {keys!r} is too few; at least 1 is needed")
        self.limit = limit
        self.clock = clock
        self._on_freeze = on_freeze
        alone = Unlimited if limit.is_unlimited else Supply
        self._supplies = supplies or [alone(index, limit, clock) for index in range(keys)]
        for supply in self._supplies:
            supply.on_change = self.wake
            supply.on_freeze = self._frozen
        self._live = list(self._supplies)
        self._lag = LagWatch()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        keys = f"{len(self._live)}/{len(self._supplies)}"
        return f"<Limiter {self.limit} keys={keys}>"

    async def acquire(
        self, *, retry: bool = False, key: int | None = None, is_upload: bool = False
    ) -> Permit:
        """Wait for leave to send one request.

        Args:
            retry: Whether the request was sent before, or lost its permit; it then goes before
                all newcomers but the one at the front, behind earlier retries.
            key: The only key that will do; None for any.
            is_upload: Whether the request's body takes time to leave.

        Returns:
            The permit, shortly before its instant: connect, await its `ready`, and write at once.
            Close it whatever happens.

        Raises:
            RuntimeError: Another running event loop uses this limiter.
        """
        self._enter(asyncio.get_running_loop())
        asked_at = self.clock.monotonic()
        line, me = self._line, object()  # of this loop
        line[me] = is_upload
        supplies = self._live if key is None else [self._supplies[key]]
        try:
            async with nullcontext() if retry else self._newcomers, self._front:
                line.move_to_end(me, last=False)
                supply, grant = await self._next_slot(supplies, is_upload=is_upload)
        finally:
            del line[me]
        return Permit(supply, grant, asked_at=asked_at, is_upload=is_upload)

    def retire(self, key: int) -> bool:
        """Stop granting permits for a key (its answer was 401 or 402), unless it is the last.

        A lone key is never given up: its account may be topped up while the program runs.

        Returns:
            Whether another key is left.
        """
        retiring = self._supplies[key]
        if self._live == [retiring]:
            return False
        if retiring in self._live:
            self._live.remove(retiring)
            retiring.retire()
        return True

    def observe_round_trip(self, key: int, seconds: float) -> None:
        """Learn the delay bound from how much the round trips of quick answers vary.

        Args:
            key: Which key it was.
            seconds: From the last byte written to the head of the answer [s]. Only of answers that
                take the server no work (errors, polls, balances); a generated image says nothing.
        """
        self._supplies[key].key.observe_round_trip(seconds)

    def estimated_wait(self, *, retry: bool = False, behind: int = 0) -> float:
        """Return how long a caller who asked now would wait for leave, as things stand [s].

        Args:
            retry: Whether the caller goes before all newcomers.
            behind: How many others are known to ask before.
        """
        ahead = behind + (0 if retry or self._loop is None else len(self._line))
        share = ahead // len(self._live)
        return max(0.0, min(supply.wait_behind(share) for supply in self._live))

    def state(self, key: int = 0) -> LimiterState:
        """Return what a display may show about a key."""
        supply = self._supplies[key]
        shown, now = supply.key, supply.now()
        frozen_until = shown.frozen_until(now)
        return LimiterState(
            waiting=len(self._line) if self._loop is not None else 0,
            in_window=shown.in_period(now),
            of_others=supply.of_others(),
            frozen_until=frozen_until and self.clock.monotonic() + frozen_until - now,
            delay_bound=shown.delay_bound(now),
            max_requests=shown.max_requests(now),
            retired=supply not in self._live,
            loop_lag=self._lag.worst,
        )

    def wake(self) -> None:
        """Let the caller at the front look again: something changed that may let it go earlier."""
        if self._loop is None or self._loop.is_closed():
            return
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    @property
    def trouble(self) -> str:
        """Why callers wait for something else than the limit, or nothing."""
        return next((supply.trouble for supply in self._live if supply.trouble), "")

    async def aclose(self) -> None:
        """Let go of what the supplies hold."""
        for supply in self._supplies:
            await supply.aclose()

    def _enter(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin anew in another event loop: lines, buckets and alarms belong to one."""
        if loop is self._loop:
            return
        if self._loop is not None and self._loop.is_running():
            raise RuntimeError("the limiter is in use by another running event loop")
        self._loop = loop
        self._newcomers = asyncio.Lock()
        self._front = asyncio.Lock()
        # Whether each is an upload; whoever has come to the front is first.
        self._line: OrderedDict[object, bool] = OrderedDict()
        self._alarm: asyncio.Future[None] | None = None
        self._buckets = self._make_buckets()

    def _make_buckets(self) -> "list[AsyncLimiter]":
        bucket = self.limit.bucket
        if bucket is None:
            return []
        # Imported here: it costs a tenth of what this package adds to aiohttp's import.
        from aiolimiter import AsyncLimiter

        return [AsyncLimiter(*bucket) for _ in self._supplies]

    async def _next_slot(self, supplies: list[Supply], *, is_upload: bool) -> tuple[Supply, Grant]:
        """Wait until one of these has a slot near and, if it is paced, its bucket a token."""
        while True:
            supply = await self._open(supplies, is_upload=is_upload)
            if self._buckets:
                await self._buckets[supply.index].acquire()
            if supply in supplies:
                grant = await supply.take(self._line.values())
                if grant and supply in _usable(supplies):
                    return supply, grant
                if grant:  # it came with the news that the key is withdrawn
                    supply.give_back(grant)

    async def _open(self, supplies: list[Supply], *, is_upload: bool) -> Supply:
        while True:
            now = self.clock.monotonic()
            near: list[Supply] = []
            soonest = math.inf
            for supply in _usable(supplies):
                near_at = supply.near_at(now, is_upload=is_upload)
                soonest = min(soonest, near_at)
                if near_at <= now + TICK:
                    near.append(supply)
            if near:
                return near[0] if len(near) == 1 else min(near, key=lambda supply: supply.rested)
            await self._pause(now, soonest)

    async def _pause(self, now: float, until: float) -> None:
        """Wait until an instant, which may be never, or until something changes."""
        alarm = self._alarm = asyncio.get_running_loop().create_future()

        def ring() -> None:
            rung_at = self.clock.monotonic()
            self._lag.note(rung_at - until, rung_at, bound=self.limit.delay_bound)
            self.wake()

        timer = self.clock.call_later(until - now, ring) if until < math.inf else None
        try:
            await alarm
        finally:
            self._alarm = None
            if timer is not None:
                timer.cancel()

    def _frozen(self, freeze: Freeze) -> None:
        supply = self._supplies[freeze.key]
        now = supply.now()
        if freeze.first_of_episode:
            logger.warning(
                "429: key %d of %d is shut out for %.1f s. Either other programs use it too, or "
                "requests reach the server more unevenly than the delay bound allows for. From now "
                "on: %d requests per %g s and a delay bound of %.2f s, easing while it stays calm.",
                freeze.key + 1,
                len(self._supplies),
                freeze.seconds,
                supply.key.max_requests(now),
                self.limit.period,
                supply.key.delay_bound(now),
            )
        else:
            logger.info("429: key %d stays shut out for %.1f s", freeze.key + 1, freeze.seconds)
        self.wake()
        if self._on_freeze is not None:
            self._on_freeze(freeze)


def _usable(supplies: list[Supply]) -> list[Supply]:
    """Return those whose key nobody has found withdrawn, or all where none is left."""
    if len(supplies) == 1:
        return supplies
    return [supply for supply in supplies if not supply.is_retired] or supplies
