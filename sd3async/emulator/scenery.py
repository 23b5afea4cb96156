"""Landscapes by chance: a sky, something on the horizon, a foreground, a caption.

Skies are drawn small and enlarged smoothly; what stands before them is drawn at full size as
flat shapes, which are quick to draw and to compress.
"""

import functools
import math
import random
from collections.abc import Callable, Mapping

import attrs
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from sd3async.emulator.palettes import Colour, Palette, choose_palette, mix, words_of

__all__ = ["paint"]

_STEP = 6  # [px] between the points of a ridge
_SKY_SCALE = 8  # the sky is drawn this much smaller
_CAPTION_WORDS = 8

Point = tuple[float, float]


@attrs.frozen
class Canvas:
    """What the painters share."""

    image: Image.Image
    pen: ImageDraw.ImageDraw
    palette: Palette
    rng: random.Random
    words: list[str]

    @property
    def width(self) -> int:
        return self.image.width

    @property
    def height(self) -> int:
        return self.image.height

    @property
    def unit(self) -> float:
        """A hundredth of the shorter side [px]."""
        return min(self.image.size) / 100

    def depth(self, nearness: float) -> Colour:
        """Return the colour of something at a distance: 0 is far, 1 is close."""
        return mix(self.palette.far, self.palette.near, nearness)


def _sky(rng: random.Random, palette: Palette, size: tuple[int, int]) -> Image.Image:
    width, height = (max(8, side // _SKY_SCALE) for side in size)
    column = [mix(palette.zenith, palette.horizon, (y / height) ** 1.3) for y in range(height)]
    sky = Image.frombytes("RGB", (1, height), bytes(part for row in column for part in row))
    sky = sky.resize((width, height), Image.Resampling.NEAREST)  # pyright: ignore[reportUnknownMemberType]
    glow = Image.new("L", (width, height))
    pen = ImageDraw.Draw(glow)
    x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.18, 0.5) * height
    for share in range(10):
        radius = height * (0.42 - 0.04 * share)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=12 * (share + 1))
    for _ in range(rng.randrange(3, 9)):
        left, top = rng.uniform(-0.2, 1.0) * width, rng.uniform(0.05, 0.6) * height
        long, thick = rng.uniform(0.15, 0.5) * width, rng.uniform(0.01, 0.035) * height
        pen.ellipse((left, top, left + long, top + thick), fill=rng.randrange(60, 130))
    glow = glow.filter(ImageFilter.GaussianBlur(height / 40))
    sky.paste(palette.light, (0, 0), glow)
    sky = sky.resize(size, Image.Resampling.BICUBIC)  # pyright: ignore[reportUnknownMemberType]
    _sun(ImageDraw.Draw(sky), x * _SKY_SCALE, y * _SKY_SCALE, rng, palette)
    return sky


def _sun(
    pen: ImageDraw.ImageDraw, x: float, y: float, rng: random.Random, palette: Palette
) -> None:
    radius = pen.im.size[1] * rng.uniform(0.03, 0.075)
    for rim, share in ((2.0, 0.4), (1.2, 0.65), (0.5, 0.85), (0.0, 1.0)):  # a soft edge
        r = radius + rim
        pen.ellipse((x - r, y - r, x + r, y + r), fill=mix(palette.horizon, palette.light, share))


def _ridge(canvas: Canvas, base: float, swing: float, roughness: float) -> list[Point]:
    """Return a line of hills: `base` and `swing` are shares of the height."""
    rng = canvas.rng
    waves = [
        (swing * canvas.height / n**roughness, n * rng.uniform(0.7, 1.3), rng.uniform(0, math.tau))
        for n in (1, 2, 4, 7, 13)
    ]
    scale = math.tau / canvas.height
    return [
        (x, base * canvas.height - sum(a * math.sin(x * scale * f + p) for a, f, p in waves) / 2)
        for x in range(-_STEP, canvas.width + 2 * _STEP, _STEP)
    ]


