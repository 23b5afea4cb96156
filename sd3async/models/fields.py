"""The rules a field's value is held to, and the sentences that say when it is not.

A rule is an attrs validator, and data at the same time: the command line reads its bounds to build
its options. It also makes values plain: as a converter it would hide the parameter's type from mypy,
which understands named functions only.

Source:
    Stable Image API, v2beta: names, bounds and enums of the request schemas.
"""

import math
import operator
import re
import sys
from abc import ABC, abstractmethod
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias, cast, get_args

import attrs

from sd3async.errors import InvalidRequestError

_AspectRatio = Literal["21:9", "16:9", "3:2", "5:4", "1:1", "4:5", "2:3", "9:16", "9:21"]
_OutputFormat = Literal["png", "jpeg", "webp"]
_AlphaFormat = Literal["png", "webp"]
_StylePreset = Literal[
    "3d-model", "analog-film", "anime", "cinematic", "comic-book", "digital-art", "enhance",
    "fantasy-art", "isometric", "line-art", "low-poly", "modeling-compound", "neon-punk",
    "origami", "photographic", "pixel-art", "tile-texture",
]  # fmt: skip
_SD3Model = Literal[
    "sd3.5-large", "sd3.5-large-turbo", "sd3.5-medium", "sd3.5-flash",
    "sd3-large", "sd3-large-turbo", "sd3-medium",
]  # fmt: skip
_SD3Mode = Literal["text-to-image", "image-to-image"]
_LightDirection = Literal["left", "right", "above", "below"]
_ClipGuidancePreset = Literal[
    "NONE", "FAST_BLUE", "FAST_GREEN", "SIMPLE", "SLOW", "SLOWER", "SLOWEST"
]  # fmt: skip
_Sampler = Literal[
    "DDIM", "DDPM", "K_DPMPP_2M", "K_DPMPP_2S_ANCESTRAL", "K_DPM_2", "K_DPM_2_ANCESTRAL",
    "K_EULER", "K_EULER_ANCESTRAL", "K_HEUN", "K_LMS",
]  # fmt: skip
_InitImageMode = Literal["IMAGE_STRENGTH", "STEP_SCHEDULE"]
_MaskSource = Literal["MASK_IMAGE_WHITE", "MASK_IMAGE_BLACK", "INIT_IMAGE_ALPHA"]

# An editor completes the names; any other string is left to the rule, which tells the nearest one.
AspectRatio: TypeAlias = _AspectRatio | str
OutputFormat: TypeAlias = _OutputFormat | str
AlphaFormat: TypeAlias = _AlphaFormat | str
StylePreset: TypeAlias = _StylePreset | str
SD3Model: TypeAlias = _SD3Model | str
SD3Mode: TypeAlias = _SD3Mode | str
LightDirection: TypeAlias = _LightDirection | str
ClipGuidancePreset: TypeAlias = _ClipGuidancePreset | str
Sampler: TypeAlias = _Sampler | str
InitImageMode: TypeAlias = _InitImageMode | str
MaskSource: TypeAlias = _MaskSource | str

ASPECT_RATIOS: tuple[str, ...] = get_args(_AspectRatio)
OUTPUT_FORMATS: tuple[str, ...] = get_args(_OutputFormat)
ALPHA_FORMATS: tuple[str, ...] = get_args(_AlphaFormat)
"""Those of a picture that may be transparent."""
STYLE_PRESETS: tuple[str, ...] = get_args(_StylePreset)
SD3_MODELS: tuple[str, ...] = get_args(_SD3Model)
"""Today's names and those of 2024, which the official service re-routes to their successors."""
SD3_MODES: tuple[str, ...] = get_args(_SD3Mode)
LIGHT_DIRECTIONS: tuple[str, ...] = get_args(_LightDirection)
CLIP_GUIDANCE_PRESETS: tuple[str, ...] = get_args(_ClipGuidancePreset)
SAMPLERS: tuple[str, ...] = get_args(_Sampler)
INIT_IMAGE_MODES: tuple[str, ...] = get_args(_InitImageMode)
MASK_SOURCES: tuple[str, ...] = get_args(_MaskSource)

