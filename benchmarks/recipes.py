"""Limiters: this project's, and what people use, each behind the same two calls.

`admit` returns when a request may be sent, and gives back a ticket that is told what becomes of
it. Only this project's limiter listens; the others know nothing but their own clock.
"""

import asyncio
import importlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from aiolimiter import AsyncLimiter

from sd3async.emulator.virtual_time import LoopClock
from sd3async.limiter import Limiter, Permit, PermitLostError, RateLimit, Shape

REQUESTS, PERIOD, LOCKOUT = 150, 10.0, 60.0
Acquire: TypeAlias = Callable[[], Awaitable[object]]


class Ticket(Protocol):
    """Leave to send one request."""

    def written(self) -> None:
        """It has been sent."""

    def answered(self, *, refused: bool) -> None:
        """Its answer is there."""


class Recipe(Protocol):
    """A way to keep a rate limit."""

    async def admit(self, *, retry: bool) -> Ticket:
        """Wait until a request may be sent."""
        ...

    @property
    def waits_out_lockouts(self) -> bool:
        """Whether it holds everyone back after a 429, so that nobody need back off alone."""
        ...


class _Ours:
    waits_out_lockouts = True

    def __init__(self, shape: Shape) -> None:
        self._limiter = Limiter(RateLimit(shape=shape), clock=LoopClock())

    async def admit(self, *, retry: bool) -> "_OurTicket":
        while True:
            permit = await self._limiter.acquire(retry=retry)
            try:
                await permit.ready()
            except PermitLostError:  # a 429 came meanwhile
                permit.close()
                retry = True
            else:
                return _OurTicket(permit)


class _OurTicket:
    def __init__(self, permit: Permit) -> None:
        self._permit = permit

    def written(self) -> None:
        self._permit.written()

    def answered(self, *, refused: bool) -> None:
        if refused:
            self._permit.refused(None)
        else:
            self._permit.answered()
        self._permit.close()


class _Deaf:
    """A ticket of a limiter that never learns what became of a request."""

    def written(self) -> None:
        pass

    def answered(self, *, refused: bool) -> None:
        pass


class _Theirs:
    """A limiter that is a coroutine function and nothing more."""

    waits_out_lockouts = False

    def __init__(self, acquire: Acquire) -> None:
        self._acquire = acquire

    async def admit(self, *, retry: bool) -> _Deaf:
        del retry  # they know no difference
        await self._acquire()
        return _Deaf()


def _aiolimiter(rate: float, period: float) -> Callable[[], Recipe]:
    return lambda: _Theirs(AsyncLimiter(rate, period).acquire)


def _unlimited() -> Recipe:
    return _Theirs(lambda: asyncio.sleep(0))


def _window_log() -> Recipe:
    """The textbook: the last 150 grants, and a wait until the oldest is a period old."""
    grants: deque[float] = deque()
    lock = asyncio.Lock()

    async def acquire() -> None:
        loop = asyncio.get_running_loop()
        async with lock:
            if len(grants) == REQUESTS:
                await asyncio.sleep(grants.popleft() + PERIOD - loop.time())
            grants.append(loop.time())

    return _Theirs(acquire)


def window_of_limits(requests: int, period: float, storage: Any = None) -> Acquire:
    """limits' moving window; it only says yes or no, so its users ask again when it says."""
    limits: Any = importlib.import_module("limits")
    aio: Any = importlib.import_module("limits.aio")
    strategy = aio.strategies.MovingWindowRateLimiter(storage or aio.storage.MemoryStorage())
    item = limits.RateLimitItemPerSecond(requests, int(period))
    clock: Any = importlib.import_module("limits.aio.storage.memory").time

    async def acquire() -> None:
        while not await strategy.hit(item, "key"):
            stats = await strategy.get_window_stats(item, "key")
            await asyncio.sleep(max(0.001, stats.reset_time - clock.time()))

    return acquire


def bucket_of_pyrate(requests: int, period: float) -> Acquire:
    """pyrate-limiter's bucket in memory."""
    pyrate: Any = importlib.import_module("pyrate_limiter")
    limiter = pyrate.Limiter(pyrate.Rate(requests, int(period * 1000)))
    return lambda: limiter.try_acquire_async("key")


RECIPES: dict[str, Callable[[], Recipe]] = {
    "sd3async, paced": lambda: _Ours("paced"),
    "sd3async, burst": lambda: _Ours("burst"),
    "sd3async, bucket": lambda: _Ours("bucket"),
    "no limiter": _unlimited,
    "AsyncLimiter(150, 10)": _aiolimiter(150, 10),
    "AsyncLimiter(75, 5)": _aiolimiter(75, 5),
    "AsyncLimiter(15, 1)": _aiolimiter(15, 1),
    "AsyncLimiter(1, 1/15)": _aiolimiter(1, 1 / 15),
    "window log from the grant": _window_log,
    "limits, moving window": lambda: _Theirs(window_of_limits(REQUESTS, PERIOD)),
    "pyrate-limiter": lambda: _Theirs(bucket_of_pyrate(REQUESTS, PERIOD)),
}
