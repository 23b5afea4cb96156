"""What sending needs of those who keep: a ledger that knows every item, and a shelf for the images.

A job in one folder has a journal (SQLite) and the folder. Whoever keeps elsewhere offers the same.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs

from sd3async.bulk.errors import BulkError
from sd3async.bulk.records import State
from sd3async.models.results import GeneratedImage


@attrs.frozen
class QueuedItem:
    """An item whose turn it is.

    Attributes:
        number: Names its files.
        id: The manifest's own name for it, or the number as 8 digits.
        tags: Words to search by.
        turn: Where it stands in the queue.
        fields: Its request, as JSON values.
        price: Documented price [credits].
        started: What the service has begun for it, to be fetched: `PendingImage.to_dict()`, or None.
    """

    number: int
    id: str
    tags: tuple[str, ...]
    turn: tuple[int, int]
    fields: Mapping[str, Any]
    price: float
    started: Mapping[str, Any] | None = None

    @property
    def output_format(self) -> str:
        """How its image is encoded: `png`, `jpeg` or `webp`."""
        return str(self.fields.get("output_format", "png"))


@attrs.frozen(kw_only=True)
class Delivery:
    """An image that is kept, and what the answer said.

    Attributes:
        file: Relative to where the job keeps.
        credits: What it cost, at the documented price.
        facts: The rest, by the names of `ItemRecord`.
    """

    file: str
    credits: float
    facts: Mapping[str, Any]


class Ledger(Protocol):
    """What is known of every item. What is awaited is durable then."""

    async def queue(self, after: QueuedItem | None, limit: int) -> list[QueuedItem]:
        """Return the next items to send.

        Args:
            after: The last one seen; None for the first.
            limit: Most to return.
        """
        ...

    async def sent(self, number: int, at: float) -> None:
        """Note that a request is about to be sent."""
        ...

    async def started(self, number: int, pending: Mapping[str, Any] | None) -> None:
        """Note what the service has begun for an item, or that there is no such thing any more."""
        ...

    async def done(self, number: int, delivery: Delivery, *, attempts: int, at: float) -> int:
        """Note that the image is kept.

        Returns:
            How many further items share it.
        """
        ...

    async def ended(
        self, number: int, state: State, error: str, *, attempts: int, unknown: int, at: float
    ) -> int:
        """Note that an item ended without an image.

        Args:
            number: The item.
            state: `failed` or `unknown`.
            error: Why, in words.
            attempts: Requests sent for it now.
            unknown: How many of those may have been paid.
            at: When [s since the epoch].

        Returns:
            How many further items waited for its image, and end with it.
        """
        ...

    def returned(self, number: int, *, attempts: int, unknown: int) -> None:
        """Note that an item is not on its way any more, and pending again.

        It is durable a moment later, and before what is noted after it.

        Args:
            number: The item.
            attempts: Requests sent for it now.
            unknown: How many of those may have been paid.
        """
        ...

    async def linked(self, number: int, after: int, limit: int) -> list[int]:
        """Return items that share the image of another, in order.

        Args:
            number: The other.
            after: The last one seen; -1 for the first.
            limit: Most to return.
        """
        ...


class Shelf(Protocol):
    """Where the images go."""

    path: Path

    def resolve(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a request of the ledger with its images as they can be opened."""
        ...

    async def place_for(self, number: int, output_format: str) -> Path:
        """Return the file that an item's image is to be streamed to.

        Args:
            number: The item.
            output_format: `png`, `jpeg` or `webp`.

        Raises:
            StorageError: There is no place for it.
        """
        ...

    def describe(self, image: GeneratedImage, part: Path) -> Delivery:
        """Return what is to be known of an image that is whole and about to get its name. Blocks.

        Args:
            image: The image.
            part: The file that holds its bytes.

        Raises:
            StorageError: The disk failed.
        """
        ...

    def seal(self, item: QueuedItem, image: GeneratedImage, delivery: Delivery) -> None:
        """Write it down durably beside the image. Blocks.

        Args:
            item: Whose image it is.
            image: The image.
            delivery: What is known of it.

        Raises:
            StorageError: The disk failed.
        """
        ...

    def log_error(self, error: BaseException) -> BulkError:
        """Keep the traceback of an error that nobody expected; return one sentence for people."""
        ...
