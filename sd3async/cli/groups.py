"""`sd3async upscale|edit|control|v1 …`: a subcommand for each endpoint, made of its request class."""

import inspect
from functools import partial
from typing import Any

import click

from sd3async.cli.fields import field_arguments, field_options
from sd3async.cli.generate import image_options, run_with_options
from sd3async.cli.lookups import account, engines
from sd3async.endpoints import ENDPOINTS, PriceBySteps
from sd3async.models.base import GenerationRequest, fields_of, required
from sd3async.models.nested import Prompts
from sd3async.models.requests import REQUEST_TYPES, field_words, rule_words

_LOOKUPS: dict[str, tuple[click.Command, ...]] = {"v1": (engines, account)}
"""What a group has beside its endpoints."""


def group_of(name: str, words: str) -> click.Group:
    """Return the command of a group of endpoints.

    Args:
        name: What the endpoints' names begin with.
        words: What they do.
    """
    group = click.Group(name, help=words)
    for endpoint, request_type in REQUEST_TYPES.items():
        topic, _, short = endpoint.rpartition(".")
        if topic == name:
            group.add_command(_command(short, request_type))
    for lookup in _LOOKUPS.get(name, ()):
        group.add_command(lookup)
    return group


def _command(name: str, request_type: type[GenerationRequest]) -> click.Command:
    def run(endpoint: str, **options: Any) -> None:
        run_with_options(endpoint, options)

    callback = partial(run, request_type.endpoint)
    add_fields = field_options([request_type])
    decorated = field_arguments(request_type)(add_fields(image_options(callback)))
    return click.command(name, help=_help(request_type), short_help=_summary(request_type))(
        decorated
    )


def _help(request_type: type[GenerationRequest]) -> str:
    words = field_words(request_type)
    arguments = [f"{name.upper()}: {words[name]}" for name in required(request_type)]
    rules = rule_words(request_type)
    row = ENDPOINTS[request_type.endpoint]
    by_steps = row.credits.words() if isinstance(row.credits, PriceBySteps) else ""
    price = f"{by_steps or f'{row.price():g} credits'}."
    has_weights = any(
        isinstance(field.validator, Prompts) for field in fields_of(request_type).values()
    )
    weights = "Here a weight stands behind two colons: fog::-1." if has_weights else ""
    paragraphs = [_summary(request_type), *arguments, weights, rules, price]
    return "\n\n".join(filter(None, paragraphs)).replace("`", "")


def _summary(request_type: type[GenerationRequest]) -> str:
    return inspect.cleandoc(request_type.__doc__ or "").partition("\n")[0]
