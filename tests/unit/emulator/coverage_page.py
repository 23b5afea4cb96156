"""The page `docs/emulator-coverage.md`, and what the emulator's table says otherwise than the API.

`operations.json` is a compact copy of the operations that the service documents: method, path,
field names with their bounds, required fields, price, statuses. Run this file to write the page
anew: `PYTHONPATH=.:tests python tests/unit/emulator/coverage_page.py`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import attrs

from sd3async.emulator.api_table import ENDPOINTS, NOT_EMULATED, RESULTS, V1_ENDPOINTS, Endpoint
from sd3async.emulator.routes import READINGS

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "emulator-coverage.md"
OPERATIONS: list[dict[str, Any]] = json.loads((HERE / "operations.json").read_text("utf-8"))

BOUNDS = ("type", "enum", "minimum", "maximum", "multipleOf", "minLength", "maxLength", "default")
RULES = ("min_side", "max_side", "min_pixels", "max_pixels", "aspect")

# What differs on purpose: field and bound, or the price, with the reason.
DEPARTURES: Mapping[tuple[str, str], str] = {
    (
        "seed",
        "multipleOf",
    ): "fractions are refused: the document says number, and means a whole one",
    (
        "model",
        "enum",
    ): "`sd3.5-flash` and the three names of 2024 are taken: the document's text has "
    "them, its list does not",
    ("credits", ""): "prices for the three model names of 2024, which are re-routed",
}


@attrs.frozen
class Difference:
    """One thing that the emulator's table says otherwise than the document.

    Attributes:
        path: Of the operation.
        field: Whose bound it is, or "required", "fields", "credits", "statuses", "started".
        bound: Its name, or empty.
        documented: What the document says.
        emulated: What the table says.
    """

    path: str
    field: str
    bound: str
    documented: object
    emulated: object


def described(endpoint: Endpoint, name: str) -> dict[str, Any]:
    """Return a field of the table in the words of `operations.json`."""
    if name in endpoint.images:
        rules = endpoint.images[name]
        told = {rule: getattr(rules, rule) for rule in RULES}
        told["min_side"] = None if rules.min_side == 1 else rules.min_side
        return {
            "type": "image",
            **{rule: value for rule, value in told.items() if value is not None},
        }
    schema = endpoint.fields[name]
    return {bound: schema[bound] for bound in BOUNDS if bound in schema}


def _without_nothing(field: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out a shortest length of zero, which bounds nothing."""
    return {k: v for k, v in field.items() if (k, v) != ("minLength", 0)}


def _field_differences(operation: Mapping[str, Any], endpoint: Endpoint) -> Iterator[Difference]:
    path = endpoint.path
    documented: Mapping[str, Any] = operation["fields"]
    if set(documented) != set(endpoint.fields):
        yield Difference(path, "fields", "", sorted(documented), sorted(endpoint.fields))
    for name in sorted(set(documented) & set(endpoint.fields)):
        here, there = (
            _without_nothing(described(endpoint, name)),
            _without_nothing(documented[name]),
        )
        for bound in sorted({*here, *there}):
            if here.get(bound) != there.get(bound):
                yield Difference(path, name, bound, there.get(bound), here.get(bound))


def _credits(price: object) -> dict[str, float]:
    return (
        cast("dict[str, float]", price) if isinstance(price, dict) else {"": cast("float", price)}
    )


def differences(operation: Mapping[str, Any]) -> list[Difference]:
    """Return what the table says otherwise than one operation of the document."""
    path = operation["path"]
    if operation["method"] == "GET":
        start = path.removesuffix("{id}")
        return [] if start in RESULTS else [Difference(path, "path", "", path, None)]
    endpoint = ENDPOINTS.get(path)
    if endpoint is None:
        return [Difference(path, "path", "", path, None)]
    found = list(_field_differences(operation, endpoint))
    has_models = "model" in endpoint.fields
    pairs: list[tuple[str, object, object]] = [
        ("required", sorted(operation["required"]), sorted(endpoint.required)),
        ("started", operation.get("started", False), endpoint.answer == "started"),
        ("statuses", operation["statuses"], list(endpoint.statuses)),
        (
            "credits",
            _credits(operation["credits"]),
            dict(endpoint.credits) if has_models else {"": endpoint.credits[endpoint.name]},
        ),
    ]
    found += [
        Difference(path, name, "", there, here) for name, there, here in pairs if there != here
    ]
    return found


def is_wanted(operation: Mapping[str, Any]) -> bool:
    """Return whether the emulator has to have an operation: Stable Image and results do."""
    path = str(operation["path"])
    return path.startswith(("/v2beta/stable-image/", "/v2beta/results/"))


