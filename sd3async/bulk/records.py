"""What is known of each item of a bulk job and of the job as a whole, as frozen values.

The journal keeps it, `results.jsonl` lists it, the reports draw it.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import attrs

from sd3async.bulk.status import JobStats
from sd3async.endpoints import DOLLARS_PER_CREDIT

EMULATOR = "emulator"
"""The service of a job whose images come from the emulator, wherever that listens."""

State: TypeAlias = Literal["pending", "sent", "done", "failed", "unknown", "missing", "invalid"]

STATES: tuple[State, ...] = get_args(State)


@attrs.frozen(kw_only=True)
class ItemRecord:
    """One item of a job, as the journal knows it.

    Attributes:
        index: Place in the manifest, from 0; the name of its files.
        id: The manifest's own name for it, or the index as 8 digits.
        endpoint: `sd3`, `core` or `ultra`; empty for an invalid line.
        prompt: Text, as given: never to be trusted.
        request: `request.to_dict()`; for an invalid line, what could be read of it.
        tags: Words of the manifest's own, to search by.
        columns: What else the manifest says of it, where it was asked to be kept.
        priority: Higher ones are sent first.
        state: `pending` (not sent), `sent` (on its way, or cut off on its way), `done`,
            `failed` (for good), `unknown` (possibly paid; held for review), `missing` (done, and
            the image is gone or empty since) or `invalid` (a bad line that was skipped).
        file: The image, relative to the job's folder, with forward slashes; None without one.
        linked_to: The index of the identical request whose file this item shares, or None.
        content_type: Of the image, such as `image/png`.
        size: Length of the image [bytes].
        sha256: Of the image, in hexadecimal.
        seed: The seed really used, when the service said so.
        finish_reason: `SUCCESS` or `CONTENT_FILTERED`.
        request_id: The service's own id of the request.
        credits: What was paid for the image, at the documented price, over all runs; 0 when
            linked or failed.
        attempts: Requests sent for it, over all runs of the job.
        unknown_charges: How many of those may have been paid without an image.
        error: Why it failed, is unknown or invalid, in words; empty otherwise.
        sent_at: When it was last handed to the client [s since the epoch].
        finished_at: When it ended [s since the epoch].
        timings: Where the time of the successful call went, by the names of `Timings` [s].
        service: The service that the job belongs to: its base URL, or `emulator`.
        emulated: Whether the image comes from the emulator.
    """

    index: int
    id: str
    endpoint: str = ""
    prompt: str = ""
    request: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    tags: tuple[str, ...] = ()
    columns: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    priority: int = 0
    state: State = "pending"
    file: str | None = None
    linked_to: int | None = None
    content_type: str | None = None
    size: int | None = None
    sha256: str | None = None
    seed: int | None = None
    finish_reason: str | None = None
    request_id: str | None = None
    credits: float = 0.0
    attempts: int = 0
    unknown_charges: int = 0
    error: str = ""
    sent_at: float | None = None
    finished_at: float | None = None
    timings: Mapping[str, float] = attrs.field(factory=dict[str, float])
    service: str = ""
    emulated: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values, ready for JSON."""
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS = tuple(attribute.name for attribute in attrs.fields(ItemRecord))


@attrs.frozen(kw_only=True)
class JobSummary(JobStats):
    """One job as a whole, when it has been left: its numbers, and what else is to tell of it.

    Attributes:
        name: The job's folder's name.
        manifest: Where the items came from, in words.
        base_url: Where the requests of this run went.
        service: The service that the job belongs to: its base URL, or `emulator`.
        emulated: Whether there are images of the emulator among those of the job.
        ceiling: What the rate limit allows, over all keys [requests/s]; None without a limit.
        started_at: When this run began [s since the epoch].
        finished_at: When this run ended [s since the epoch].
        runs: How often the job was run, this time included.
        seconds: How long all these runs took together [s]; one that died counts until its last
            sign of life.
        balance_before: Credits left when this run began; None when the service does not say.
        balance_after: Credits left when it ended; None when the service does not say.
    """

    name: str
    manifest: str
    base_url: str
    service: str = ""
    emulated: bool = False
    ceiling: float | None
    started_at: float
    finished_at: float
    runs: int = 1
    seconds: float = 0.0
    balance_before: float | None = None
    balance_after: float | None = None

    @property
    def dollars(self) -> float:
        """What the images delivered cost in money [US dollars]."""
        return self.credits_spent * DOLLARS_PER_CREDIT

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, ready for JSON."""
        return attrs.asdict(self) | {"unsent": self.unsent, "dollars": self.dollars}
