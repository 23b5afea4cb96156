"""Pictures: decodable, of the right size, the same for the same request, different otherwise."""

import io
from typing import Any

import attrs
import pytest
from PIL import Image, ImageChops, ImageStat

from sd3async.emulator.images import Picture, draw, render
from sd3async.emulator.retouch import render_with

SMALL = Picture(
    prompt="a lighthouse at dusk", negative_prompt="", model="sd3.5-large", seed=7, size=(192, 128)
)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference per channel, of 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_each_format_decodes(output_format: str) -> None:
    """What is sent has to be a real image of the type it claims."""
    data = render(attrs.evolve(SMALL, output_format=output_format))

    image = Image.open(io.BytesIO(data))
    image.load()

    assert (image.format or "").lower() == output_format
    assert image.size == SMALL.size


def test_same_request_same_pixels() -> None:
    """Determinism lets tests compare images."""
    assert draw(SMALL).tobytes() == draw(attrs.evolve(SMALL)).tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a fox in an autumn forest"},
        {"seed": 8},
        {"model": "sd3.5-medium"},
        {"negative_prompt": "people"},
        {"cfg_scale": "9"},
        {"style_preset": "pixel-art"},
        {"style_preset": "line-art"},
        {"style_preset": "comic-book"},
        {"style_preset": "analog-film"},
        {"style_preset": "neon-punk"},
    ],
    ids=str,
)
def test_any_change_shows(change: dict[str, Any]) -> None:
    """Two prompts, two seeds or two styles that look alike would hide mix-ups."""
    assert difference(draw(SMALL), draw(attrs.evolve(SMALL, **change))) > 4


@pytest.mark.parametrize(
    "prompt",
    [
        "a snowy mountain",
        "a camel in the desert",
        "city lights at night",
        "abstract waves",
        "balloons over a meadow",
        "deep forest",
        "gulls over the sea",
        "猫が月を見ている",
        "word " * 2000,
        "\ud800 broken",
    ],
    ids=lambda prompt: prompt[:8].encode("ascii", "backslashreplace").decode(),
)
def test_every_kind_of_prompt_can_be_drawn(prompt: str) -> None:
    """No prompt that the checks let pass may crash the painter."""
    assert draw(attrs.evolve(SMALL, prompt=prompt)).size == SMALL.size


@pytest.mark.parametrize("strength", [0.0, 0.25, 0.75, 1.0])
def test_strength_blends_from_the_upload_to_the_drawing(strength: float) -> None:
    """0 returns the upload as it is, 1 ignores it, between them it is a mixture."""
    upload = Image.new("RGB", SMALL.size, (250, 240, 10))
    drawn = draw(attrs.evolve(SMALL, strength=strength), upload)

    whole = difference(upload, draw(SMALL))
    assert difference(upload, drawn) == pytest.approx(strength * whole, abs=1.5)


def test_an_upload_reaches_the_encoded_answer() -> None:
    """What is sent has to come from the upload, not only what is drawn."""
    upload = Image.new("RGB", SMALL.size, (250, 240, 10))

    sent = Image.open(io.BytesIO(render_with(attrs.evolve(SMALL, strength=0.0), {"image": upload})))

    assert difference(sent.convert("RGB"), upload) == 0


def test_filtered_images_are_blurred() -> None:
    """The service blurs what its filter caught; the edges have to be gone."""
    sharp, soft = draw(SMALL), draw(attrs.evolve(SMALL, filtered=True))

    def edges(image: Image.Image) -> float:
        shifted = ImageChops.offset(image, 1, 0)
        return difference(image, shifted)

    assert edges(soft) < edges(sharp) / 2
