"""The rules of a request: what is wrong with it, in the service's manner of speaking.

The words of the enum message and of "required" are copied from real answers; the rest follows
the validation library those messages point to.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, TypeAlias, cast

import attrs
from jsonschema import Draft202012Validator, ValidationError

from sd3async.emulator.api_table import HEADERS, Endpoint
from sd3async.emulator.form import Form
from sd3async.emulator.uploads import problems as image_problems
from sd3async.emulator.uploads import read_facts

__all__ = ["Strictness", "UnknownFields", "form_problems", "header_problems"]

UnknownFields: TypeAlias = Literal["reject", "ignore"]

TURBO_2024 = "sd3-large-turbo"

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@attrs.frozen
class Strictness:
    """Where the service's behaviour is unsettled, or where tests want more than it asks.

    Attributes:
        unknown_fields: Whether a field that the endpoint does not have is an error; the service
            ignores it.
        models: The `model` names accepted, or None for all known ones.
        turbo_negative_prompt: Whether sd3-large-turbo takes a `negative_prompt`; in 2024 it did
            not.
    """

    unknown_fields: UnknownFields = "reject"
    models: Collection[str] | None = None
    turbo_negative_prompt: bool = True


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


def header_problems(headers: Mapping[str, str]) -> list[str]:
    """Return what is wrong with a request's headers, as error sentences.

    Args:
        headers: By lower-case name.
    """
    return _told(HEADERS, headers)


def _coerced(endpoint: Endpoint, fields: Mapping[str, str]) -> dict[str, str | float]:
    values: dict[str, str | float] = {}
    for name, text in fields.items():
        if name in endpoint.fields and not endpoint.is_file(name):
            number = endpoint.is_number(name) and _NUMBER.fullmatch(text)
            values[name] = float(text) if number else text
    return values


def _kind_problems(endpoint: Endpoint, form: Form, unknown: UnknownFields) -> Iterator[str]:
    for name in [*form.fields, *form.files]:
        if name not in endpoint.fields:
            if unknown == "reject":
                yield f"{name}: unknown field, {endpoint.name} takes {', '.join(endpoint.fields)}"
        elif endpoint.is_file(name) and name in form.fields:
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


def form_problems(endpoint: Endpoint, form: Form, strictness: Strictness) -> list[str]:
    """Return everything that is wrong with a form, as error sentences.

    Args:
        endpoint: Where it was posted.
        form: What came in.
        strictness: How to read the unsettled rules.
    """
    return [
        *_kind_problems(endpoint, form, strictness.unknown_fields),
        *_told(endpoint.validator, _coerced(endpoint, form.fields)),
        *_relation_problems(endpoint, form),
        *_model_problems(endpoint, form, strictness),
        *_upload_problems(endpoint, form),
    ]
