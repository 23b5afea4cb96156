"""Between values and bytes, without a network: what a request says, and what an answer means.

Source:
    Stable Image API v2beta: headers, success bodies and error bodies; error bodies of gateways.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, cast

import attrs

from sd3async.errors import (
    APIError,
    AuthenticationError,
    PaymentRequiredError,
    RateLimitError,
    ResponseReadError,
    UnexpectedResponseError,
    error_class,
)
from sd3async.models.requests import GenerationRequest
from sd3async.models.sources import ImageSource

ACCEPT_VALUES = ("image/*", "application/json")

_JSON_IMAGE_KEYS = ("image", "result", "base64")
"""Where the picture is: by the documents, in polled results, at one gateway."""

_GATEWAY_CODES: dict[str, type[APIError]] = {
    "insufficient_user_quota": PaymentRequiredError,
    "-10001": AuthenticationError,
    "-10002": AuthenticationError,
    "-10005": AuthenticationError,
    "-10004": PaymentRequiredError,
    "-10006": PaymentRequiredError,
    "-10007": PaymentRequiredError,
    "-10012": PaymentRequiredError,
    "-10018": PaymentRequiredError,
}
"""Codes of gateways' own errors whose HTTP status says less than they do."""

# The service's own 401 repeats the ends of the key around a run of asterisks.
_KEY_LIKE = re.compile(r"sk-[\w*-]{4,}|[\w-]*\*{3,}[\w-]*|(?<=[Bb]earer )\S+")


def form_fields(request: GenerationRequest) -> dict[str, str]:
    """Return a request's text fields as they go into the form.

    Args:
        request: The request.

    Returns:
        Names and values, without the image. Zero is a value; only None is left out.
    """
    fields: dict[str, str] = {}
    for attribute in attrs.fields(type(request)):
        value = getattr(request, attribute.name)
        if value is not None and not isinstance(value, ImageSource):
            fields[attribute.name] = value if isinstance(value, str) else repr(value)
    return fields


@attrs.frozen
class AnswerHead:
    """What the head of a successful answer says.

    Attributes:
        is_json: Whether the image comes as base64 in JSON.
        content_type: The image's own type.
        seed: From the header; None in JSON answers, whose body says it.
        finish_reason: From the header; empty in JSON answers.
        request_id: The `x-request-id` header, or None.
    """

    is_json: bool
    content_type: str
    seed: int | None
    finish_reason: str
    request_id: str | None


def read_head(status: int, headers: Mapping[str, str]) -> AnswerHead:
    """Judge the head of a 2xx answer.

    Args:
        status: HTTP status.
        headers: The answer's headers, case-insensitive.

    Raises:
        UnexpectedResponseError: It announces neither an image nor JSON.
    """
    request_id = headers.get("x-request-id")
    kind, _, parameters = headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if kind == "application/json":
        typed = re.search(r"type=\"?(image/\w+)", parameters)
        content_type = typed.group(1) if typed else "image/png"
        return AnswerHead(True, content_type, None, "", request_id)
    if kind.startswith("image/"):
        finish_reason = headers.get("finish-reason", "SUCCESS")
        return AnswerHead(False, kind, _to_seed(headers.get("seed")), finish_reason, request_id)
    raise UnexpectedResponseError(
        f"status {status} with content type {kind or 'none'!r}, where an image was expected",
        status=status,
        request_id=request_id,
    )


@attrs.frozen
class JSONTail:
    """What a JSON answer says beside the picture.

    Attributes:
        seed: The seed really used, or None.
        finish_reason: `SUCCESS` or `CONTENT_FILTERED`.
    """

    seed: int | None
    finish_reason: str


class JSONImageDecoder:
    """Decodes `{"image": "<base64>", …}` as it arrives, in memory that does not grow with it.

    The picture's bytes come out of `feed` piece by piece; the rest of the object is kept, with
    the picture left out, and read by `finish`.

    Args:
        status: HTTP status, for errors.
        request_id: The `x-request-id` header, for errors.
    """

    _OPENING = re.compile(rb'"(?:' + "|".join(_JSON_IMAGE_KEYS).encode() + rb')"\s*:\s*"')

    def __init__(self, status: int, request_id: str | None) -> None:
        self._status = status
        self._request_id = request_id
        self._rest: bytearray = bytearray()  # the object without the picture
        self._encoded = b""  # base64 that does not yet fill four characters
        self._state = "before"

    def feed(self, data: bytes) -> bytes:
        """Take in bytes of the answer.

        Args:
            data: The next bytes.

        Returns:
            The picture's bytes that are complete now.

        Raises:
            UnexpectedResponseError: The picture is not base64.
        """
        if self._state == "before":
            self._rest += data
            opening = self._OPENING.search(self._rest)
            if opening is None:
                return b""
            data = bytes(self._rest[opening.end() :])
            del self._rest[opening.end() :]
            self._state = "inside"
        if self._state == "inside":
            encoded, quote, after = data.partition(b'"')
            if quote:
                self._rest += quote + after
                self._state = "after"
            return self._decode(encoded)
        self._rest += data
        return b""

    def _decode(self, encoded: bytes) -> bytes:
        # Some JSON writers escape every slash.
        whole = self._encoded + encoded.replace(b"\\", b"")
        usable = len(whole) - len(whole) % 4
        self._encoded = whole[usable:]
        try:
            return base64.b64decode(whole[:usable], validate=True)
        except binascii.Error as error:
            raise self._unexpected(f"the picture is not base64: {error}") from error

    def finish(self) -> JSONTail:
        """Read the rest of the object.

        Raises:
            UnexpectedResponseError: It is no such object, or has no picture.
            ResponseReadError: It ended in the middle of the picture.
        """
        if self._state == "inside":
            raise ResponseReadError("the answer ended in the middle of the picture")
        try:
            parsed: Any = json.loads(self._rest)
        except ValueError as error:
            raise self._unexpected("the answer is not the JSON it claims to be") from error
        if self._state == "before" or not isinstance(parsed, dict):
            raise self._unexpected("the JSON answer holds no picture")
        if self._encoded:
            raise self._unexpected("the picture's base64 is cut short")
        tail = cast("dict[str, Any]", parsed)
        return JSONTail(_to_seed(tail.get("seed")), str(tail.get("finish_reason", "SUCCESS")))

    def _unexpected(self, words: str) -> UnexpectedResponseError:
        return UnexpectedResponseError(words, status=self._status, request_id=self._request_id)


