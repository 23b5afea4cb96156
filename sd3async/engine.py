"""From a request value to an image: everything a client is made of, put to work."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import attrs

from sd3async._clock import Clock
from sd3async.call import Attempt, Call, KeyPool
from sd3async.config import Timeouts, user_agent
from sd3async.endpoints import BALANCE_PATH, ENDPOINTS, Service
from sd3async.errors import APIError
from sd3async.limiter import Freeze, Limiter, RateLimit
from sd3async.models.requests import GenerationRequest, SD3Request, check_image
from sd3async.models.results import GeneratedImage
from sd3async.models.sources import ImageSource, Upload, prepare
from sd3async.multipart import MultipartBody, encode
from sd3async.retry import RetryPolicy
from sd3async.sinks import Sink, open_sink
from sd3async.telemetry import Announcer, Frozen
from sd3async.transport import Answer, Transport
from sd3async.wire import ImageReader, form_fields, read_balance, read_error

T = TypeVar("T")


class Connection:
    """What a client and its variants share: keys, limiter, connections, slots.

    Args:
        keys: The keys; never shown.
        service: Who is called.
        rate_limit: The limit of each key.
        transport: The connections.
        max_in_flight: Most calls under way at once.
        clock: Time.
        announce: Told when a key is frozen.
    """

    def __init__(
        self,
        *,
        keys: tuple[str, ...],
        service: Service,
        rate_limit: RateLimit,
        transport: Transport,
        max_in_flight: int,
        clock: Clock,
        announce: Announcer,
    ) -> None:
        self.keys = keys
        self.service = service
        self.rate_limit = rate_limit
        self.transport = transport
        self.max_in_flight = max_in_flight
        self.clock = clock
        self.limiter = Limiter(rate_limit, keys=len(keys), clock=clock, on_freeze=self._on_freeze)
        self.pool = KeyPool(len(keys), self.limiter)
        self.numbers = itertools.count(1)
        self.freezes = 0
        self._announce = announce
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(max_in_flight)

    def slots(self) -> asyncio.Semaphore:
        """Return the connection slots of the running loop.

        Raises:
            RuntimeError: Another event loop that is still running uses the same client.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and self._loop.is_running():
                raise RuntimeError(
                    "this client is in use in another event loop; make one client for each"
                )
            self._loop = loop
            self._slots = asyncio.Semaphore(self.max_in_flight)
        return self._slots

    def _on_freeze(self, freeze: Freeze) -> None:
        self.freezes += freeze.first_of_episode
        self._announce(Frozen(at=self.clock.monotonic(), key=freeze.key, seconds=freeze.seconds))


@attrs.frozen(kw_only=True)
class Engine:
    """A connection and the options of one client or variant.

    Attributes:
        connection: What variants share.
        policy: When to try again.
        timeouts: For each attempt.
        announce: Tells the observers.
        client_headers: Headers that tell the service who is calling.
    """

    connection: Connection
    policy: RetryPolicy
    timeouts: Timeouts
    announce: Announcer
    client_headers: dict[str, str]

    async def generate(
        self,
        request: GenerationRequest,
        *,
        deadline: float | None,
        path: Path | None,
        accept: str,
    ) -> GeneratedImage:
        """Generate one image; see `SD3Client.generate`."""
        if isinstance(request, SD3Request) and request.model is None:
            request = attrs.evolve(request, model=self.connection.service.default_model)
        upload = await _prepare(request)
        body = encode(form_fields(request), {"image": upload} if upload else {})
        generation = _Generation(self, request, body, path, accept)
        return await generation.run(deadline)

    async def balance(self, *, deadline: float | None) -> float:
        """Return the credits left; see `SD3Client.balance`."""

        async def send(attempt: Attempt) -> float:
            attempt.written()
            answer = await self.connection.transport.get(
                self.connection.service.base_url + BALANCE_PATH,
                headers=self.headers(attempt.key, "application/json"),
                timeouts=self.timeouts,
            )
            with answer:
                call.answered(attempt, answer)
                self.connection.limiter.observe_round_trip(attempt.key, attempt.round_trip)
                if answer.status != 200:
                    raise await self.refusal(answer)
                return read_balance(answer.status, await answer.read())

        call = self.call("balance", send, costs_credits=False)
        return await call.run(deadline)

    def call(
        self,
        endpoint: str,
        send: Callable[[Attempt], Awaitable[T]],
        *,
        is_replayable: bool = True,
        costs_credits: bool = True,
    ) -> Call[T]:
        """Return a call that has not begun."""
        connection = self.connection
        return Call(
            number=next(connection.numbers),
            endpoint=endpoint,
            send=send,
            is_replayable=is_replayable,
            costs_credits=costs_credits,
            limiter=connection.limiter,
            pool=connection.pool,
            slots=connection.slots(),
            policy=self.policy,
            clock=connection.clock,
            announce=self.announce,
        )

    def headers(self, key: int, accept: str) -> dict[str, str]:
        """Return the request headers, the key among them."""
        return {
            "authorization": f"Bearer {self.connection.keys[key]}",
            "accept": accept,
            "user-agent": user_agent(),
            **self.client_headers,
        }

    async def refusal(self, answer: Answer) -> APIError:
        """Return the error that an answer stands for."""
        return read_error(
            answer.status,
            answer.headers,
            await answer.read_error_body(),
            secrets=self.connection.keys,
            now=self.connection.clock.time(),
        )


