"""Answers and refusals in the service's own shapes.

Source:
    Error names and sentences: the service's OpenAPI document of v2beta; 401 and 402, which it
    does not have, and the compact, key-sorted form from published captures of real answers.
"""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import attrs

__all__ = ["Answer", "Refusal", "error_answer", "phrase", "to_json"]

CREDITS_PAGE = "https://platform.stability.ai/account/credits"

STANDARD: Mapping[int, tuple[str, str]] = {
    401: ("unauthorized", "authorization: invalid or missing header value"),
    402: (
        "payment_required",
        "You lack sufficient credits to make this request. "
        f"Please purchase more credits at {CREDITS_PAGE} and try again.",
    ),
    403: (
        "content_moderation",
        "Your request was flagged by our content moderation system, "
        "as a result your request was denied and you were not charged.",
    ),
    413: ("payload_too_large", "body: payloads cannot be larger than 10MiB in size"),
    422: ("invalid_language", "English is the only supported language for this service."),
    429: (
        "rate_limit_exceeded",
        "You have exceeded the rate limit of 150 requests within a 10 second period, "
        "and have been timed out for 60 seconds.",
    ),
    500: ("internal_error", "An unexpected server error has occurred, please try again later."),
}

CLOUDFLARE: Mapping[int, str] = {
    520: "Web Server Returned an Unknown Error",
    521: "Web Server Is Down",
    522: "Connection Timed Out",
    523: "Origin Is Unreachable",
    524: "A Timeout Occurred",
    529: "Site Is Overloaded",
}


def phrase(status: int) -> str:
    """Return the words that go with a status, those of Cloudflare's own ones too."""
    return CLOUDFLARE.get(status) or HTTPStatus(status).phrase


@attrs.frozen
class Answer:
    """A whole answer, before it is sent.

    Attributes:
        status: HTTP status.
        body: Content.
        content_type: Its type, parameters included.
        headers: Further headers.
        error_name: The error body's name, or None for anything else.
        seed: The seed really used, or None.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    error_name: str | None = None
    seed: int | None = None


class Refusal(Exception):  # noqa: N818 - an answer, not an error of the emulator
    """The request goes no further; carries the documented error."""

    def __init__(
        self,
        status: int,
        name: str,
        errors: Sequence[str],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {name}")
        self.status = status
        self.name = name
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    @classmethod
    def standard(cls, status: int) -> "Refusal":
        """Return the documented error of a status whose words never change."""
        name, sentence = STANDARD[status]
        return cls(status, name, [sentence])

    @classmethod
    def with_status(cls, status: int) -> "Refusal":
        """Return an error for any status, in the documented words where there are any."""
        if status in STANDARD:
            return cls.standard(status)
        words = phrase(status)
        return cls(status, words.lower().replace(" ", "_"), [f"{words}."])

    @classmethod
    def bad_request(cls, *errors: str) -> "Refusal":
        """Return a 400 that lists what is wrong."""
        return cls(400, "bad_request", errors)

    @classmethod
    def generation_not_found(cls) -> "Refusal":
        """Return the 404 of a result that is unknown, gone, or another key's."""
        sentence = "id: the generation either does not exist or has expired."
        return cls(404, "generation_not_found", [sentence])

    @classmethod
    def rate_limited(
        cls, most: int, period: float, lockout: float, headers: Mapping[str, str]
    ) -> "Refusal":
        """Return the 429, in the document's words."""
        sentence = (
            f"You have exceeded the rate limit of {most} requests within a {period:g} second "
            f"period, and have been timed out for {lockout:g} seconds."
        )
        return cls(429, "rate_limit_exceeded", [sentence], headers)


def to_json(value: Any) -> bytes:
    """Return JSON as the service writes it: compact, keys sorted."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def error_answer(refusal: Refusal, request_id: str, *, is_v1: bool = False) -> Answer:
    """Return the answer that tells of a refusal.

    Args:
        refusal: What is wrong.
        request_id: 32 hexadecimal digits; also the error's id, except that a 429 repeats its name.
        is_v1: Whether the older API says it, which has one `message` in place of `errors`.
    """
    error_id = refusal.name if refusal.status == 429 else request_id
    told = {"message": "; ".join(refusal.errors)} if is_v1 else {"errors": list(refusal.errors)}
    body = {**told, "id": error_id, "name": refusal.name}
    return Answer(refusal.status, to_json(body), headers=refusal.headers, error_name=refusal.name)
