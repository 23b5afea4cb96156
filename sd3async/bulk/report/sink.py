"""A part file as the kind of stream that libraries write to."""

import io
from typing import TYPE_CHECKING

from sd3async._files import PartFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class PartStream(io.RawIOBase):
    """Hands what is written to a part file; closing it commits nothing.

    Args:
        part: Where the bytes go.
    """

    def __init__(self, part: PartFile) -> None:
        self._part = part
        self._written = 0

    def writable(self) -> bool:
        """Whether it can be written to."""
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        """Append bytes."""
        piece = bytes(data)
        self._part.write(piece)
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._written
