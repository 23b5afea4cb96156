"""Options made from the fields of the requests: what the API takes, the command line takes."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import attrs
import click

from sd3async.models import fields
from sd3async.models.base import PRICE, GenerationRequest, fields_of, is_sent, required
from sd3async.models.images import ImageBounds
from sd3async.models.nested import JSONObject, Prompts
from sd3async.models.requests import FIELD_NAMES, REQUEST_TYPES

F = TypeVar("F", bound=Callable[..., object])

_EXTRA = (
    "A further form field, sent as it is: for what this program does not know yet. Can be repeated."
)
_WITH_SIZE = (ImageBounds, fields.Number)
"""Kinds of rules whose bounds no metavar can show, but for a number between two."""
_FORMAT_OF_FILE = "How the image is encoded; the suffix of -o decides, else png."


def of_prompts() -> dict[str, type[GenerationRequest]]:
    """Return the endpoints for which a prompt is enough, by name."""
    return {name: kind for name, kind in REQUEST_TYPES.items() if required(kind) == ("prompt",)}


class OneOf(click.Choice[str]):
    """Shows and completes its values, and leaves judging them to the request."""

    name = "one of"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value as it is."""
        return str(value)


class _WeightedText(click.ParamType[dict[str, Any]]):
    name = "text[::weight]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        text, colons, weight = str(value).rpartition("::")
        with suppress(ValueError):
            if colons:
                return {"text": text, "weight": float(weight)}
        return {"text": str(value)}


class _NameAndValue(click.ParamType[tuple[str, str]]):
    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not NAME=VALUE.", param, ctx)
        return name, text


def field_options(request_types: Iterable[type[GenerationRequest]]) -> Callable[[F], F]:
    """Return a decorator that adds an option for every field that is not required.

    The command gets the fields as keywords, None when not given: `given_fields` collects them.

    Args:
        request_types: The classes whose fields these are.
    """
    types = list(request_types)
    found: dict[str, attrs.Attribute[Any]] = {}
    for request_type in types:
        for name, field in fields_of(request_type).items():
            if is_sent(field) and name not in required(request_type):
                found.setdefault(name, field)

    def decorate(command: F) -> F:
        command = _extra_options(command)
        for name, field in reversed(found.items()):
            takers = {
                kind.endpoint: fields_of(kind)[name] for kind in types if name in fields_of(kind)
            }
            rules = {repr(taker.validator) for taker in takers.values()}
            only = f"[{', '.join(takers)}]" if len(takers) < len(types) else ""
            command = _option(name, field.validator, only, with_size=len(rules) == 1)(command)
        return command

    return decorate


def given_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields among a command's keywords that were given.

    Args:
        options: All keywords that the command got.
    """
    given = {name: options[name] for name in FIELD_NAMES if options.get(name) is not None}
    extra = dict(given.pop("extra_fields", ()))
    return given | ({"extra_fields": extra} if extra else {})


def field_arguments(request_type: type[GenerationRequest]) -> Callable[[F], F]:
    """Return a decorator that adds an argument for every field that is required.

    Args:
        request_type: The class whose fields these are.
    """
    rules = fields_of(request_type)

    def decorate(command: F) -> F:
        for name in reversed(required(request_type)):
            several: dict[str, Any] = {}
            if isinstance(rules[name].validator, Prompts):
                several = {"nargs": -1, "required": True, "type": _WeightedText()}
            metavar = f"{name.upper()}[::WEIGHT]..." if several else name.upper()
            command = click.argument(name, metavar=metavar, **several)(command)
        return command

    return decorate


def _extra_options(command: F) -> F:
    command = click.option(
        "--credits",
        "credits",
        type=click.FLOAT,
        metavar="CREDITS",
        help=PRICE.about,
    )(command)
    return click.option(
        "--extra-field",
        "extra_fields",
        type=_NameAndValue(),
        multiple=True,
        metavar="NAME=VALUE",
        help=_EXTRA,
    )(command)


def _option(name: str, rule: object, only: str, *, with_size: bool) -> Callable[[F], F]:
    kind, metavar = _type_of(rule)
    return click.option(
        f"--{name.replace('_', '-')}",
        name,
        type=kind,
        metavar=metavar,
        help=" ".join(filter(None, [*_words(name, rule, with_size=with_size), only])),
    )


def _words(name: str, rule: object, *, with_size: bool) -> list[str]:
    """Return what a field is, and what its metavar does not show."""
    if name == "output_format":
        return [_FORMAT_OF_FILE]
    if not isinstance(rule, fields.Rule):
        return []
    default = "" if rule.default is None else f"The service's default is {rule.default}."
    is_told = isinstance(rule, fields.Number) and not rule.words
    size = "" if is_told or not with_size or not isinstance(rule, _WITH_SIZE) else rule.bounds()
    words = [rule.about, size and f"{size[0].upper()}{size[1:]}.", default]
    return [part.replace("`", "") for part in words]


def _type_of(rule: object) -> "tuple[click.ParamType[Any], str | None]":
    if isinstance(rule, fields.Choice):
        return OneOf(rule.values), None
    if isinstance(rule, fields.Truth):
        return OneOf(("true", "false")), None
    if isinstance(rule, fields.Number):
        kind = click.INT if rule.whole else click.FLOAT
        return kind, f"[{_shown(rule.low)}..{_shown(rule.high)}]" if not rule.words else "NUMBER"
    if isinstance(rule, JSONObject):
        return click.STRING, "JSON"
    return click.STRING, "FILE" if isinstance(rule, ImageBounds) else "TEXT"


def _shown(number: float) -> str:
    return f"{number:.0f}" if number == int(number) else f"{number:g}"
