"""Landscapes by chance."""

import random

from PIL import Image

__all__ = ["paint"]


def paint(rng: random.Random, size: tuple[int, int], prompt: str, style_preset: str) -> Image.Image:
    """Return an RGB image."""
    small = Image.frombytes("RGB", (4, 4), rng.randbytes(48))
    return small.resize(size, Image.Resampling.BICUBIC)  # pyright: ignore[reportUnknownMemberType]
