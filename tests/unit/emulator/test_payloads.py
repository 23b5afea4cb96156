"""Files with a note, and quick files of a given length: all have to stay decodable."""

import io
import warnings

import attrs
import pytest
from PIL import Image

from sd3async.emulator.images import Picture, render
from sd3async.emulator.payloads import NOTICE, label, payload_of_size

FORMATS = ["png", "jpeg", "webp"]
SMALL = Picture(prompt="a cat", negative_prompt="", model="core", seed=7, size=(96, 64))


def opened(data: bytes) -> Image.Image:
    """Decode, and let no warning of a damaged file pass."""
    with warnings.catch_warnings(action="error"):
        image = Image.open(io.BytesIO(data))
        image.load()
    return image


@pytest.mark.parametrize("output_format", FORMATS)
def test_notes_change_the_bytes_but_not_the_pixels(output_format: str) -> None:
    """The service's files differ from call to call; images are compared by pixels."""
    data = render(attrs.evolve(SMALL, output_format=output_format))
    one, other = (label(data, output_format, digit * 32) for digit in "12")

    assert one != other
    assert NOTICE.encode() in one
    assert opened(one).tobytes() == opened(other).tobytes() == opened(data).tobytes()
    assert (opened(one).format or "").lower() == output_format


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("target", [0, 8_000, 8_001, 1_500_000])
def test_quick_payloads_are_images_of_about_the_length(output_format: str, target: int) -> None:
    """Load tests want bytes that cost nothing and still decode, in the documented size."""
    picture = attrs.evolve(SMALL, size=(1024, 1024), output_format=output_format)
    data = payload_of_size(picture, target)
    image = opened(data)

    assert image.size == (1024, 1024)
    assert (image.format or "").lower() == output_format
    assert len(data) == pytest.approx(target, abs=150) or target == 0


def test_a_quick_png_can_be_of_a_thousand_bytes() -> None:
    """Benchmarks of small answers need small answers."""
    assert len(payload_of_size(attrs.evolve(SMALL, size=(1024, 1024)), 1000)) == 1000


@pytest.mark.parametrize("output_format", FORMATS)
def test_quick_payloads_differ_by_request(output_format: str) -> None:
    """A mix-up of two answers must show under load too."""
    one, other = (
        payload_of_size(attrs.evolve(SMALL, seed=seed, output_format=output_format), 9000)
        for seed in (1, 2)
    )

    assert one != other
