"""Values at the edges of what either reading of the API allows: on them, inside, and outside."""

import functools
import json
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from sd3async.emulator.api_table import ENDPOINTS as EMULATED
from sd3async.emulator.api_table import V1_ENDPOINTS as V1_EMULATED
from sd3async.emulator.api_table import V1_GENERATION, V1_SIZES, Endpoint, ImageRules
from sd3async.endpoints import ENDPOINTS
from sd3async.models import fields
from sd3async.models.base import fields_of, is_sent
from sd3async.models.images import ImageBounds
from sd3async.models.nested import JSONObject, Prompts
from sd3async.models.requests import REQUEST_TYPES
from sd3async.models.v1 import SDXL_SIZES
from support.pictures import file_of_size, picture

_MOST_PIXELS_SEEN = 2**31 - 1  # of a side, in a PNG's header
_USUAL_SIDE = 200  # [px] that every field takes

WRONG_IN_JSON: list[Any] = [7, 7.5, True, "7", [7], [], {"a": 7}]
"""A form has texts only; JSON has types, of which each field takes one."""

NO_IMAGES = [b"", b"GIF89a" + bytes(32), b"\x89PNG\r\n\x1a\n", b"a fox"]


@functools.cache
def edges_of(endpoint: str) -> dict[str, list[Any]]:
    """Return values to try for each field of an endpoint: text, numbers, or files as bytes.

    Args:
        endpoint: As the client calls it.
    """
    schemas, row = emulated(endpoint), ENDPOINTS[endpoint]
    rules = rules_of(endpoint)
    names = dict.fromkeys([*rules, *schemas.fields])
    edges = {
        name: _unlike(
            _edges(rules.get(name), schemas.images.get(name) or schemas.fields.get(name, {}))
        )
        for name in names
    }
    if row.answer == "artifacts":
        for name in schemas.images:
            edges[name] += _about_v1_sizes()
    return {name: [*of, *(WRONG_IN_JSON * (row.body == "json"))] for name, of in edges.items()}


def emulated(endpoint: str) -> Endpoint:
    """Return what the emulator's table has of an endpoint, by the client's name for it."""
    path = ENDPOINTS[endpoint].path
    return EMULATED.get(path) or V1_EMULATED[path.removeprefix(V1_GENERATION)]


def rules_of(endpoint: str) -> dict[str, Any]:
    """Return the client's rules for the fields that an endpoint is sent; its path is not."""
    of_type, in_path = fields_of(REQUEST_TYPES[endpoint]), ENDPOINTS[endpoint].path_fields
    return {
        name: field.validator
        for name, field in of_type.items()
        if is_sent(field) and name not in in_path
    }


def as_raw(value: Any) -> str | bytes:
    """Return a value as a form carries it."""
    if isinstance(value, bytes | str):
        return value
    if isinstance(value, dict):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _unlike(values: Iterator[Any]) -> list[Any]:
    return list({as_raw(value): value for value in values}.values())


def _edges(rule: object, schema: Any) -> Iterator[Any]:
    """Yield what lies at the bounds of either side; each side's own are enough to tell them apart."""
    if isinstance(schema, ImageRules) or isinstance(rule, ImageBounds):
        for width, height in sorted(_sizes(rule, schema)):
            yield file_of_size(width, height)
        yield from NO_IMAGES
        yield from (picture(96, 64, "jpeg"), picture(80, 80, "webp"))
        return
    if isinstance(rule, Prompts):
        yield from _about_prompts(rule, schema["items"]["properties"])
        return
    if isinstance(rule, JSONObject):
        yield from ({}, {"a": [1, None, {"b": "\U0001f98a"}]})
        yield from ("", "nonsense", "[1]", "null", '{"a": NaN}', "{" * 100_000)
        return
    choices = {*getattr(rule, "values", ()), *schema.get("enum", ())}
    if choices or isinstance(rule, fields.Truth):
        yield from sorted(choices)
        yield from ("", "nonsense", "true", "false", *(f"{choice} " for choice in choices))
        yield from (choice.upper() for choice in choices if not isinstance(rule, fields.Truth))
    elif schema.get("type") == "string" or isinstance(rule, fields.Text):
        for length in _bounds(rule, schema, ("min_chars", "minLength"), ("max_chars", "maxLength")):
            yield from ("\U0001f98a" * n for n in (length - 1, length, length + 1) if n >= 0)
        yield from (" ", "a\r\nb", "--\r\n")
    else:
        for bound in _bounds(rule, schema, ("low", "minimum"), ("high", "maximum")):
            yield from (bound, bound - 1, bound + 1, bound + 0.5, bound - 0.5)
            yield from (math.nextafter(bound, math.inf), math.nextafter(bound, -math.inf))
        yield from (math.inf, -math.inf, 1e300, 10**400, "", "four", "1,5", " 1")


def _about_prompts(rule: Prompts, schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield prompts that are too many or too few, and texts and weights at their bounds."""
    for text in _edges(rule.text, schema["text"]):
        yield from (text, [text], ["a fox", {"text": text}])
    yield from ([], [{}], {"weight": 1}, ["a fox", {"weight": -1}], ["a fox"] * 50)
    yield ["a fox", {"text": "fog", "strength": 1}]
    largest = sys.float_info.max
    for weight in (0, -0.0, -1, 1.5, math.ulp(0), largest, -largest, math.inf, -math.inf):
        yield [{"text": "a fox", "weight": weight}]
    for odd in (10**300, 10**400, -(10**400), "", "much", "1,5", " 1", "inf", "nan", True):
        yield ["a fox", {"text": "fog", "weight": odd}]


def _about_v1_sizes() -> list[bytes]:
    """Return images of the sizes that v1 draws, and of a pixel more or less."""
    return [
        file_of_size(width + wider, height + higher)
        for width, height in sorted({*V1_SIZES, *SDXL_SIZES})
        for wider, higher in ((0, 0), (1, 0), (0, -1))
    ]


def _bounds(rule: object, schema: Mapping[str, Any], *names: tuple[str, str]) -> set[Any]:
    own = {getattr(rule, name) for name, _ in names if hasattr(rule, name)}
    return own | {schema[name] for _, name in names if name in schema}


def _sizes(rule: object, schema: object) -> set[tuple[int, int]]:
    """Return widths and heights [px] about every bound that either side has."""

    def bounds(name: str) -> set[Any]:
        told: list[Any] = [getattr(side, name, None) for side in (rule, schema)]
        return {bound for bound in told if bound is not None and bound < _MOST_PIXELS_SEEN}

    pixels = bounds("min_pixels") | bounds("max_pixels")
    sides = bounds("min_side") | bounds("max_side") | {math.isqrt(bound) for bound in pixels}
    found: set[tuple[int, int]] = set()
    for side in {side + step for side in sides | {_USUAL_SIDE} for step in (-1, 0, 1)} - {0}:
        others = {side, _USUAL_SIDE, *(bound // side for bound in pixels)}
        for aspect in bounds("aspect"):
            others |= {math.floor(side * aspect), math.ceil(side / aspect)}
        for other in {other + step for other in others for step in (-1, 0, 1)}:
            if 0 < other < _MOST_PIXELS_SEEN:
                found.add((side, other) if (side + other) % 2 else (other, side))
    return found
