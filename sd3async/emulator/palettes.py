"""Colours for a prompt: by its words where they suggest some, else by chance."""

import colorsys
import random
import re

import attrs

__all__ = ["Colour", "Palette", "choose_palette", "mix", "words_of"]

Colour = tuple[int, int, int]


@attrs.frozen
class Palette:
    """Five colours of a landscape.

    Attributes:
        zenith: The sky at its top.
        horizon: The sky at its foot.
        light: Sun, moon, stars, windows.
        far: What is far away.
        near: What is close.
    """

    zenith: Colour
    horizon: Colour
    light: Colour
    far: Colour
    near: Colour


# zenith, horizon, light, far, near, and the words that suggest them
_PALETTES = (
    ("3b4a8c f6b48f ffe9c4 a98bb0 2b2540", "dawn sunrise morning"),
    ("2a1e52 f2714f ffd08a 8a4f7d 1c1233", "dusk sunset evening"),
    ("3f8fd6 d8eefb fffbe8 8fb7c9 21502f", "day summer meadow hill field"),
    ("1d6fa5 bfe6ea fff6d8 5fa3b5 0e3a4d", "sea ocean lake harbour harbor river island beach boat"),
    ("5fa694 eef3d6 fffbe0 7da58a 16331f", "forest tree pine wood jungle fox deer"),
    ("060b26 2b3f7a f4f1da 2a3763 05081a", "night moon star midnight owl"),
    ("8fb4d9 f2f6fb ffffff b9cce2 4a6487", "snow snowy winter ice frost glacier arctic"),
    ("6fb1d6 fbe3b6 fff2cf e0b078 a2602f", "desert dune sand camel canyon"),
    ("b5763f fbe0a8 fff1c9 c9803f 5a2516", "autumn fall harvest leave"),
    ("e895b4 fdeee9 fffaf0 d79ac0 4f7d4a", "spring flower blossom cherry garden rose"),
    ("12032e d12c9b 6df2ff 4c1d95 0a0118", "neon cyberpunk city street robot future"),
    ("2c3a45 a9b8bf e6edf0 6b7c86 1d272d", "storm rain fog mist cloud wolf"),
    ("3a0f14 e8754a ffd7a8 a44330 3b0d0d", "mar fire volcano dragon red"),
    ("04151f 0f5e59 7dffb2 123b4a 020b12", "aurora alien dream magic ghost"),
)


def words_of(prompt: str) -> list[str]:
    """Return a prompt's words in lower case, without the s of a plural."""
    return [word.removesuffix("s") for word in re.findall(r"\w+", prompt.lower())]


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return a colour between two; `share` of the other one, in [0, 1]."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _turned(colour: Colour, hue: float, saturation: float) -> Colour:
    h, s, v = colorsys.rgb_to_hsv(*(part / 255 for part in colour))
    red, green, blue = colorsys.hsv_to_rgb((h + hue) % 1.0, min(1.0, s * saturation), v)
    return round(red * 255), round(green * 255), round(blue * 255)


def choose_palette(
    rng: random.Random, words: list[str], style_preset: str, saturation: float
) -> Palette:
    """Return colours that suit the words, shifted a little by chance.

    Args:
        rng: The source of chance.
        words: Of the prompt, in lower case.
        style_preset: "neon-punk" has colours of its own.
        saturation: Factor on how vivid the colours are; 1 leaves them.
    """
    wanted = {"neon"} if style_preset == "neon-punk" else set(words)
    suited = [row for row, named in _PALETTES if wanted & set(named.split())]
    row = rng.choice(suited or [row for row, _ in _PALETTES])
    hue = rng.uniform(-0.04, 0.04) if suited else rng.uniform(-0.12, 0.12)
    red_green_blue = (bytes.fromhex(text) for text in row.split())
    colours = [_turned((r, g, b), hue, saturation) for r, g, b in red_green_blue]
    return Palette(*colours)
