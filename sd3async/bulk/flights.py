"""Items on their way: what each one's call is doing, as the client's events tell it.

The job must know which requests are with the server, for those may be paid and have to land, and
which only wait, for those can be taken back.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar

from sd3async.bulk.journal import QueuedItem
from sd3async.telemetry import Done, Event, PermitGranted, Retried


class Flight:
    """One item on its way.

    Args:
        item: The item.
        leave_line: Called once, when it no longer waits for its first permit.
        grounded: Called when an attempt has failed and another will be made.
    """

    def __init__(
        self,
        item: QueuedItem,
        leave_line: Callable[[], object],
        grounded: Callable[["Flight"], object],
    ) -> None:
        self.item = item
        self.task: asyncio.Task[None] | None = None
        self.is_aloft = False  # with the server, as far as we can tell, or landed
        self.spent = 0.0  # [credits] paid, or possibly paid, in the end
        self.attempts = 0  # of the calls that ended
        self.unknown_charges = 0  # of the calls that ended
        self._leave_line: Callable[[], object] | None = leave_line
        self._grounded = grounded

    def take_back(self) -> None:
        """Cancel it, unless it is with the server."""
        if self.task is not None and not self.is_aloft:
            self.task.cancel()

    def leave_line(self) -> None:
        """Let the next one stand in the line for permits; harmless when repeated."""
        if self._leave_line is not None:
            self._leave_line()
            self._leave_line = None

    def note(self, event: Event) -> None:
        """Take in what the client tells of this item's call."""
        if isinstance(event, PermitGranted):
            self.is_aloft = True
            self.leave_line()
        elif isinstance(event, Retried):
            self.is_aloft = False
            self._grounded(self)
        elif isinstance(event, Done):
            self.attempts += event.attempts
            self.unknown_charges += event.unknown_charges
            # What succeeded, or was cut off on its way, is not to be taken back.
            self.is_aloft = not event.problem or event.unknown_charges > 0

    def book(self) -> tuple[int, int]:
        """Return attempts and possibly paid ones since the last booking, and begin anew."""
        booked = self.attempts, self.unknown_charges
        self.attempts = self.unknown_charges = 0
        return booked


# The client's observers run in the task of the call they tell of.
current_flight: ContextVar[Flight | None] = ContextVar("current_flight", default=None)


def watch(event: Event) -> None:
    """Pass an event on to the flight it belongs to: an observer of the job's client."""
    flight = current_flight.get()
    if flight is not None:
        flight.note(event)