def _bounds(told: Mapping[str, Any]) -> str:
    words: list[str] = []
    if told["type"] == "image":
        words.append("image")
        words += [f"{rule.replace('_', ' ')} {told[rule]:,}" for rule in RULES[:4] if rule in told]
        words += (
            [f"aspect 1:{told['aspect']:g} to {told['aspect']:g}:1"] if "aspect" in told else []
        )
    elif "enum" in told:
        words.append(" / ".join(f"`{choice}`" for choice in told["enum"]))
    elif told["type"] == "string":
        words.append(f"{told.get('minLength', 0):,} to {told['maxLength']:,} characters")
    elif "minimum" in told:
        step = told.get("multipleOf", 1 if told["type"] == "integer" else None)
        kind = {None: "", 1: "whole, "}.get(step, f"in steps of {step}, ")
        most = f"to {told['maximum']:,}" if "maximum" in told else "or more"
        words.append(f"{kind}{told['minimum']:,} {most}")
    elif told["type"] == "array":
        words.append("list of `text`, to 2,000 characters, and `weight`")
    else:
        words.append(told["type"])
    if "default" in told:
        words.append(f"default {told['default']}")
    return ", ".join(words)


def _rules(endpoint: Endpoint) -> Iterator[str]:
    for name, needed in endpoint.needs.items():
        yield f"`{name}` needs {', '.join(f'`{other}`' for other in needed)}"
    for value, mode in endpoint.modes.items():
        for verb, fields in (("needs", mode.needs), ("refuses", mode.refuses)):
            if fields:
                yield f"`{endpoint.mode_field}={value}` {verb} {', '.join(f'`{f}`' for f in fields)}"
    for group in endpoint.one_of:
        who = f"`{group.wanted_by}` needs" if group.wanted_by else "needs"
        yield f"{who} {' or '.join(f'`{name}`' for name in group.fields)}"
    if endpoint.not_all_zero:
        yield f"one of {', '.join(f'`{f}`' for f in endpoint.not_all_zero)} greater than 0"


def _price(endpoint: Endpoint) -> str:
    if endpoint.is_v1:
        return "0.9 for each sample, times steps / 30 above 30 steps"
    prices = sorted(set(endpoint.credits.values()), reverse=True)
    return " / ".join(f"{price:g}" for price in prices)


def _section(endpoint: Endpoint) -> Iterator[str]:
    yield f"### POST {endpoint.path}"
    yield ""
    answers = {
        "image": "the image",
        "started": "an id; the image by `GET /v2beta/results/{id}`",
        "artifacts": "a list of images",
    }
    yield f"Credits: {_price(endpoint)}. Answer: {answers[endpoint.answer]}."
    if rules := list(_rules(endpoint)):
        yield f"Rules: {'; '.join(rules)}."
    yield ""
    yield "| field | bounds |"
    yield "| --- | --- |"
    for name in endpoint.fields:
        told = described(endpoint, name)
        shown = f"**{name}**" if name in endpoint.required else name
        yield f"| {shown} | {_list_of_styles(name) or _bounds(told)} |"
    yield ""


def _list_of_styles(name: str) -> str:
    return "one of the 17 styles" if name == "style_preset" else ""


def page() -> str:
    """Return the page."""
    wanted = [operation for operation in OPERATIONS if is_wanted(operation)]
    absent = [operation for operation in OPERATIONS if not is_wanted(operation)]
    lines = [
        "# What the emulator covers",
        "",
        "Generated from the emulator's own table (`sd3async/emulator/api.json`) by",
        "`tests/unit/emulator/coverage_page.py`. A test compares the table with a compact copy of the",
        "service's document (`tests/unit/emulator/operations.json`), field by field and bound by bound,",
        "and fails when this page is stale. Required fields are bold; how the emulator behaves is told",
        "in [emulator.md](emulator.md).",
        "",
        f"Of {len(OPERATIONS)} documented v2beta operations the emulator has {len(wanted)}: all of Stable",
        "Image and the results. On purpose it says otherwise than the document here:",
        "",
        *(
            f"- `{field}`{f', {bound}' if bound else ''}: {why}."
            for (field, bound), why in DEPARTURES.items()
        ),
        "",
        "## v2beta",
        "",
        *(f"- GET {start}{{id}}" for start in RESULTS),
        "",
    ]
    for endpoint in ENDPOINTS.values():
        lines += _section(endpoint)
    lines += ["## v1", "", *(f"- GET {path}" for path in READINGS), ""]
    for endpoint in V1_ENDPOINTS.values():
        lines += _section(endpoint)
    documented = {str(operation["path"]).removesuffix("{id}") for operation in absent}
    older = [path for path in NOT_EMULATED if path not in documented]
    lines += [
        "## Not emulated: 501",
        "",
        *(f"- {operation['method']} {operation['path']}" for operation in absent),
        *(f"- {path} (no longer documented, or old)" for path in older),
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
