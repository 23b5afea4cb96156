"""The requests of the edit endpoints: an image, changed in part."""

from functools import partial
from typing import ClassVar

import attrs

from sd3async.models.base import Between, GenerationRequest, OneOf, OnlyWith
from sd3async.models.fields import (
    ALPHA_FORMATS,
    LIGHT_DIRECTIONS,
    SEED,
    AlphaFormat,
    Choice,
    LightDirection,
    Number,
    StylePreset,
    Text,
    Truth,
)
from sd3async.models.generate import NEGATIVE_PROMPT, STYLE_PRESET
from sd3async.models.images import ImageBounds, given_image, given_or_none
from sd3async.models.sources import ImageSource

_upto_9_megapixels = partial(ImageBounds, min_side=64, min_pixels=4_096, max_pixels=9_437_184)
_upto_9_megapixels_not_too_long = partial(_upto_9_megapixels, aspect=2.5)

_ABOUT_IMAGE = "The image to edit."
_MASK = ImageBounds(
    about="A black and white image, resized to that of `image`: what is white is changed. Left "
    "out, what is transparent in `image` is; of both, the mask counts."
)
_PROMPT = Text(min_chars=1, about="What to draw there, in English.")
_grow_mask = partial(Number, 0, about="How far to grow the area on all sides, and soften it [px].")


@attrs.frozen(kw_only=True)
class EraseRequest(GenerationRequest):
    """Take something out of an image.

    Source:
        POST /v2beta/stable-image/edit/erase; 5 credits.
    """

    endpoint: ClassVar[str] = "edit.erase"

    image: ImageSource = attrs.field(
        converter=given_image, validator=_upto_9_megapixels(about=_ABOUT_IMAGE), kw_only=False
    )
    mask: ImageSource | None = attrs.field(default=None, converter=given_or_none, validator=_MASK)
    grow_mask: float | None = attrs.field(default=None, validator=_grow_mask(20, default=5))
    seed: int | None = attrs.field(default=None, validator=SEED)


@attrs.frozen(kw_only=True)
class InpaintRequest(GenerationRequest):
    """Draw something new into a part of an image.

    Source:
        POST /v2beta/stable-image/edit/inpaint; 5 credits.
    """

    endpoint: ClassVar[str] = "edit.inpaint"

    image: ImageSource = attrs.field(
        converter=given_image, validator=_upto_9_megapixels(about=_ABOUT_IMAGE), kw_only=False
    )
    prompt: str = attrs.field(validator=_PROMPT, kw_only=False)
    negative_prompt: str | None = attrs.field(default=None, validator=NEGATIVE_PROMPT)
    mask: ImageSource | None = attrs.field(default=None, converter=given_or_none, validator=_MASK)
    grow_mask: float | None = attrs.field(default=None, validator=_grow_mask(100, default=5))
    seed: int | None = attrs.field(default=None, validator=SEED)
    style_preset: StylePreset | None = attrs.field(default=None, validator=STYLE_PRESET)


def _margin(side: str) -> Number:
    return Number(
        0, 2_000, whole=True, about=f"How far to extend the image {side} [px].", default=0
    )


@attrs.frozen(kw_only=True)
class OutpaintRequest(GenerationRequest):
    """Extend an image beyond its edges.

    Source:
        POST /v2beta/stable-image/edit/outpaint; 4 credits.
    """

    endpoint: ClassVar[str] = "edit.outpaint"
    between: ClassVar[tuple[Between, ...]] = (OneOf(("left", "right", "up", "down")),)

    image: ImageSource = attrs.field(
        converter=given_image,
        validator=_upto_9_megapixels_not_too_long(about="The image to extend."),
        kw_only=False,
    )
    left: int | None = attrs.field(default=None, validator=_margin("to the left"))
    right: int | None = attrs.field(default=None, validator=_margin("to the right"))
    up: int | None = attrs.field(default=None, validator=_margin("upwards"))
    down: int | None = attrs.field(default=None, validator=_margin("downwards"))
    creativity: float | None = attrs.field(
        default=None, validator=Number(0, 1, about="How freely to invent.", default=0.5)
    )
    prompt: str = attrs.field(
        default="", validator=Text(about="What to draw there, in English, if it matters.")
    )
    seed: int | None = attrs.field(default=None, validator=SEED)
    style_preset: StylePreset | None = attrs.field(default=None, validator=STYLE_PRESET)


