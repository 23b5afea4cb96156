"""Pictures from prompts: real, decodable, cheap, the same for the same request.

No model is at work: a hash of the request picks colours and shapes, so two prompts look
different and the same one looks the same, pixel for pixel.
"""

import functools
import hashlib
import io
import random

import attrs
from PIL import Image, ImageFilter

from sd3async.emulator.scenery import paint

__all__ = ["Picture", "blurred", "blurred_file", "draw", "encode", "render", "scene"]

_USUAL_CFG_SCALE = 4.0


@attrs.frozen
class Picture:
    """Everything that decides the pixels, an upload aside.

    Attributes:
        prompt: What to see.
        negative_prompt: What not to see.
        model: Name of the model.
        seed: The seed really used.
        size: Width and height [px].
        style_preset: Its name, or empty.
        cfg_scale: Its text as received, or empty.
        output_format: jpeg, png or webp.
        strength: Share of the drawing in an image-to-image blend, in [0, 1].
        filtered: Whether it comes out blurred.
        kind: How it comes about, by the words of the table: "drawn" from the prompt, or from
            uploads.
        values: Further fields with their values or defaults, such as creativity.
    """

    prompt: str
    negative_prompt: str
    model: str
    seed: int
    size: tuple[int, int]
    style_preset: str = ""
    cfg_scale: str = ""
    output_format: str = "png"
    strength: float = 1.0
    filtered: bool = False
    kind: str = "drawn"
    values: tuple[tuple[str, str], ...] = ()

    def value(self, field: str) -> str:
        """Return the text of a further field; empty when there is none."""
        return dict(self.values).get(field, "")

    def number(self, field: str) -> float:
        """Return the number that a further field holds; zero when there is none."""
        return float(self.value(field) or 0.0)

    def rng(self) -> random.Random:
        """Return a source of chance that depends on what decides the pixels."""
        told = (self.prompt, self.negative_prompt, self.model, self.seed)
        text = repr((*told, self.style_preset, self.cfg_scale, *self.values))
        return random.Random(hashlib.sha256(text.encode()).digest())


def scene(picture: Picture, size: tuple[int, int], words: str | None = None) -> Image.Image:
    """Return a drawing of a picture's prompt, or of other words: RGB, height x width x 3, uint8."""
    return paint(
        picture.rng(),
        size,
        picture.prompt if words is None else words,
        style_preset=picture.style_preset,
        vividness=0.8 + 0.05 * float(picture.cfg_scale or _USUAL_CFG_SCALE),
        note=f"{picture.model} \u00b7 seed {picture.seed} \u00b7 emulated",
    )


def blurred(image: Image.Image) -> Image.Image:
    """Return what is left of an image that broke the rules."""
    return image.filter(ImageFilter.BoxBlur(min(image.size) // 12))


def draw(picture: Picture, upload: Image.Image | None = None) -> Image.Image:
    """Return the pixels: RGB, height x width x 3, uint8.

    Args:
        picture: What to draw.
        upload: An image of the same size to start from; `strength` 0 returns it as it is, 1
            ignores it.
    """
    if upload is not None and picture.strength == 0:
        image = upload
    else:
        image = scene(picture, picture.size)
        if upload is not None and picture.strength < 1:
            image = Image.blend(upload, image, picture.strength)
    return blurred(image) if picture.filtered else image


def encode(image: Image.Image, output_format: str) -> bytes:
    """Return the encoded file; PNG is lossless, the others are of good quality."""
    buffer = io.BytesIO()
    match output_format:
        case "png":
            image.save(buffer, "PNG", compress_level=1)
        case "jpeg":
            image.save(buffer, "JPEG", quality=90)
        case _:
            image.save(buffer, "WEBP", quality=85, method=0)
    return buffer.getvalue()


@functools.lru_cache(maxsize=64)
def render(picture: Picture) -> bytes:
    """Return the encoded picture of a request without an upload; recent ones are remembered."""
    return encode(draw(picture), picture.output_format)


def blurred_file(data: bytes, output_format: str) -> bytes:
    """Return an encoded image blurred, in the same format."""
    return encode(blurred(Image.open(io.BytesIO(data)).convert("RGB")), output_format)
