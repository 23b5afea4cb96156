"""What an `accept` header prefers: the image itself, or JSON that holds it (RFC 9110)."""

import re
from collections.abc import Iterator

import attrs

__all__ = ["Preference", "read_accept"]

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_RANGE = re.compile(rf"({_TOKEN})/({_TOKEN})\s*(?:;(.*))?")
_QUALITY = re.compile(r"\s*q\s*=\s*([01]?\.?\d{0,3})\s*", re.IGNORECASE)


@attrs.frozen
class Preference:
    """What a client would rather have.

    Attributes:
        as_json: Whether JSON; None when neither JSON nor an image will do.
        ignored: Parts of the header that mean nothing.
    """

    as_json: bool | None
    ignored: tuple[str, ...] = ()


@attrs.frozen
class _Range:
    type: str
    subtype: str
    quality: float
    place: int


def _ranges(header: str, ignored: list[str]) -> Iterator[_Range]:
    for place, text in enumerate(part.strip() for part in header.split(",")):
        if found := _RANGE.fullmatch(text):
            told = [_QUALITY.fullmatch(item) for item in (found[3] or "").split(";")]
            quality = [q[1] for q in told if q and q[1].strip(".")]
            yield _Range(found[1].lower(), found[2].lower(), float([*quality, "1"][0]), place)
        elif text:
            ignored.append(text)


def _wish(ranges: list[_Range], *levels: tuple[str, str]) -> tuple[float, int]:
    """Return quality and place (earlier is more) by the most specific level that is named."""
    for kind, subtype in levels:
        named = [r for r in ranges if r.type == kind and subtype in (r.subtype, "")]
        if named:
            return max((r.quality, -r.place) for r in named)
    return 0.0, 0


def read_accept(header: str) -> Preference:
    """Return what a header asks for; an absent one, and one without any sense, an image.

    Parameters other than `q` are passed over, so `application/json; type=image/png`, which the
    service itself writes as a content type, asks for JSON. Any image type asks for an image:
    `output_format` says which.

    Args:
        header: As received; empty when there was none.
    """
    ignored: list[str] = []
    ranges = list(_ranges(header, ignored))
    if not ranges:
        return Preference(False, tuple(ignored))
    image = _wish(ranges, ("image", ""), ("*", "*"))
    as_json = _wish(ranges, ("application", "json"), ("application", "*"), ("*", "*"))
    best = max(image, as_json)
    return Preference(as_json > image if best[0] > 0 else None, tuple(ignored))
