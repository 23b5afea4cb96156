"""What arrived, and what became of it."""

import collections
import hashlib
from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["Journal", "Part", "ReceivedRequest", "Visit", "key_id"]


@attrs.frozen
class Part:
    """One part of a multipart body, as it came over the wire.

    Attributes:
        name: The form field.
        filename: As given, or None.
        content_type: As given, or None.
        size: Length of the content [bytes].
        sha256: Hash of the content, in hexadecimal.
    """

    name: str
    filename: str | None
    content_type: str | None
    size: int
    sha256: str


@attrs.frozen
class ReceivedRequest:
    """One request, as the emulator saw it.

    Attributes:
        number: 1 for the first.
        at: When the server stamped it, on the emulator's clock [s]; the arrival of its head as
            long as it has no stamp.
        key_id: Stands for the key without telling any of it; empty when there was none.
        method: HTTP method.
        path: Path of the URL, the emulator's prefix included.
        headers: By lower-case name, `authorization` left out.
        fields: Text fields of the form.
        parts: Every part of the form, in order, texts and files.
        ignored: What was passed over, as the service does: names of unknown fields; in words, an
            oddity of the body ("body: a preamble"), a part of `accept` without sense, or a
            result asked for again too soon ("poll: 3 s after the last one").
        body_size: Bytes of the body that arrived.
        content_length: As declared, or None.
        chunked: Whether the body came in chunked encoding.
        status: HTTP status of the answer, or None while there is none (or never was).
        error_name: The error body's name, or None.
        fault: The kind of the injected fault, or None.
        charged: Price that was booked [credits].
        seed: The seed really used, or None.
        generation_id: The generation that was started or asked for, or empty.
        request_id: As in the `x-request-id` header.
        finished: Whether the whole answer was handed to the network.
        disconnected: Whether the connection ended before that.
        answered_at: When the answer was complete [s], or None.
    """

    number: int
    at: float
    key_id: str
    method: str
    path: str
    headers: Mapping[str, str]
    fields: Mapping[str, str] = attrs.field(factory=dict[str, str])
    parts: tuple[Part, ...] = ()
    ignored: tuple[str, ...] = ()
    body_size: int = 0
    content_length: int | None = None
    chunked: bool = False
    status: int | None = None
    error_name: str | None = None
    fault: str | None = None
    charged: float = 0.0
    seed: int | None = None
    generation_id: str = ""
    request_id: str = ""
    finished: bool = False
    disconnected: bool = False
    answered_at: float | None = None


class Visit:
    """A journal line that is still being written; costs little until somebody reads it.

    Args:
        **facts: What is known at the start, by the names of `ReceivedRequest`.
    """

    __slots__ = ("_facts",)

    def __init__(self, **facts: Any) -> None:
        self._facts = facts

    def note(self, **facts: Any) -> None:
        """Write down what has become known."""
        self._facts.update(facts)

    @property
    def seen(self) -> ReceivedRequest:
        """The line as it is now."""
        return ReceivedRequest(**self._facts)


class Journal:
    """The last requests, oldest first.

    Args:
        limit: How many are kept.
    """

    def __init__(self, limit: int) -> None:
        self._visits: collections.deque[Visit] = collections.deque(maxlen=limit)

    def add(self, visit: Visit) -> None:
        """Begin a line; the oldest one goes when there are too many."""
        self._visits.append(visit)

    def snapshot(self) -> list[ReceivedRequest]:
        """Return the lines as they are now."""
        return [visit.seen for visit in list(self._visits)]

    def clear(self) -> None:
        """Forget every line; requests in flight no longer show."""
        self._visits.clear()


def key_id(key: str) -> str:
    """Return what stands for a key in the journal: part of a hash, nothing of the key."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:8] if key else ""
