"""Small real pictures, and streams that misbehave on purpose."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from PIL import Image


def picture(
    width: int = 96, height: int = 64, kind: Literal["png", "jpeg", "webp"] = "png", hue: int = 90
) -> bytes:
    """Return an encoded picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (hue, 120, 200)).save(buffer, format=kind)
    return buffer.getvalue()


def padded_picture(size: int) -> bytes:
    """Return a PNG of exactly `size` bytes: what follows its end is ignored by readers."""
    data = picture()
    return data + b"\0" * (size - len(data))


class OneWayStream(io.RawIOBase):
    """A binary stream that cannot seek, like a pipe."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._inner.read(size)


IMAGE_KINDS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "str": str,
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "open file": lambda path: path.open("rb"),
    "factory": lambda path: lambda: path.open("rb"),
    "one-way factory": lambda path: lambda: OneWayStream(path.read_bytes()),
}
"""Every way to give an image that can be replayed, made from a file of it."""


def header_of_size(width: int, height: int) -> bytes:
    """Return the beginning of a PNG of any size, which is all that bounds are checked by."""
    sides = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + sides + b"\x08\x02\0\0\0" + bytes(8)


def file_of_size(width: int, height: int) -> bytes:
    """Return a PNG whose header is whole and says any size, with next to no pixels behind it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
