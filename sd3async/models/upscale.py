"""The requests of the upscale endpoints: the same image, larger."""

from typing import ClassVar

import attrs

from sd3async.models.base import GenerationRequest
from sd3async.models.fields import SEED, Number, StylePreset, Text
from sd3async.models.generate import NEGATIVE_PROMPT, STYLE_PRESET
from sd3async.models.images import ImageBounds, given_image
from sd3async.models.sources import ImageSource

_ABOUT_IMAGE = "The image to enlarge."
_PROMPT = Text(min_chars=1, about="What the image shows, in English.")
_ABOUT_CREATIVITY = "How much detail to make up."


@attrs.frozen(kw_only=True)
class UpscaleFastRequest(GenerationRequest):
    """Enlarge an image four times, to 16 megapixels at most, in about a second.

    Source:
        POST /v2beta/stable-image/upscale/fast; 2 credits.
    """

    endpoint: ClassVar[str] = "upscale.fast"

    image: ImageSource = attrs.field(
        converter=given_image,
        validator=ImageBounds(
            min_side=32,
            max_side=1_536,
            min_pixels=1_024,
            max_pixels=1_048_576,
            about=_ABOUT_IMAGE,
        ),
        kw_only=False,
    )


@attrs.frozen(kw_only=True)
class UpscaleConservativeRequest(GenerationRequest):
    """Enlarge an image to 4 megapixels, changing as little as can be.

    Source:
        POST /v2beta/stable-image/upscale/conservative; 40 credits.
    """

    endpoint: ClassVar[str] = "upscale.conservative"

    image: ImageSource = attrs.field(
        converter=given_image,
        validator=ImageBounds(
            min_side=64, min_pixels=4_096, max_pixels=9_437_184, aspect=2.5, about=_ABOUT_IMAGE
        ),
        kw_only=False,
    )
    prompt: str = attrs.field(validator=_PROMPT, kw_only=False)
    negative_prompt: str | None = attrs.field(default=None, validator=NEGATIVE_PROMPT)
    seed: int | None = attrs.field(default=None, validator=SEED)
    creativity: float | None = attrs.field(
        default=None, validator=Number(0.2, 0.5, about=_ABOUT_CREATIVITY, default=0.35)
    )


@attrs.frozen(kw_only=True)
class UpscaleCreativeRequest(GenerationRequest):
    """Enlarge a small or poor image up to 4K, drawing the detail anew.

    The service only starts this one; the client waits for the image.

    Source:
        POST /v2beta/stable-image/upscale/creative; 60 credits.
    """

    endpoint: ClassVar[str] = "upscale.creative"

    image: ImageSource = attrs.field(
        converter=given_image,
        validator=ImageBounds(
            min_side=64, min_pixels=4_096, max_pixels=1_048_576, about=_ABOUT_IMAGE
        ),
        kw_only=False,
    )
    prompt: str = attrs.field(validator=_PROMPT, kw_only=False)
    negative_prompt: str | None = attrs.field(default=None, validator=NEGATIVE_PROMPT)
    seed: int | None = attrs.field(default=None, validator=SEED)
    creativity: float | None = attrs.field(
        default=None, validator=Number(0.1, 0.5, about=_ABOUT_CREATIVITY, default=0.3)
    )
    style_preset: StylePreset | None = attrs.field(default=None, validator=STYLE_PRESET)
