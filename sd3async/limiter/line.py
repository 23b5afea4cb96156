"""Who waits, in order: retries first, then newcomers, each first come, first served."""

import asyncio
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Line(Generic[T]):
    """Waiting futures. Joining, leaving from any place and serving take constant time."""

    def __init__(self) -> None:
        self._retries: OrderedDict[asyncio.Future[T], float] = OrderedDict()
        self._newcomers: OrderedDict[asyncio.Future[T], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._retries) + len(self._newcomers)

    def join(self, waiter: asyncio.Future[T], since: float, *, retry: bool) -> None:
        """Stand behind the last of its kind.

        Args:
            waiter: A pending future.
            since: When it began to wait [s].
            retry: Whether it stood here before and was refused by the server.
        """
        (self._retries if retry else self._newcomers)[waiter] = since

    def leave(self, waiter: asyncio.Future[T]) -> None:
        """Give up waiting; harmless when it has been served."""
        self._retries.pop(waiter, None)
        self._newcomers.pop(waiter, None)

    def next(self) -> tuple[asyncio.Future[T], float] | None:
        """Remove and return the first that still waits, and since when; None when nobody does."""
        for waiting in (self._retries, self._newcomers):
            while waiting:
                waiter, since = waiting.popitem(last=False)
                if not waiter.done():  # cancelled, and its task has not run since
                    return waiter, since
        return None

    def dismiss(self, error: Exception) -> None:
        """Fail everyone."""
        while (served := self.next()) is not None:
            served[0].set_exception(error)

    def clear(self) -> None:
        """Forget everyone: their event loop is gone."""
        self._retries.clear()
        self._newcomers.clear()
