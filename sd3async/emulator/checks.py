"""The rules of a request: what is wrong with it, in the service's manner of speaking.

The words of the enum message and of "required" are copied from real answers; the rest follows
the validation library those messages point to.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import attrs
from jsonschema import Draft202012Validator, ValidationError

from sd3async.emulator.accept import read_accept
from sd3async.emulator.api_table import HEADERS, Endpoint
from sd3async.emulator.form import Form
from sd3async.emulator.uploads import problems as image_problems
from sd3async.emulator.uploads import read_facts

__all__ = [
    "Findings",
    "Strictness",
    "UnknownFields",
    "coerced",
    "examine",
    "header_problems",
    "kind_problems",
    "relation_problems",
    "told",
    "unwanted",
    "upload_problems",
]

UnknownFields: TypeAlias = Literal["reject", "ignore"]

TURBO_2024 = "sd3-large-turbo"

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@attrs.frozen
class Strictness:
    """Where the service's behaviour is unsettled, or where tests want more than it asks.

    Attributes:
        strict: Whether only the two documented `accept` values will do.
        unknown_fields: Whether a field that the endpoint does not have is an error; the service
            ignores it.
        models: The `model` names accepted, or None for all known ones.
        turbo_negative_prompt: Whether sd3-large-turbo takes a `negative_prompt`; in 2024 it did
            not.
    """

    strict: bool = False
    unknown_fields: UnknownFields = "ignore"
    models: Collection[str] | None = None
    turbo_negative_prompt: bool = True

    @property
    def rejects_unknown(self) -> bool:
        """Whether unknown fields are errors."""
        return self.unknown_fields == "reject"


@attrs.frozen
class Findings:
    """What the checks say of a request.

    Attributes:
        problems: What is wrong, as error sentences.
        ignored: What was passed over: names of unknown fields, oddities of the body and of
            `accept`.
        as_json: Whether the answer shall be JSON.
        name: The error's name, if there is one.
    """

    problems: tuple[str, ...]
    ignored: tuple[str, ...]
    as_json: bool
    name: str = "bad_request"


def _sentence(error: ValidationError) -> str:
    limit: Any = error.validator_value
    match error.validator:
        case "enum":
            choices = " | ".join(f"'{choice}'" for choice in limit)
            return f"invalid enum value. Expected {choices}, received '{error.instance}'"
        case "minLength":
            return f"string must contain at least {limit} character(s)"
        case "maxLength":
            return f"string must contain at most {limit} character(s)"
        case "minimum":
            return f"number must be greater than or equal to {limit}"
        case "maximum":
            return f"number must be less than or equal to {limit}"
        case "multipleOf" if limit == 1:
            return "expected integer, received float"
        case "multipleOf":
            return f"number must be a multiple of {limit}"
        case "minItems":
            return f"array must contain at least {limit} element(s)"
        case "type" if limit == "integer" and isinstance(error.instance, float):
            return "expected integer, received float"
        case "type":
            return f"expected {limit}, received '{error.instance}'"
        case _:
            return "required"


def told(validator: Draft202012Validator, values: Mapping[str, Any]) -> list[str]:
    """Return what a schema finds wrong with values, as error sentences."""
    found: list[str] = []
    for error in validator.iter_errors(values):  # pyright: ignore[reportUnknownMemberType]
        place = [str(step) for step in error.path]
        if error.validator == "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            found += [f"{'.'.join([*place, name])}: required" for name in missing]
        else:
            found.append(f"{'.'.join(place)}: {_sentence(error)}")
    return list(dict.fromkeys(found))


def coerced(endpoint: Endpoint, fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the known texts of a form, those that stand for numbers as numbers."""
    values: dict[str, Any] = {}
    for name, text in fields.items():
        if name in endpoint.fields and not endpoint.is_file(name):
            number = endpoint.is_number(name) and _NUMBER.fullmatch(text)
            values[name] = float(text) if number else text
    return values


def unwanted(endpoint: Endpoint, names: Collection[str], strictness: Strictness) -> list[str]:
    """Return the error sentences for fields that an endpoint does not have, if they are any."""
    takes = f"unknown field, {endpoint.name} takes {', '.join(endpoint.fields)}"
    return [f"{name}: {takes}" for name in names] if strictness.rejects_unknown else []


def kind_problems(endpoint: Endpoint, form: Form) -> Iterator[str]:
    """Yield what is wrong with parts whatever they say: twice there, a file for a text."""
    yield from (f"{name}: {flaw}" for name, flaw in form.flaws if name in endpoint.fields)
    for name in [*form.fields, *form.files]:
        if name not in endpoint.fields:
            continue
        if endpoint.is_file(name) and name in form.fields:
            yield f"{name}: expected a file, received text"
        elif not endpoint.is_file(name) and name in form.files:
            yield f"{name}: expected text, received a file"


