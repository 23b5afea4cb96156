"""The requests of the generate endpoints: from words, or words and an image, to an image."""

from typing import ClassVar, Self

import attrs

from sd3async.models.base import Between, GenerationRequest, Needs, NotWith, OnlyWith
from sd3async.models.fields import (
    ASPECT_RATIOS,
    SD3_MODELS,
    SD3_MODES,
    SEED,
    STYLE_PRESETS,
    AspectRatio,
    Choice,
    Number,
    SD3Mode,
    SD3Model,
    StylePreset,
    Text,
    refuse,
)
from sd3async.models.images import ImageBounds, given_or_none
from sd3async.models.sources import ImageSource

PROMPT = Text(min_chars=1, about="What to draw, in English.")
NEGATIVE_PROMPT = Text(about="What to keep out of the image.")
ASPECT_RATIO = Choice(ASPECT_RATIOS, about="Width to height.", default="`1:1`")
STYLE_PRESET = Choice(STYLE_PRESETS, about="A style to lean towards.")

_STRENGTH = Number(0, 1, about="How far to leave `image`: 0 keeps it, 1 ignores it.")


@attrs.frozen(kw_only=True)
class _DrawingRequest(GenerationRequest):
    """The fields that all generate endpoints share."""

    prompt: str = attrs.field(validator=PROMPT, kw_only=False)
    negative_prompt: str | None = attrs.field(default=None, validator=NEGATIVE_PROMPT)
    aspect_ratio: AspectRatio | None = attrs.field(default=None, validator=ASPECT_RATIO)
    seed: int | None = attrs.field(default=None, validator=SEED)
    style_preset: StylePreset | None = attrs.field(default=None, validator=STYLE_PRESET)


_IMAGE_AND_STRENGTH = (Needs("strength", "image"), OnlyWith("strength", ("image",)))


@attrs.frozen(kw_only=True)
class CoreRequest(_DrawingRequest):
    """Stable Image Core: the cheapest, 1.5 megapixels, text only.

    Source:
        POST /v2beta/stable-image/generate/core; 3 credits.
    """

    endpoint: ClassVar[str] = "core"


@attrs.frozen(kw_only=True)
class UltraRequest(_DrawingRequest):
    """Stable Image Ultra: the best, 1 megapixel, from text or from an image with text.

    Source:
        POST /v2beta/stable-image/generate/ultra; 8 credits.
    """

    endpoint: ClassVar[str] = "ultra"
    between: ClassVar[tuple[Between, ...]] = _IMAGE_AND_STRENGTH

    image: ImageSource | None = attrs.field(
        default=None,
        converter=given_or_none,
        validator=ImageBounds(
            min_side=64, max_side=16_384, min_pixels=4_096, about="An image to start from."
        ),
    )
    strength: float | None = attrs.field(default=None, validator=_STRENGTH)


def _mode_of_image(request: "SD3Request") -> str:
    return "text-to-image" if request.image is None else "image-to-image"


@attrs.frozen(kw_only=True)
class SD3Request(_DrawingRequest):
    """Stable Diffusion 3 and 3.5: 1 megapixel, text-to-image or image-to-image.

    The model `sd3-large-turbo` takes no `negative_prompt`.

    Source:
        POST /v2beta/stable-image/generate/sd3; 6.5 (large), 4 (large-turbo), 3.5 (medium) or
        2.5 (flash) credits.
    """

    endpoint: ClassVar[str] = "sd3"
    between: ClassVar[tuple[Between, ...]] = (
        *_IMAGE_AND_STRENGTH,
        NotWith("aspect_ratio", "image", "an image keeps its own"),
    )

    model: SD3Model | None = attrs.field(
        default=None,
        validator=Choice(
            SD3_MODELS,
            about="Which model draws; it is always sent, and left out it is the default of the "
            "service that the client uses.",
            default="`sd3.5-large`",
        ),
    )
    image: ImageSource | None = attrs.field(
        default=None,
        converter=given_or_none,
        validator=ImageBounds(
            min_side=64, about="An image to start from; makes it image-to-image."
        ),
    )
    strength: float | None = attrs.field(default=None, validator=_STRENGTH)
    cfg_scale: float | None = attrs.field(
        default=None,
        validator=Number(
            1,
            10,
            about="How strictly to follow the prompt.",
            default="4 for large and medium, 1 for turbo and flash",
        ),
    )
    mode: SD3Mode = attrs.field(
        default=attrs.Factory(_mode_of_image, takes_self=True),
        validator=Choice(SD3_MODES, about="Follows from `image`, so it need not be given."),
    )

    def __attrs_post_init__(self) -> None:
        """Hold the fields to the rules between them."""
        if self.mode != _mode_of_image(self):
            problem = "is missing; it is required" if self.image is None else "is set; leave it out"
            raise refuse("image", f"{problem} where `mode` is {self.mode}")
        super().__attrs_post_init__()
        if self.model == "sd3-large-turbo" and self.negative_prompt:
            raise refuse("negative_prompt", "is set; the model sd3-large-turbo does not take one")

    def for_service(self, default_model: str) -> Self:
        """Return the request with the model named: the default may change under a client."""
        if self.model is None and "model" not in self.extra_fields:
            return attrs.evolve(self, model=default_model)
        return self
