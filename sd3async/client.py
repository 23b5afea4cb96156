"""The client: coroutines that turn a prompt into an image."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias

import aiohttp

from sd3async import config
from sd3async._clock import SYSTEM_CLOCK, Clock
from sd3async.config import Timeouts
from sd3async.engine import Connection, Engine
from sd3async.limiter import LimiterState, RateLimit
from sd3async.models.fields import Duration, check_type, refuse
from sd3async.models.requests import (
    CoreRequest,
    GenerationRequest,
    SD3Request,
    UltraRequest,
)
from sd3async.models.results import GeneratedImage
from sd3async.models.sources import ImageInput
from sd3async.models.targets import check_target
from sd3async.retry import RetryPolicy
from sd3async.telemetry import Announcer, Observer, observers_from_environment
from sd3async.transport import Transport
from sd3async.wire import ACCEPT_VALUES

Accept: TypeAlias = Literal["image/*", "application/json"]


class SD3Client:
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
        session: Your own session, never closed here; its connection pool bounds
            `max_in_flight`.
        observers: Told of everything that happens (see `sd3async.telemetry`).
        trace_configs: aiohttp's own tracing, for the session made here.
        client_id: Sent as `stability-client-id`; at most 256 characters.
        client_user_id: Sent as `stability-client-user-id`; at most 256 characters.
        client_version: Sent as `stability-client-version`; at most 256 characters.
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
        session: aiohttp.ClientSession | None = None,
        observers: Sequence[Observer] = (),
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
        client_id: str | None = None,
        client_user_id: str | None = None,
        client_version: str | None = None,
        allow_insecure_http: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        keys = config.read_keys(api_key)
        service = config.read_service(base_url, allow_insecure_http=allow_insecure_http)
        if session is not None and trace_configs:
            raise refuse("trace_configs", "are set; give them to the session you pass instead")
        config.several(
            "trace_configs",
            trace_configs,
            lambda value: isinstance(value, aiohttp.TraceConfig),
            "a list of aiohttp.TraceConfig",
        )
        if session is not None:
            check_type("session", session, aiohttp.ClientSession, "an aiohttp.ClientSession")
        slots = config.count_slots(max_in_flight, len(keys), session)
        announce = Announcer((*observers_from_environment(), *config.read_observers(observers)))
        self._engine = Engine(
            connection=Connection(
                keys=keys,
                service=service,
                rate_limit=config.setting("rate_limit", rate_limit, RateLimit),
                transport=Transport(
                    session=session, max_connections=slots, trace_configs=trace_configs
                ),
                max_in_flight=slots,
                clock=clock,
                announce=announce,
            ),
            policy=config.setting("retry", retry, RetryPolicy),
            timeouts=config.setting("timeouts", timeouts, Timeouts),
            announce=announce,
            client_headers=config.client_headers(
                client_id=client_id, client_user_id=client_user_id, client_version=client_version
            ),
        )

    def __repr__(self) -> str:
        keys = len(self._engine.connection.keys)
        return (
            f"{type(self).__name__}(base_url={self.base_url!r}, keys={keys}, "
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
        return self._engine.connection.service.base_url

    @property
    def max_in_flight(self) -> int:
        """Most calls under way at once."""
        return self._engine.connection.max_in_flight

    @property
    def keys(self) -> int:
        """How many keys are in the pool."""
        return len(self._engine.connection.keys)

    @property
    def ceiling(self) -> float:
        """Requests that the limit allows, over all keys [1/s]; infinite without a limit."""
        return self._engine.connection.rate_limit.ceiling * self.keys

    @property
    def rate_limit(self) -> RateLimit:
        """The limit of each key."""
        return self._engine.connection.rate_limit

    @property
    def retry(self) -> RetryPolicy:
        """When this client tries again."""
        return self._engine.policy

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Who is told of everything that happens, for a variant that tells more."""
        return self._engine.announce.observers

    @property
    def freezes(self) -> int:
        """How many times a 429 has stopped a key."""
        return self._engine.connection.freezes

    @property
    def frozen_for(self) -> float:
        """How long every key is still shut out after a 429 [s]; 0 when one of them is not."""
        now = self._engine.connection.clock.monotonic()
        states = [self.limiter_state(key) for key in range(self.keys)]
        waits = [(state.frozen_until or now) - now for state in states if not state.retired]
        return max(0.0, min(waits, default=0.0))

    def limiter_state(self, key: int = 0) -> LimiterState:
        """Return what the limiter of one key is doing, for displays.

        Args:
            key: The key's place in the pool, from 0.
        """
        return self._engine.connection.limiter.state(key)

    def with_options(
        self,
        *,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        observers: Sequence[Observer] | None = None,
        client_id: str | None = None,
        client_user_id: str | None = None,
        client_version: str | None = None,
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

        Returns:
            The variant; closing either closes the connections of both.
        """
        engine = self._engine
        variant = object.__new__(SD3Client)
        variant._engine = Engine(
            connection=engine.connection,
            policy=config.setting("retry", retry, RetryPolicy, engine.policy),
            timeouts=config.setting("timeouts", timeouts, Timeouts, engine.timeouts),
            announce=engine.announce
            if observers is None
            else Announcer(config.read_observers(observers)),
            client_headers=engine.client_headers
            | config.client_headers(
                client_id=client_id, client_user_id=client_user_id, client_version=client_version
            ),
        )
        return variant

    async def __aenter__(self) -> Self:
        await self._engine.connection.transport.session()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections made here; a session that was passed in stays open."""
        await self._engine.connection.transport.aclose()

    async def sd3(
        self,
        prompt: str,
        *,
        model: str | None = None,
        negative_prompt: str | None = None,
        aspect_ratio: str | None = None,
        seed: int | None = None,
        output_format: str = "png",
        style_preset: str | None = None,
        cfg_scale: float | None = None,
        image: ImageInput | None = None,
        strength: float | None = None,
        mode: str | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Generate an image with Stable Diffusion 3 or 3.5.

        The fields are those of `SD3Request`; the rest, and what is raised, that of `generate`.
        """
        given = {} if mode is None else {"mode": mode}
        request = SD3Request(
            prompt,
            model=model,
            negative_prompt=negative_prompt,
            aspect_ratio=aspect_ratio,
            seed=seed,
            output_format=output_format,
            style_preset=style_preset,
            cfg_scale=cfg_scale,
            image=image,
            strength=strength,
            **given,
        )
        return await self.generate(request, deadline=deadline, to=to, accept=accept)

    async def ultra(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        aspect_ratio: str | None = None,
        seed: int | None = None,
        output_format: str = "png",
        style_preset: str | None = None,
        image: ImageInput | None = None,
        strength: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Generate an image with Stable Image Ultra.

        The fields are those of `UltraRequest`; the rest, and what is raised, that of `generate`.
        """
        request = UltraRequest(
            prompt,
            negative_prompt=negative_prompt,
            aspect_ratio=aspect_ratio,
            seed=seed,
            output_format=output_format,
            style_preset=style_preset,
            image=image,
            strength=strength,
        )
        return await self.generate(request, deadline=deadline, to=to, accept=accept)

    async def core(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        aspect_ratio: str | None = None,
        seed: int | None = None,
        output_format: str = "png",
        style_preset: str | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Generate an image with Stable Image Core.

        The fields are those of `CoreRequest`; the rest, and what is raised, that of `generate`.
        """
        request = CoreRequest(
            prompt,
            negative_prompt=negative_prompt,
            aspect_ratio=aspect_ratio,
            seed=seed,
            output_format=output_format,
            style_preset=style_preset,
        )
        return await self.generate(request, deadline=deadline, to=to, accept=accept)

    async def generate(
        self,
        request: GenerationRequest,
        *,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Generate one image, waiting for the rate limit and retrying as configured.

        Args:
            request: What to generate; its class picks the endpoint.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory. It appears whole, or not at
                all; its folder must exist.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in
                JSON, which costs more to decode.

        Returns:
            The image. A filtered one is returned, not raised: see
            `GeneratedImage.raise_if_filtered`.

        Raises:
            InvalidRequestError: A value is wrong; nothing was sent.
            RateLimitError: Still refused after the last attempt (429).
            APIError: Any other answer that is not a success.
            UnexpectedResponseError: A success that holds no image.
            TransportError: No complete answer arrived; the work may have been done all the
                same.
            OSError: The file could not be written.

        Source:
            Stable Image generate endpoints, v2beta.
        """
        if accept not in ACCEPT_VALUES:
            raise refuse("accept", f"is {accept!r}; allowed are {', '.join(ACCEPT_VALUES)}")
        check_type(
            "request", request, GenerationRequest, "a request value, or use client.sd3(prompt)"
        )
        seconds = config.read_deadline(deadline)
        path = None if to is None else check_target(to, request.output_format)
        return await self._engine.generate(request, deadline=seconds, path=path, accept=accept)

    async def balance(self, *, deadline: Duration | None = None) -> float:
        """Return the credits left on the account.

        Args:
            deadline: How long the whole call may take: seconds or a `timedelta`; None is for ever.

        Raises:
            APIError: The service answered with an error; gateways often serve no balance.
            UnexpectedResponseError: The answer names no credits.
            TransportError: No complete answer arrived.

        Source:
            GET /v1/user/balance.
        """
        return await self._engine.balance(deadline=config.read_deadline(deadline))
