"""What to generate, as frozen values: one class for each endpoint.

A value that exists is valid: every field was checked when it was made.
"""

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, ClassVar, Self

import attrs

from sd3async.models.fields import (
    ASPECT_RATIOS,
    OUTPUT_FORMATS,
    SEED,
    STYLE_PRESETS,
    Choice,
    Number,
    Text,
    check_type,
    is_missing,
    refuse,
)
from sd3async.models.sources import ImageFacts, ImageInput, ImageSource, as_source

_MODEL_CREDITS = {
    "sd3.5-large": 6.5,
    "sd3.5-large-turbo": 4.0,
    "sd3.5-medium": 3.5,
    "sd3.5-flash": 2.5,
    "sd3-large": 6.5,
    "sd3-large-turbo": 4.0,
    "sd3-medium": 3.5,
}
SD3_MODELS = tuple(_MODEL_CREDITS)
"""Today's names and those of 2024, which the official service re-routes to their successors."""

_CREDITS = {"core": 3.0, "ultra": 8.0, "sd3": 6.5, **_MODEL_CREDITS}
"""By endpoint, or by model where one is named."""

SD3_MODES = ("text-to-image", "image-to-image")


def _to_source(value: ImageInput | ImageSource | None) -> ImageSource | None:
    return None if value is None else as_source(value, "image")


def _mode_of_image(request: "SD3Request") -> str:
    return "text-to-image" if request.image is None else "image-to-image"


@attrs.frozen(kw_only=True)
class GenerationRequest:
    """The fields that all three generate endpoints share; each of these has a class of its own.

    Attributes:
        prompt: What to draw; 1 to 10,000 characters, English.
        negative_prompt: What to keep out; at most 10,000 characters.
        aspect_ratio: Width to height, one of nine; the service's default is `1:1`.
        seed: 0 to 4,294,967,294; None and 0 both let the service pick one.
        output_format: `png` (default), `jpeg` or `webp`.
        style_preset: One of 17 styles.
    """

    endpoint: ClassVar[str]

    prompt: str = attrs.field(validator=Text(min_chars=1), kw_only=False)
    negative_prompt: str | None = attrs.field(default=None, validator=Text())
    aspect_ratio: str | None = attrs.field(default=None, validator=Choice(ASPECT_RATIOS))
    seed: int | None = attrs.field(default=None, validator=SEED)
    output_format: str = attrs.field(default="png", validator=Choice(OUTPUT_FORMATS))
    style_preset: str | None = attrs.field(default=None, validator=Choice(STYLE_PRESETS))

    @property
    def credits(self) -> float:
        """The documented price of one success [credits; 1,000 are 10 dollars]."""
        return _CREDITS[getattr(self, "model", None) or self.endpoint]

    def given(self) -> dict[str, Any]:
        """Return the fields that are set, as they are."""
        names = (field.name for field in attrs.fields(type(self)))
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are set, and `endpoint`, ready for JSON.

        Raises:
            InvalidRequestError: An image was given as a stream, a callable or a Pillow image.
        """
        fields = {"endpoint": self.endpoint, **self.given()}
        for name, value in fields.items():
            if isinstance(value, ImageSource):
                fields[name] = value.to_text(name)
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Make a request from what `to_dict` returned, or from a line of a manifest.

        Args:
            fields: Field names and values; `endpoint`, if there, must be this class's own. None
                means not given, and so does what tables have in an empty cell: NaN (no field may
                be one) and pandas' NA.

        Raises:
            InvalidRequestError: An unknown or missing field, or a wrong value.
        """
        check_type("fields", fields, Mapping, "a mapping")
        given = {name: value for name, value in fields.items() if not is_missing(value)}
        Choice((cls.endpoint,)).plain("endpoint", given.pop("endpoint", cls.endpoint))
        known = attrs.fields_dict(cls)
        for name in given:
            if name not in known:
                raise refuse(str(name), f"is no field of {cls.endpoint}; {', '.join(known)} are")
        if "prompt" not in given:
            raise refuse("prompt", "is missing; it is required")
        return cls(**given)


@attrs.frozen(kw_only=True)
class CoreRequest(GenerationRequest):
    """Stable Image Core: the cheapest, 1.5 megapixels, text only.

    Source:
        POST /v2beta/stable-image/generate/core; 3 credits.
    """

    endpoint: ClassVar[str] = "core"


@attrs.frozen(kw_only=True)
class _ImageRequest(GenerationRequest):
    """A request that may begin with an image."""

    image: ImageSource | None = attrs.field(default=None, converter=_to_source)
    strength: float | None = attrs.field(default=None, validator=Number(0, 1))

    def __attrs_post_init__(self) -> None:
        """Hold the fields to the rules between them."""
        if self.image is not None and self.strength is None:
            raise refuse("strength", "is missing; it is required with an image, 0 to 1")
        if self.image is None and self.strength is not None:
            raise refuse("strength", "is set; it only goes with an image")
        check_image(self.image.facts if self.image else None)