async def _prepare(request: GenerationRequest) -> Upload | None:
    source: ImageSource | None = getattr(request, "image", None)
    if source is None:
        return None
    upload = await prepare(source, "image")
    check_image(upload.facts)
    return upload


class _Generation:
    """One image on its way: what each attempt sends, and what it makes of the answer."""

    def __init__(
        self,
        engine: Engine,
        request: GenerationRequest,
        body: MultipartBody,
        path: Path | None,
        accept: str,
    ) -> None:
        self._engine = engine
        self._request = request
        self._body = body
        self._path = path
        self._accept = accept
        self._url = engine.connection.service.base_url + ENDPOINTS[request.endpoint].path
        self._call = engine.call(request.endpoint, self._send, is_replayable=body.is_replayable)

    async def run(self, deadline: float | None) -> GeneratedImage:
        """Make the call and tell how it ended."""
        try:
            image = await self._call.run(deadline)
        except BaseException as error:
            self._call.done(error=error)
            raise
        self._call.done(credits_spent=image.credits)
        return image

    async def _send(self, attempt: Attempt) -> GeneratedImage:
        async with open_sink(self._path) as sink:
            answer = await self._engine.connection.transport.post(
                self._url,
                self._body,
                headers=self._engine.headers(attempt.key, self._accept),
                timeouts=self._engine.timeouts,
                on_written=attempt.written,
                on_sent=lambda: self._call.sent(attempt, self._body.length),
            )
            with answer:
                self._call.answered(attempt, answer)
                if not 200 <= answer.status < 300:
                    await self._refuse(attempt, answer)
                return await self._receive(attempt, answer, sink)

    async def _refuse(self, attempt: Attempt, answer: Answer) -> None:
        if answer.status < 500:
            # An answer that needed no generation says how long the way is.
            self._engine.connection.limiter.observe_round_trip(attempt.key, attempt.round_trip)
        raise await self._engine.refusal(answer)

    async def _receive(self, attempt: Attempt, answer: Answer, sink: Sink) -> GeneratedImage:
        secrets = self._engine.connection.keys
        reader = ImageReader(answer.status, answer.headers, secrets=secrets)
        async for piece in answer.pieces():
            await sink.write(reader.feed(piece))
        reader.finish()
        kept = await sink.finish()
        return GeneratedImage(
            data=kept if isinstance(kept, bytes) else None,
            path=kept if isinstance(kept, Path) else None,
            content_type=reader.content_type,
            size=reader.size,
            seed=reader.seed,
            finish_reason=reader.finish_reason,
            request_id=reader.request_id,
            request=self._request,
            credits=self._request.credits,
            attempts=self._call.attempts,
            unknown_charges=self._call.unknown_charges,
            timings=self._call.timings(attempt),
        )
