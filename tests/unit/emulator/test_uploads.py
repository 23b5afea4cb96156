"""Uploaded images: judged by their header, decoded only when drawn upon."""

import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from sd3async.emulator.api_table import ImageRules
from sd3async.emulator.uploads import (
    ImageFacts,
    UndecodableImageError,
    decode,
    problems,
    read_facts,
)

RULES = ImageRules(("jpeg", "png", "webp"), min_side=64, max_side=1000, min_pixels=5000)
BOUNDED = ImageRules(min_side=64, max_side=1000, min_pixels=5000, max_pixels=800_000, aspect=2.5)


def encoded(kind: str, size: tuple[int, int] = (96, 64)) -> io.BytesIO:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 100, 50)).save(buffer, kind)
    return buffer


def png_head(width: int, height: int) -> io.BytesIO:
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + content + struct.pack(">I", zlib.crc32(content))
    empty = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + chunk + empty)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_facts_come_from_the_header(kind: str) -> None:
    """Format and size decide, whatever the file calls itself."""
    assert read_facts(encoded(kind)) == ImageFacts(kind, 96, 64)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\nbroken", b"RIFFxxxx"])
def test_anything_else_is_no_image(data: bytes) -> None:
    """Text, other formats and broken headers must not pass as an image."""
    assert read_facts(io.BytesIO(data)) is None
    assert problems("image", None, RULES) == [
        "image: must be an image in one of the formats jpeg, png, webp"
    ]


@pytest.mark.parametrize(
    ("size", "complaints"),
    [
        ((100, 100), 0),
        ((63, 100), 1),
        ((64, 64), 1),
        ((1000, 64), 0),
        ((1001, 64), 1),
        ((1001, 2), 3),
    ],
)
def test_bounds_are_inclusive(size: tuple[int, int], complaints: int) -> None:
    """An image exactly on a bound is fine; one pixel beyond is not."""
    assert len(problems("image", ImageFacts("png", *size), RULES)) == complaints


@pytest.mark.parametrize(
    ("size", "complaint"),
    [
        ((1000, 400), None),
        ((400, 1000), None),
        ((1000, 399), "image: aspect ratio must be between 1:2.5 and 2.5:1, received 1000x399"),
        ((399, 1000), "image: aspect ratio must be between 1:2.5 and 2.5:1, received 399x1000"),
        ((1000, 800), None),
        ((1000, 801), "image: must have at most 800000 pixels in all, received 1000x801"),
    ],
)
def test_shape_and_number_of_pixels_are_bounded_too(
    size: tuple[int, int], complaint: str | None
) -> None:
    """Edits and upscales bound what a side's length does not."""
    assert problems("image", ImageFacts("png", *size), BOUNDED) == (
        [complaint] if complaint else []
    )


def test_facts_of_an_enormous_image_cost_nothing() -> None:
    """Size rules must be told before any decoder, or its bomb guard, sees the image."""
    facts = read_facts(png_head(16_384, 16_384))

    assert facts == ImageFacts("png", 16_384, 16_384)


def test_an_enormous_image_is_not_decoded() -> None:
    """A hundred megapixels of upload may not take gigabytes of memory."""
    assert decode(png_head(16_384, 16_384), (64, 64)).getpixel((0, 0)) == (128, 128, 128)


def test_an_alpha_channel_is_kept_where_there_is_one() -> None:
    """It may be the only mask that a request has."""
    buffer = io.BytesIO()
    Image.new("RGBA", (96, 64), (200, 100, 50, 7)).save(buffer, "png")

    assert decode(buffer).getpixel((5, 5)) == (200, 100, 50, 7)
    assert decode(encoded("png")).getpixel((5, 5)) == (200, 100, 50)


def odd_files() -> dict[str, io.BytesIO]:
    """Return images as programs really write them, by what is odd about them."""
    grey = Image.effect_noise((96, 64), 80)  # type: ignore[no-untyped-call, unused-ignore]
    rgb = grey.convert("RGB")
    several: dict[str, Any] = {"save_all": True, "append_images": [rgb]}
    kinds: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "grey": (grey, "png", {}),
        "one bit": (grey.convert("1"), "png", {}),
        "sixteen bits": (grey.convert("I;16"), "png", {}),
        "palette": (rgb.quantize(8), "png", {}),
        "palette with a transparent colour": (grey.convert("P"), "png", {"transparency": 3}),
        "a transparent colour": (rgb, "png", {"transparency": (1, 1, 1)}),
        "grey and alpha": (Image.merge("LA", (grey, grey)), "png", {}),
        "webp with alpha": (Image.merge("RGBA", (grey,) * 4), "webp", {}),
        "four inks": (Image.merge("CMYK", (grey,) * 4), "jpeg", {}),
        "grey jpeg": (grey, "jpeg", {}),
        "progressive": (rgb, "jpeg", {"progressive": True}),
        "moving webp": (rgb, "webp", several),
        "moving png": (rgb, "png", several),
    }
    files: dict[str, io.BytesIO] = {}
    for name, (image, kind, options) in kinds.items():
        files[name] = io.BytesIO()
        image.save(files[name], kind, **options)
    return files


@pytest.mark.parametrize("name", odd_files())
def test_every_legal_file_becomes_rgb_or_rgba(name: str) -> None:
    """What is drawn upon has one of two forms, whatever the file was written by."""
    image = decode(odd_files()[name])

    assert image.size == (96, 64)
    assert image.mode == ("RGBA" if "alpha" in name or "transparent" in name else "RGB")


def test_broken_data_behind_a_good_header() -> None:
    """Only decoding shows that the pixels are missing."""
    with pytest.raises(UndecodableImageError):
        decode(png_head(100, 100), (64, 64))
    with pytest.raises(UndecodableImageError):
        decode(io.BytesIO(b"no image"), (64, 64))
