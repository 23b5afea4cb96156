"""What a call of each kind sends, and what it makes of the answer."""

import errno
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

import attrs

from sd3async._clock import Clock
from sd3async._files import disk_words
from sd3async.endpoints import EMULATOR_HEADER, RESULTS_PATH
from sd3async.errors import APIError, RequestTimeoutError
from sd3async.models.base import GenerationRequest
from sd3async.models.results import GeneratedImage, PendingImage, Timings
from sd3async.models.sources import Upload, prepare
from sd3async.multipart import Body, encode, encode_json
from sd3async.sinks import open_sink
from sd3async.telemetry import Event, Started
from sd3async.transport import Answer, Message
from sd3async.wire import (
    ArtifactsReader,
    ImageReader,
    form_fields,
    json_document,
    read_started,
)

T = TypeVar("T")


_ACCEPT = {("artifacts", "image/*"): "image/png"}
"""What v1 calls it; all others are sent as they are."""

OnWhole: TypeAlias = Callable[[GeneratedImage, Path], object]
OnAttempt: TypeAlias = Callable[[], Awaitable[object]]


class Told(Protocol):
    """What a call can tell of itself so far."""

    clock: Clock
    secrets: tuple[str, ...]
    attempts: int
    unknown_charges: int

    @property
    def key(self) -> int:
        """The place of the key that is being used."""
        ...

    def tell(self, event: type[Event], at: float, **facts: object) -> None:
        """Tell the observers of an event."""
        ...

    def timings(self) -> Timings:
        """Return where the time went, up to now."""
        ...


class Exchange(ABC, Generic[T]):
    """One message and the reading of its answer, as often as it takes.

    Entering it prepares all that can go wrong before anything is sent.

    Attributes:
        endpoint: Its name, for observers.
        credits: The price of a success; 0 where nothing can be charged.
        is_generation: Whether the service has to work before it answers.
        is_replayable: Whether the message can be sent again.
        is_upload: Whether the message takes time to leave.
        key: The place of the only key that will do; None for any.
        on_attempt: Awaited before each attempt.
    """

    endpoint: str
    credits: float = 0.0
    is_generation: bool = False
    is_replayable: bool = True
    is_upload: bool = False
    key: int | None = None
    on_attempt: OnAttempt | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def about_to_send(self) -> None:
        """Let the caller note that an attempt will be sent."""
        if self.on_attempt is not None:
            await self.on_attempt()

    @abstractmethod
    def message(self, base_url: str, headers: Mapping[str, str]) -> Message:
        """Return what to send: a fresh one for each attempt."""

    def explain(self, error: APIError) -> None:
        """Add to a refusal what only this kind of call knows."""

    @abstractmethod
    async def read(self, answer: Answer, call: Told) -> T:
        """Make a result of an answer that is a success."""


class Lookup(Exchange[T]):
    """A question that costs nothing.

    Args:
        name: What is asked, for observers.
        path: Where, below the base URL.
        read: Reads the answer, of its status and body, and without the keys.
    """

    def __init__(
        self, name: str, path: str, read: Callable[[int, bytes, Sequence[str]], T]
    ) -> None:
        self.endpoint = name
        self._path = path
        self._read = read

    def message(self, base_url: str, headers: Mapping[str, str]) -> Message:
        """Return a GET, which costs nothing."""
        return Message("GET", base_url + self._path, {**headers, "accept": "application/json"})

    async def read(self, answer: Answer, call: Told) -> T:
        """Return what the answer says."""
        return self._read(answer.status, await answer.read(), call.secrets)


