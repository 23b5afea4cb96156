"""The job's numbers while it runs: the one place where images and money are booked."""

import attrs

from sd3async.bulk.status import JobStats

_OF_THIS_RUN = (
    "in_flight", "credits_reserved", "retried", "frozen", "resumed", "adopted", "restored", "remade",
    "added", "removed",
)  # fmt: skip


class Accounts:
    """Keeps a job's numbers, and its cap.

    What is in flight and what was possibly paid count as spent, so that the cap cannot be overshot
    by landing. Prices are multiples of half a credit: sums are exact.

    Args:
        stats: The numbers before anything is sent.
        cap: Most to spend, over all runs of the job [credits]; None for no cap.

    Attributes:
        stats: The numbers now; written in the event loop, read from any thread.
    """

    def __init__(self, stats: JobStats, cap: float | None = None) -> None:
        self.stats = stats
        self._cap = cap

    def fits(self, price: float) -> bool:
        """Whether one more request can be paid, should all that is in flight succeed.

        Args:
            price: Its price [credits].
        """
        now = self.stats
        booked = now.credits_spent + now.possibly_paid_credits
        set_aside = now.credits_started + now.credits_reserved
        return self._cap is None or booked + set_aside + price <= self._cap

    def began(self, price: float) -> None:
        """Set aside the price of a request that is about to be sent [credits]."""
        self._add(in_flight=1, credits_reserved=price)

    def left(self, price: float) -> None:
        """Give back what was set aside for a request that is not on its way any more [credits]."""
        self._add(in_flight=-1, credits_reserved=-price)

    def started(self, reserved: float, price: float) -> None:
        """Book that the service has begun an image.

        Args:
            reserved: What was set aside for it, and is not any more [credits].
            price: What it will cost [credits].
        """
        self._add(credits_reserved=-reserved, credits_started=price)

    def fetched(self, price: float) -> None:
        """Take note that an image which had been begun has come, or never will [credits]."""
        self._add(credits_started=-price)

    def delivered(self, images: int, price: float) -> None:
        """Book an image.

        Args:
            images: How many items have it.
            price: What it cost [credits].
        """
        self._add(done=images, credits_spent=price)

    def failed(self, items: int, *, are_held: bool) -> None:
        """Book items that ended without an image.

        Args:
            items: How many.
            are_held: Whether they are held for review, because they were possibly paid.
        """
        self._add(**{"unknown" if are_held else "failed": items})

    def possibly_paid(self, requests: int, price: float) -> None:
        """Book requests that may have been paid without an image.

        Args:
            requests: How many.
            price: Of each [credits].
        """
        if requests:
            self._add(possibly_paid=requests, possibly_paid_credits=requests * price)

    def retried(self) -> None:
        """Count an attempt beyond a request's first."""
        self._add(retried=1)

    def recounted(self, counted: JobStats) -> None:
        """Take over what the journal counts; what only this run knows stays.

        Args:
            counted: As the journal counts.
        """
        now = self.stats
        names = ("to_send", "credits_to_send", *_OF_THIS_RUN)
        own = {name: getattr(now, name) for name in names}
        self.stats = attrs.evolve(counted, **own)

    def _add(self, **changes: float) -> None:
        now = self.stats
        self.stats = attrs.evolve(
            now, **{name: getattr(now, name) + change for name, change in changes.items()}
        )
