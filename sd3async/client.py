"""The client: coroutines that turn a prompt into an image."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp
import attrs

from sd3async import config
from sd3async._clock import SYSTEM_CLOCK, Clock
from sd3async.call import Options
from sd3async.caller import Accept, OnStarted
from sd3async.calls import Control, Edit, GenerateCalls, Upscale
from sd3async.config import Timeouts
from sd3async.endpoints import POLL_SECONDS
from sd3async.errors import NotEnoughTimeError, TransportError
from sd3async.exchange import Exchange, Generation, OnAttempt, OnWhole, Samples, Start
from sd3async.limiter import LimiterState, RateLimit, read_share
from sd3async.models.base import GenerationRequest, StartedRequest
from sd3async.models.fields import AT_LEAST_ONE, Duration, check_type, refuse, shown
from sd3async.models.requests import check_single
from sd3async.models.results import GeneratedImage, PendingImage
from sd3async.models.targets import check_target
from sd3async.retry import RetryPolicy
from sd3async.session import Session
from sd3async.telemetry import Announcer, Observer, observers_from_environment
from sd3async.transport import Transport
from sd3async.v1 import BALANCE, V1
from sd3async.waiting import Waiting
from sd3async.wire import ACCEPT_VALUES, MAX_IMAGE_BYTES

T = TypeVar("T")

_SEVERAL = "client.generate_samples(request) returns several, and a job has repeat"


class SD3Client(GenerateCalls):
    """An asyncio client of the Stable Image API that keeps the rate limit of each key.

    Nothing is opened before the first request or `async with`; the same client may be used
    under several `asyncio.run` calls, one after another. `repr`, logs, errors and pickles never
    hold a key.

    Args:
        api_key: The key, or several: a pool, each with a limiter of its own. Default:
            `$STABILITY_API_KEY`, comma-separated for a pool.
        base_url: Where the API is served: a URL with its path prefix, or the name of a preset
            (`official`, `mjdjourney`). Default: `$STABILITY_BASE_URL`, else the official
            service.
        rate_limit: The limit of each key.
        retry: When to try again.
        timeouts: For each attempt.
        max_in_flight: Most calls under way at once, and connections open; 1 or more.
            Default: 300 for each key.
        share: Who else keeps the limit of each key together with this client. `"machine"`: all
            processes of this user on this machine, by a small file in the cache folder, named by
            a hash. `"process"`: the clients in this process. `"redis://…"`, `"postgresql://…"`:
            all who name the same server (extras `redis`, `postgres`). Only clients with the same
            key, `base_url` and `rate_limit` share one limit; an unlimited one is never shared.
            Default: `$SD3ASYNC_SHARE`, else `"machine"`.
        session: Your own session, never closed here; its connection pool bounds
            `max_in_flight`.
        observers: Told of everything that happens (see `sd3async.telemetry`).
        trace_configs: aiohttp's own tracing, for the session made here.
        trust_env: Heed `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, for the session made here.
        proxy: The URL of a proxy to go through, for the session made here.
        ca_file: Certificates (PEM) of the authorities to trust in place of the system's.
        max_image_bytes: The largest image to take in [bytes], decoded.
        client_id: Sent as `stability-client-id`; at most 256 characters.
        client_user_id: Sent as `stability-client-user-id`; at most 256 characters.
        client_version: Sent as `stability-client-version`; at most 256 characters.
        extra_headers: Sent with every request, such as a gateway's own. Those that the client sets
            itself (`authorization`, `host`, `content-length`, …) are refused.
        allow_insecure_http: Accept a plain `http` base URL that is not loopback. The key then
            travels unencrypted.
        clock: Time, for tests.

    Raises:
        InvalidRequestError: No key, or a value that is out of bounds; the key itself is never
            in the message.
    """

    def __init__(
        self,
        api_key: str | Sequence[str] | None = None,
        *,
        base_url: str | None = None,
        rate_limit: RateLimit | None = None,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        max_in_flight: int | None = None,
        share: str | None = None,
        session: aiohttp.ClientSession | None = None,
        observers: Sequence[Observer] = (),
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
        trust_env: bool = False,
        proxy: str | None = None,
        ca_file: str | Path | None = None,
        max_image_bytes: int = MAX_IMAGE_BYTES,
        client_id: str | None = None,
        client_user_id: str | None = None,
        client_version: str | None = None,
        extra_headers: Mapping[str, str] | None = None,
        allow_insecure_http: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        keys = config.read_keys(api_key)
        del api_key  # or a traceback with locals shows it
        service = config.read_service(base_url, allow_insecure_http=allow_insecure_http)
        limit = config.setting("rate_limit", rate_limit, RateLimit)
        if session is not None:
            check_type("session", session, aiohttp.ClientSession, "an aiohttp.ClientSession")
        announce = Announcer((*observers_from_environment(), *config.read_observers(observers)))
        slots = config.count_slots(max_in_flight, len(keys), session)
        self._options = Options(
            retry=config.setting("retry", retry, RetryPolicy),
            timeouts=config.setting("timeouts", timeouts, Timeouts),
            announce=announce,
            headers=config.extra_headers(extra_headers)
            | config.client_headers(
                client_id=client_id, client_user_id=client_user_id, client_version=client_version
            ),
            max_image_bytes=AT_LEAST_ONE.plain("max_image_bytes", max_image_bytes),
        )
        self._session = Session(
            keys=keys,
            service=service,
            rate_limit=limit,
            share=read_share(share),
            transport=Transport(
                session=session,
                max_connections=slots,
                trace_configs=config.several(
                    "trace_configs", trace_configs, _is_tracing, "a list of aiohttp.TraceConfig"
                ),
                trust_env=trust_env,
                proxy=proxy,
                ca_file=ca_file,
            ),
            max_in_flight=slots,
            clock=clock,
            announce=announce,
        )

    def __repr__(self) -> str:
        if not hasattr(self, "_session"):  # a traceback with locals shows what was refused
            return object.__repr__(self)
        return (
            f"{type(self).__name__}(base_url={self.base_url!r}, keys={self.keys}, "
            f"max_in_flight={self.max_in_flight})"
        )

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(
            "a client cannot be pickled: it holds keys and connections; "
            "make one in each process from the same settings"
        )

    @property
    def base_url(self) -> str:
        """Where the API is served."""
        return self._session.service.base_url

    @property
    def max_in_flight(self) -> int:
        """Most calls under way at once."""
        return self._session.max_in_flight

    @property
    def keys(self) -> int:
        """How many keys are in the pool."""
        return len(self._session.keys)

    @property
    def ceiling(self) -> float:
        """Requests that the limit allows, over all keys [1/s]; infinite without a limit."""
        return self._session.rate_limit.ceiling * self.keys

    @property
    def rate_limit(self) -> RateLimit:
        """The limit of each key."""
        return self._session.rate_limit

    @property
    def retry(self) -> RetryPolicy:
        """When this client tries again."""
        return self._options.retry

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Who is told of everything that happens, for a variant that tells more."""
        return self._options.announce.observers

    @property
    def freezes(self) -> int:
        """How many times a 429 has stopped a key."""
        return self._session.freezes

    @property
    def frozen_for(self) -> float:
        """How long every key is still shut out after a 429 [s]; 0 when one of them is not."""
        now = self._session.clock.monotonic()
        states = [self.limiter_state(key) for key in range(self.keys)]
        waits = [(state.frozen_until or now) - now for state in states if not state.retired]
        return max(0.0, min(waits, default=0.0))

    def limiter_state(self, key: int = 0) -> LimiterState:
        """Return what the limiter of one key is doing, for displays.

        Args:
            key: The key's place in the pool, from 0.
        """
        return self._session.limiter.state(key)

    def with_options(
        self,
        *,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        observers: Sequence[Observer] | None = None,
        client_id: str | None = None,
        client_user_id: str | None = None,
        client_version: str | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> "SD3Client":
        """Return a variant that shares connections, keys and limiter with this client.

        Args:
            retry: Another retry policy.
            timeouts: Other timeouts.
            observers: Other observers, in place of this client's. `Frozen` events still go to
                the observers that the first client was made with: a key is frozen for all.
            client_id: Another `stability-client-id`.
            client_user_id: Another `stability-client-user-id`.
            client_version: Another `stability-client-version`.
            extra_headers: Further headers, over those of this client.

        Returns:
            The variant, of this client's class. The last of them to be closed closes the
            connections.
        """
        options = self._options
        variant = object.__new__(type(self))
        vars(variant).update(vars(self))
        variant._options = attrs.evolve(
            options,
            retry=config.setting("retry", retry, RetryPolicy, options.retry),
            timeouts=config.setting("timeouts", timeouts, Timeouts, options.timeouts),
            announce=options.announce
            if observers is None
            else Announcer(config.read_observers(observers)),
            headers=options.headers
            | config.extra_headers(extra_headers)
            | config.client_headers(
                client_id=client_id, client_user_id=client_user_id, client_version=client_version
            ),
        )
        return variant

    async def __aenter__(self) -> Self:
        await self._session.enter(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.exit(self)

    async def aclose(self) -> None:
        """End this client's calls with `ClientClosedError`, and close the connections made here.

        They stay open for as long as a variant, or another task that is inside `async with`,
        uses them: the last one out closes. A session that was passed in stays open. A call made
        after that opens connections anew.
        """
        await self._session.leave(self)

    def estimated_wait(self) -> float:
        """Return how long a call that began now would wait for leave to be sent [s].

        It counts lock-outs and everybody in the line, as things stand. A service can tell it to
        its own callers, as the `Retry-After` of a 503.
        """
        return self._session.estimated_wait(is_new=True)

    @property
    def upscale(self) -> Upscale:
        """The upscale endpoints: `fast`, `conservative`, `creative`."""
        return Upscale(self)

    @property
    def edit(self) -> Edit:
        """The edit endpoints: `erase`, `inpaint`, `outpaint`, `remove_background` and so on."""
        return Edit(self)

    @property
    def control(self) -> Control:
        """The control endpoints: `sketch`, `structure`, `style`, `style_transfer`."""
        return Control(self)

    @property
    def v1(self) -> V1:
        """The older API: `text_to_image`, `image_to_image`, `masking`, `engines`, `account`."""
        return V1(self, self._call)

    async def generate(
        self,
        request: GenerationRequest,
        *,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        on_whole: OnWhole | None = None,
        on_attempt: OnAttempt | None = None,
        on_started: OnStarted | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Generate one image, waiting for the rate limit and retrying as configured.

        Args:
            request: What to generate; its class picks the endpoint. Where the service only starts
                the image, it is looked for every 10 s: see `result`.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory. It appears whole, or not at
                all; its folder must exist, and its suffix agree with `output_format`.
            on_whole: Called in a thread with the image and the part file beside `to`, when all bytes
                are in that and before it gets its name: to note durably what the image is. It must
                not raise.
            on_attempt: Awaited before each attempt, when its turn has come: to note durably that it
                will be sent.
            on_started: Awaited with what was started, where the service only starts the image: to
                note durably what `result` can fetch within 24 hours.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in
                JSON, which costs more to decode.

        Returns:
            The image. A filtered one is returned, not raised: see
            `GeneratedImage.raise_if_filtered`.

        Raises:
            InvalidRequestError: A value is wrong, and nothing was sent; or the image's source
                failed.
            NotEnoughTimeError: The rate limit is known to hold the call past its deadline.
            RateLimitError: Still refused after the last attempt (429).
            APIError: Any other answer that is not a success.
            UnexpectedResponseError: A success that holds no image.
            TransportError: No complete answer arrived; the work may have been done all the
                same.
            ClientClosedError: The client was closed meanwhile.
            OSError: The file could not be written, and the image, which was paid for, is lost.

        Source:
            Stable Image API, v2beta.
        """
        request = self._ready(request, accept)
        check_single(request, _SEVERAL)
        path = None if to is None else check_target(to, request.output_format)
        if request.row.answer == "started":
            return await self._start_and_wait(
                request,
                deadline=deadline,
                on_attempt=on_attempt,
                on_started=on_started,
                to=path,
                on_whole=on_whole,
                accept=accept,
            )
        generation = Generation(
            request,
            path=path,
            on_whole=on_whole,
            on_attempt=on_attempt,
            accept=accept,
            max_bytes=self._options.max_image_bytes,
        )
        try:
            return await self._call(generation, deadline)
        except TransportError as error:
            error.request = request
            raise

    async def generate_samples(
        self,
        request: GenerationRequest,
        *,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        on_attempt: OnAttempt | None = None,
        accept: Accept = "image/*",
    ) -> list[GeneratedImage]:
        """Generate all images that a request asks for: one, or the `samples` of v1.

        Args:
            request: What to generate; its class picks the endpoint.
            deadline: As for `generate`.
            to: As for `generate`, and for one image only.
            on_attempt: As for `generate`.
            accept: As for `generate`; several images always come as JSON.

        Returns:
            The images, each with a seed and a finish reason of its own, and its share of the
            price. Several are in memory, each of at most `max_image_bytes`.

        Raises:
            UnexpectedResponseError: Some are missing or no good; its `images` are the others.
            SD3Error: As told at `generate`.
        """
        request = self._ready(request, accept)
        if request.image_count == 1:
            return [
                await self.generate(
                    request, deadline=deadline, to=to, on_attempt=on_attempt, accept=accept
                )
            ]
        if to is not None:
            check_single(request, "without `to` several come, and each can be saved")
        samples = Samples(
            request,
            path=None,
            on_whole=None,
            on_attempt=on_attempt,
            accept="application/json",
            max_bytes=self._options.max_image_bytes,
        )
        try:
            return await self._call(samples, deadline)
        except TransportError as error:
            error.request = request
            raise

    async def start(
        self,
        request: GenerationRequest,
        *,
        deadline: Duration | None = None,
        on_attempt: OnAttempt | None = None,
    ) -> PendingImage:
        """Start an image that the service makes in its own time, and do not wait for it.

        Only for the endpoints that answer so: `upscale.creative` and
        `edit.replace-background-and-relight`.

        Args:
            request: What to generate.
            deadline: How long the start may take: seconds or a `timedelta`; None is for ever.
            on_attempt: As for `generate`; looking for the image is no such attempt.

        Returns:
            What was started, for `result`: now or within 24 hours, here or in another process
            that has the same key. It is charged.

        Raises:
            InvalidRequestError: The endpoint answers with the image itself; use `generate`.
            SD3Error: As told at `generate`.
        """
        request = self._ready(request, ACCEPT_VALUES[0])
        if request.row.answer != "started":
            raise refuse("request", f"{request.endpoint} answers with the image; use generate")
        try:
            started = await self._call(Start(request, on_attempt=on_attempt), deadline)
        except TransportError as error:
            error.request = request
            raise
        return PendingImage(
            id=started.id,
            request=request,
            service=self.base_url,
            key=self._session.names[started.key],
            started_at=self._session.clock.time(),
            credits=request.credits,
            attempts=started.attempts,
            unknown_charges=started.unknown_charges,
        )

    async def result(
        self,
        pending: PendingImage | str,
        *,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        on_whole: OnWhole | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Wait for an image that was started, looking for it every 10 s.

        Each look waits for the rate limit and is retried like any request, and costs nothing.

        Args:
            pending: What `start` returned, or an id alone: then each key of a pool is tried.
            deadline: How long the whole wait may take: seconds or a `timedelta`; None is for ever.
            to: As for `generate`.
            on_whole: As for `generate`.
            accept: As for `generate`.

        Returns:
            The image. Fetched by an id alone, its request and price are not known.

        Raises:
            InvalidRequestError: It was started with another key or at another service.
            NotEnoughTimeError: It is not ready, and the next look would pass the deadline.
            APIError: 404 after 24 hours, and to another key than the one that started it.
            SD3Error: As told at `generate`; its `pending` is what to try again with.

        Source:
            GET /v2beta/results/{id}: "no more than once every 10 seconds", kept for 24 hours.
        """
        _check_accept(accept)
        wanted = pending if isinstance(pending, PendingImage) else _pending_of_id(pending)
        path = None
        if to is not None:
            is_told = isinstance(pending, PendingImage)
            path = check_target(to, wanted.request.output_format if is_told else None)
        waiting = Waiting(
            self._session,
            self._options,
            user=self,
            pending=wanted,
            deadline=config.read_deadline(deadline),
        )
        return await waiting.image(path=path, on_whole=on_whole, accept=accept)

    async def _start_and_wait(
        self,
        request: GenerationRequest,
        *,
        deadline: Duration | None,
        on_attempt: OnAttempt | None,
        on_started: OnStarted | None,
        **options: Any,
    ) -> GeneratedImage:
        seconds = config.read_deadline(deadline)
        began = self._session.clock.monotonic()
        if seconds is not None and seconds <= POLL_SECONDS:
            raise NotEnoughTimeError(
                f"{request.endpoint} is looked for {POLL_SECONDS:g} s after its start, which passes "
                f"the deadline of {seconds:g} s",
                wait=POLL_SECONDS,
            )
        pending = await self.start(request, deadline=seconds, on_attempt=on_attempt)
        if on_started is not None:
            await on_started(pending)
        waited = self._session.clock.monotonic() - began
        left = None if seconds is None else max(math.ulp(0), seconds - waited)
        image = await self.result(pending, deadline=left, **options)
        total = self._session.clock.monotonic() - began
        return attrs.evolve(image, timings=attrs.evolve(image.timings, total=total))

    def _ready(self, request: GenerationRequest, accept: str) -> GenerationRequest:
        """Check what to generate, and return it as it is sent."""
        check_type(
            "request", request, GenerationRequest, "a request value, or use client.sd3(prompt)"
        )
        _check_accept(accept)
        return request.for_service(self._session.service.default_model)

    async def balance(self, *, deadline: Duration | None = None) -> float:
        """Return the credits left on the account.

        Args:
            deadline: How long the whole call may take: seconds or a `timedelta`; None is for
                ever.

        Raises:
            APIError: The service answered with an error; gateways often serve no balance.
            UnexpectedResponseError: The answer names no credits.
            TransportError: No complete answer arrived.

        Source:
            GET /v1/user/balance.
        """
        return await self._call(BALANCE, deadline)

    async def _call(self, exchange: Exchange[T], deadline: Duration | None) -> T:
        seconds = config.read_deadline(deadline)
        return await self._session.call(exchange, self._options, user=self, deadline=seconds)


def _check_accept(accept: str) -> None:
    if accept not in ACCEPT_VALUES:
        raise refuse("accept", f"is {accept!r}; allowed are {', '.join(ACCEPT_VALUES)}")


def _pending_of_id(value: object) -> PendingImage:
    """Return what is known of an image by its id alone: nothing else."""
    if not isinstance(value, str) or not re.fullmatch(r"[\w-]{1,200}", value, re.ASCII):
        raise refuse("pending", f"is {shown(value)}; a PendingImage or an id is needed")
    request = StartedRequest(credits=0)
    return PendingImage(id=value, request=request, service="", key="", started_at=0.0, credits=0.0)


def _is_tracing(value: object) -> bool:
    return isinstance(value, aiohttp.TraceConfig)
