"""Pictures from prompts: real, decodable, cheap, the same for the same request.

No model is at work: a hash of the request picks colours and shapes, so two prompts look
different and the same one looks the same, pixel for pixel.
"""

import functools
import hashlib
import io
import random
import struct
import zlib

import attrs
from PIL import Image, ImageFilter

from sd3async.emulator.scenery import paint

__all__ = [
    "NOTICE",
    "Picture",
    "draw",
    "encode",
    "label",
    "payload_of_size",
    "render",
    "render_from",
]

_USUAL_CFG_SCALE = 4.0
NOTICE = "drawn by the sd3async emulator, not by a model"


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


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


_PNG_START = 8 + 25  # [bytes] signature and IHDR chunk


def label(data: bytes, output_format: str, request_id: str) -> bytes:
    """Return the file with a note on its origin, fresh for each answer.

    The service's files differ from call to call in the same way, by signed metadata: whoever
    compares images has to compare pixels.

    Args:
        data: An encoded image.
        output_format: Its format; WebP has no simple place for a note and is returned as it is.
        request_id: Told in the note.
    """
    note = f"{NOTICE}; {request_id}".encode()
    if output_format == "png":
        chunk = _png_chunk(b"tEXt", b"Source\0" + note)
        return data[:_PNG_START] + chunk + data[_PNG_START:]
    if output_format == "jpeg":
        return data[:2] + b"\xff\xfe" + struct.pack(">H", len(note) + 2) + note + data[2:]
    return data


@functools.lru_cache(maxsize=32)
def _split_field(size: tuple[int, int]) -> bytes:
    width, height = size
    row = (width + 7) // 8
    sky = (b"\0" + b"\x00" * row) * (height * 3 // 5)
    ground = (b"\0" + b"\xff" * row) * (height - height * 3 // 5)
    return _png_chunk(b"IDAT", zlib.compress(sky + ground, 9))


@functools.lru_cache(maxsize=8)
def _padding(size: int) -> bytes:
    return _png_chunk(b"paDd", bytes(size)) if size else b""


_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = _png_chunk(b"IEND", b"")


def payload_of_size(picture: Picture, target: int) -> bytes:
    """Return a file of about `target` bytes that costs next to nothing to make, for load tests.

    It is a PNG whatever format was asked for: two plain colours that depend on the request, in
    the documented size, with padding that decoders skip.

    Args:
        picture: Decides colours and dimensions.
        target: Wanted length [bytes]; what the image itself needs (some 300) is the least.
    """
    digest = hashlib.sha256(repr(picture).encode()).digest()
    width, height = picture.size
    head = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0))
    image = (
        _PNG_SIGNATURE,
        head,
        _png_chunk(b"PLTE", digest[:6]),
        _split_field(picture.size),
        _PNG_END,
    )
    room = target - sum(map(len, image)) - 12
    return b"".join((*image[:-1], _padding(max(0, room)), image[-1]))