def _fill_below(canvas: Canvas, ridge: list[Point], colour: Colour) -> None:
    corners = [(canvas.width + _STEP, canvas.height), (-_STEP, canvas.height)]
    canvas.pen.polygon([*ridge, *corners], fill=colour)
    # A line of the colour between softens the stairs of the edge.
    canvas.pen.line(ridge, fill=mix(colour, canvas.palette.horizon, 0.35), width=2)


def _layers(canvas: Canvas, first: float, swing: float, roughness: float) -> list[list[Point]]:
    count = canvas.rng.randrange(4, 7)
    ridges: list[list[Point]] = []
    for index in range(count):
        nearness = index / (count - 1)
        base = first + (1.02 - first) * nearness**1.2 * 0.8
        ridge = _ridge(canvas, base, swing * (1 - 0.4 * nearness), roughness)
        _fill_below(canvas, ridge, canvas.depth(nearness))
        ridges.append(ridge)
    return ridges


def _hills(canvas: Canvas) -> None:
    ridges = _layers(canvas, 0.55, 0.12, 1.2)
    if canvas.rng.random() < 0.6:
        _trees_along(canvas, ridges[-1], sparse=4)


def _dunes(canvas: Canvas) -> None:
    _layers(canvas, 0.6, 0.16, 2.2)


def _peaks(canvas: Canvas) -> None:
    rng, rows = canvas.rng, 4
    for row in range(rows):
        base = canvas.height * (0.62 + 0.13 * row)
        points: list[Point] = [(-10.0, base)]
        x = -canvas.width * rng.uniform(0.0, 0.2)
        while x < canvas.width * 1.1:
            x += canvas.width * rng.uniform(0.05, 0.16)
            tall = canvas.height * rng.uniform(0.1, 0.36) * (1 - 0.2 * row)
            points.append((x, base - tall))
            x += canvas.width * rng.uniform(0.05, 0.14)
            points.append((x, base - tall * rng.uniform(0.1, 0.5)))
        ridge = [(x, y + rng.uniform(-1, 1) * canvas.unit) for x, y in points]
        colour = canvas.depth(row / (rows - 1))
        _fill_below(canvas, ridge, colour)
        if row < 2:
            _snow(canvas, ridge, mix(colour, canvas.palette.light, 0.7))


def _snow(canvas: Canvas, ridge: list[Point], colour: Colour) -> None:
    for before, top, after in zip(ridge, ridge[1:], ridge[2:], strict=False):
        if top[1] < before[1] and top[1] < after[1]:
            left = tuple(t + (b - t) * 0.3 for t, b in zip(top, before, strict=True))
            right = tuple(t + (a - t) * 0.3 for t, a in zip(top, after, strict=True))
            mid = ((left[0] + right[0]) / 2, top[1] + (left[1] + right[1] - 2 * top[1]) * 0.3)
            canvas.pen.polygon([top, (left[0], left[1]), mid, (right[0], right[1])], fill=colour)


def _trees_along(canvas: Canvas, ridge: list[Point], sparse: int) -> None:
    rng, colour = canvas.rng, mix(canvas.palette.near, (0, 0, 0), 0.25)
    for x, y in ridge[:: max(1, sparse)]:
        if rng.random() < 0.7:
            tall = canvas.height * rng.uniform(0.05, 0.16)
            for part in range(3):
                top, foot = y - tall * (1 - 0.25 * part), y - tall * (0.45 - 0.25 * part)
                half = tall * (0.11 + 0.05 * part)
                canvas.pen.polygon([(x, top), (x - half, foot + 4), (x + half, foot + 4)], colour)


def _forest(canvas: Canvas) -> None:
    ridges = _layers(canvas, 0.5, 0.08, 1.0)
    _trees_along(canvas, ridges[-2], sparse=3)
    _fill_below(canvas, ridges[-1], canvas.palette.near)
    _trees_along(canvas, ridges[-1], sparse=2)