class _ImageExchange(Exchange[T]):
    """An exchange whose answer is, or will be, an image.

    Args:
        request: What the image is of.
        path: The file to stream it into; None keeps it in memory.
        on_whole: As for `SD3Client.generate`.
        accept: The `accept` header.
        max_bytes: The largest image to take in [bytes].
    """

    _loss = "is lost"
    """What it means that an image could not be kept."""

    def __init__(
        self,
        request: GenerationRequest,
        *,
        path: Path | None,
        on_whole: OnWhole | None,
        accept: str,
        max_bytes: int,
    ) -> None:
        self._request = request
        self._price = request.credits
        self._accept = accept
        self._max_bytes = max_bytes
        self._path = path
        self._on_whole = on_whole
        self._sink = open_sink(path)

    async def __aenter__(self) -> Self:
        await self._sink.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._sink.__aexit__(*_)

    async def _receive(self, answer: Answer, call: Told) -> GeneratedImage:
        """Stream the image to where it belongs."""
        reader = ImageReader(
            answer.status, answer.headers, max_bytes=self._max_bytes, secrets=call.secrets
        )
        try:
            await self._sink.restart()
            async with aclosing(answer.pieces()) as pieces:
                async for piece in pieces:
                    if data := reader.feed(piece):
                        await self._sink.write(data)
            reader.finish()
            image = self._describe(reader, answer, call)
            kept = await self._sink.finish(
                None if self._on_whole is None else partial(self._on_whole, image)
            )
        except RequestTimeoutError:  # an OSError too, by Python's tree
            raise
        except OSError as error:
            paid = f"the image was paid for ({self._price:g} credits) and {self._loss}"
            words = f"{disk_words(error)}: {paid}"
            raise OSError(error.errno or errno.EIO, words, str(self._path)) from error
        in_memory = None if isinstance(kept, Path) else kept
        return attrs.evolve(image, data=in_memory, timings=call.timings())

    def _describe(self, reader: ImageReader, answer: Answer, call: Told) -> GeneratedImage:
        return GeneratedImage(
            path=self._path,
            content_type=reader.content_type,
            size=reader.size,
            seed=reader.seed,
            finish_reason=reader.finish_reason,
            request_id=reader.request_id,
            request=self._request,
            credits=self._price,
            attempts=call.attempts,
            unknown_charges=call.unknown_charges,
            emulated=EMULATOR_HEADER in answer.headers,
            timings=call.timings(),
        )


class _Post(_ImageExchange[T]):
    """A request whose answer holds all that it asks for.

    Further arguments as for every `_ImageExchange`.

    Args:
        request: What to generate.
        on_attempt: As for `SD3Client.generate`.
    """

    is_generation = True

    def __init__(
        self, request: GenerationRequest, *, on_attempt: OnAttempt | None, **options: Any
    ) -> None:
        super().__init__(request, **options)
        self.on_attempt = on_attempt
        self.endpoint = request.endpoint
        self.credits = request.credits

    async def __aenter__(self) -> Self:
        self._body = await _lay_out(self._request)
        self.is_replayable = self._body.is_replayable
        self.is_upload = self._body.has_uploads
        return await super().__aenter__()

    def message(self, base_url: str, headers: Mapping[str, str]) -> Message:
        """Return a POST of the fields; its images are read anew each time."""
        accept = _ACCEPT.get((self._request.row.answer, self._accept), self._accept)
        url = base_url + self._request.path
        return Message("POST", url, {**headers, "accept": accept}, self._body)


class Generation(_Post[GeneratedImage]):
    """One image, which is the answer."""

    async def read(self, answer: Answer, call: Told) -> GeneratedImage:
        """Stream the image to where it belongs."""
        return await self._receive(answer, call)


class Samples(_Post[list[GeneratedImage]]):
    """Several images in one answer, kept in memory."""

    async def read(self, answer: Answer, call: Told) -> list[GeneratedImage]:
        """Return the images, each with its share of the price.

        Raises:
            UnexpectedResponseError: Some are missing or no good; it holds the others.
        """
        samples = self._request.image_count
        reader = ArtifactsReader(
            answer.status,
            answer.headers,
            samples=samples,
            max_bytes=self._max_bytes,
            secrets=call.secrets,
        )
        taken: dict[int, list[bytes]] = defaultdict(list)
        async with aclosing(answer.pieces()) as pieces:
            async for piece in pieces:
                for place, data in reader.feed(piece):
                    taken[place].append(data)
        reader.finish()
        images = [
            attrs.evolve(
                self._describe(one, answer, call),
                data=b"".join(taken.pop(place)),
                credits=round(self._price / samples, 9),
            )
            for place, one in enumerate(reader.readers)
            if place not in reader.problems
        ]
        if not images:
            raise reader.problems[0]
        if len(images) < samples:
            missing = "; ".join({str(error) for error in reader.problems.values()}) or "not sent"
            error = reader.unexpected(f"{len(images)} of {samples} images are good: {missing}")
            error.images = tuple(images)
            raise error
        return images


