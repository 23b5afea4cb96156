"""The rules of a request: what is wrong with it, in the service's manner of speaking.

The words of the enum message and of "required" are copied from real answers; the rest follows
the validation library those messages point to.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, TypeAlias, cast

import attrs
from jsonschema import Draft202012Validator, ValidationError

from sd3async.emulator.accept import read_accept
from sd3async.emulator.api_table import HEADERS, Endpoint
from sd3async.emulator.form import Form
from sd3async.emulator.uploads import problems as image_problems
from sd3async.emulator.uploads import read_facts

__all__ = ["Findings", "Strictness", "UnknownFields", "examine"]

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


@attrs.frozen
class Findings:
    """What the checks say of a request.

    Attributes:
        problems: What is wrong, as error sentences.
        ignored: What was passed over: names of unknown fields, oddities of the body and of
            `accept`.
        as_json: Whether the answer shall be JSON.
    """

    problems: tuple[str, ...]
    ignored: tuple[str, ...]
    as_json: bool


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
        case "multipleOf":
            return "expected integer, received float"
        case "type":
            return f"expected {limit}, received '{error.instance}'"
        case _:
            return "required"


def _told(validator: Draft202012Validator, values: Mapping[str, str | float]) -> list[str]:
    told: list[str] = []
    for error in validator.iter_errors(values):  # pyright: ignore[reportUnknownMemberType]
        if error.validator == "required":
            needed = cast("list[str]", error.validator_value)
            missing = [name for name in needed if name not in error.instance]
            told += [f"{name}: required" for name in missing]
        else:
            told.append(f"{error.path[0]}: {_sentence(error)}")
    return list(dict.fromkeys(told))


def _coerced(endpoint: Endpoint, fields: Mapping[str, str]) -> dict[str, str | float]:
    values: dict[str, str | float] = {}
    for name, text in fields.items():
        if name in endpoint.fields and not endpoint.is_file(name):
            number = endpoint.is_number(name) and _NUMBER.fullmatch(text)
            values[name] = float(text) if number else text
    return values


def _kind_problems(endpoint: Endpoint, form: Form) -> Iterator[str]:
    yield from (f"{name}: {flaw}" for name, flaw in form.flaws if name in endpoint.fields)
    for name in [*form.fields, *form.files]:
        if name not in endpoint.fields:
            continue
        if endpoint.is_file(name) and name in form.fields:
            yield f"{name}: expected a file, received text"
        elif not endpoint.is_file(name) and name in form.files:
            yield f"{name}: expected text, received a file"


def _relation_problems(endpoint: Endpoint, form: Form) -> Iterator[str]:
    given = {*form.fields, *form.files}
    for name, needed in endpoint.needs.items():
        if name in given:
            yield from (f"{other}: required with {name}" for other in needed if other not in given)
    chosen = endpoint.value(form.fields, "mode") if endpoint.modes else ""
    if mode := endpoint.modes.get(chosen):
        yield from (f"{name}: required for {chosen}" for name in mode.needs if name not in given)
        yield from (f"{name}: not valid for {chosen}" for name in mode.refuses if name in given)


def _model_problems(endpoint: Endpoint, form: Form, strictness: Strictness) -> Iterator[str]:
    if "model" not in endpoint.fields:
        return
    model = endpoint.model(form.fields)
    known = endpoint.fields["model"]["enum"]
    if strictness.models is not None and model in known and model not in strictness.models:
        choices = " | ".join(f"'{name}'" for name in known if name in strictness.models)
        yield f"model: invalid enum value. Expected {choices}, received '{model}'"
    turbo = model == TURBO_2024 and not strictness.turbo_negative_prompt
    if turbo and "negative_prompt" in form.fields:
        yield f"negative_prompt: does not work with {TURBO_2024}"


def _upload_problems(endpoint: Endpoint, form: Form) -> Iterator[str]:
    if endpoint.image is None:
        return
    for name, stream in form.files.items():
        if name in endpoint.fields and endpoint.is_file(name):
            yield from image_problems(name, read_facts(stream), endpoint.image)


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
    refused = unknown if strictness.unknown_fields == "reject" else []
    takes = f"unknown field, {endpoint.name} takes {', '.join(endpoint.fields)}"
    accept = read_accept(headers.get("accept", ""))
    by_schema = strictness.strict or accept.as_json is None  # its sentence names what will do
    checked = {n: v for n, v in headers.items() if by_schema or n != "accept"}
    problems = [
        *_told(HEADERS, checked),
        *(f"{name}: {takes}" for name in refused),
        *_kind_problems(endpoint, form),
        *_told(endpoint.validator, _coerced(endpoint, form.fields)),
        *_relation_problems(endpoint, form),
        *_model_problems(endpoint, form, strictness),
        *_upload_problems(endpoint, form),
    ]
    ignored = [
        *(name for name in unknown if not refused),
        *(f"body: {oddity}" for oddity in form.oddities),
        *(f"accept: {text}" for text in accept.ignored),
    ]
    return Findings(tuple(problems), tuple(ignored), as_json=bool(accept.as_json))
