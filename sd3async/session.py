"""The session manager: what a client and its variants share, and the calls they have under way."""

import asyncio
import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

from sd3async import config
from sd3async._clock import Clock
from sd3async.call import Call, Options
from sd3async.endpoints import Service
from sd3async.errors import ClientClosedError
from sd3async.exchange import Exchange
from sd3async.limiter import Freeze, Limiter, RateLimit, open_supplies
from sd3async.telemetry import Announcer, Frozen
from sd3async.transport import Transport

T = TypeVar("T")


class Session:
    """Keys with their limiter, connections, and who uses them.

    Whoever makes calls is a user: a client or a variant. Connections are closed with the last one:
    one that is inside `async with`, or has calls under way, keeps them open for itself.

    Args:
        keys: The keys; never shown.
        service: Who is called.
        rate_limit: The limit of each key.
        share: Who else shares it: see `limiter.sharing`.
        transport: The connections.
        max_in_flight: Most calls under way at once.
        clock: Time.
        announce: Told when a key is frozen.

    Attributes:
        headers: The request headers of each key.
        names: A name for each key, from which nobody can tell the key.
        slots: Held from before the first permit of a call to the end of its last attempt.
        limiter: Grants the permits of all keys.
        freezes: How many times a 429 has stopped a key.
    """

    def __init__(
        self,
        *,
        keys: tuple[str, ...],
        service: Service,
        rate_limit: RateLimit,
        share: str,
        transport: Transport,
        max_in_flight: int,
        clock: Clock,
        announce: Announcer,
    ) -> None:
        self.keys = keys
        self.headers = tuple(_headers(key) for key in keys)
        self.names = tuple(map(_name, keys))
        self.service = service
        self.rate_limit = rate_limit
        self.transport = transport
        self.max_in_flight = max_in_flight
        self.clock = clock
        supplies = open_supplies(
            share, keys, base_url=service.base_url, limit=rate_limit, clock=clock
        )
        self.limiter = Limiter(
            rate_limit, clock=clock, on_freeze=self._on_freeze, supplies=supplies
        )
        self.freezes = 0
        self._announce = announce
        self._numbers = itertools.count(1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: dict[Call[Any], object] = {}  # and who made each
        self._pauses: dict[asyncio.Timeout, object] = {}  # and who makes each
        self._entered: Counter[object] = Counter()  # how often each user is inside `async with`
        self._is_to_close = False

    async def call(
        self, exchange: Exchange[T], options: Options, *, user: object, deadline: float | None
    ) -> T:
        """Make a call, from waiting for a slot to the last retry.

        Args:
            exchange: What is sent, and how the answer is read.
            options: Those of the user.
            user: Whoever makes the call.
            deadline: How long it may take in all [s]; None is for ever.
        """
        self._enter_loop()
        call = Call(exchange, self, options, number=next(self._numbers), deadline=deadline)
        calls = self._calls  # of this loop: a dead one's calls may be thrown away under another
        calls[call] = user
        try:
            return await call.run()
        finally:
            del calls[call]
            call.over.set_result(None)
            if self._is_to_close and not self._calls:
                await self._close_if_unused()

    async def pause(self, seconds: float, *, user: object) -> None:
        """Wait between two calls of a user; its leaving ends that too.

        Raises:
            ClientClosedError: The user left meanwhile.
        """
        self._enter_loop()
        pause = asyncio.timeout(None)
        try:
            async with pause:
                self._pauses[pause] = user
                await self.clock.sleep(seconds)
        except TimeoutError as error:
            raise ClientClosedError("the client was closed while it waited for a result") from error
        finally:
            self._pauses.pop(pause, None)

    def places_of(self, key: str) -> Sequence[int]:
        """Return the places of the key of a name, as `names` has it: one, or none.

        Args:
            key: The name; an empty one is that of every key.
        """
        return [place for place, name in enumerate(self.names) if key in (name, "")]

    def estimated_wait(self, *, retry: bool = False, is_new: bool = False) -> float:
        """Return how long a call waits for leave to be sent, as things stand [s].

        Args:
            retry: Whether it goes before all others.
            is_new: Whether it is yet to be made, and not among those under way.
        """
        others = len(self._calls) if is_new else len(self._calls) - 1
        without_slot = 0 if retry else max(0, others - self.max_in_flight)
        return self.limiter.estimated_wait(retry=retry, behind=without_slot)

    async def enter(self, user: object) -> None:
        """Take note that a user has entered; nobody else's leaving closes its connections."""
        self._enter_loop()
        self._entered[user] += 1
        await self.transport.open()

    async def exit(self, user: object) -> None:
        """Take note that a user has left; its last leaving ends its calls."""
        self._entered[user] -= 1
        if self._entered[user] <= 0:
            await self.leave(user)

    async def leave(self, user: object) -> None:
        """End the calls of a user, and close the connections with the last one."""
        del self._entered[user]
        for pause, who in self._pauses.items():
            if who is user and not pause.expired():
                pause.reschedule(0)
        mine = [call for call, who in self._calls.items() if who is user]
        for call in mine:
            call.end(ClientClosedError("the client was closed while the call was under way"))
        self._is_to_close = True
        if mine:
            await asyncio.wait([call.over for call in mine])
        await self._close_if_unused()

    async def _close_if_unused(self) -> None:
        if self._is_to_close and not self._calls and not self._entered:
            self._is_to_close = False
            await self.transport.aclose()
            await self.limiter.aclose()

    def _enter_loop(self) -> None:
        """Begin anew in another event loop: slots belong to one.

        Raises:
            RuntimeError: Another event loop that is still running uses the same client.
        """
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        if self._loop is not None and self._loop.is_running():
            raise RuntimeError(
                "this client is in use in another event loop; make one client for each"
            )
        self._loop = loop
        self.slots = asyncio.Semaphore(self.max_in_flight)
        self._pauses = {}
        self._calls = {}  # without those of a loop that ended in their middle
        self._entered.clear()

    def _on_freeze(self, freeze: Freeze) -> None:
        self.freezes += freeze.first_of_episode
        self._announce(Frozen(at=self.clock.monotonic(), key=freeze.key, seconds=freeze.seconds))
        for call in list(self._calls):
            call.end_if_late()


def _name(key: str) -> str:
    """Return a name for a key, from which nobody can tell the key."""
    secret = hashlib.sha512(key.encode()).digest()
    return hashlib.blake2b(b"pending", key=secret, digest_size=8).hexdigest()


def _headers(key: str) -> dict[str, str]:
    return {"authorization": config.Secret(f"Bearer {key}"), "user-agent": config.USER_AGENT}