@attrs.frozen(kw_only=True)
class StartedAnswer:
    """What the answer of an endpoint that only starts a generation says, and what it took.

    Attributes:
        id: By which the image is fetched.
        key: The place of the key that started it.
        attempts: How many attempts it took.
        unknown_charges: How many of them may have started another.
    """

    id: str
    key: int
    attempts: int
    unknown_charges: int


class Start(Exchange[StartedAnswer]):
    """The start of one image that will be fetched later.

    Args:
        request: What to generate.
        on_attempt: As for `SD3Client.generate`.

    Source:
        POST /v2beta/stable-image/upscale/creative and others: 200 with an `id`. (202 elsewhere.)
    """

    is_generation = True

    def __init__(self, request: GenerationRequest, *, on_attempt: OnAttempt | None) -> None:
        self.on_attempt = on_attempt
        self.endpoint = request.endpoint
        self.credits = request.credits
        self._request = request

    async def __aenter__(self) -> Self:
        self._body = await _lay_out(self._request)
        self.is_replayable = self._body.is_replayable
        self.is_upload = self._body.has_uploads
        return self

    def message(self, base_url: str, headers: Mapping[str, str]) -> Message:
        """Return a POST of the fields; its images are read anew each time."""
        url = base_url + self._request.path
        return Message("POST", url, {**headers, "accept": "application/json"}, self._body)

    async def read(self, answer: Answer, call: Told) -> StartedAnswer:
        """Read the id, and tell of it at once."""
        started = read_started(answer.status, await answer.read(), call.secrets)
        call.tell(Started, call.clock.monotonic(), id=started, key=call.key)
        return StartedAnswer(
            id=started, key=call.key, attempts=call.attempts, unknown_charges=call.unknown_charges
        )


class Fetch(_ImageExchange[GeneratedImage | None]):
    """One look for an image that was started: None while it is not ready.

    Looking costs nothing, and may be done again. Further arguments as for every `_ImageExchange`.

    Args:
        pending: What was started.
        key: The place of the key to look with.

    Source:
        GET /v2beta/results/{id}.
    """

    endpoint = "results"
    _loss = "is kept by the service for 24 hours: fetch it again"

    def __init__(
        self,
        pending: PendingImage,
        *,
        key: int,
        path: Path | None,
        on_whole: OnWhole | None,
        accept: str,
        max_bytes: int,
    ) -> None:
        super().__init__(
            pending.request, path=path, on_whole=on_whole, accept=accept, max_bytes=max_bytes
        )
        self.key = key
        self._pending = pending

    def message(self, base_url: str, headers: Mapping[str, str]) -> Message:
        """Return a GET, which costs nothing."""
        url = f"{base_url}{RESULTS_PATH}/{self._pending.id}"
        return Message("GET", url, {**headers, "accept": self._accept})

    def explain(self, error: APIError) -> None:
        """Say what a 404 may mean."""
        if error.status == 404:
            error.note = "a result is kept for 24 hours, and given only to the key that started it"

    async def read(self, answer: Answer, call: Told) -> GeneratedImage | None:
        """Return the image, if it is ready."""
        if answer.status == 202:
            await answer.read()  # to its end, or the connection could not be used again
            return None
        image = await self._receive(answer, call)
        return attrs.evolve(
            image,
            credits=self._pending.credits,
            attempts=self._pending.attempts,
            unknown_charges=self._pending.unknown_charges,
        )


async def _lay_out(request: GenerationRequest) -> Body:
    if request.row.body == "json":
        given = request.given()
        return encode_json(
            json_document(request), max(given, key=lambda name: len(str(given[name])))
        )
    uploads: dict[str, Upload] = {}
    for name, source in request.images():
        uploads[name] = await prepare(source, name)
    request.check_images({name: upload.facts for name, upload in uploads.items()})
    return encode(form_fields(request), uploads)