@attrs.frozen(kw_only=True)
class SearchAndReplaceRequest(GenerationRequest):
    """Replace something that words can find.

    Source:
        POST /v2beta/stable-image/edit/search-and-replace; 5 credits.
    """

    endpoint: ClassVar[str] = "edit.search-and-replace"

    image: ImageSource = attrs.field(
        converter=given_image,
        validator=_upto_9_megapixels_not_too_long(about=_ABOUT_IMAGE),
        kw_only=False,
    )
    prompt: str = attrs.field(validator=_PROMPT, kw_only=False)
    search_prompt: str = attrs.field(
        validator=Text(about="What to replace: a few words, in English."), kw_only=False
    )
    negative_prompt: str | None = attrs.field(default=None, validator=NEGATIVE_PROMPT)
    grow_mask: float | None = attrs.field(default=None, validator=_grow_mask(20, default=3))
    seed: int | None = attrs.field(default=None, validator=SEED)
    style_preset: StylePreset | None = attrs.field(default=None, validator=STYLE_PRESET)


@attrs.frozen(kw_only=True)
class SearchAndRecolorRequest(GenerationRequest):
    """Give another colour to something that words can find.

    Source:
        POST /v2beta/stable-image/edit/search-and-recolor; 5 credits.
    """

    endpoint: ClassVar[str] = "edit.search-and-recolor"

    image: ImageSource = attrs.field(
        converter=given_image,
        validator=_upto_9_megapixels_not_too_long(about=_ABOUT_IMAGE),
        kw_only=False,
    )
    prompt: str = attrs.field(
        validator=Text(min_chars=1, about="The colours to give it, in English."), kw_only=False
    )
    select_prompt: str = attrs.field(
        validator=Text(about="What to recolour: a few words, in English."), kw_only=False
    )
    negative_prompt: str | None = attrs.field(default=None, validator=NEGATIVE_PROMPT)
    grow_mask: float | None = attrs.field(default=None, validator=_grow_mask(20, default=3))
    seed: int | None = attrs.field(default=None, validator=SEED)
    style_preset: StylePreset | None = attrs.field(default=None, validator=STYLE_PRESET)


@attrs.frozen(kw_only=True)
class RemoveBackgroundRequest(GenerationRequest):
    """Keep what stands in front, on a transparent background.

    Source:
        POST /v2beta/stable-image/edit/remove-background; 5 credits.
    """

    endpoint: ClassVar[str] = "edit.remove-background"

    image: ImageSource = attrs.field(
        converter=given_image,
        validator=ImageBounds(
            min_side=64, min_pixels=4_096, max_pixels=4_194_304, about=_ABOUT_IMAGE
        ),
        kw_only=False,
    )
    output_format: AlphaFormat = attrs.field(
        default="png",
        validator=Choice(
            ALPHA_FORMATS,
            about="How the image is encoded; a jpeg cannot be transparent.",
            default="`png`",
        ),
    )


@attrs.frozen(kw_only=True)
class ReplaceBackgroundAndRelightRequest(GenerationRequest):
    """Put what stands in front before another background, and light it alike.

    The service only starts this one; the client waits for the image.

    Source:
        POST /v2beta/stable-image/edit/replace-background-and-relight; 8 credits.
    """

    endpoint: ClassVar[str] = "edit.replace-background-and-relight"
    between: ClassVar[tuple[Between, ...]] = (
        OneOf(("background_prompt", "background_reference")),
        OnlyWith("light_source_strength", ("light_reference", "light_source_direction")),
    )

    subject_image: ImageSource = attrs.field(
        converter=given_image,
        validator=_upto_9_megapixels_not_too_long(about="The image whose foreground is kept."),
        kw_only=False,
    )
    background_prompt: str | None = attrs.field(
        default=None, validator=Text(about="The new background, in English.")
    )
    background_reference: ImageSource | None = attrs.field(
        default=None,
        converter=given_or_none,
        validator=_upto_9_megapixels(about="An image whose style the new background takes."),
    )
    foreground_prompt: str | None = attrs.field(
        default=None,
        validator=Text(about="What stands in front, in English, to keep the background off it."),
    )
    negative_prompt: str | None = attrs.field(default=None, validator=NEGATIVE_PROMPT)
    preserve_original_subject: float | None = attrs.field(
        default=None,
        validator=Number(
            0, 1, about="How much of the foreground to keep: at 1 its very pixels.", default=0.6
        ),
    )
    original_background_depth: float | None = attrs.field(
        default=None,
        validator=Number(
            0, 1, about="How closely the new background keeps the depth of the old.", default=0.5
        ),
    )
    keep_original_background: bool | None = attrs.field(
        default=None,
        validator=Truth(
            about="Whether to keep the background and only light it anew.", default=False
        ),
    )
    light_source_direction: LightDirection | None = attrs.field(
        default=None, validator=Choice(LIGHT_DIRECTIONS, about="Where the light comes from.")
    )
    light_reference: ImageSource | None = attrs.field(
        default=None,
        converter=given_or_none,
        validator=_upto_9_megapixels(about="An image whose light is taken."),
    )
    light_source_strength: float | None = attrs.field(
        default=None, validator=Number(0, 1, about="How strong the light is.", default=0.3)
    )
    seed: int | None = attrs.field(default=None, validator=SEED)
