"""What the coroutines of the endpoints stand on: one that takes any request."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal, TypeAlias

from sd3async.exchange import OnAttempt, OnWhole
from sd3async.models.base import GenerationRequest
from sd3async.models.fields import Duration
from sd3async.models.results import GeneratedImage, PendingImage

OnStarted: TypeAlias = Callable[[PendingImage], Awaitable[object]]
Accept: TypeAlias = Literal["image/*", "application/json"]


class Caller(ABC):
    """Whoever can send a request."""

    @abstractmethod
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
        """Generate one image: see `SD3Client.generate`."""

    @abstractmethod
    async def generate_samples(
        self,
        request: GenerationRequest,
        *,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        on_attempt: OnAttempt | None = None,
        accept: Accept = "image/*",
    ) -> list[GeneratedImage]:
        """Generate all images that a request asks for: see `SD3Client.generate_samples`."""


class Group:
    """The endpoints of one topic, as `client.upscale` is.

    Args:
        client: The client that they send with.
    """

    def __init__(self, client: Caller) -> None:
        self._client = client

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} of {self._client!r}>"
