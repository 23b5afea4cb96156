"""Who waits, in order: retries first, then newcomers, each first come, first served."""

import asyncio
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Line(Generic[T]):
    """Waiting futures. Joining, leaving from any place and calling take constant time.

    Who is called still stands here until it leaves, so that nobody slips past in the moment
    between a future's result and the waking of its task. `len` counts those not yet called.
    """

    def __init__(self) -> None:
        self._retries: OrderedDict[asyncio.Future[T], float] = OrderedDict()
        self._newcomers: OrderedDict[asyncio.Future[T], float] = OrderedDict()
        self._called: set[asyncio.Future[T]] = set()

    def __len__(self) -> int:
        return len(self._retries) + len(self._newcomers)

    def is_clear(self) -> bool:
        """Whether a newcomer need not join."""
        return not (self._newcomers or self._retries or self._called)

    def join(self, waiter: asyncio.Future[T], since: float, *, retry: bool) -> None:
        """Stand behind the last of its kind.

        Args:
            waiter: A pending future.
            since: When it began to wait [s].
            retry: Whether it stood here before and was refused by the server.
        """
        (self._retries if retry else self._newcomers)[waiter] = since

    def leave(self, waiter: asyncio.Future[T]) -> None:
        """Go away, served or not."""
        self._called.discard(waiter)
        self._retries.pop(waiter, None)
        self._newcomers.pop(waiter, None)

    def call(self) -> tuple[asyncio.Future[T], float] | None:
        """Return the first that still waits, and since when; None when nobody does."""
        for waiting in (self._retries, self._newcomers):
            while waiting:
                waiter, since = waiting.popitem(last=False)
                if not waiter.done():  # cancelled, and its task has not run since
                    self._called.add(waiter)
                    return waiter, since
        return None

    def dismiss(self, error: Exception) -> None:
        """Fail everyone."""
        while (called := self.call()) is not None:
            called[0].set_exception(error)

    def clear(self) -> None:
        """Forget everyone: their event loop is gone."""
        self._called.clear()
        self._retries.clear()
        self._newcomers.clear()
