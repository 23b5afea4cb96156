"""The requests of the control endpoints: a new image that is led by another."""

from functools import partial
from typing import ClassVar

import attrs

from sd3async.models.base import GenerationRequest
from sd3async.models.fields import SEED, AspectRatio, Number, StylePreset, Text
from sd3async.models.generate import ASPECT_RATIO, NEGATIVE_PROMPT, PROMPT, STYLE_PRESET
from sd3async.models.images import ImageBounds, given_image
from sd3async.models.sources import ImageSource

_guide = partial(ImageBounds, min_side=64, min_pixels=4_096, max_pixels=9_437_184, aspect=2.5)
_transfer = partial(
    ImageBounds, min_side=64, max_side=16_383, min_pixels=4_096, max_pixels=9_437_184
)


@attrs.frozen(kw_only=True)
class _GuidedRequest(GenerationRequest):
    """The fields that a sketch and a structure share; the image keeps its size."""

    image: ImageSource = attrs.field(
        converter=given_image,
        validator=_guide(about="The image whose lines or shapes are followed."),
        kw_only=False,
    )
    prompt: str = attrs.field(validator=PROMPT, kw_only=False)
    control_strength: float | None = attrs.field(
        default=None, validator=Number(0, 1, about="How strictly to follow `image`.", default=0.7)
    )
    negative_prompt: str | None = attrs.field(default=None, validator=NEGATIVE_PROMPT)
    seed: int | None = attrs.field(default=None, validator=SEED)
    style_preset: StylePreset | None = attrs.field(default=None, validator=STYLE_PRESET)


@attrs.frozen(kw_only=True)
class SketchRequest(_GuidedRequest):
    """Make a picture of a sketch; it has the size of the sketch.

    Source:
        POST /v2beta/stable-image/control/sketch; 5 credits.
    """

    endpoint: ClassVar[str] = "control.sketch"


@attrs.frozen(kw_only=True)
class StructureRequest(_GuidedRequest):
    """Draw something else in the shapes of an image; it has that image's size.

    Source:
        POST /v2beta/stable-image/control/structure; 5 credits.
    """

    endpoint: ClassVar[str] = "control.structure"


@attrs.frozen(kw_only=True)
class StyleRequest(GenerationRequest):
    """Draw in the style of an image, 1 megapixel.

    Source:
        POST /v2beta/stable-image/control/style; 5 credits.
    """

    endpoint: ClassVar[str] = "control.style"

    image: ImageSource = attrs.field(
        converter=given_image,
        validator=_guide(about="The image whose style is taken."),
        kw_only=False,
    )
    prompt: str = attrs.field(validator=PROMPT, kw_only=False)
    negative_prompt: str | None = attrs.field(default=None, validator=NEGATIVE_PROMPT)
    aspect_ratio: AspectRatio | None = attrs.field(default=None, validator=ASPECT_RATIO)
    fidelity: float | None = attrs.field(
        default=None,
        validator=Number(0, 1, about="How close to keep to the style of `image`.", default=0.5),
    )
    seed: int | None = attrs.field(default=None, validator=SEED)
    style_preset: StylePreset | None = attrs.field(default=None, validator=STYLE_PRESET)


@attrs.frozen(kw_only=True)
class StyleTransferRequest(GenerationRequest):
    """Draw one image in the style of another: 1 megapixel, in the shape of the first.

    Source:
        POST /v2beta/stable-image/control/style-transfer; 8 credits.
    """

    endpoint: ClassVar[str] = "control.style-transfer"

    init_image: ImageSource = attrs.field(
        converter=given_image,
        validator=_transfer(aspect=2.5, about="The image to draw anew."),
        kw_only=False,
    )
    style_image: ImageSource = attrs.field(
        converter=given_image,
        validator=_transfer(about="The image whose style is taken."),
        kw_only=False,
    )
    prompt: str = attrs.field(
        default="", validator=Text(about="What the image shows, in English, if it matters.")
    )
    negative_prompt: str | None = attrs.field(default=None, validator=NEGATIVE_PROMPT)
    seed: int | None = attrs.field(default=None, validator=SEED)
    style_strength: float | None = attrs.field(
        default=None, validator=Number(0, 1, about="How much of the style to take.", default=1)
    )
    composition_fidelity: float | None = attrs.field(
        default=None,
        validator=Number(
            0, 1, about="How closely to keep the composition of `init_image`.", default=0.9
        ),
    )
    change_strength: float | None = attrs.field(
        default=None,
        validator=Number(0.1, 1, about="How much of `init_image` may change.", default=0.9),
    )
