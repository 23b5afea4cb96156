"""What a call of each kind sends, and what it makes of the answer."""

import errno
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, Self, TypeAlias, TypeVar

import attrs

from sd3async._files import disk_words
from sd3async.endpoints import BALANCE_PATH, EMULATOR_HEADER, ENDPOINTS
from sd3async.errors import RequestTimeoutError
from sd3async.models.base import GenerationRequest
from sd3async.models.results import GeneratedImage, Timings
from sd3async.models.sources import Upload, prepare
from sd3async.multipart import MultipartBody, encode
from sd3async.sinks import open_sink
from sd3async.transport import Answer, Message
from sd3async.wire import ImageReader, form_fields, read_balance

T = TypeVar("T")


OnWhole: TypeAlias = Callable[[GeneratedImage, Path], object]
OnAttempt: TypeAlias = Callable[[], Awaitable[object]]


class Told(Protocol):
    """What a call can tell of itself so far."""

    secrets: tuple[str, ...]
    attempts: int
    unknown_charges: int

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
    """

    endpoint: str
    credits: float = 0.0
    is_generation: bool = False
    is_replayable: bool = True
    is_upload: bool = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def about_to_send(self) -> None:
        """Do what has to be done before each attempt."""

    @abstractmethod
    def message(self, base_url: str, headers: Mapping[str, str]) -> Message:
        """Return what to send: a fresh one for each attempt."""

    @abstractmethod
    async def read(self, answer: Answer, call: Told) -> T:
        """Make a result of an answer that is a success."""


class Balance(Exchange[float]):
    """The credits left.

    Source:
        GET /v1/user/balance.
    """

    endpoint = "balance"

    def message(self, base_url: str, headers: Mapping[str, str]) -> Message:
        """Return a GET, which costs nothing."""
        return Message("GET", base_url + BALANCE_PATH, {**headers, "accept": "application/json"})

    async def read(self, answer: Answer, call: Told) -> float:
        """Return the credits left."""
        return read_balance(answer.status, await answer.read())


class Generation(Exchange[GeneratedImage]):
    """One image.

    Args:
        request: What to generate.
        path: The file to stream it into; None keeps it in memory.
        on_whole: As for `SD3Client.generate`.
        on_attempt: As for `SD3Client.generate`.
        accept: The `accept` header.
        max_bytes: The largest image to take in [bytes].
    """

    is_generation = True

    def __init__(
        self,
        request: GenerationRequest,
        *,
        path: Path | None,
        on_whole: OnWhole | None,
        on_attempt: OnAttempt | None,
        accept: str,
        max_bytes: int,
    ) -> None:
        self.endpoint = request.endpoint
        self.credits = request.credits
        self._request = request
        self._accept = accept
        self._max_bytes = max_bytes
        self._path = path
        self._on_whole = on_whole
        self._on_attempt = on_attempt
        self._sink = open_sink(path)

    async def __aenter__(self) -> Self:
        self._body = await _lay_out(self._request)
        self.is_replayable = self._body.is_replayable
        self.is_upload = self._body.has_uploads
        await self._sink.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._sink.__aexit__(*_)

    async def about_to_send(self) -> None:
        """Let the caller note that it will be."""
        if self._on_attempt is not None:
            await self._on_attempt()

    def message(self, base_url: str, headers: Mapping[str, str]) -> Message:
        """Return a POST of the form; its images are read anew each time."""
        url = base_url + ENDPOINTS[self.endpoint].path
        return Message("POST", url, {**headers, "accept": self._accept}, self._body)

    async def read(self, answer: Answer, call: Told) -> GeneratedImage:
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
            paid = f"the image was paid for ({self.credits:g} credits) and is lost"
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
            credits=self.credits,
            attempts=call.attempts,
            unknown_charges=call.unknown_charges,
            emulated=EMULATOR_HEADER in answer.headers,
            timings=call.timings(),
        )


async def _lay_out(request: GenerationRequest) -> MultipartBody:
    uploads: dict[str, Upload] = {}
    for name, source in request.images():
        upload = uploads[name] = await prepare(source, name)
        request.check_image(name, upload.facts)
    return encode(form_fields(request), uploads)
