"""The requests of the older API, v1: Stable Diffusion XL 1.0, several images for one answer."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from sd3async.models.base import Between, BetweenImages, GenerationRequest
from sd3async.models.fields import (
    CLIP_GUIDANCE_PRESETS,
    INIT_IMAGE_MODES,
    MASK_SOURCES,
    SAMPLERS,
    Choice,
    ClipGuidancePreset,
    InitImageMode,
    MaskSource,
    Number,
    OutputFormat,
    Sampler,
    StylePreset,
    Text,
    refuse,
)
from sd3async.models.generate import STYLE_PRESET
from sd3async.models.images import ImageBounds, given_image, given_or_none
from sd3async.models.nested import JSONObject, Nested, Prompts, given_object, given_prompts
from sd3async.models.sources import ImageFacts, ImageSource

SDXL = "stable-diffusion-xl-1024-v1-0"

SDXL_SIZES = (
    *((1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216)),
    *((1344, 768), (768, 1344), (1536, 640), (640, 1536)),
)
"""Width and height [px]. Source: the refusal `invalid_sdxl_v1_dimensions`."""

ENGINE_SIZES = {SDXL: SDXL_SIZES, "stable-diffusion-xl-1024-v0-9": SDXL_SIZES}
"""The only sizes of an image, by engine; of another engine they are not known."""

_DEFAULT_SIDE = 1024
_SIZES = ", ".join(f"{width}x{height}" for width, height in SDXL_SIZES)

_TEXT_PROMPTS = Prompts(about="What to draw, in English; a negative weight keeps it out.")
_SIDE = Number(
    128,
    whole=True,
    words="a multiple of 64, at least 128",
    multiple=64,
    about="Of the image [px].",
    default=_DEFAULT_SIDE,
)


def _check_size(engine: str, field: str, size: tuple[int, int]) -> None:
    if size not in ENGINE_SIZES.get(engine, (size,)):
        width, height = size
        raise refuse(field, f"makes it {width}x{height} px; {engine} takes {_SIZES}")


@attrs.frozen
class EngineSides:
    """The sizes that an engine draws, asked for by `width` and `height`."""

    def check(self, request: object) -> None:
        """See that it draws the one asked for."""
        assert isinstance(request, V1TextToImageRequest)
        width, height = request.width, request.height
        size = width or _DEFAULT_SIDE, height or _DEFAULT_SIDE
        _check_size(request.engine_id, "height" if width is None else "width", size)

    def words(self) -> str:
        """Return the rule as a sentence."""
        return f"`width` and `height` make one of the sizes of SDXL 1.0: {_SIZES}."


@attrs.frozen
class EngineImage:
    """The sizes that an engine draws, which are those of the image it starts from."""

    def check(self, request: Any, facts: Mapping[str, ImageFacts]) -> None:
        """See that the image has one."""
        if known := facts.get("init_image"):
            _check_size(request.engine_id, "init_image", (known.width, known.height))

    def words(self) -> str:
        """Return the rule as a sentence."""
        return f"`init_image` has one of the sizes of SDXL 1.0: {_SIZES}."


@attrs.frozen
class MaskLikeImage:
    """A mask that has the size of the image it is for."""

    def check(self, request: object, facts: Mapping[str, ImageFacts]) -> None:
        """See that it has."""
        image, mask = facts.get("init_image"), facts.get("mask_image")
        if image is None or mask is None:
            return
        if (mask.width, mask.height) != (image.width, image.height):
            size = f"is {mask.width}x{mask.height} px"
            problem = f"{size}; it must have the size of init_image, {image.width}x{image.height}"
            raise refuse("mask_image", problem)

    def words(self) -> str:
        """Return the rule as a sentence."""
        return "`mask_image` has the size of `init_image`."


@attrs.frozen
class MaskOfSource:
    """A mask that is required, unless the transparency of the image is it."""

    def check(self, request: object) -> None:
        """See that it is there, if it must be."""
        assert isinstance(request, V1MaskingRequest)
        if request.mask_image is None and request.mask_source != "INIT_IMAGE_ALPHA":
            raise refuse("mask_image", f"is missing; {request.mask_source} requires it")

    def words(self) -> str:
        """Return the rule as a sentence."""
        return "`mask_image` is required, but for the source `INIT_IMAGE_ALPHA`."


@attrs.frozen
class EngineName(Text):
    """The id of an engine, as it stands in a path."""

    def plain(self, field: str, value: object) -> str:
        """Return such an id."""
        name = super().plain(field, value)
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII):
            raise refuse(field, f"is {name!r:.60}; letters, digits and . _ - are allowed")
        return name


@attrs.frozen(kw_only=True)
class _V1Request(GenerationRequest):
    """The fields that all three share.

    `steps` is always sent: the documents of two years name different defaults, and the price goes
    by it.
    """

    # Not the API's: v1 always answers with PNG, and calls its prompt by another name.
    output_format: OutputFormat = attrs.field(init=False, default="png", repr=False)
    prompt: str = attrs.field(init=False, default="", repr=False, eq=False)

    cfg_scale: float | None = attrs.field(
        default=None,
        validator=Number(0, 35, about="How strictly to follow the prompts.", default=7),
    )
    clip_guidance_preset: ClipGuidancePreset | None = attrs.field(
        default=None,
        validator=Choice(
            CLIP_GUIDANCE_PRESETS, about="How CLIP guides the drawing.", default="`NONE`"
        ),
    )
    sampler: Sampler | None = attrs.field(
        default=None,
        validator=Choice(SAMPLERS, about="How to refine; left out, the service picks one."),
    )
    samples: int | None = attrs.field(
        default=None,
        validator=Number(
            1, 10, whole=True, about="How many images to draw; each is paid.", default=1
        ),
    )
    seed: int | None = attrs.field(
        default=None,
        validator=Number(
            0,
            4_294_967_295,
            whole=True,
            about="Start of the randomness; left out, or 0, the service picks one.",
        ),
    )
    steps: int = attrs.field(
        default=30,
        validator=Number(
            10, 150, whole=True, about="How often to refine; always sent, left out it is 30."
        ),
    )
    style_preset: StylePreset | None = attrs.field(default=None, validator=STYLE_PRESET)
    extras: Nested | None = attrs.field(
        default=None,
        converter=given_object,
        validator=JSONObject(about="What the engine takes beside that, undocumented."),
    )
    engine_id: str = attrs.field(
        default=SDXL, validator=EngineName(1, 100, about="Which engine draws.")
    )

    def _read_as(self, prompts: tuple[Nested, ...]) -> None:
        """Let those who show a request find its words where they are in others."""
        wished = (part["text"] for part in prompts if part.get("weight", 1) >= 0)
        object.__setattr__(self, "prompt", ", ".join(wished))


@attrs.frozen(kw_only=True)
class V1TextToImageRequest(_V1Request):
    """Stable Diffusion XL 1.0 (v1), from text: one or several images.

    Source:
        POST /v1/generation/{engine_id}/text-to-image; 0.9 credits for each sample of up to 30
        steps.
    """

    endpoint: ClassVar[str] = "v1.text-to-image"
    between: ClassVar[tuple[Between, ...]] = (EngineSides(),)

    text_prompts: tuple[Nested, ...] = attrs.field(
        converter=given_prompts, validator=_TEXT_PROMPTS, kw_only=False
    )
    width: int | None = attrs.field(default=None, validator=_SIDE)
    height: int | None = attrs.field(default=None, validator=_SIDE)

    def __attrs_post_init__(self) -> None:
        """Hold the fields to the rules between them."""
        super().__attrs_post_init__()
        self._read_as(self.text_prompts)


@attrs.frozen(kw_only=True)
class _V1ImageRequest(_V1Request):
    """The fields of those that start from an image; the result has its size."""

    init_image: ImageSource = attrs.field(
        converter=given_image,
        validator=ImageBounds(about="The image to start from."),
        kw_only=False,
    )
    text_prompts: tuple[Nested, ...] = attrs.field(
        converter=given_prompts, validator=_TEXT_PROMPTS, kw_only=False
    )

    def __attrs_post_init__(self) -> None:
        """Hold the fields to the rules between them."""
        super().__attrs_post_init__()
        self._read_as(self.text_prompts)


@attrs.frozen(kw_only=True)
class V1ImageToImageRequest(_V1ImageRequest):
    """Stable Diffusion XL 1.0 (v1), from an image and text: one or several images.

    Source:
        POST /v1/generation/{engine_id}/image-to-image; 0.9 credits for each sample of up to 30
        steps.
    """

    endpoint: ClassVar[str] = "v1.image-to-image"
    between_images: ClassVar[tuple[BetweenImages, ...]] = (EngineImage(),)

    init_image_mode: InitImageMode | None = attrs.field(
        default=None,
        validator=Choice(
            INIT_IMAGE_MODES,
            about="Whether `image_strength` counts, or the two of the schedule.",
            default="`IMAGE_STRENGTH`",
        ),
    )
    image_strength: float | None = attrs.field(
        default=None,
        validator=Number(0, 1, about="How much of `init_image` to keep.", default=0.35),
    )
    step_schedule_start: float | None = attrs.field(
        default=None,
        validator=Number(0, 1, about="The share of the steps to leave out first.", default=0.65),
    )
    step_schedule_end: float | None = attrs.field(
        default=None, validator=Number(0, 1, about="The share of the steps to leave out last.")
    )


@attrs.frozen(kw_only=True)
class V1MaskingRequest(_V1ImageRequest):
    """Stable Diffusion XL 1.0 (v1), a part of an image drawn anew: one or several images.

    Source:
        POST /v1/generation/{engine_id}/image-to-image/masking; 0.9 credits for each sample of up
        to 30 steps.
    """

    endpoint: ClassVar[str] = "v1.masking"
    between: ClassVar[tuple[Between, ...]] = (MaskOfSource(),)
    between_images: ClassVar[tuple[BetweenImages, ...]] = (EngineImage(), MaskLikeImage())

    mask_source: MaskSource = attrs.field(
        validator=Choice(MASK_SOURCES, about="Which part is drawn anew."), kw_only=False
    )
    mask_image: ImageSource | None = attrs.field(
        default=None,
        converter=given_or_none,
        validator=ImageBounds(about="The mask: its white or its black is drawn anew."),
    )


@attrs.frozen(kw_only=True)
class V1Engine:
    """An engine of v1.

    Attributes:
        id: What `engine_id` takes.
        name: Its name for people.
        description: What it is.
        type: `PICTURE`, or another of the service's types.
    """

    id: str
    name: str = ""
    description: str = ""
    type: str = ""


@attrs.frozen(kw_only=True)
class V1Organization:
    """An organization that an account belongs to.

    Attributes:
        id: The service's own.
        name: Its name.
        role: The account's role there.
        is_default: Whether requests count as its own when they name none.
    """

    id: str
    name: str = ""
    role: str = ""
    is_default: bool = False


@attrs.frozen(kw_only=True)
class V1Account:
    """The account that a key belongs to.

    Attributes:
        id: The service's own.
        email: Its address; left out of `repr`, for logs.
        organizations: Those it belongs to.
        profile_picture: A URL, or empty.
    """

    id: str
    email: str = attrs.field(default="", repr=False)
    organizations: tuple[V1Organization, ...] = ()
    profile_picture: str = ""