@attrs.frozen(kw_only=True)
class UltraRequest(_ImageRequest):
    """Stable Image Ultra: the best, 1 megapixel, text or image with text.

    Attributes:
        image: A starting image; each side 64 to 16,384 px, at least 4,096 px in all.
        strength: How far to leave `image`, 0 (identical) to 1 (as if there were none);
            required with `image`, refused without.

    Source:
        POST /v2beta/stable-image/generate/ultra; 8 credits.
    """

    endpoint: ClassVar[str] = "ultra"


@attrs.frozen(kw_only=True)
class SD3Request(_ImageRequest):
    """Stable Diffusion 3 and 3.5: 1 megapixel, text-to-image or image-to-image.

    Attributes:
        image: A starting image, each side at least 64 px; makes it image-to-image.
        strength: How far to leave `image`, 0 (identical) to 1 (as if there were none);
            required with `image`, refused without.
        mode: Follows from `image`; when given, it must agree with it.
        model: One of `SD3_MODELS`; None means the service's own default, which the client
            fills in, since the model is always sent.
        cfg_scale: How strictly to follow the prompt, 1 to 10; the service's default is 4 for
            large and medium, 1 for turbo and flash.

    `aspect_ratio` goes with text-to-image only. `negative_prompt` does not go with the model
    `sd3-large-turbo`.

    Source:
        POST /v2beta/stable-image/generate/sd3; 6.5 (large), 4 (large-turbo), 3.5 (medium) or
        2.5 (flash) credits.
    """

    endpoint: ClassVar[str] = "sd3"

    mode: str = attrs.field(
        default=attrs.Factory(_mode_of_image, takes_self=True), validator=Choice(SD3_MODES)
    )
    model: str | None = attrs.field(default=None, validator=Choice(SD3_MODELS))
    cfg_scale: float | None = attrs.field(default=None, validator=Number(1, 10))

    def __attrs_post_init__(self) -> None:
        """Hold the fields to the rules between them."""
        super().__attrs_post_init__()
        if self.mode != _mode_of_image(self):
            raise refuse("mode", f"is {self.mode}; it follows from the image, so leave it out")
        if self.image is not None and self.aspect_ratio is not None:
            raise refuse("aspect_ratio", "is set; an image keeps its own, so leave it out")
        if self.model == "sd3-large-turbo" and self.negative_prompt:
            raise refuse("negative_prompt", "is set; the model sd3-large-turbo does not take one")


def check_image(facts: ImageFacts | None) -> None:
    """Hold an image's sides to the service's bounds.

    The smallest side gives the fewest pixels asked for, 4,096, as well. Only Ultra documents a
    largest side; for the others 10 MiB is the bound that matters.

    Args:
        facts: What the header says; None when that is not known yet.

    Raises:
        InvalidRequestError: A side is out of bounds.
    """
    if facts and not all(64 <= side <= 16_384 for side in (facts.width, facts.height)):
        size = f"{facts.width:,} x {facts.height:,} px"
        raise refuse("image", f"is {size}; each side must have 64 to 16,384 px")


REQUEST_TYPES: dict[str, type[GenerationRequest]] = {
    cls.endpoint: cls for cls in (SD3Request, CoreRequest, UltraRequest)
}
ENDPOINT = Choice(tuple(REQUEST_TYPES))


def request_from_dict(fields: Mapping[str, Any], *, endpoint: str = "sd3") -> GenerationRequest:
    """Make the request that a mapping describes.

    Args:
        fields: Field names and values, as for `GenerationRequest.from_dict`; `endpoint` picks the
            class.
        endpoint: The class when `fields` names none.

    Raises:
        InvalidRequestError: An unknown endpoint or field, or a wrong value.
    """
    check_type("fields", fields, Mapping, "a mapping")
    named = fields.get("endpoint")
    name = ENDPOINT.plain("endpoint", endpoint if is_missing(named) else named)
    return REQUEST_TYPES[name].from_dict(fields)


_CSV_ROWS = "[{**row, 'seed': int(row['seed'])} for row in csv.DictReader(file)]: cells are text"


def check_requests(field: str, source: object) -> None:
    """See that a source gives requests, one after the other.

    Most containers can be iterated over, and what comes out of many are letters, names of columns
    or lines with their ends: each would be taken for a prompt, and paid.

    Args:
        field: The parameter to name.
        source: What the caller passed as an iterable or async iterable of requests.

    Raises:
        InvalidRequestError: It is something else; the sentence says how to make it one.
    """
    kind = type(source)
    is_table = not callable(getattr(source, "columns", callable))  # pandas, polars, Arrow, Spark
    if isinstance(source, str | GenerationRequest):
        instead = "an iterable of them, such as a list"
    elif isinstance(source, Mapping) or is_table:
        instead = "a list of mappings, such as [fields] or frame.to_dict('records')"
    elif hasattr(source, "readline"):
        instead = f"[line.strip() for line in file], or for a CSV {_CSV_ROWS}"
    elif kind.__module__ == "_csv":
        instead = _CSV_ROWS
    elif not issubclass(kind, Iterable | AsyncIterable) or kind in (bytes, bytearray, memoryview):
        instead = "an iterable of prompts, requests or mappings of fields"
    else:
        return
    raise refuse(field, f"is a single {kind.__name__}; pass {instead}")
