"""A store in memory, as far away as a test likes, which fails and forgets when it is told to."""

import asyncio
from typing import TypeVar

from sd3async.limiter.stores import Store, StoreAwayError
from sd3async.limiter.stores.base import Work
from unit.limiter.loops import CLOCK

T = TypeVar("T")


class Shelf:
    """What all who share it see.

    Attributes:
        record: What is kept.
        is_away: Whether nobody can reach it.
        changes: How often somebody changed it.
        ahead: How far its clock is ahead of the parties' [s].
    """

    def __init__(self) -> None:
        self.record = b""
        self.is_away = False
        self.changes = 0
        self.ahead = 0.0
        self.readers: list[ShelfStore] = []

    def wipe(self) -> None:
        """Forget everything, which everybody hears."""
        self.record = b""
        for reader in self.readers:
            reader.heard = bytes(8)
            reader.on_news()


class ShelfStore(Store):
    """One party's way to the shelf.

    Args:
        shelf: Whose record it is.
        way: How long it takes there, and back [s].
        ahead: How far the party's clock is ahead of the shelf's [s].
    """

    name = "the shelf"
    slack = 0.06
    lead = 1.0

    def __init__(self, shelf: Shelf, way: float = 0.0) -> None:
        self._shelf = shelf
        self._way = way
        self._ahead = shelf.ahead
        shelf.readers.append(self)

    async def change(self, work: Work[T]) -> T:
        sent_at = CLOCK.monotonic()
        await self._travel()
        if self._shelf.is_away:
            raise StoreAwayError("the shelf is away")
        self.was_set, self._ahead = self._ahead != self._shelf.ahead, self._shelf.ahead
        now = CLOCK.monotonic() + self._shelf.ahead
        before = self._shelf.record
        self._shelf.record, result = work(before, now)
        self._shelf.changes += 1
        if before[:8] != self._shelf.record[:8]:
            for reader in self._shelf.readers:
                reader.heard = self._shelf.record[:8]
                reader.on_news()
        await self._travel()
        self.offset = (sent_at - now, CLOCK.monotonic() - now)
        self.heard = self._shelf.record[:8]
        return result

    async def _travel(self) -> None:
        if self._way:
            await asyncio.sleep(self._way)

    async def aclose(self) -> None:
        pass
