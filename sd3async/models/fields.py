"""The rules a field's value is held to, and the sentences that say when it is not.

A rule is a small callable attrs validator, and data at the same time: the command line reads its
bounds to build its options.

Source:
    Stable Image generate endpoints, v2beta: names, bounds and enums of the request schemas.
"""

import math
from typing import Any

import attrs

from sd3async.errors import InvalidRequestError

ASPECT_RATIOS = ("21:9", "16:9", "3:2", "5:4", "1:1", "4:5", "2:3", "9:16", "9:21")
OUTPUT_FORMATS = ("png", "jpeg", "webp")
STYLE_PRESETS = (
    "3d-model",
    "analog-film",
    "anime",
    "cinematic",
    "comic-book",
    "digital-art",
    "enhance",
    "fantasy-art",
    "isometric",
    "line-art",
    "low-poly",
    "modeling-compound",
    "neon-punk",
    "origami",
    "photographic",
    "pixel-art",
    "tile-texture",
)
MAX_PROMPT_CHARS = 10_000
MAX_SEED = 4_294_967_294


def refuse(field: str, problem: str) -> InvalidRequestError:
    """Return the error for one field, as one sentence.

    Args:
        field: The parameter, in the API's own words.
        problem: What is wrong with its value and what is allowed.
    """
    return InvalidRequestError(f"{field}: {problem}", field=field)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@attrs.frozen
class Text:
    """A string of a bounded number of characters.

    Attributes:
        min_chars: Fewest characters.
        max_chars: Most characters.
    """

    min_chars: int = 0
    max_chars: int = MAX_PROMPT_CHARS

    def __call__(self, _: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        """Refuse what is not such a string."""
        if not isinstance(value, str):
            raise refuse(attribute.name, f"is {_shown(value)}; a string is needed")
        if not self.min_chars <= len(value) <= self.max_chars:
            size = f"has {len(value):,} characters" if value else "is empty"
            raise refuse(
                attribute.name, f"{size}; {self.min_chars} to {self.max_chars:,} are allowed"
            )


@attrs.frozen
class Choice:
    """One of a fixed set of strings.

    Attributes:
        values: The strings allowed.
    """

    values: tuple[str, ...]

    def __call__(self, _: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        """Refuse what is not among the values."""
        if not isinstance(value, str) or value not in self.values:
            allowed = ", ".join(self.values)
            raise refuse(attribute.name, f"is {_shown(value)}; allowed are {allowed}")


@attrs.frozen
class Number:
    """A finite number between two bounds, both included.

    Attributes:
        low: Smallest value.
        high: Largest value.
        whole: Whether only integers are allowed.
    """

    low: float
    high: float
    whole: bool = False

    def __call__(self, _: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        """Refuse what is no number, no finite one, or out of bounds."""
        kinds = (int,) if self.whole else (int, float)
        # bool is an int to Python and never a number to the API.
        if isinstance(value, bool) or not isinstance(value, kinds):
            kind = "a whole number" if self.whole else "a number"
            raise refuse(attribute.name, f"is {_shown(value)}; {kind} is needed")
        if not math.isfinite(value) or not self.low <= value <= self.high:
            raise refuse(attribute.name, f"is {value}; {self.low} to {self.high} is allowed")


SEED = Number(0, MAX_SEED, whole=True)
