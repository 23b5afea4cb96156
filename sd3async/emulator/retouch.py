"""Pictures made from uploads: plain in looks, exact in what the rules promise.

An upscale has the promised size, an outpaint leaves the old pixels where they were, an erase
touches nothing outside its mask. What is new is a drawing or a wash of colours; the request's
fields and seed decide it.
"""

import math
import random
from collections.abc import Callable, Mapping
from typing import TypeAlias

from PIL import Image, ImageChops, ImageOps

from sd3async.emulator.images import Picture, blurred, draw, encode, scene
from sd3async.emulator.masks import grown, mask_from_alpha, mask_from_image, region

__all__ = ["KINDS", "make", "render_with"]

Uploads: TypeAlias = Mapping[str, Image.Image]

_MOST_DRAWN = 512 * 512  # [px]; larger scenes are enlarged, which nobody minds in a stand-in
_LEAST_SIDE = 64  # [px] of a scene


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)  # pyright: ignore[reportUnknownMemberType]


def _fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    plain = image.convert("RGB")
    return plain if plain.size == size else ImageOps.fit(plain, size)


def _scene(picture: Picture, words: str | None = None) -> Image.Image:
    width, height = picture.size
    scale = min(1.0, math.sqrt(_MOST_DRAWN / (width * height)))
    small = max(_LEAST_SIDE, round(width * scale)), max(_LEAST_SIDE, round(height * scale))
    return _resized(scene(picture, small, words), picture.size)


def _wash(picture: Picture) -> Image.Image:
    tiny = Image.frombytes("RGB", (4, 4), picture.rng().randbytes(48))
    return _resized(tiny, picture.size)


def _upscaled(picture: Picture, uploads: Uploads) -> Image.Image:
    large = _resized(uploads["image"].convert("RGB"), picture.size)
    creativity = picture.number("creativity")
    return Image.blend(large, _wash(picture), creativity / 4) if creativity else large


def _mask(picture: Picture, uploads: Uploads) -> Image.Image:
    image = uploads["image"]
    given = uploads.get("mask")
    mask = mask_from_alpha(image) if given is None else mask_from_image(given, image.size)
    return grown(mask, round(picture.number("grow_mask")))


def _erased(picture: Picture, uploads: Uploads) -> Image.Image:
    image = uploads["image"].convert("RGB")
    around = _resized(image.resize((8, 8), Image.Resampling.BOX), image.size)  # pyright: ignore[reportUnknownMemberType]
    filling = Image.blend(around, _wash(picture), 0.15)
    return Image.composite(filling, image, _mask(picture, uploads))


def _inpainted(picture: Picture, uploads: Uploads) -> Image.Image:
    if source := picture.value("mask_source"):
        image, mask = uploads["init_image"], _v1_mask(source, uploads)
    else:
        image, mask = uploads["image"], _mask(picture, uploads)
    return Image.composite(_scene(picture), image.convert("RGB"), mask)


def _v1_mask(source: str, uploads: Uploads) -> Image.Image:
    image = uploads["init_image"]
    if source == "INIT_IMAGE_ALPHA":
        return mask_from_alpha(image)
    mask = mask_from_image(uploads["mask_image"], image.size)
    return ImageOps.invert(mask) if source == "MASK_IMAGE_BLACK" else mask


def _outpainted(picture: Picture, uploads: Uploads) -> Image.Image:
    canvas = _scene(picture)
    place = round(picture.number("left")), round(picture.number("up"))
    canvas.paste(uploads["image"].convert("RGB"), place)
    return canvas


def _found(picture: Picture, uploads: Uploads, field: str) -> Image.Image:
    words = random.Random(f"{picture.seed} {picture.value(field)}")
    return grown(region(uploads["image"].size, words), round(picture.number("grow_mask")))


def _replaced(picture: Picture, uploads: Uploads) -> Image.Image:
    found = _found(picture, uploads, "search_prompt")
    return Image.composite(_scene(picture), uploads["image"].convert("RGB"), found)


