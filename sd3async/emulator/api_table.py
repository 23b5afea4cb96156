"""The API as data: `api.json` read into endpoints, written from the documents on its own.

The client has a table too. They are separate on purpose: a misreading in one shows up as a
disagreement between the two.

Source:
    The service's OpenAPI document of v2beta (Stable Image and results), read in 2026; v1 from the
    documents of 2023 and 2024. The model names of 2024 and `sd3.5-flash`, which its enum omits,
    come from its text. Output sizes come from the vendor's own nodes for a graph editor.
"""

import json
import math
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Literal, TypeAlias

import attrs
from jsonschema import Draft202012Validator

__all__ = [
    "ENDPOINTS",
    "ENGINES",
    "HEADERS",
    "NOT_EMULATED",
    "RESULTS",
    "V1_ENDPOINTS",
    "V1_ERROR_NAMES",
    "V1_SIZES",
    "AnswerKind",
    "Endpoint",
    "ImageRules",
    "Mode",
    "OneOf",
    "Size",
    "SizeRule",
    "shaped",
]

Size: TypeAlias = tuple[int, int]  # width, height [px]
AnswerKind: TypeAlias = Literal["image", "started", "artifacts"]

V1_GENERATION = "/v1/generation/{engine_id}/"
_FORMATS = ("jpeg", "png", "webp")


@attrs.frozen
class ImageRules:
    """What an uploaded image must look like; bounds are inclusive and in pixels.

    Attributes:
        formats: Accepted encodings.
        min_side: Smallest width and height [px].
        max_side: Largest width and height [px], or None.
        min_pixels: Smallest width times height, or None.
        max_pixels: Largest width times height, or None.
        aspect: Largest ratio of the longer side to the shorter one, or None.
    """

    formats: tuple[str, ...] = _FORMATS
    min_side: int = 1
    max_side: int | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    aspect: float | None = None


@attrs.frozen
class Mode:
    """What a value of the mode field asks for.

    Attributes:
        needs: Fields that become required.
        refuses: Fields that may not be sent.
    """

    needs: tuple[str, ...]
    refuses: tuple[str, ...]


@attrs.frozen
class OneOf:
    """A group of fields of which one at least must be sent.

    Attributes:
        fields: The group.
        wanted_by: Only when this field is sent, or None for always.
    """

    fields: tuple[str, ...]
    wanted_by: str | None


@attrs.frozen
class SizeRule:
    """How width and height of an answer come about.

    Attributes:
        by_ratio: Width and height [px] by aspect ratio; empty when no such field decides.
        or_of: The upload that decides when no aspect ratio is named, or None.
        of: The upload whose size counts, or None.
        times: Factor on each of its sides.
        pixels: About so many in all, in the upload's shape, or None.
        plus: Fields that extend it: left, right, up, down; or empty.
        sides: Fields that name width and height, or empty.
    """

    by_ratio: Mapping[str, Size]
    or_of: str | None
    of: str | None
    times: int
    pixels: int | None
    plus: tuple[str, ...]
    sides: tuple[str, ...]


@attrs.frozen(eq=False)
class Endpoint:
    """One endpoint that makes images.

    Attributes:
        path: Path of the URL; in v1 with `{engine_id}`.
        fields: JSON Schema of each field, references resolved.
        validator: Checks the coerced form fields, files left out.
        required: Fields that must be sent, files among them.
        needs: For a field that is present, the fields it makes required.
        one_of: Groups of which one field at least must be sent.
        not_all_zero: Numbers of which one at least must not be zero.
        mode_field: The field whose value is a mode.
        modes: What each of its values asks for; empty when there is no such field.
        images: Rules for each upload, by field.
        picture: How the picture comes about, in a word.
        size: How large it is.
        credits: Price of one success [credits] by model.
        answer: Whether the answer holds an image, the id of a generation that has begun, or v1's
            list.
        body: Whether the request is a multipart form or JSON.
        statuses: What the document lists besides 200.
    """

    path: str
    fields: Mapping[str, Mapping[str, Any]]
    validator: Draft202012Validator
    required: tuple[str, ...]
    needs: Mapping[str, tuple[str, ...]]
    one_of: tuple[OneOf, ...]
    not_all_zero: tuple[str, ...]
    mode_field: str
    modes: Mapping[str, Mode]
    images: Mapping[str, ImageRules]
    picture: str
    size: SizeRule
    credits: Mapping[str, float]
    answer: AnswerKind
    body: Literal["form", "json"]
    statuses: tuple[int, ...]

    @property
    def name(self) -> str:
        """The last part of the path, such as ultra, core or sd3."""
        return _last_part(self.path)

    @property
    def is_v1(self) -> bool:
        """Whether this is an endpoint of the older API."""
        return self.answer == "artifacts"

    def is_file(self, field: str) -> bool:
        """Return whether a field is an upload."""
        return field in self.images

    def is_number(self, field: str) -> bool:
        """Return whether a field's text stands for a number."""
        return str(self.fields[field]["type"]) in ("number", "integer")

    def value(self, fields: Mapping[str, str], field: str) -> str:
        """Return a field's text, or its documented default, or nothing."""
        schema = self.fields.get(field, {})
        return fields.get(field, str(schema.get("default", "")))

    def model(self, fields: Mapping[str, str]) -> str:
        """Return the model that a request asks for; all endpoints but sd3 have just one."""
        return self.value(fields, "model") if "model" in self.fields else self.name


