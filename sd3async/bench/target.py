"""What is measured: a client, watched from the outside while it makes one call."""

from typing import Protocol

import attrs

from sd3async.client import SD3Client
from sd3async.errors import APIError, SD3Error
from sd3async.models.base import GenerationRequest
from sd3async.models.results import GeneratedImage
from sd3async.telemetry import (
    Answered,
    AttemptSent,
    Done,
    Event,
    PermitGranted,
    Queued,
    Retried,
)


@attrs.define
class Trace:
    """A request while it is under way: what a sample is made of, filled in as it becomes known.

    Instants are those of the client's clock; the attributes are those of `Sample`.
    """

    status: int | None = None
    slot_wait: float = 0.0
    limiter_wait: float = 0.0
    connect: float | None = None
    send: float | None = None
    headers: float | None = None
    body: float | None = None
    attempts: int = 0
    refused: int = 0
    sends: list[tuple[int, float]] = attrs.field(factory=list[tuple[int, float]])
    sent_bytes: int = 0
    received_bytes: int = 0
    credits: float = 0.0
    unknown_charges: int = 0

    queued_at: float = 0.0
    granted_at: float | None = None
    sent_at: float | None = None
    answered_at: float | None = None
    key: int = 0

    def note(self, event: Event) -> None:
        """Take in an event of the call: an observer."""
        if isinstance(event, Queued):
            self.queued_at = event.at
        elif isinstance(event, PermitGranted):
            self._granted(event)
        elif isinstance(event, AttemptSent):
            self.sent_at = event.at
            self.sent_bytes = event.size
            self.sends.append((self.key, event.at))
        elif isinstance(event, Answered):
            self.status = event.status
            self.refused += event.status == 429
            self.headers = event.seconds
            self.answered_at = event.at
        elif isinstance(event, Retried) and event.may_be_charged:
            self.unknown_charges += 1
            self._count_if_partly_sent()
        elif isinstance(event, Done):
            if event.unknown_charges > self.unknown_charges:
                self._count_if_partly_sent()
            self.unknown_charges = event.unknown_charges

    def delivered(self, image: GeneratedImage) -> None:
        """Take in the image: its timings are finer than the events."""
        timings = image.timings
        self.connect = timings.connect
        self.body = timings.body
        if self.granted_at is not None and self.sent_at is not None:
            self.send = max(0.0, self.sent_at - self.granted_at - timings.connect)
        self.received_bytes = image.size
        self.credits = image.credits

    def _granted(self, event: PermitGranted) -> None:
        if self.attempts == 0:
            self.slot_wait = max(0.0, event.at - event.waited - self.queued_at)
        self.attempts = event.attempt
        self.key = event.key
        self.granted_at = event.at
        self.limiter_wait += event.waited
        self.sent_at = self.answered_at = self.headers = self.status = None

    def _count_if_partly_sent(self) -> None:
        """Count an attempt whose body broke off: the server may have counted it by its head."""
        if self.sent_at is None and self.granted_at is not None:
            self.sends.append((self.key, self.granted_at))


class Target(Protocol):
    """Something that makes one request and fills in its trace."""

    async def __call__(self, request: GenerationRequest, trace: Trace, /) -> None:
        """Make the request.

        Args:
            request: What to ask for.
            trace: What is known of it; valid whether or not this raises.

        Raises:
            Exception: It failed.
        """
        ...


class ClientTarget:
    """An `SD3Client` under measurement.

    Args:
        client: The client; each call is made by a variant of it whose only observer is the trace.
    """

    def __init__(self, client: SD3Client) -> None:
        self._client = client

    async def __call__(self, request: GenerationRequest, trace: Trace, /) -> None:
        """Generate one image; see `Target`."""
        variant = self._client.with_options(observers=[trace.note])  # some 10 µs
        trace.delivered(await variant.generate(request))


def name_of(error: BaseException) -> str:
    """Return what kind of failure an error is, in a word or two.

    Args:
        error: What a request met.
    """
    name = type(error).__name__
    if isinstance(error, APIError):
        return f"{name} {error.status}"
    if isinstance(error, SD3Error) or not str(error):
        return name
    return f"{name}: {str(error).splitlines()[0][:80]}"