def _recolored(picture: Picture, uploads: Uploads) -> Image.Image:
    image = uploads["image"].convert("RGB")
    red, green, blue = picture.rng().randbytes(3)
    tinted = ImageOps.colorize(ImageOps.grayscale(image), "black", "white", (red, green, blue))
    return Image.composite(tinted, image, _found(picture, uploads, "select_prompt"))


def _cut_out(_: Picture, uploads: Uploads) -> Image.Image:
    image = uploads["image"].convert("RGBA")
    subject = region(image.size, random.Random(0))
    image.putalpha(ImageChops.darker(image.getchannel("A"), subject))
    return image


def _relit(picture: Picture, uploads: Uploads) -> Image.Image:
    original = uploads["subject_image"].convert("RGB")
    background = original
    if picture.value("keep_original_background") != "true":
        background = _scene(picture, picture.value("background_prompt"))
        if (reference := uploads.get("background_reference")) is not None:
            background = Image.blend(background, _fitted(reference, picture.size), 0.7)
    kept = 0.5 + picture.number("preserve_original_subject") / 2
    subject = Image.blend(_wash(picture), original, kept)
    together = Image.composite(subject, background, region(picture.size, random.Random(0)))
    light = _light(picture, uploads)
    if light is None:
        return together
    white = Image.new("RGB", picture.size, "white")
    strength = picture.number("light_source_strength")
    return Image.composite(white, together, light.point(lambda value: value * strength / 2))


def _light(picture: Picture, uploads: Uploads) -> Image.Image | None:
    """Return where light falls, white is bright, or None when nothing is said of it."""
    if (reference := uploads.get("light_reference")) is not None:
        return _fitted(reference, picture.size).convert("L")
    turns = {"below": 0, "right": 90, "above": 180, "left": 270}  # degrees; white is at the foot
    direction = picture.value("light_source_direction")
    if not direction:
        return None
    return _resized(Image.linear_gradient("L").rotate(turns[direction]), picture.size)


def _controlled(picture: Picture, uploads: Uploads) -> Image.Image:
    given = _fitted(uploads["image"], picture.size)
    return Image.blend(_scene(picture), given, 0.8 * picture.number("control_strength"))


def _styled(picture: Picture, uploads: Uploads) -> Image.Image:
    given = _fitted(uploads["image"], picture.size)
    return Image.blend(_scene(picture), given, 0.5 * picture.number("fidelity"))


def _transferred(picture: Picture, uploads: Uploads) -> Image.Image:
    given = _fitted(uploads["init_image"], picture.size)
    style = Image.blend(_fitted(uploads["style_image"], picture.size), _wash(picture), 0.2)
    change = picture.number("style_strength") * picture.number("change_strength")
    return Image.blend(given, style, 0.1 + 0.6 * change)


def _drawn(picture: Picture, uploads: Uploads) -> Image.Image:
    (upload,) = uploads.values()
    return draw(picture, _fitted(upload, picture.size))


KINDS: Mapping[str, Callable[[Picture, Uploads], Image.Image]] = {
    "drawn": _drawn,
    "upscaled": _upscaled,
    "erased": _erased,
    "inpainted": _inpainted,
    "outpainted": _outpainted,
    "replaced": _replaced,
    "recolored": _recolored,
    "cut out": _cut_out,
    "relit": _relit,
    "controlled": _controlled,
    "styled": _styled,
    "transferred": _transferred,
}


def make(picture: Picture, uploads: Uploads) -> Image.Image:
    """Return the pixels of a picture that is made from uploads.

    Args:
        picture: What to make.
        uploads: By field, RGB or RGBA, in their own sizes.

    Returns:
        height x width x 3, uint8; x 4 when something is transparent.
    """
    image = KINDS[picture.kind](picture, uploads)
    return blurred(image) if picture.filtered and picture.kind != "drawn" else image


def render_with(picture: Picture, uploads: Uploads) -> bytes:
    """Return the encoded picture of a request with uploads."""
    return encode(make(picture, uploads), picture.output_format)