MAX_PROMPT_CHARS = 10_000
MAX_SEED = 4_294_967_294

Duration: TypeAlias = float | timedelta
"""A time: seconds, or a `timedelta`."""

_LONGEST_SLIP = 60  # of a longer text, nothing is near enough to be worth the search
_UNSENDABLE = re.compile("[\0\ud800-\udfff]")


def refuse(field: str, problem: str) -> InvalidRequestError:
    """Return the error for one field, as one sentence.

    Args:
        field: The parameter, in the API's own words.
        problem: What is wrong with its value and what is allowed.
    """
    return InvalidRequestError(f"{field}: {problem}", field=field)


def shown(value: object) -> str:
    """Return a value as a sentence can hold it."""
    with suppress(ValueError):  # Python writes no integer of more than 4,300 digits
        return f"{value!r:.60}"
    return f"a huge {type(value).__name__}"


def check_type(field: str, value: object, kind: type, instead: str) -> None:
    """See that an argument is of a type. The value is not shown: it may be a secret.

    Args:
        field: The parameter to name.
        value: What was passed.
        kind: The type.
        instead: What to pass, in words.

    Raises:
        InvalidRequestError: It is of another type.
    """
    if not isinstance(value, kind):
        raise refuse(field, f"is {type(value).__name__}; pass {instead}")


def to_plain(value: object) -> object:
    """Return a string or number of any library or enum as Python's own `str`, `int` or `float`.

    The `repr` of NumPy's scalars and of an enum's members is not what the API reads. A bool stays
    one, though Python counts it among the integers; what is none of these is returned as it is.
    """
    if isinstance(value, Enum):
        value = value.value
    if type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    with suppress(OverflowError, TypeError, ValueError):  # NumPy's timedelta claims to be Integral
        if isinstance(value, Integral):
            return operator.index(value)
        if isinstance(value, Real | Decimal):
            return float(value)
    return value


def to_seconds(value: Duration) -> float:
    """Return the seconds of a duration; what is none is left for a rule to refuse."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def is_missing(value: object) -> bool:
    """Whether a value is how a table spells an empty cell: None, NaN, or pandas' NA."""
    is_nan = isinstance(value, Real) and value != value
    return value is None or is_nan or type(value).__name__ == "NAType"


