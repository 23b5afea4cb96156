"""Options made from the fields of the requests: what the API takes, the command line takes."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs
import click

from sd3async.models import fields
from sd3async.models.requests import REQUEST_TYPES

F = TypeVar("F", bound=Callable[..., object])

HELP = {
    "negative_prompt": "What to keep out of the image.",
    "aspect_ratio": "Width to height; the service's default is 1:1.",
    "seed": "Start of the randomness; 0 lets the service pick one.",
    "output_format": "How the image is encoded; the suffix of -o decides, else png.",
    "style_preset": "A style to lean towards.",
    "image": "A starting image: makes it image-to-image.",
    "strength": "How far to leave the image: 0 keeps it, 1 ignores it.",
    "mode": "Follows from --image.",
    "model": "The default is the service's own.",
    "cfg_scale": "How strictly to follow the prompt.",
}
"""What each field is, in a few words; the prompt is an argument."""


class OneOf(click.Choice[str]):
    """Shows and completes its values, and leaves judging them to the request."""

    name = "one of"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value as it is."""
        return str(value)


def field_options(command: F) -> F:
    """Add an option for every field of every endpoint but the prompt.

    Args:
        command: The function that becomes the command; it takes the fields as keywords, None
            when not given.
    """
    for attribute in reversed(_all_fields()):
        command = _option(attribute)(command)
    return command


def given_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields among a command's options that were given.

    Args:
        options: All keywords that the command got.
    """
    names = [attribute.name for attribute in _all_fields()]
    return {name: options[name] for name in names if options.get(name) is not None}


def _all_fields() -> "list[attrs.Attribute[Any]]":
    found: dict[str, attrs.Attribute[Any]] = {}
    for request_type in REQUEST_TYPES.values():
        for attribute in attrs.fields(request_type):
            found.setdefault(attribute.name, attribute)
    del found["prompt"]
    return list(found.values())


def _option(attribute: "attrs.Attribute[Any]") -> Callable[[F], F]:
    words = [HELP.get(attribute.name, "")]
    takers = [name for name, cls in REQUEST_TYPES.items() if attribute.name in _names(cls)]
    if len(takers) < len(REQUEST_TYPES):
        words.append(f"[{', '.join(takers)}]")
    kind, metavar = _type_of(attribute.name, attribute.validator)
    return click.option(
        f"--{attribute.name.replace('_', '-')}",
        attribute.name,
        type=kind,
        metavar=metavar,
        help=" ".join(words),
    )


def _names(request_type: type) -> list[str]:
    return [attribute.name for attribute in attrs.fields(request_type)]


def _type_of(name: str, rule: object) -> "tuple[click.ParamType[Any], str | None]":
    if isinstance(rule, fields.Choice):
        return OneOf(rule.values), None
    if isinstance(rule, fields.Number):
        kind = click.INT if rule.whole else click.FLOAT
        return kind, f"[{rule.low:g}..{rule.high:.0f}]"
    return click.STRING, "FILE" if name == "image" else "TEXT"