def check_image_start(start: bytes, head: AnswerHead, status: int) -> None:
    """See that a picture begins as one of its kind.

    Args:
        start: Its first bytes, 12 or more if it has as many.
        head: The answer's head.
        status: HTTP status, for errors.

    Raises:
        ResponseReadError: There are no bytes at all.
        UnexpectedResponseError: They are not those of a jpeg, png or webp image.
    """
    if not start:
        raise ResponseReadError("the answer was empty where an image was expected")
    if start.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        return
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return
    raise UnexpectedResponseError(
        f"status {status} with {head.content_type} that begins with {start[:12]!r}, "
        "which is no jpeg, png or webp",
        status=status,
        request_id=head.request_id,
    )


def read_error(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    secrets: Sequence[str] = (),
    now: float,
) -> APIError:
    """Turn an answer that is not a success into the error that fits it.

    Args:
        status: HTTP status.
        headers: The answer's headers, case-insensitive.
        body: Its body, whole or its beginning.
        secrets: API keys, which are struck out wherever they occur.
        now: Wall-clock time [s since the epoch], for a `Retry-After` that is a date.

    Returns:
        The error, ready to be raised.
    """
    name, error_id, sentences, code = _read_error_body(body)
    sentences = tuple(redact(sentence, secrets) for sentence in sentences)
    words = "; ".join(sentences) or _words_for_silence(status, headers)
    label = f"{status} {name}".strip()
    cls = _GATEWAY_CODES.get(code, error_class(status, name))
    error = cls(
        f"{label}: {words}",
        status=status,
        name=name,
        errors=sentences,
        error_id=error_id,
        request_id=headers.get("x-request-id") or error_id,
        headers={key: redact(value, secrets) for key, value in headers.items()},
    )
    if isinstance(error, RateLimitError):
        error.retry_after = read_retry_after(headers, now=now)
    return error


def _words_for_silence(status: int, headers: Mapping[str, str]) -> str:
    if 300 <= status < 400:
        return "a redirect, which is never followed: the key goes to no other address"
    kind = headers.get("content-type", "").partition(";")[0].strip()
    return f"no readable error body ({kind or 'no content type'})"


def _read_error_body(body: bytes) -> tuple[str, str | None, tuple[str, ...], str]:
    """Return name, id, sentences and gateway code, as far as the body has them."""
    try:
        parsed: Any = json.loads(body)
    except ValueError:
        return "", None, _words_of_page(body), ""
    if not isinstance(parsed, dict):
        return "", None, _words_of_page(body), ""
    found = cast("dict[str, Any]", parsed)
    inner = found.get("error")
    if isinstance(inner, dict):
        gateway = cast("dict[str, Any]", inner)
        code = str(gateway.get("code") or gateway.get("err_code") or "")
        name = str(gateway.get("type") or code)
        return name, None, _sentences(gateway.get("message")), code
    sentences = _sentences(found.get("errors") or found.get("message") or inner)
    error_id = found.get("id")
    return str(found.get("name") or ""), error_id and str(error_id), sentences, ""


def _sentences(value: Any) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(str(item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return (str(value),) if value else ()


def _words_of_page(body: bytes) -> tuple[str, ...]:
    """Return the readable words of a proxy's page: its title, or its text without the tags."""
    text = body.decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    if title is not None:
        text = title.group(1)
    text = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE)
    words = " ".join(text.split())
    return (words[:200],) if words else ()


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    """Strike out API keys, whole or masked.

    Args:
        text: Words of the service or of a proxy.
        secrets: The keys in use.
    """
    for secret in secrets:
        text = text.replace(secret, "[key]")
    return _KEY_LIKE.sub("[key]", text)


def read_retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return what `Retry-After` asks for [s], or None.

    Args:
        headers: The answer's headers, case-insensitive.
        now: Wall-clock time [s since the epoch].

    Source:
        RFC 9110, 10.2.3: seconds or a date. The service documents no such header; proxies and
        gateways send it, some in milliseconds as `retry-after-ms`.
    """
    milliseconds = _to_seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _to_seconds(value)
    if seconds is not None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - now)


def _to_seconds(value: str | None) -> float | None:
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _to_seed(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def read_balance(status: int, body: bytes) -> float:
    """Return the credits that a balance answer tells of.

    Raises:
        UnexpectedResponseError: It tells of none.
    """
    try:
        return float(json.loads(body)["credits"])
    except (ValueError, TypeError, KeyError) as error:
        raise UnexpectedResponseError(
            "the balance answer names no credits", status=status
        ) from error
