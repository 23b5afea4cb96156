"""What came of a request."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import attrs

from sd3async._files import PartFile
from sd3async.errors import ContentFilteredError, InvalidRequestError, SD3Error
from sd3async.models.base import GenerationRequest, StartedRequest
from sd3async.models.requests import request_from_dict
from sd3async.models.targets import check_target

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


@attrs.frozen(kw_only=True)
class Timings:
    """Where the time of a call went [s]; the parts are those of the last attempt.

    Attributes:
        slot_wait: Waiting for a free connection slot.
        limiter_wait: Waiting for the rate limit, over all attempts.
        connect: From the permit to the first byte written.
        headers: From the last byte written to the answer's head.
        body: From the answer's head to its last byte.
        total: The whole call: every attempt and every wait.
    """

    slot_wait: float = 0.0
    limiter_wait: float = 0.0
    connect: float = 0.0
    headers: float = 0.0
    body: float = 0.0
    total: float = 0.0


@attrs.frozen(kw_only=True)
class GeneratedImage:
    """One image, encoded as it was received: the bytes are signed, so they are never touched.

    Attributes:
        data: The encoded image; None when it was streamed to `path`.
        path: The file it was streamed to, or None.
        content_type: `image/png`, `image/jpeg` or `image/webp`.
        size: Length of the encoded image [bytes].
        seed: The seed really used, or None when the answer did not say.
        finish_reason: `SUCCESS` or `CONTENT_FILTERED`.
        request_id: The service's own id of this request, or None.
        request: What was asked for, with the model that was sent.
        credits: The documented price [credits]; a filtered image counts as charged.
        attempts: How many attempts it took, 1 being the first; 429s count here.
        unknown_charges: How many of the failed attempts may have been charged all the same.
        emulated: Whether it comes from this package's emulator, by the answer's own word.
        timings: Where the time went.
    """

    data: bytes | None = attrs.field(default=None, repr=False)
    path: Path | None = None
    content_type: str
    size: int
    seed: int | None
    finish_reason: str
    request_id: str | None
    request: GenerationRequest
    credits: float
    attempts: int = 1
    unknown_charges: int = 0
    emulated: bool = False
    timings: Timings = attrs.field(factory=Timings)

    @property
    def is_filtered(self) -> bool:
        """Whether the service blurred the image because it broke the content policy."""
        return self.finish_reason == "CONTENT_FILTERED"

    def raise_if_filtered(self) -> None:
        """Raise when the image is blurred.

        Raises:
            ContentFilteredError: `finish_reason` is `CONTENT_FILTERED`.
        """
        if self.is_filtered:
            raise ContentFilteredError(
                "the service blurred this image because it broke the content policy",
                request_id=self.request_id,
            )

    def save(self, path: str | Path) -> Path:
        """Write the image to a file: whole and on disk, or not at all.

        Args:
            path: The file; replaced if it exists. Its folder must exist.

        Returns:
            The path.

        Raises:
            InvalidRequestError: No file can be written there, or its suffix contradicts the image.
            OSError: It could not be written; nothing is left behind.
        """
        target = check_target(path, self.content_type.removeprefix("image/"), "path")
        with self._open() as source, PartFile(target) as part:
            shutil.copyfileobj(source, part)
            return part.commit()

    def to_pil(self) -> "PILImage":
        """Decode the image with Pillow (extra `sd3async[pil]`).

        Returns:
            The image: height x width x 3 or 4 channels, uint8.
        """
        from PIL import Image

        with self._open() as source, Image.open(source) as image:
            image.load()
            return image

    def _open(self) -> BinaryIO:
        if self.data is None and self.path is not None:
            return self.path.open("rb")
        return BytesIO(self.data or b"")


@attrs.frozen(kw_only=True)
class PendingImage:
    """A generation that the service has started: its image can be fetched for 24 hours.

    It can be pickled or written down, and handed to another process that has the same key. A
    request whose images cannot be written down (a stream, a callable) then stays behind.

    Attributes:
        id: The service's own.
        request: What was asked for.
        service: The base URL of whoever started it.
        key: A name for the key that started it, from which nobody can tell the key.
        started_at: When [s since the epoch].
        credits: What it costs [credits].
        attempts: How many attempts the start took.
        unknown_charges: How many of those that failed may have been charged all the same.
    """

    id: str
    request: GenerationRequest
    service: str
    key: str
    started_at: float
    credits: float
    attempts: int = 1
    unknown_charges: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON; a request that cannot be written down is left out."""
        fields = {name: getattr(self, name) for name in attrs.fields_dict(PendingImage)}
        del fields["request"]
        with suppress(InvalidRequestError):
            fields["request"] = self.request.to_dict()
        return fields | {"output_format": self.request.output_format}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "PendingImage":
        """Make one from what `to_dict` returned.

        What is paid can be fetched without its request, so one that can no longer be made, since
        its images are gone, is left out.

        Args:
            fields: What it returned.
        """
        given = dict(fields)
        kind, told = given.pop("output_format"), given.pop("request", None)
        request: GenerationRequest = StartedRequest(output_format=kind, credits=given["credits"])
        if told is not None:
            with suppress(InvalidRequestError):
                request = request_from_dict(told)
        return cls(**given, request=request)

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: getattr(self, name) for name in attrs.fields_dict(PendingImage)}
        told = self.to_dict()
        if "request" not in told:
            fields["request"] = PendingImage.from_dict(told).request
        return _pending_of, (fields,)


def _pending_of(fields: dict[str, Any]) -> PendingImage:
    return PendingImage(**fields)


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of one of many requests: an image or an error.

    Attributes:
        index: Its place in the input, from 0.
        request: The request, or the input itself when no request could be made of it.
        image: The image, or None.
        error: The error, or None; an `SD3Error`, or an `OSError` of the disk.
    """

    index: int
    request: object
    image: GeneratedImage | None = None
    error: Exception | None = None

    @property
    def ok(self) -> bool:
        """Whether there is an image."""
        return self.image is not None

    def unwrap(self) -> GeneratedImage:
        """Return the image, or raise the error.

        Raises:
            Exception: What went wrong.
        """
        if self.image is not None:
            return self.image
        raise self.error or SD3Error("the outcome holds neither an image nor an error")
