"""The numbers of a running job."""

from typing import Literal, TypeAlias

import attrs

from sd3async.bulk.intake import Intake
from sd3async.bulk.journal import Totals

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
        unknown: Perhaps paid, without an image; held for review.
        missing: Done and paid for, but the image is gone or empty.
        missing_credits: What making them again would cost [credits].
        in_flight: On their way now.
        credits_spent: Documented price of every image delivered [credits].
        credits_reserved: Price of what is in flight [credits].
        possibly_paid: Requests that may have been paid without an image.
        retried: Attempts beyond a request's first, in this run.
        frozen: Times that a 429 stopped a key, in this run.
        resumed: Images that earlier runs had left.
        adopted: Images found whole after an earlier run had died.
        restored: Images that the journal had lost, taken over by their sidecars.
        remade: Images that were missing and are made again in this run.
        linked: Items that share the image of an identical request.
        added: Items new in the manifest since the last run; 0 in the first.
        removed: Items gone from the manifest since the last run.
    """

    total: int = 0
    done: int = 0
    failed: int = 0
    invalid: int = 0
    unknown: int = 0
    missing: int = 0
    missing_credits: float = 0.0
    in_flight: int = 0
    credits_spent: float = 0.0
    credits_reserved: float = 0.0
    possibly_paid: int = 0
    retried: int = 0
    frozen: int = 0
    resumed: int = 0
    adopted: int = 0
    restored: int = 0
    remade: int = 0
    linked: int = 0
    added: int = 0
    removed: int = 0

    @property
    def ended(self) -> int:
        """Items that nothing more will be done for in this run."""
        return self.done + self.failed + self.invalid + self.unknown + self.missing

    @property
    def held(self) -> int:
        """Items still to be sent."""
        return self.total - self.ended


@attrs.define
class Counters:
    """Plain counters behind `JobStats`: written in the event loop, read from anywhere."""

    total: int = 0
    done: int = 0
    failed: int = 0
    invalid: int = 0
    unknown: int = 0
    missing: int = 0
    missing_credits: float = 0.0
    credits_spent: float = 0.0
    possibly_paid: int = 0
    retried: int = 0
    resumed: int = 0
    adopted: int = 0
    restored: int = 0
    remade: int = 0
    linked: int = 0
    added: int = 0
    removed: int = 0

    def begin(self, intake: Intake) -> None:
        """Take in what the run found."""
        self.take(intake.totals)
        self.resumed = self.done
        self.adopted = intake.adopted
        self.restored = intake.restored
        self.remade = intake.remade
        if (registered := intake.registered) is not None:
            self.removed = registered.removed
            self.added = 0 if registered.is_first else registered.added

    def take(self, totals: Totals) -> None:
        """Set the counts to those of the journal."""
        states = totals.by_state
        self.total = sum(states.values())
        self.done = states.get("done", 0)
        self.failed = states.get("failed", 0)
        self.invalid = states.get("invalid", 0)
        self.unknown = states.get("unknown", 0)
        self.missing = states.get("missing", 0)
        self.missing_credits = totals.price_missing
        self.linked = totals.linked
        self.credits_spent = totals.credits
        self.possibly_paid = totals.unknown_charges

    def snapshot(self, *, in_flight: int, credits_reserved: float, frozen: int) -> JobStats:
        """Return the counts as a value."""
        counts = attrs.asdict(self)
        return JobStats(
            **counts, in_flight=in_flight, credits_reserved=credits_reserved, frozen=frozen
        )