def relation_problems(
    endpoint: Endpoint, fields: Mapping[str, Any], given: Collection[str]
) -> Iterator[str]:
    """Yield what is wrong with fields beside each other.

    Args:
        endpoint: Where it was posted.
        fields: Texts by name.
        given: Names of everything that was sent.
    """
    yield from (f"{name}: required" for name in endpoint.required if name not in given)
    for name, needed in endpoint.needs.items():
        if name in given:
            yield from (f"{other}: required with {name}" for other in needed if other not in given)
    chosen = endpoint.value(fields, endpoint.mode_field) if endpoint.modes else ""
    if mode := endpoint.modes.get(chosen):
        yield from (f"{name}: required for {chosen}" for name in mode.needs if name not in given)
        yield from (f"{name}: not valid for {chosen}" for name in mode.refuses if name in given)
    said = {name for name in given if fields.get(name) != ""}  # an empty prompt describes nothing
    for group in endpoint.one_of:
        wanted = group.wanted_by is None or group.wanted_by in given
        if wanted and not said.intersection(group.fields):
            first, *others = group.fields
            either = " or ".join(group.fields)
            if group.wanted_by is None:
                yield f"{first}: required, unless there is {' or '.join(others)}"
            else:
                yield f"{group.wanted_by}: requires {either}"
    if _are_all_zero(endpoint, fields):
        first, *_ = endpoint.not_all_zero
        yield f"{first}: at least one of {', '.join(endpoint.not_all_zero)} must be greater than 0"


def _are_all_zero(endpoint: Endpoint, fields: Mapping[str, str]) -> bool:
    values = [endpoint.value(fields, name) for name in endpoint.not_all_zero]
    # What is no number at all has been told of already.
    return bool(values) and all(_NUMBER.fullmatch(v) and not float(v) for v in values)


def _model_problems(endpoint: Endpoint, form: Form, strictness: Strictness) -> Iterator[str]:
    if "model" not in endpoint.fields:
        return
    model = endpoint.model(form.fields)
    known = endpoint.fields["model"]["enum"]
    if strictness.models is not None and model in known and model not in strictness.models:
        choices = " | ".join(f"'{name}'" for name in known if name in strictness.models)
        yield f"model: invalid enum value. Expected {choices}, received '{model}'"
    turbo = model == TURBO_2024 and not strictness.turbo_negative_prompt
    if turbo and form.fields.get("negative_prompt"):
        yield f"negative_prompt: does not work with {TURBO_2024}"


def upload_problems(endpoint: Endpoint, form: Form) -> Iterator[str]:
    """Yield what is wrong with uploads, as far as their headers tell."""
    for name, stream in form.files.items():
        if name in endpoint.images:
            yield from image_problems(name, read_facts(stream), endpoint.images[name])


def examine(
    endpoint: Endpoint, form: Form, headers: Mapping[str, str], strictness: Strictness
) -> Findings:
    """Return everything that is to be said of a request.

    Args:
        endpoint: Where it was posted.
        form: What came in.
        headers: By lower-case name.
        strictness: How to read the unsettled rules.
    """
    unknown = list(dict.fromkeys(p.name for p in form.parts if p.name not in endpoint.fields))
    accept = read_accept(headers.get("accept", ""))
    problems = [
        *header_problems(endpoint.answer, headers, strictness),
        *unwanted(endpoint, unknown, strictness),
        *kind_problems(endpoint, form),
        *told(endpoint.validator, coerced(endpoint, form.fields)),
        *relation_problems(endpoint, form.fields, {*form.fields, *form.files}),
        *_model_problems(endpoint, form, strictness),
        *upload_problems(endpoint, form),
    ]
    ignored = [
        *(name for name in unknown if not strictness.rejects_unknown),
        *(f"body: {oddity}" for oddity in form.oddities),
        *(f"accept: {text}" for text in accept.ignored),
    ]
    return Findings(tuple(problems), tuple(ignored), as_json=bool(accept.as_json))


def header_problems(kind: str, headers: Mapping[str, str], strictness: Strictness) -> list[str]:
    """Return what is wrong with the headers that the document bounds.

    Args:
        kind: What the answer holds: an "image", "started", a "result", or "artifacts".
        headers: By lower-case name.
        strictness: Whether only the documented `accept` values will do.
    """
    nothing_will_do = read_accept(headers.get("accept", "")).as_json is None
    by_schema = strictness.strict or nothing_will_do  # its sentence names what will do
    checked = {name: text for name, text in headers.items() if by_schema or name != "accept"}
    return told(HEADERS[kind], checked)
