"""Uploaded images: facts from the header alone, pixels only when they are drawn upon."""

from typing import IO

import attrs
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from sd3async.emulator.api_table import ImageRules

__all__ = ["ImageFacts", "UndecodableImageError", "decode", "problems", "read_facts"]

MAX_DECODED_PIXELS = 40_000_000  # beyond it an upload stands for a grey picture: memory

# The classes themselves, not `Image.open`: that one judges by size before a rule can.
_READERS: tuple[tuple[str, bytes, type[ImageFile.ImageFile]], ...] = (
    ("png", b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    ("jpeg", b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    ("webp", b"RIFF", WebPImagePlugin.WebPImageFile),
)


class UndecodableImageError(Exception):
    """The header promised an image that the data does not hold."""


@attrs.frozen
class ImageFacts:
    """What an image's header says.

    Attributes:
        format: jpeg, png or webp.
        width: [px].
        height: [px].
    """

    format: str
    width: int
    height: int


def _open(stream: IO[bytes]) -> tuple[str, ImageFile.ImageFile] | None:
    stream.seek(0)
    start = stream.read(16)
    stream.seek(0)
    for name, magic, reader in _READERS:
        if start.startswith(magic):
            try:
                return name, reader(stream)
            except (OSError, SyntaxError, ValueError):  # Pillow's ways to say "broken header"
                return None
    return None


def read_facts(stream: IO[bytes]) -> ImageFacts | None:
    """Return an image's facts, or None when it is no JPEG, PNG or WebP."""
    opened = _open(stream)
    if opened is None:
        return None
    name, image = opened
    return ImageFacts(name, *image.size)


def problems(field: str, facts: ImageFacts | None, rules: ImageRules) -> list[str]:
    """Return what is wrong with an upload, as error sentences."""
    if facts is None or facts.format not in rules.formats:
        return [f"{field}: must be an image in one of the formats {', '.join(rules.formats)}"]
    width, height = facts.width, facts.height
    found: list[str] = []
    if min(width, height) < rules.min_side:
        found.append(f"every side must be at least {rules.min_side} pixels")
    if rules.max_side is not None and max(width, height) > rules.max_side:
        found.append(f"every side must be at most {rules.max_side} pixels")
    if rules.min_pixels is not None and width * height < rules.min_pixels:
        found.append(f"must have at least {rules.min_pixels} pixels in all")
    if rules.max_pixels is not None and width * height > rules.max_pixels:
        found.append(f"must have at most {rules.max_pixels} pixels in all")
    if rules.aspect is not None and max(width, height) > rules.aspect * min(width, height):
        found.append(f"aspect ratio must be between 1:{rules.aspect:g} and {rules.aspect:g}:1")
    return [f"{field}: {words}, received {width}x{height}" for words in found]


def decode(stream: IO[bytes], size: tuple[int, int] | None = None) -> Image.Image:
    """Return the upload's pixels.

    Args:
        stream: The upload.
        size: Width and height that will do [px]: a larger JPEG may come smaller, for speed.

    Returns:
        RGB, height x width x 3, uint8, or RGBA when some of it may be transparent; a small grey
        image when the upload is too large to decode.

    Raises:
        UndecodableImageError: The data is broken.
    """
    opened = _open(stream)
    if opened is None:
        raise UndecodableImageError
    _, image = opened
    if image.width * image.height > MAX_DECODED_PIXELS:
        return Image.new("RGB", (64, 64), (128, 128, 128))
    try:
        if size is not None:
            image.draft("RGB", size)
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    except (OSError, SyntaxError, ValueError) as broken:
        raise UndecodableImageError(str(broken)) from broken
