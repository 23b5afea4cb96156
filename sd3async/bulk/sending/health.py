"""Telling a service that is simply wrong from items that are: by failures in a row."""

from collections import Counter

from sd3async.errors import (
    APIError,
    BadRequestError,
    ContentModerationError,
    PayloadTooLargeError,
    SD3Error,
    TransportError,
    UnexpectedResponseError,
    UnprocessableError,
)
from sd3async.models.base import GenerationRequest

_HANDFUL = 5
_ONCE_SERVED = 20  # what has worked is given more time: a proxy that restarts, a bad minute

_OF_THE_ITEM = (BadRequestError, ContentModerationError, PayloadTooLargeError, UnprocessableError)

_Kind = tuple[str, str]


class ServiceHealth:
    """Counts failures in a row, for each endpoint and model by itself.

    A gateway may lack one endpoint, and a service one model, while all others work.

    Attributes:
        was_reached: Whether there is a service at all where one is expected.
    """

    def __init__(self) -> None:
        self._failures: Counter[_Kind] = Counter()
        self._served: set[_Kind] = set()
        self.was_reached = False

    def served(self, request: GenerationRequest) -> None:
        """Note an image."""
        self.was_reached = True
        kind = _kind_of(request)
        self._served.add(kind)
        del self._failures[kind]

    def is_hopeless(self, request: GenerationRequest, error: SD3Error) -> bool:
        """Note a failure; return whether the next request of its kind would only meet the same."""
        if not _is_of_the_service(error):
            return False
        kind = _kind_of(request)
        self._failures[kind] += 1
        return self._failures[kind] >= (_ONCE_SERVED if kind in self._served else _HANDFUL)


def _kind_of(request: GenerationRequest) -> _Kind:
    return request.endpoint, getattr(request, "model", None) or ""


def _is_of_the_service(error: SD3Error) -> bool:
    """Whether an answer, or its lack, has nothing to do with what the item asks for."""
    if isinstance(error, TransportError):
        return error.may_be_charged  # each such answer may be billed, and gives no image
    if isinstance(error, BadRequestError):
        return any("model" in sentence.lower() for sentence in error.errors)
    return isinstance(error, APIError | UnexpectedResponseError) and not isinstance(
        error, _OF_THE_ITEM
    )