def _sea(canvas: Canvas) -> None:
    rng, line = canvas.rng, int(canvas.height * canvas.rng.uniform(0.52, 0.66))
    for nearness in (0.0, 0.25):
        ridge = _ridge(canvas, line / canvas.height + 0.02, 0.12, 1.3)
        _fill_below(canvas, ridge, canvas.depth(nearness))
    deep = canvas.height - line
    mirrored = ImageOps.flip(canvas.image.crop((0, max(0, line - deep), canvas.width, line)))
    tint = Image.new("RGB", mirrored.size, canvas.palette.near)
    canvas.image.paste(Image.blend(mirrored, tint, 0.35), (0, line))
    for _ in range(60):
        far = rng.random() ** 1.6
        y = line + far * deep
        half = canvas.width * rng.uniform(0.01, 0.06) * (0.3 + far)
        x = rng.uniform(0, canvas.width)
        shade = mix(canvas.palette.horizon, canvas.palette.far, rng.random())
        canvas.pen.line(
            (x - half, y, x + half, y), fill=shade, width=1 + int(far * canvas.unit / 3)
        )
    if rng.random() < 0.7:
        _boat(canvas, rng.uniform(0.2, 0.8) * canvas.width, line + deep * rng.uniform(0.15, 0.5))


def _boat(canvas: Canvas, x: float, y: float) -> None:
    size, dark = canvas.unit * canvas.rng.uniform(4, 8), mix(canvas.palette.near, (0, 0, 0), 0.4)
    hull = [(x - size, y), (x + size, y), (x + 0.7 * size, y + 0.35 * size)]
    canvas.pen.polygon([*hull, (x - 0.6 * size, y + 0.35 * size)], fill=dark)
    sail = mix(canvas.palette.light, canvas.palette.horizon, 0.2)
    canvas.pen.polygon([(x, y - 2.2 * size), (x, y - 3), (x + 0.9 * size, y - 3)], fill=sail)
    canvas.pen.polygon(
        [(x - 4, y - 1.9 * size), (x - 4, y - 3), (x - 0.6 * size, y - 3)],
        fill=mix(sail, canvas.palette.far, 0.3),
    )


def _city(canvas: Canvas) -> None:
    rng = canvas.rng
    for row in range(3):
        colour, x = canvas.depth(row / 2), -canvas.width * 0.03
        foot = canvas.height * (0.78 + 0.1 * row)
        while x < canvas.width:
            wide = canvas.unit * rng.uniform(4, 12)
            top = foot - canvas.height * rng.uniform(0.08, 0.42) * (1 - 0.25 * row)
            canvas.pen.rectangle((x, top, x + wide, canvas.height), fill=colour)
            if rng.random() < 0.25:
                mast = x + wide / 2
                canvas.pen.line((mast, top - wide * 0.7, mast, top), fill=colour, width=3)
            if row:
                _windows(canvas, x, top, wide, mix(colour, canvas.palette.light, 0.75))
            x += wide + canvas.unit * rng.uniform(0, 1.5)


def _windows(canvas: Canvas, x: float, top: float, wide: float, colour: Colour) -> None:
    pane = canvas.unit * 0.9
    columns = int(wide / pane / 1.8)
    for row in range(int((canvas.height - top) / pane / 2.2)):
        lit = canvas.rng.getrandbits(columns + 1) & canvas.rng.getrandbits(columns + 1)
        for column in range(columns):
            if lit >> column & 1:
                left, upper = x + pane * (0.6 + 1.8 * column), top + pane * (1 + 2.2 * row)
                canvas.pen.rectangle((left, upper, left + pane, upper + pane), fill=colour)


def _waves(canvas: Canvas) -> None:
    count = canvas.rng.randrange(7, 12)
    stops = [canvas.palette.light, canvas.palette.horizon, canvas.palette.far, canvas.palette.near]
    for index in range(count):
        along = index / (count - 1) * (len(stops) - 1.001)
        colour = mix(stops[int(along)], stops[int(along) + 1], along % 1.0)
        ridge = _ridge(canvas, 0.15 + 0.85 * index / count, 0.2, 1.8)
        _fill_below(canvas, ridge, colour)


