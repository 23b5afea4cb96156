"""Where processes that share a key keep what they know of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

Work = Callable[[bytes, float], tuple[bytes, T]]
"""Given what is kept (nothing at first) and the store's time [s]; returns what to keep, and a
result. It may be run again, with something newer, if another process was quicker."""


class StoreAwayError(Exception):
    """The store cannot be reached, or is held by somebody; the words say which, and why."""


class Store(ABC):
    """One key's record, which one process at a time changes; it knows nothing of what is in it.

    Attributes:
        name: For messages.
        slack: How long after its instant a request may still be begun, when the instant comes
            from here [s].
        lead: How far ahead slots are taken [s].
        offset: The least and the most by which this process's monotonic clock is ahead of the
            store's, as measured with the last change [s].
        was_set: Whether its clock was found to have been set, with the last change.
        heard: The first eight bytes of the record, as far as is known this moment without
            asking. `on_news` is called when they have changed, where the store tells.
    """

    name: str
    slack: float
    lead: float
    offset: tuple[float, float] = (0.0, 0.0)
    was_set: bool = False
    heard: bytes = b""
    on_news: Callable[[], None] = staticmethod(lambda: None)

    @abstractmethod
    async def change(self, work: Work[T]) -> T:
        """Change the record, alone.

        Raises:
            StoreAwayError: It cannot be done now.
        """

    def listen(self) -> bytes:
        """Return `heard`, having looked where looking costs next to nothing."""
        return self.heard

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of connections and files; a later change opens them anew."""
