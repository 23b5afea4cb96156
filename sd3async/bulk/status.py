"""The numbers of a job: one value, counted in the journal, kept up while it runs, shown everywhere."""

from typing import Literal, TypeAlias

import attrs

StopReason: TypeAlias = Literal[
    "interrupted", "budget", "payment", "room", "storage", "unreachable", "service", "error"
]


@attrs.frozen(kw_only=True)
class JobStats:
    """A job at one moment; counts are over all its runs unless they say otherwise.

    Attributes:
        total: Items that the manifest names now.
        done: With an image.
        failed: Failed for good.
        invalid: Bad lines that were skipped.
        unknown: Possibly paid, without an image; held for review.
        missing: Done and paid for, but the image is gone or empty.
        linked: Items that share the image of an identical request.
        missing_credits: What making the missing images again would cost [credits].
        credits_spent: Documented price of every image delivered [credits], for items since
            removed from the manifest too.
        possibly_paid: Requests that may have been paid without an image.
        possibly_paid_credits: Their price [credits].
        to_send: Requests still to be sent when the run began, should none have to be repeated.
        credits_to_send: Their price [credits].
        credits_started: Price of the images that the service has begun, and that are still to be
            fetched [credits].
        in_flight: On their way now.
        credits_reserved: Price of what is in flight [credits].
        retried: Attempts beyond a request's first, in this run.
        frozen: Times that a 429 stopped a key, in this run.
        resumed: Images that earlier runs had left.
        adopted: Images found whole after an earlier run had died.
        restored: Images that the journal had lost, taken over by their sidecars.
        remade: Images that were missing and are made again in this run.
        added: Items new in the manifest since the last run; 0 in the first.
        removed: Items gone from the manifest since the last run.
    """

    total: int = 0
    done: int = 0
    failed: int = 0
    invalid: int = 0
    unknown: int = 0
    missing: int = 0
    linked: int = 0
    missing_credits: float = 0.0
    credits_spent: float = 0.0
    possibly_paid: int = 0
    possibly_paid_credits: float = 0.0
    to_send: int = 0
    credits_to_send: float = 0.0
    credits_started: float = 0.0
    in_flight: int = 0
    credits_reserved: float = 0.0
    retried: int = 0
    frozen: int = 0
    resumed: int = 0
    adopted: int = 0
    restored: int = 0
    remade: int = 0
    added: int = 0
    removed: int = 0

    @property
    def ended(self) -> int:
        """Items that nothing more will be done for in this run."""
        return self.done + self.failed + self.invalid + self.unknown + self.missing

    @property
    def unsent(self) -> int:
        """Items still to be sent, or on their way."""
        return self.total - self.ended
