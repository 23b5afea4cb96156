"""What can go wrong, as one tree.

SD3Error
├── InvalidRequestError        (also ValueError)   refused before sending; .field
├── ClientClosedError                              the client was closed under the call
├── TransportError                                 no complete response; .request, __cause__
│   ├── ConnectFailedError                         certainly nothing was sent; .is_retryable
│   ├── RequestTimeoutError    (also TimeoutError) maybe the work was done, and billed
│   │   └── NotEnoughTimeError                     given up at once: .wait [s] passes the deadline
│   └── ResponseReadError                          broke off while reading
├── APIError                                       .status .name .errors .error_id .request_id
│   │                                              .headers .retry_after [s] | None
│   ├── BadRequestError 400    ├── AuthenticationError 401   ├── PaymentRequiredError 402
│   ├── ContentModerationError 403 (flagged)       ├── PermissionDeniedError 403 (any other)
│   ├── PayloadTooLargeError 413                   ├── UnprocessableError 422
│   └── RateLimitError 429                         └── ServerError 5xx
├── UnexpectedResponseError                        2xx that does not look as documented
└── ContentFilteredError                           only from raise_if_filtered()

Each has .history, .note, .pending and .may_be_charged.
"""

from collections.abc import Mapping
from typing import Any

import attrs
from multidict import CIMultiDict


@attrs.frozen
class FailedAttempt:
    """What one attempt met before the next one, or before giving up.

    Attributes:
        number: 1 for the first try.
        problem: The error in words, without the key and without the prompt.
        seconds: How long the attempt took, waiting for the limiter included [s].
        may_be_charged: Whether the server may have done the work, and billed it.
    """

    number: int
    problem: str
    seconds: float
    may_be_charged: bool


class SD3Error(Exception):
    """Root of everything this package raises on purpose: a sentence, and facts as attributes.

    Attributes:
        history: One entry for each attempt that failed, the last one included; empty when
            nothing was sent.
        note: A remark on why no further attempt was made; empty when there is none.
        may_be_charged: Whether the service may have done the work, and billed it, all the same.
        pending: The `PendingImage` of a generation that had been started, or None: the image may
            still be fetched with `SD3Client.result`.
    """

    history: tuple[FailedAttempt, ...] = ()
    note: str = ""
    may_be_charged: bool = False
    pending: Any = None

    def __init__(self, message: str = "", **facts: Any) -> None:
        super().__init__(message)
        vars(self).update(facts)

    def __str__(self) -> str:
        words = super().__str__()
        if self.note:
            words = f"{words} ({self.note})"
        if len(self.history) > 1:
            met = "; ".join(f"{past.number}: {past.problem}" for past in self.history)
            words = f"{words} [{len(self.history)} attempts: {met}]"
        return words

    def __reduce__(self) -> tuple[Any, ...]:
        # Without __init__, whose parameters are each class's own. What the error carries comes
        # last: the `outcomes` of a gather may lead back to it.
        return type(self).__new__, (type(self),), {**vars(self), "args": self.args}


class InvalidRequestError(SD3Error, ValueError):
    """The request was refused before anything was sent.

    Attributes:
        field: The parameter at fault, in the API's own words.
    """

    field: str


class ClientClosedError(SD3Error):
    """The client was closed while the call was under way; nothing more was sent."""


class TransportError(SD3Error):
    """No complete response arrived. The cause (`__cause__`) is the transport's own error.

    Attributes:
        request: The request value, when it is known.
    """

    request: object | None = None


class ConnectFailedError(TransportError):
    """No connection could be made: certainly nothing was sent.

    Attributes:
        is_retryable: Whether another attempt may do better; False for a certificate that fails.
    """

    is_retryable: bool = True


class RequestTimeoutError(TransportError, TimeoutError):
    """Time ran out. If the request was on its way, the work may have been done and billed."""

    may_be_charged = True


class NotEnoughTimeError(RequestTimeoutError):
    """The next wait is known to pass the deadline, so it is not begun.

    Attributes:
        wait: How long it would be [s].
    """

    may_be_charged = False
    wait: float


class ResponseReadError(TransportError):
    """The answer broke off after the request was on its way: perhaps billed."""

    may_be_charged = True


class APIError(SD3Error):
    """The service answered with an error; what is kept of it is redacted and bounded.

    Attributes:
        status: HTTP status.
        name: The error body's `name`; empty when the body has none.
        errors: The error body's sentences.
        error_id: The error body's `id`, or None.
        request_id: The `x-request-id` header, or None.
        headers: The answer's headers, case-insensitive.
        retry_after: What the `Retry-After` header asks for [s], at most a day, or None.
    """

    status: int
    name: str = ""
    errors: tuple[str, ...] = ()
    error_id: str | None = None
    request_id: str | None = None
    headers: CIMultiDict[str]
    retry_after: float | None = None

    def __init__(
        self, message: str, *, headers: Mapping[str, str] | None = None, **facts: Any
    ) -> None:
        super().__init__(message, headers=CIMultiDict(headers or {}), **facts)


class BadRequestError(APIError):
    """400: a parameter is wrong; `errors` names it."""


class AuthenticationError(APIError):
    """401: the key is missing, wrong or withdrawn."""


class PaymentRequiredError(APIError):
    """402: the account lacks credits."""


class ContentModerationError(APIError):
    """403 `content_moderation`: the request was flagged; nothing was charged."""


class PermissionDeniedError(APIError):
    """Any other 403: a gateway's, a firewall's or the service's refusal."""


class PayloadTooLargeError(APIError):
    """413: the whole body was larger than 10 MiB."""


class UnprocessableError(APIError):
    """422: well-formed, but refused (language, public figure)."""


class RateLimitError(APIError):
    """429: over 150 requests in 10 s; the key is shut out for 60 s."""


class ServerError(APIError):
    """5xx: the service failed, or something before it did.

    The service's own error is documented as free. A proxy's words for "no answer from behind me"
    (`PROXY_FAILURES`) promise nothing: then `may_be_charged` is True.
    """


class UnexpectedResponseError(SD3Error):
    """A 2xx answer that does not look as documented.

    Attributes:
        status: HTTP status.
        request_id: The `x-request-id` header, or None.
        images: The `GeneratedImage`s that are good all the same, where one of several is not.
    """

    may_be_charged = True
    status: int
    request_id: str | None = None
    images: tuple[Any, ...] = ()


class ContentFilteredError(SD3Error):
    """The image was blurred by the service's filter; raised by `raise_if_filtered()` only.

    Attributes:
        request_id: The `x-request-id` header, or None.
    """

    request_id: str | None = None


STATUS_TO_ERROR: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    413: PayloadTooLargeError,
    422: UnprocessableError,
    429: RateLimitError,
}
PROXY_FAILURES = frozenset({502, 504, *range(520, 525)})
"""Said when the server behind gave no whole answer; it may be at work all the same.

Source:
    RFC 9110, 15.6.3 and 15.6.5; Cloudflare, 5xx errors (520-524).
"""


def error_class(status: int, name: str = "") -> type[APIError]:
    """Return the class that stands for an HTTP status.

    Args:
        status: Any status that is not a success.
        name: The error body's `name`, which tells the two kinds of 403 apart.

    Returns:
        The exact class for a documented status, `ServerError` for any 5xx, else `APIError`.
    """
    if status == 403 and name == "content_moderation":
        return ContentModerationError
    if status >= 500:
        return ServerError
    return STATUS_TO_ERROR.get(status, APIError)
