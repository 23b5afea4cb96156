"""Masks: which pixels of an upload are to be made anew. White is new, black stays."""

import random

from PIL import Image, ImageChops, ImageDraw, ImageOps

__all__ = ["grown", "mask_from_alpha", "mask_from_image", "region"]

Size = tuple[int, int]


def mask_from_image(mask: Image.Image, size: Size) -> Image.Image:
    """Return an uploaded mask as grey values, resized to the image it belongs to."""
    grey = mask.convert("L")
    return grey if grey.size == size else grey.resize(size, Image.Resampling.BILINEAR)  # pyright: ignore[reportUnknownMemberType]


def mask_from_alpha(image: Image.Image) -> Image.Image:
    """Return the mask that an alpha channel stands for: transparent is new."""
    if "A" not in image.getbands():
        return Image.new("L", image.size)
    return ImageOps.invert(image.getchannel("A"))


def grown(mask: Image.Image, reach: int) -> Image.Image:
    """Return the mask with its edges moved outwards by `reach` [px], in a square's shape.

    By a few shifts, each twice as far as the one before: a filter of that width takes seconds.
    """
    if reach <= 0:
        return mask
    canvas = ImageOps.expand(mask, reach)
    for across in (True, False):
        wide = 1  # [px] that one white pixel has become
        while wide < 2 * reach + 1:
            step = min(wide, 2 * reach + 1 - wide)
            shift = (step, 0) if across else (0, step)
            canvas = ImageChops.lighter(canvas, ImageChops.offset(canvas, *shift))
            wide += step
    # Everything has moved by `reach`; what came round the border lies in what is cut off.
    return canvas.crop((2 * reach, 2 * reach, 2 * reach + mask.width, 2 * reach + mask.height))


def region(size: Size, rng: random.Random) -> Image.Image:
    """Return a mask for something found in an image: an ellipse somewhere near its middle."""
    width, height = size
    x, y = width * rng.uniform(0.35, 0.65), height * rng.uniform(0.35, 0.65)
    across, down = width * rng.uniform(0.15, 0.3), height * rng.uniform(0.15, 0.3)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).ellipse((x - across, y - down, x + across, y + down), fill=255)
    return mask
