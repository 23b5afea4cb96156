"""The rule of an image field: what may be uploaded there."""

import sys
from typing import Any

import attrs

from sd3async.models.fields import Rule, refuse
from sd3async.models.sources import ImageFacts, ImageInput, ImageSource, as_source


@attrs.frozen(kw_only=True)
class ImageBounds(Rule):
    """An image, jpeg, png or webp, with bounded sides.

    What is known of an image when the request is made is checked then; what a callable or a
    stream gives, when the call begins.

    Attributes:
        min_side: Smallest width and height [px].
        max_side: Largest width and height [px].
        min_pixels: Fewest pixels in all.
        max_pixels: Most pixels in all.
        aspect: How many times as long as the other a side may be.
    """

    min_side: int = 1
    max_side: int = sys.maxsize
    min_pixels: int = 1
    max_pixels: int = sys.maxsize
    aspect: float = sys.float_info.max

    def plain(self, field: str, value: object) -> ImageSource:
        """Return the source of such an image."""
        if value is None:
            raise refuse(field, "is missing; an image is required")
        source = as_source(value, field)
        if source.facts:
            self.check(field, source.facts)
        return source

    def check(self, field: str, facts: ImageFacts) -> None:
        """Hold an image to the bounds.

        Args:
            field: The parameter to name when it breaks them.
            facts: What its header says.

        Raises:
            InvalidRequestError: It breaks one.
        """
        short, long = sorted((facts.width, facts.height))
        pixels = short * long
        size = f"is {facts.width:,} x {facts.height:,} px"
        if not self.min_side <= short <= long <= self.max_side:
            raise refuse(field, f"{size}; each side must have {self._sides()}")
        if not self.min_pixels <= pixels <= self.max_pixels:
            raise refuse(field, f"{size}, {pixels:,} in all; it must have {self._pixels()}")
        if long > short * self.aspect:
            raise refuse(field, f"{size}; {self._shape()}")

    def bounds(self) -> str:
        """Return the bounds that there are."""
        parts = [
            f"each side {self._sides()}" if self.min_side > 1 or self._has_most_side else "",
            self._pixels() if self.min_pixels > 1 or self._has_most_pixels else "",
            self._shape() if self.aspect < sys.float_info.max else "",
        ]
        return "; ".join(filter(None, parts)) or ""

    @property
    def _has_most_side(self) -> bool:
        return self.max_side < sys.maxsize

    @property
    def _has_most_pixels(self) -> bool:
        return self.max_pixels < sys.maxsize

    def _sides(self) -> str:
        if self._has_most_side:
            return f"{self.min_side:,} to {self.max_side:,} px"
        return f"at least {self.min_side:,} px"

    def _pixels(self) -> str:
        if self._has_most_pixels:
            return f"{self.min_pixels:,} to {self.max_pixels:,} pixels in all"
        return f"at least {self.min_pixels:,} pixels in all"

    def _shape(self) -> str:
        return f"the longer side may be at most {self.aspect:g} times the shorter one"


def given_image(value: ImageInput | ImageSource) -> Any:
    """Say what a required image may be given as; its rule makes the source, and knows its name."""
    return value


def given_or_none(value: ImageInput | ImageSource | None) -> Any:
    """Say what an optional image may be given as."""
    return value