@attrs.frozen
class Rule(ABC):
    """What a field's values are held to; None passes where it is the default.

    Attributes:
        about: What the field is, in a few words, for `help()`, `--help` and the documents.
        default: What the service takes when the field is left out, where it documents that.
    """

    about: str = attrs.field(default="", kw_only=True)
    default: object = attrs.field(default=None, kw_only=True)

    @abstractmethod
    def plain(self, field: str, value: object) -> Any:
        """Return a value as one of Python's own types.

        Args:
            field: The parameter to name when it is refused.
            value: The value, of whatever library or enum.

        Raises:
            InvalidRequestError: It breaks the rule.
        """

    def __call__(self, made: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        """Hold an attribute of a value just made to the rule, and keep it plain."""
        if value is not None or attribute.default is not None:
            object.__setattr__(made, attribute.name, self.plain(_public_name(attribute), value))

    @abstractmethod
    def bounds(self) -> str:
        """Return what is allowed, in words."""

    def described(self) -> str:
        """Return what the field is, what is allowed and what the default is: sentences."""
        default = "" if self.default is None else f"; the service's default is {self.default}"
        allowed = self.bounds() + default
        return " ".join(
            filter(None, [self.about, allowed and f"{allowed[0].upper()}{allowed[1:]}."])
        )


def _public_name(attribute: "attrs.Attribute[Any]") -> str:
    return attribute.alias or attribute.name


@attrs.frozen
class Text(Rule):
    """A string of a bounded number of characters.

    Attributes:
        min_chars: Fewest characters.
        max_chars: Most characters.
    """

    min_chars: int = 0
    max_chars: int = MAX_PROMPT_CHARS

    def plain(self, field: str, value: object) -> str:
        """Return such a string."""
        text = to_plain(value)
        if not isinstance(text, str):
            raise refuse(field, f"is {shown(value)}; a string is needed")
        if not self.min_chars <= len(text) <= self.max_chars:
            size = f"has {len(text):,} characters" if text else "is empty"
            raise refuse(field, f"{size}; {self.min_chars} to {self.max_chars:,} are allowed")
        if bad := _UNSENDABLE.search(text):
            problem = f"holds {bad[0]!r} after {bad.start():,} characters; NUL and halves of "
            raise refuse(field, problem + "characters (lone surrogates) cannot be sent")
        return text

    def bounds(self) -> str:
        """Return how long it may be."""
        least = f"{self.min_chars} to" if self.min_chars else "at most"
        return f"{least} {self.max_chars:,} characters"


@attrs.frozen
class Choice(Rule):
    """One of a fixed set of strings.

    Attributes:
        values: The strings allowed.
    """

    values: tuple[str, ...]

    def plain(self, field: str, value: object) -> str:
        """Return one of the strings."""
        text = to_plain(value)
        if not isinstance(text, str) or text not in self.values:
            allowed = f"allowed are {', '.join(self.values)}"
            raise refuse(field, f"is {shown(value)}; {self._hint(text)}{allowed}")
        return text

    def bounds(self) -> str:
        """Return the strings."""
        *most, last = (f"`{value}`" for value in self.values)
        return f"{', '.join(most)} or {last}" if most else last

    def _hint(self, text: object) -> str:
        """Return a question that names the nearest string, if one is near."""
        if (
            not isinstance(text, str)
            or len(text) > _LONGEST_SLIP
            or not re.search("[a-z]", text, re.IGNORECASE)
        ):
            return ""
        from difflib import get_close_matches  # only somebody who made a slip waits for it

        values = {value.lower(): value for value in self.values}
        near = get_close_matches(text.lower(), values, 1)
        return f"did you mean {values[near[0]]!r}? " if near else ""


@attrs.frozen
class Number(Rule):
    """A finite number between two bounds, both included.

    Attributes:
        low: Smallest value.
        high: Largest value.
        whole: Whether only integers are allowed; 7.0 is one.
        multiple: What a whole number must be a multiple of.
        words: What is allowed, in words; empty when the bounds say it all.
    """

    low: float
    high: float = sys.float_info.max
    whole: bool = False
    words: str = ""
    multiple: int = 1

    def plain(self, field: str, value: object) -> Any:
        """Return such a number; a whole one as an `int`."""
        number = to_plain(value)
        if self.whole and isinstance(number, float) and number.is_integer():
            number = int(number)
        kinds = (int,) if self.whole else (int, float)
        is_good = type(number) in kinds and self.low <= cast("float", number) <= self.high
        if not is_good or (self.whole and cast("int", number) % self.multiple):
            kind = "a whole number" if self.whole else "a number"
            needed = self.words or f"{kind} from {self.low} to {self.high}"
            raise refuse(field, f"is {shown(value)}; {needed} is needed")
        return number

    def bounds(self) -> str:
        """Return the bounds."""
        return self.words or f"{self.low:,} to {self.high:,}"


@attrs.frozen
class Seconds(Number):
    """A number of seconds between two bounds, both included."""

    def plain(self, field: str, value: object) -> float:
        """Return such a number as a float: 10 and 10.0 are one limit to those who share it."""
        return float(super().plain(field, value))


@attrs.frozen
class Truth(Rule):
    """True or False, or the words that the API has for them."""

    def plain(self, field: str, value: object) -> bool:
        """Return a bool; the API's own words are `true` and `false`."""
        plain = to_plain(value)
        if isinstance(plain, str):
            plain = {"true": True, "false": False}.get(plain.lower())
        if not isinstance(plain, bool):
            raise refuse(field, f"is {shown(value)}; True or False is needed")
        return plain

    def bounds(self) -> str:
        """Return the two."""
        return "True or False"


SEED = Number(
    0,
    MAX_SEED,
    whole=True,
    about="Start of the randomness; left out, or 0, the service picks one.",
)
AT_LEAST_ONE = Number(1, whole=True, words="a whole number of at least 1")
ABOVE_0 = Number(math.ulp(0), words="a number above 0")
SECONDS = Seconds(math.ulp(0), words="a number of seconds above 0")
