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

__all__ = ["Picture", "draw", "encode", "render", "render_from"]

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

    def rng(self) -> random.Random:
        """Return a source of chance that depends on what decides the pixels."""
        told = (self.prompt, self.negative_prompt, self.model, self.seed)
        text = repr((*told, self.style_preset, self.cfg_scale))
        return random.Random(hashlib.sha256(text.encode()).digest())


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
        image = paint(
            picture.rng(),
            picture.size,
            picture.prompt,
            style_preset=picture.style_preset,
            vividness=0.8 + 0.05 * float(picture.cfg_scale or _USUAL_CFG_SCALE),
            note=f"{picture.model} \u00b7 seed {picture.seed} \u00b7 emulated",
        )
        if upload is not None and picture.strength < 1:
            image = Image.blend(upload, image, picture.strength)
    if picture.filtered:
        image = image.filter(ImageFilter.BoxBlur(min(picture.size) // 12))
    return image


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


def render_from(picture: Picture, upload: Image.Image) -> bytes:
    """Return the encoded picture of a request with an upload of the picture's size."""
    return encode(draw(picture, upload), picture.output_format)
