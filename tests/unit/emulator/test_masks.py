"""Masks: where an edit may touch, to the pixel."""

import random

import pytest
from PIL import Image, ImageFilter

from sd3async.emulator.masks import grown, mask_from_alpha, mask_from_image, region


def dots(size: tuple[int, int], *places: tuple[int, int]) -> Image.Image:
    """Return a black mask with white pixels."""
    mask = Image.new("L", size)
    for place in places:
        mask.putpixel(place, 255)
    return mask


@pytest.mark.parametrize("reach", [0, 1, 2, 3, 5, 20, 100])
def test_a_pixel_grows_into_a_square_of_the_asked_reach(reach: int) -> None:
    """One pixel more would change what the caller meant to keep, one less would leave an edge."""
    mask = grown(dots((260, 240), (130, 120)), reach)

    assert mask.getbbox() == (130 - reach, 120 - reach, 131 + reach, 121 + reach)
    assert mask.size == (260, 240)


@pytest.mark.parametrize("reach", [1, 4, 7])
def test_growing_is_what_the_slow_filter_does(reach: int) -> None:
    """At the borders too: nothing may come round from the other side."""
    mask = dots((40, 30), (0, 0), (39, 29), (20, 3))

    assert (
        grown(mask, reach).tobytes() == mask.filter(ImageFilter.MaxFilter(2 * reach + 1)).tobytes()
    )


def test_transparent_is_new_and_opaque_stays() -> None:
    """Alpha means the opposite of a mask's brightness."""
    image = Image.new("RGBA", (4, 4), (9, 9, 9, 255))
    image.putpixel((1, 2), (9, 9, 9, 0))

    assert mask_from_alpha(image).getbbox() == (1, 2, 2, 3)
    assert mask_from_alpha(image.convert("RGB")).getbbox() is None


def test_a_mask_of_another_size_is_resized() -> None:
    """The document promises it."""
    mask = Image.new("RGB", (2, 2), "black")
    mask.paste("white", (1, 0, 2, 2))

    resized = mask_from_image(mask, (80, 60))

    assert resized.size == (80, 60)
    assert (resized.getpixel((5, 30)), resized.getpixel((75, 30))) == (0, 255)


def test_a_region_lies_inside_and_leaves_the_corners() -> None:
    """What a search finds is something, and not everything."""
    for seed in range(20):
        box = region((100, 80), random.Random(seed)).getbbox()

        assert box is not None
        assert box[0] > 0
        assert box[1] > 0
        assert box[2] < 100
        assert box[3] < 80
