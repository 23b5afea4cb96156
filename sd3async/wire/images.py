"""Reads the image out of a successful answer as it arrives: whole, or an error."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import attrs

from sd3async.errors import ResponseReadError, UnexpectedResponseError
from sd3async.models.sources import MAGIC, kind_of
from sd3async.wire.json_picture import MAX_KEPT, JSONPicture, only_artifact
from sd3async.wire.refusals import one_line, read_body, read_request_id

T = TypeVar("T")

MAX_IMAGE_BYTES = 128 * 1024 * 1024
"""Well above any image: the largest answer documented is 16 megapixels."""

_START_BYTES = 12
_ENDS = {"image/png": b"IEND\xaeB`\x82", "image/jpeg": b"\xff\xd9"}
_TAIL_BYTES = 64
_PADDING = b"\0\r\n "
_MAX_SEED = 4_294_967_295


@attrs.define(eq=False, repr=False)
class ImageReader:
    """Tells the image's own bytes from those around it, and whether they are all there.

    The bytes decide what an answer is, not its `content-type`: gateways label JSON as text and
    jpeg as png, and captive portals call their page anything.

    Args:
        status: HTTP status, 2xx.
        headers: The answer's headers, case-insensitive.
        max_bytes: Largest image that is taken [bytes].
        secrets: API keys, which are struck out of the server's words.

    Attributes:
        size: Bytes of the image so far.
        seed: The seed really used, or None when the answer does not say.
        finish_reason: `SUCCESS`, also when the answer does not say, or `CONTENT_FILTERED`.
    """

    _status: int
    _headers: Mapping[str, str]
    _max_bytes: int = attrs.field(default=MAX_IMAGE_BYTES, kw_only=True, alias="max_bytes")
    _secrets: Sequence[str] = attrs.field(default=(), kw_only=True, alias="secrets")
    size: int = attrs.field(default=0, init=False)
    seed: int | None = attrs.field(default=None, init=False)
    finish_reason: str = attrs.field(default="", init=False)
    _json: JSONPicture | None = attrs.field(default=None, init=False)
    _held: bytes | None = attrs.field(default=b"", init=False)  # too short to tell what it is
    _fed: int = attrs.field(default=0, init=False)
    _start: bytes = attrs.field(default=b"", init=False)
    _tail: bytes = attrs.field(default=b"", init=False)

    @property
    def request_id(self) -> str | None:
        """The `x-request-id` header, or None."""
        return read_request_id(self._headers, self._secrets)

    @property
    def content_type(self) -> str:
        """`image/png`, `image/jpeg` or `image/webp`, by the image's first bytes."""
        return f"image/{kind_of(self._start)}"

    def feed(self, piece: bytes) -> bytes:
        """Take in bytes of the answer.

        Args:
            piece: The next bytes, decompressed.

        Returns:
            The image's bytes that are complete now; `piece` itself where the answer is the image.

        Raises:
            UnexpectedResponseError: This is no image, or too large a one.
        """
        self._fed += len(piece)
        if self._held is not None:
            self._held = piece = self._held + piece
            if len(piece) < _START_BYTES:
                return b""
            self._held = None
            self._json = None if kind_of(piece) else JSONPicture()
        image = piece if self._json is None else self._ask(self._json.feed, piece)
        if len(self._start) < _START_BYTES:
            self._start = (self._start + image)[:_START_BYTES]
            if len(self._start) == _START_BYTES and not kind_of(self._start):
                raise self._unexpected("a picture that is no jpeg, png or webp")
        self.size += len(image)
        self._tail = (self._tail + image[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        # A byte of an image takes at most eight of JSON: six for each sign of its base64.
        if max(self.size, self._fed // 8 - MAX_KEPT) > self._max_bytes:
            raise self._unexpected(f"an image of more than {self._max_bytes:,} bytes")
        return image

    def finish(self) -> None:
        """See that the image is whole, and that the answer calls it one.

        Raises:
            ResponseReadError: It broke off.
            UnexpectedResponseError: There is none, or the answer gives another finish reason:
                nothing says that such a generation is free, so it may be charged.
        """
        told: Mapping[str, Any] = {}
        if self._held is not None:
            if self._held.startswith(tuple(s[: len(self._held)] for s in MAGIC.values())):
                raise self._broken_off()
            self._json = JSONPicture()
            self._ask(self._json.feed, self._held)
        if self._json is not None:
            answer = self._json.kept.strip()
            if answer.startswith(b"{") and not answer.endswith(b"}"):
                raise self._broken_off()
            told = self._ask(self._json.finish)
        self.seed = _to_seed(told.get("seed", self._headers.get("seed")))
        reason = _reason_in(told) or self._headers.get("finish-reason") or "SUCCESS"
        self.finish_reason = one_line(reason, self._secrets, limit=60).upper()
        if self.finish_reason not in ("SUCCESS", "CONTENT_FILTERED"):
            raise self._unexpected(f"the finish reason {self.finish_reason}")
        if not self._is_whole():
            raise self._broken_off()

    def _ask(self, step: Callable[..., T], *args: bytes) -> T:
        """Take a step of reading JSON, or raise what is wrong with the answer."""
        try:
            return step(*args)
        except ValueError as error:
            problem = str(error)
        # Not from the error: it holds what the server said, perhaps an echo of the key.
        raise self._unexpected(problem)

    def _is_whole(self) -> bool:
        if self.content_type == "image/webp":
            return self.size >= int.from_bytes(self._start[4:8], "little") + 8
        return self._tail.rstrip(_PADDING).endswith(_ENDS.get(self.content_type, b"-"))

    def _broken_off(self) -> ResponseReadError:
        return ResponseReadError(f"the image broke off after {self._fed:,} bytes")

    def _unexpected(self, problem: str) -> UnexpectedResponseError:
        kind = self._headers.get("content-type", "no content type")
        kind = one_line(kind, self._secrets, limit=60)
        if self._json is not None and not self._json.name:
            kept = bytes(self._json.kept)
            told = "; ".join(read_body(kept, self._secrets).sentences) or "nothing"
            reason = one_line(_reason_of(kept), self._secrets, limit=60).upper()
            if reason not in ("", "SUCCESS"):
                told = f"the finish reason {reason}"
            problem = f"no image, but {told!r}"
        return UnexpectedResponseError(
            f"status {self._status} with {kind}: {problem}",
            status=self._status,
            request_id=self.request_id,
        )


def _reason_in(told: Mapping[str, Any]) -> Any:
    return told.get("finish_reason") or told.get("finishReason")  # the latter in v1


def _reason_of(answer: bytes) -> Any:
    """Return the finish reason in an answer without a picture, or empty."""
    with suppress(ValueError, RecursionError, AttributeError):
        return _reason_in(only_artifact(json.loads(answer))) or ""
    return ""


def _to_seed(value: Any) -> int | None:
    try:
        seed = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seed if 0 <= seed <= _MAX_SEED else None