def _stars(canvas: Canvas) -> None:
    for _ in range(90):
        x, y = canvas.rng.uniform(0, canvas.width), canvas.rng.uniform(0, 0.5) * canvas.height
        size = canvas.rng.uniform(0.5, 2.2)
        canvas.pen.ellipse((x - size, y - size, x + size, y + size), fill=canvas.palette.light)


def _birds(canvas: Canvas) -> None:
    rng, pen = canvas.rng, canvas.pen
    x, y = rng.uniform(0.2, 0.7) * canvas.width, rng.uniform(0.12, 0.35) * canvas.height
    for _ in range(rng.randrange(3, 8)):
        span = canvas.unit * rng.uniform(1.0, 2.2)
        wings = [(x - span, y - span * 0.5), (x, y), (x + span, y - span * 0.5)]
        pen.line(wings, fill=canvas.palette.near, width=max(2, int(span / 5)), joint="curve")
        x, y = x + canvas.unit * rng.uniform(2, 6), y + canvas.unit * rng.uniform(-3, 3)


def _balloons(canvas: Canvas) -> None:
    rng, pen = canvas.rng, canvas.pen
    for _ in range(rng.randrange(1, 4)):
        x, y = rng.uniform(0.1, 0.9) * canvas.width, rng.uniform(0.1, 0.4) * canvas.height
        r = canvas.unit * rng.uniform(2.5, 6)
        skin = mix(canvas.palette.far, canvas.palette.light, rng.random())
        pen.ellipse((x - r, y - r, x + r, y + r), fill=skin)
        pen.polygon(
            [(x - r * 0.8, y + r * 0.6), (x + r * 0.8, y + r * 0.6), (x, y + r * 1.6)], skin
        )
        stripe = mix(skin, canvas.palette.near, 0.5)
        pen.ellipse((x - r * 0.35, y - r, x + r * 0.35, y + r), fill=stripe)
        basket = (x - r * 0.2, y + r * 1.6, x + r * 0.2, y + r * 1.9)
        pen.rectangle(basket, fill=canvas.palette.near)


def _lighthouse(canvas: Canvas) -> None:
    x = canvas.rng.choice((0.18, 0.82)) * canvas.width
    foot, tall, half = canvas.height * 0.86, canvas.height * 0.42, canvas.unit * 3
    top, pen = foot - tall, canvas.pen
    rock = [(x - half * 5, canvas.height), (x - half * 2, foot - 6), (x + half * 2.4, foot)]
    pen.polygon([*rock, (x + half * 5, canvas.height)], fill=canvas.palette.near)
    white, red = (236, 232, 224), mix((190, 50, 45), canvas.palette.near, 0.2)
    for band in range(5):
        low, high = foot - tall * band / 5, foot - tall * (band + 1) / 5
        a, b = half * (1 - band * 0.08), half * (1 - (band + 1) * 0.08)
        pen.polygon(
            [(x - a, low), (x + a, low), (x + b, high), (x - b, high)], (white, red)[band % 2]
        )
    lamp = half * 0.55
    pen.rectangle((x - lamp, top - lamp * 2, x + lamp, top), fill=canvas.palette.light)
    pen.polygon(
        [(x - half * 0.8, top - lamp * 2), (x + half * 0.8, top - lamp * 2), (x, top - lamp * 4)],
        red,
    )


_SCENES: Mapping[str, Callable[[Canvas], None]] = {
    "hill meadow field flower garden spring village": _hills,
    "mountain peak alp snow snowy winter glacier": _peaks,
    "forest tree pine wood jungle fox deer owl autumn": _forest,
    "sea ocean lake harbour harbor river island beach boat lighthouse whale": _sea,
    "city street skyline town neon tower robot car": _city,
    "desert dune sand camel canyon mar": _dunes,
    "abstract pattern texture wave waves dream music": _waves,
}
_ACCENTS: Mapping[str, Callable[[Canvas], None]] = {
    "bird gull crow eagle": _birds,
    "balloon": _balloons,
    "lighthouse": _lighthouse,
    "star night midnight galaxy": _stars,
}


