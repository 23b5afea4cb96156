"""What an answer that is no success means, in words without a key, and at a bounded cost."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

import attrs
from multidict import CIMultiDict

from sd3async.errors import (
    PROXY_FAILURES,
    APIError,
    AuthenticationError,
    PaymentRequiredError,
    ServerError,
    UnexpectedResponseError,
    error_class,
)
from sd3async.wire.waits import MAX_RETRY_AFTER, read_retry_after, wait_asked_for

MAX_BODY_BYTES = 64 * 1024
"""How much of a body is looked at for words; the service's own errors are below 1 KiB."""

_MAX_SENTENCES = 20
_MAX_PAGE_CHARS = 200
_MAX_NAME = 100

_OUT_OF_MONEY = ("insufficient_user_quota", "-10004", "-10006", "-10007", "-10012", "-10018")
_GATEWAY_CODES: dict[str, type[APIError]] = {
    **dict.fromkeys(("-10001", "-10002", "-10005"), AuthenticationError),
    **dict.fromkeys(_OUT_OF_MONEY, PaymentRequiredError),
}
"""Codes of gateways' own errors whose HTTP status says less than they do."""

# The service's own 401 repeats the ends of the key around a run of asterisks. Each pattern reads
# a word once, wherever it begins: a page may be one word of 64 KiB.
_KEY_LIKE = re.compile(r"\bsk-[\w*-]{4,}|(?<![\w-])[\w-]*+\*{3}[\w*-]*|(?<=\b(?i:bearer) )\S+")
_ID = re.compile(r"[\w-]{1,200}", re.ASCII)
"""Documented as 64 hexadecimal digits; a gateway's own may be otherwise."""
_TITLE = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)
_MARKUP = re.compile(r"<(?:script|style)\b[^<>]*>[^<]*|<[^<>]*>", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class Told:
    """What an error body tells.

    Attributes:
        sentences: In the sender's own words.
        name: The kind of error, or empty.
        error_id: The body's `id`, or None.
        code: A gateway's code, or empty.
        is_own: Whether it has the service's own shape, and not that of something between.
    """

    sentences: tuple[str, ...]
    name: str
    error_id: str | None
    code: str
    is_own: bool


def read_error(
    status: int, headers: Mapping[str, str], body: bytes, *, secrets: Sequence[str], now: float
) -> APIError:
    """Turn an answer that is not a success into the error that fits it.

    Args:
        status: HTTP status.
        headers: The answer's headers, case-insensitive.
        body: Its body, whole or its beginning.
        secrets: API keys, which are struck out wherever they occur.
        now: Wall-clock time [s since the epoch], for a `Retry-After` that is a date.

    Returns:
        The error, ready to be raised. It may be charged if it is a proxy's word for no answer.
    """
    told = read_body(body, secrets)
    words = "; ".join(told.sentences)
    if not words and 300 <= status < 400:
        words = "a redirect, which is never followed: the key goes to no other address"
    if not words:
        kind = one_line(headers.get("content-type") or "no content type", secrets, limit=_MAX_NAME)
        words = f"no readable error body ({kind})"
    if (wait_asked_for(headers, now=now) or 0) > MAX_RETRY_AFTER:
        words = f"{words} (its Retry-After of more than a day is not heeded)"
    cls = _GATEWAY_CODES.get(told.code, error_class(status, told.name))
    return cls(
        f"{f'{status} {told.name}'.strip()}: {words}",
        status=status,
        name=told.name,
        errors=told.sentences,
        error_id=told.error_id,
        request_id=read_request_id(headers, secrets) or told.error_id,
        headers=CIMultiDict((name, redact(value, secrets)) for name, value in headers.items()),
        retry_after=read_retry_after(headers, now=now),
        may_be_charged=cls is ServerError and status in PROXY_FAILURES and not told.is_own,
    )


def read_request_id(headers: Mapping[str, str], secrets: Sequence[str]) -> str | None:
    """Return the `x-request-id` header as something that can be printed and stored, or None."""
    return one_line(headers.get("x-request-id", ""), secrets, limit=_MAX_NAME) or None


def read_body(body: bytes, secrets: Sequence[str]) -> Told:
    """Return what an error body tells, as far as it can be read.

    Args:
        body: The body, or its beginning; no more than `MAX_BODY_BYTES` are looked at.
        secrets: API keys.
    """
    body = body[:MAX_BODY_BYTES]
    found: dict[str, Any] = {}
    with suppress(ValueError, RecursionError):
        found = _as_object(json.loads(body))
    gateways = _as_object(found.get("error"))
    name, error_id, errors = found.get("name"), found.get("id"), found.get("errors")
    code = gateways.get("code") or gateways.get("err_code")
    said = errors or found.get("message") or found.get("error")
    said = gateways.get("message") if gateways else said
    listed = cast("list[object]", said if isinstance(said, list) else [said] if said else [])
    label = partial(one_line, secrets=secrets, limit=_MAX_NAME)
    return Told(
        sentences=tuple(one_line(sentence, secrets) for sentence in listed[:_MAX_SENTENCES])
        or _words_of_page(body.decode("utf-8", "replace"), secrets),
        name=label(gateways.get("type") or code or name or ""),
        error_id=label(error_id or "") or None,
        code=label(code or ""),
        is_own=isinstance(name, str)
        and isinstance(error_id, str)
        and (isinstance(errors, list) or isinstance(found.get("message"), str)),  # v2beta; v1
    )


def _as_object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _words_of_page(text: str, secrets: Sequence[str]) -> tuple[str, ...]:
    """Return the readable words of a proxy's page: its title, or its text without the tags."""
    title = _TITLE.search(text)
    text = title[1] if title else _MARKUP.sub(" ", text)
    words = one_line(text, secrets, limit=_MAX_PAGE_CHARS)
    return (words,) if words else ()


def one_line(value: object, secrets: Sequence[str], *, limit: int = 1000) -> str:
    """Return somebody else's words as one line that can be printed and stored, without a key.

    Args:
        value: The words. Control signs and halves of surrogate pairs become spaces.
        secrets: API keys.
        limit: Most characters that are kept.
    """
    text = str(value)
    if not text.isprintable():
        text = "".join(sign if sign.isprintable() else " " for sign in text)
    text = redact(" ".join(text.split()), secrets)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def redact(text: str, secrets: Sequence[str]) -> str:
    """Strike out API keys, whole or masked.

    Args:
        text: Words of the service or of a proxy.
        secrets: The keys in use.
    """
    for secret in sorted(secrets, key=len, reverse=True):  # one may begin as another
        text = text.replace(secret, "[key]")
    return _KEY_LIKE.sub("[key]", text)


def read_started(status: int, body: bytes, secrets: Sequence[str]) -> str:
    """Return the id of what an answer says has been started.

    Raises:
        UnexpectedResponseError: It names none; what was started may be charged all the same.
    """
    with suppress(ValueError, RecursionError):
        started = _as_object(json.loads(body)).get("id")
        if isinstance(started, str) and _ID.fullmatch(started):
            return started
    said = "; ".join(read_body(body, secrets).sentences) or "nothing"
    raise UnexpectedResponseError(
        f"status {status}, which should name what was started: no id, but {said!r:.200}",
        status=status,
    )


def read_balance(status: int, body: bytes, _secrets: Sequence[str] = ()) -> float:
    """Return the credits that a balance answer tells of.

    Raises:
        UnexpectedResponseError: It tells of none.
    """
    try:
        left = float(json.loads(body)["credits"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        left = math.nan
    if math.isfinite(left):
        return left
    raise UnexpectedResponseError("the balance answer names no credits", status=status)
