"""The API as data: `api.json` read into endpoints, written from the documents on its own.

The client has a table too. They are separate on purpose: a misreading in one shows up as a
disagreement between the two.

Source:
    The service's OpenAPI document of v2beta (generate: ultra, core, sd3), read in 2026. The model
    names of 2024 and `sd3.5-flash`, which its enum omits, come from its text. Output sizes come
    from the vendor's own nodes for a graph editor.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import attrs
from jsonschema import Draft202012Validator

__all__ = ["ENDPOINTS", "HEADERS", "NOT_EMULATED", "Endpoint", "ImageRules", "Mode"]

Size = tuple[int, int]  # width, height [px]


@attrs.frozen
class ImageRules:
    """What an uploaded image must look like; bounds are inclusive and in pixels.

    Attributes:
        formats: Accepted encodings.
        min_side: Smallest width and height [px].
        max_side: Largest width and height [px], or None.
        min_pixels: Smallest width times height, or None.
    """

    formats: tuple[str, ...]
    min_side: int
    max_side: int | None
    min_pixels: int | None


@attrs.frozen
class Mode:
    """What a value of `mode` asks for.

    Attributes:
        needs: Fields that become required.
        refuses: Fields that may not be sent.
    """

    needs: tuple[str, ...]
    refuses: tuple[str, ...]


@attrs.frozen(eq=False)
class Endpoint:
    """One generate endpoint.

    Attributes:
        path: Path of the URL.
        fields: JSON Schema of each field, references resolved.
        validator: Checks the coerced form fields, files left out.
        needs: For a field that is present, the fields it makes required.
        modes: What each value of `mode` asks for; empty when there is no such field.
        image: Rules for the upload, or None when the endpoint takes none.
        sizes: Width and height [px] by aspect ratio.
        credits: Price of one success [credits] by model.
    """

    path: str
    fields: Mapping[str, Mapping[str, Any]]
    validator: Draft202012Validator
    needs: Mapping[str, tuple[str, ...]]
    modes: Mapping[str, Mode]
    image: ImageRules | None
    sizes: Mapping[str, Size]
    credits: Mapping[str, float]

    @property
    def name(self) -> str:
        """The last part of the path: ultra, core or sd3."""
        return self.path.rsplit("/", 1)[-1]

    def is_file(self, field: str) -> bool:
        """Return whether a field is an upload."""
        return "format" in self.fields[field]

    def is_number(self, field: str) -> bool:
        """Return whether a field's text stands for a number."""
        return str(self.fields[field]["type"]) == "number"

    def value(self, fields: Mapping[str, str], field: str) -> str:
        """Return a field's text, or its documented default."""
        return fields.get(field, str(self.fields[field].get("default", "")))

    def model(self, fields: Mapping[str, str]) -> str:
        """Return the model that a request asks for; ultra and core have just one."""
        return self.value(fields, "model") if "model" in self.fields else self.name


def _read_image_rules(rules: Mapping[str, Any] | None) -> ImageRules | None:
    if rules is None:
        return None
    formats: tuple[str, ...] = tuple(rules["formats"])
    return ImageRules(formats, rules["min_side"], rules["max_side"], rules["min_pixels"])


def _read_endpoint(path: str, row: Mapping[str, Any], table: Mapping[str, Any]) -> Endpoint:
    definitions = table["$defs"]
    fields = {
        name: definitions[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
        for name, schema in row["fields"].items()
    }
    texts = {name: schema for name, schema in fields.items() if schema.get("format") != "binary"}
    return Endpoint(
        path=path,
        fields=fields,
        validator=Draft202012Validator(
            {"type": "object", "properties": texts, "required": row["required"]}
        ),
        needs={name: tuple(needed) for name, needed in row["needs"].items()},
        modes={
            name: Mode(tuple(mode["needs"]), tuple(mode["refuses"]))
            for name, mode in row["modes"].items()
        },
        image=_read_image_rules(row["image"]),
        sizes={ratio: (w, h) for ratio, (w, h) in table["sizes"][row["sizes"]].items()},
        credits=row["credits"],
    )


_TABLE: dict[str, Any] = json.loads(
    files("sd3async.emulator").joinpath("api.json").read_text("utf-8")
)

ENDPOINTS: Mapping[str, Endpoint] = {
    path: _read_endpoint(path, row, _TABLE) for path, row in _TABLE["endpoints"].items()
}
HEADERS = Draft202012Validator({"type": "object", "properties": _TABLE["headers"]})
NOT_EMULATED: tuple[str, ...] = tuple(_TABLE["not_emulated"])