def _suited(
    table: Mapping[str, Callable[[Canvas], None]], words: list[str]
) -> list[Callable[[Canvas], None]]:
    return [painter for named, painter in table.items() if set(named.split()) & set(words)]


@functools.lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _caption(canvas: Canvas, prompt: str, note: str) -> None:
    shown = prompt.split()
    left = " ".join(shown[:_CAPTION_WORDS]) + (" …" if len(shown) > _CAPTION_WORDS else "")
    # The built-in font knows Western scripts alone; boxes would explain nothing.
    left = left.encode("latin-1", "ignore").decode("latin-1")
    size = max(11, round(canvas.unit * 2.1))
    margin, y = canvas.unit * 2.4, canvas.height - canvas.unit * 2.4
    strip = (0, canvas.height - round(canvas.unit * 6.2), canvas.width, canvas.height)
    band = canvas.image.crop(strip)
    shade = Image.new("RGB", band.size, mix(canvas.palette.near, (0, 0, 0), 0.5))
    canvas.image.paste(Image.blend(band, shade, 0.5), strip[:2])
    for text, x, anchor, share in (
        (left[:70], margin, "ls", 0.0),
        (note, canvas.width - margin, "rs", 0.3),
    ):
        ink = mix((255, 255, 255), canvas.palette.far, share)
        canvas.pen.text(
            (x + 1, y + 1), text, mix(canvas.palette.near, (0, 0, 0), 0.6), _font(size), anchor
        )
        canvas.pen.text((x, y), text, ink, _font(size), anchor)


def _styled(image: Image.Image, style_preset: str) -> Image.Image:
    match style_preset:
        case "pixel-art":
            small = image.reduce(max(1, min(image.size) // 96))
            return small.resize(image.size, Image.Resampling.NEAREST)  # pyright: ignore[reportUnknownMemberType]
        case "line-art":
            return ImageOps.grayscale(image).filter(ImageFilter.CONTOUR).convert("RGB")
        case "comic-book":
            return ImageOps.posterize(ImageEnhance.Color(image).enhance(1.7), 4)
        case "analog-film":
            brown = ImageOps.colorize(ImageOps.grayscale(image), "#20140c", "#fff1d8")
            return Image.blend(image, brown, 0.6)
        case _:
            return image


def paint(
    rng: random.Random,
    size: tuple[int, int],
    prompt: str,
    *,
    style_preset: str,
    vividness: float,
    note: str,
) -> Image.Image:
    """Return a landscape.

    Args:
        rng: Decides everything that the words leave open.
        size: Width and height [px].
        prompt: Its words choose colours and motifs, and caption the picture.
        style_preset: Name of the style, or empty.
        vividness: Factor on the saturation; 1 is natural.
        note: A few words for the lower right corner.

    Returns:
        RGB, height x width x 3, uint8.
    """
    words = words_of(prompt)
    palette = choose_palette(rng, words, style_preset, vividness)
    image = _sky(rng, palette, size)
    canvas = Canvas(image, ImageDraw.Draw(image), palette, rng, words)
    accents = _suited(_ACCENTS, words)
    if sum(palette.zenith) < 150 and _stars not in accents:
        accents.append(_stars)
    if _stars in accents:
        _stars(canvas)
    rng.choice(_suited(_SCENES, words) or list(_SCENES.values()))(canvas)
    for accent in accents or [rng.choice((_birds, _balloons, _birds))]:
        if accent is not _stars:
            accent(canvas)
    image = _styled(image, style_preset)
    _caption(attrs.evolve(canvas, image=image, pen=ImageDraw.Draw(image)), prompt, note)
    return image
