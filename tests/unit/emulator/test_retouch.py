"""Pictures from uploads: plain, but exact in what the rules promise."""

import io
from typing import Any

import attrs
import pytest
from PIL import Image, ImageChops, ImageDraw

from sd3async.emulator.images import Picture, encode
from sd3async.emulator.retouch import KINDS, make

SIZE = (160, 96)


def photograph(size: tuple[int, int] = SIZE) -> Image.Image:
    """Return an image in which every place looks different."""
    across = Image.linear_gradient("L").rotate(90).resize(size)
    down = Image.linear_gradient("L").resize(size)
    return Image.merge("RGB", (across, down, Image.new("L", size, 99)))


def mask(size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a mask with a white rectangle: (40, 30) to (80, 60) when it is of the usual size."""
    image = Image.new("L", size)
    w, h = size
    ImageDraw.Draw(image).rectangle((w // 4, h * 30 // 96, w // 2, h * 60 // 96), fill=255)
    return image


def picture(kind: str, size: tuple[int, int] = SIZE, seed: int = 7, **values: Any) -> Picture:
    """Return what decides a picture."""
    return Picture(
        prompt="a red boat",
        negative_prompt="",
        model="test",
        seed=seed,
        size=size,
        kind=kind,
        values=tuple((name, str(value)) for name, value in values.items()),
    )


def difference(one: Image.Image, other: Image.Image) -> tuple[int, int, int, int] | None:
    """Return the box in which two images differ."""
    return ImageChops.difference(one, other).getbbox()


ALL: dict[str, tuple[Picture, dict[str, Image.Image]]] = {
    "upscaled": (picture("upscaled", (320, 192), creativity=0.3), {"image": photograph()}),
    "erased": (picture("erased", grow_mask=5), {"image": photograph(), "mask": mask()}),
    "inpainted": (picture("inpainted", grow_mask=5), {"image": photograph(), "mask": mask()}),
    "outpainted": (picture("outpainted", (200, 96), left=40), {"image": photograph()}),
    "replaced": (picture("replaced", search_prompt="cat"), {"image": photograph()}),
    "recolored": (picture("recolored", select_prompt="cat"), {"image": photograph()}),
    "relit": (picture("relit", background_prompt="sea"), {"subject_image": photograph()}),
    "controlled": (picture("controlled", control_strength=1), {"image": photograph()}),
    "styled": (picture("styled", (128, 128), fidelity=1), {"image": photograph()}),
    "transferred": (
        picture("transferred", (128, 64), style_strength=1, change_strength=1),
        {"init_image": photograph(), "style_image": mask()},
    ),
}


@pytest.mark.parametrize("kind", ALL)
def test_same_request_same_pixels_and_another_seed_other_ones(kind: str) -> None:
    """Determinism lets tests compare images; a seed that did nothing would hide a lost field."""
    ordered, uploads = ALL[kind]
    first = make(ordered, uploads)

    assert first.size == ordered.size
    assert first.mode == "RGB"
    assert difference(first, make(ordered, uploads)) is None
    assert difference(first, make(attrs.evolve(ordered, seed=8), uploads)) is not None


def test_every_kind_is_tried_here() -> None:
    """A new kind without a test would be drawn by hope."""
    assert set(KINDS) == {*ALL, "cut out", "drawn"}


@pytest.mark.parametrize("kind", ["erased", "inpainted"])
@pytest.mark.parametrize("reach", [0, 5, 20])
def test_only_the_mask_changes(kind: str, reach: int) -> None:
    """Outside the grown mask each pixel stays what it was."""
    changed = make(picture(kind, grow_mask=reach), {"image": photograph(), "mask": mask()})

    box = difference(changed, photograph())
    assert box is not None
    assert box[0] >= 40 - reach
    assert box[1] >= 30 - reach
    assert box[2] <= 81 + reach
    assert box[3] <= 61 + reach


@pytest.mark.parametrize("kind", ["erased", "inpainted"])
def test_the_alpha_of_the_image_is_a_mask_unless_there_is_one(kind: str) -> None:
    """Transparent is to be made anew; a mask that is given wins."""
    image = photograph()
    image.putalpha(ImageChops.invert(mask()))
    elsewhere = ImageChops.offset(mask(), 70, 0)

    by_alpha = make(picture(kind), {"image": image})
    by_mask = make(picture(kind), {"image": image, "mask": elsewhere})

    assert by_alpha.mode == "RGB"
    first, second = difference(by_alpha, photograph()), difference(by_mask, photograph())
    assert first is not None
    assert second is not None
    assert first[2] <= 81
    assert second[0] >= 110


def test_without_mask_and_alpha_nothing_is_erased() -> None:
    """There is nothing to say where; the document leaves it open."""
    assert difference(make(picture("erased"), {"image": photograph()}), photograph()) is None


def test_an_outpaint_keeps_the_old_pixels_in_place() -> None:
    """Extended by what was asked on each side, the upload in it untouched."""
    margins = {"left": 10, "right": 30, "up": 0, "down": 7}
    drawn = make(picture("outpainted", (200, 103), **margins), {"image": photograph()})

    assert drawn.size == (200, 103)
    assert difference(drawn.crop((10, 0, 170, 96)), photograph()) is None


def test_a_removed_background_is_transparent() -> None:
    """The middle stays as it was, the corners are gone."""
    alone = make(picture("cut out"), {"image": photograph()})

    assert alone.mode == "RGBA"
    assert alone.getpixel((0, 0))[3] == 0  # type: ignore[index]
    alpha = alone.getchannel("A")
    assert alpha.getextrema() == (0, 255)
    assert (
        difference(Image.composite(alone.convert("RGB"), photograph(), alpha), photograph()) is None
    )


@pytest.mark.parametrize("output_format", ["png", "webp"])
def test_transparency_survives_encoding(output_format: str) -> None:
    """Both formats that the endpoint offers can hold it."""
    alone = make(picture("cut out"), {"image": photograph()})
    read = Image.open(io.BytesIO(encode(alone, output_format)))

    assert read.convert("RGBA").getchannel("A").tobytes() == alone.getchannel("A").tobytes()


def test_a_fast_upscale_invents_nothing() -> None:
    """It has neither prompt nor seed: the same upload gives the same pixels."""
    plain = [make(picture("upscaled", (640, 384), s), {"image": photograph()}) for s in (1, 2)]

    assert difference(*plain) is None
    shrunk = plain[0].resize(SIZE)
    assert max(high for _, high in ImageChops.difference(shrunk, photograph()).getextrema()) < 12  # type: ignore[misc]


@pytest.mark.parametrize(
    ("direction", "brighter", "darker"),
    [
        ("left", (5, 48), (155, 48)),
        ("right", (155, 48), (5, 48)),
        ("above", (80, 3), (80, 93)),
        ("below", (80, 93), (80, 3)),
    ],
)
def test_light_comes_from_where_it_was_asked(
    direction: str, brighter: tuple[int, int], darker: tuple[int, int]
) -> None:
    """A direction that did nothing would hide a field that gets lost."""
    fields: dict[str, Any] = {"keep_original_background": "true", "light_source_strength": 1}
    grey = {"subject_image": Image.new("RGB", SIZE, (60, 60, 60))}
    dark = make(picture("relit", **fields), grey)
    lit = make(picture("relit", light_source_direction=direction, **fields), grey)
    gained = ImageChops.difference(lit, dark).convert("L")

    assert gained.getpixel(brighter) > gained.getpixel(darker)  # type: ignore[operator]


def test_references_change_a_relit_picture() -> None:
    """Each of the three uploads counts."""
    subject = {"subject_image": photograph()}
    ordered = picture("relit", background_prompt="sea", light_source_strength=0.5)
    plain = make(ordered, subject)

    for name in ("background_reference", "light_reference"):
        assert difference(make(ordered, {**subject, name: mask((64, 64))}), plain) is not None


@pytest.mark.parametrize(
    ("source", "inside_changes"),
    [("MASK_IMAGE_WHITE", True), ("MASK_IMAGE_BLACK", False), ("INIT_IMAGE_ALPHA", True)],
)
def test_v1_masks_may_be_white_black_or_transparent(source: str, *, inside_changes: bool) -> None:
    """Three ways to say which pixels stay."""
    image = photograph()
    image.putalpha(ImageChops.invert(mask()))
    made = make(
        picture("inpainted", mask_source=source), {"init_image": image, "mask_image": mask()}
    )

    inside, outside = (60, 45), (150, 90)
    assert (made.getpixel(inside) != photograph().getpixel(inside)) == inside_changes
    assert (made.getpixel(outside) != photograph().getpixel(outside)) != inside_changes


def test_a_filtered_picture_is_blurred_whatever_it_was_made_from() -> None:
    """The service blurs what its filter caught."""
    ordered, uploads = ALL["controlled"]

    assert difference(make(attrs.evolve(ordered, filtered=True), uploads), make(ordered, uploads))


@pytest.mark.parametrize("size", [(64, 20_000), (20_000, 64), (1, 1)])
def test_odd_shapes_can_be_drawn(size: tuple[int, int]) -> None:
    """Some endpoints bound the number of pixels but no shape."""
    made = make(picture("inpainted", size), {"image": photograph(size), "mask": mask((64, 64))})

    assert made.size == size