def _last_part(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _read_size(row: Mapping[str, Any], table: Mapping[str, Any]) -> SizeRule:
    ratios: Mapping[str, tuple[int, int]] = table["sizes"].get(row.get("by"), {})
    megapixels = row.get("megapixels")
    return SizeRule(
        by_ratio={ratio: (w, h) for ratio, (w, h) in ratios.items()},
        or_of=row.get("or_of"),
        of=row.get("of"),
        times=row.get("times", 1),
        pixels=None if megapixels is None else megapixels * 1024 * 1024,
        plus=tuple(row.get("plus", ())),
        sides=tuple(row.get("sides", ())),
    )


def _read_fields(row: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    definitions = table["$defs"]
    return {
        name: definitions[_last_part(schema["$ref"])] if "$ref" in schema else schema
        for name, schema in row["fields"].items()
    }


def _read_endpoint(path: str, row: Mapping[str, Any], table: Mapping[str, Any]) -> Endpoint:
    fields = _read_fields(row, table)
    texts = {name: schema for name, schema in fields.items() if schema.get("format") != "binary"}
    price: float | dict[str, float] = row["credits"]
    return Endpoint(
        path=path,
        fields=fields,
        validator=Draft202012Validator({"type": "object", "properties": texts}),
        required=tuple(row["required"]),
        needs={name: tuple(needed) for name, needed in row.get("needs", {}).items()},
        one_of=tuple(
            OneOf(tuple(group["of"]), group.get("for")) for group in row.get("one_of", ())
        ),
        not_all_zero=tuple(row.get("not_all_zero", ())),
        mode_field=row.get("mode_field", "mode"),
        modes={
            name: Mode(tuple(mode["needs"]), tuple(mode["refuses"]))
            for name, mode in row.get("modes", {}).items()
        },
        images={
            name: ImageRules(**table["image_rules"][rules])
            for name, rules in row.get("images", {}).items()
        },
        picture=row["picture"],
        size=_read_size(row["size"], table),
        credits=price if isinstance(price, dict) else {_last_part(path): price},
        answer=row.get("answer", "image"),
        body=row.get("body", "form"),
        statuses=tuple(row["statuses"]),
    )


def _read_headers(table: Mapping[str, Any], accept: list[str] | None) -> Draft202012Validator:
    taken = {} if accept is None else {"accept": {"type": "string", "enum": accept}}
    return Draft202012Validator({"type": "object", "properties": {**table["headers"], **taken}})


_TABLE: dict[str, Any] = json.loads(
    files("sd3async.emulator").joinpath("api.json").read_text("utf-8")
)
_ALL = {path: _read_endpoint(path, row, _TABLE) for path, row in _TABLE["endpoints"].items()}

ENDPOINTS: Mapping[str, Endpoint] = {
    path: endpoint for path, endpoint in _ALL.items() if not endpoint.is_v1
}
V1_ENDPOINTS: Mapping[str, Endpoint] = {
    path.removeprefix(V1_GENERATION): endpoint for path, endpoint in _ALL.items() if endpoint.is_v1
}
HEADERS: Mapping[str, Draft202012Validator] = {
    kind: _read_headers(_TABLE, accept) for kind, accept in _TABLE["accept"].items()
}
ENGINES: tuple[Mapping[str, str], ...] = tuple(_TABLE["v1"]["engines"])
V1_SIZES: tuple[Size, ...] = tuple((w, h) for w, h in _TABLE["v1"]["sizes"])
V1_ERROR_NAMES: Mapping[str, str] = _TABLE["v1"]["error_names"]
RESULTS: tuple[str, ...] = tuple(_TABLE["results"])
NOT_EMULATED: tuple[str, ...] = tuple(_TABLE["not_emulated"])


def shaped(size: Size, pixels: int) -> Size:
    """Return a size of about so many pixels in the shape of another one.

    Both sides are rounded down, as in the sizes that the vendor's nodes list for 1 megapixel.
    """
    width, height = size
    return (
        max(1, math.floor(math.sqrt(pixels * width / height))),
        max(1, math.floor(math.sqrt(pixels * height / width))),
    )
