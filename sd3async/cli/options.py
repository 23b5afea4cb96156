"""What the commands share: where the server is, how the client is made, how results are told."""

import json
import math
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import click

from sd3async.cli.exits import echo_result, say
from sd3async.client import SD3Client
from sd3async.endpoints import SERVICES

F = TypeVar("F", bound=Callable[..., object])

EMULATED_KEY = "emulated"
"""Any key will do for the embedded emulator; a real one is not shown to it."""

_NO_KEY = (
    "there is no API key: set STABILITY_API_KEY to use the service, or add --emulator to try "
    "this without one"
)


def server_options(command: F) -> F:
    """Add `--base-url` and `--emulator`; the command gets `base_url` and `emulator`.

    Args:
        command: The function that becomes the command.
    """
    names = ", ".join(SERVICES)
    add_emulator = click.option(
        "--emulator",
        is_flag=True,
        help="Use an emulator inside this process: no key, no cost, images drawn by chance.",
    )
    add_base_url = click.option(
        "--base-url",
        metavar="URL",
        help=f"Where the API is served: a URL, or one of {names}.  [default: $STABILITY_BASE_URL, "
        "else official]",
    )
    return add_base_url(add_emulator(command))


class Finite(click.FloatRange):
    """A number in a range; NaN and infinity, which compare like numbers, are in none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return such a number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number that can be kept to.", param, ctx)
        return number


def json_option(command: F) -> F:
    """Add `--json`; the command gets `as_json`.

    Args:
        command: The function that becomes the command.
    """
    add = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on stdout, for programs."
    )
    return add(command)


@asynccontextmanager
async def client_from_options(
    *,
    base_url: str | None,
    emulator: bool,
    emulator_settings: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncGenerator[SD3Client]:
    """Open the client that the options ask for, with the embedded emulator if need be.

    Args:
        base_url: The value of `--base-url`.
        emulator: The value of `--emulator`.
        emulator_settings: Keywords of `sd3async.emulator.Emulator`.
        **settings: Further keywords of `SD3Client`.

    Yields:
        The client.

    Raises:
        click.UsageError: There is no key, or the options contradict each other.
        ModuleNotFoundError: The emulator's extra is not installed.
    """
    check_server(base_url=base_url, emulator=emulator)
    if not emulator:
        async with SD3Client(base_url=base_url, **settings) as client:
            yield client
        return
    from sd3async.emulator import Emulator

    say("emulated: images come from an emulator in this process, nothing is charged")
    async with (
        Emulator(**(emulator_settings or {})) as server,
        SD3Client(EMULATED_KEY, base_url=server.url, share="process", **settings) as client,
    ):
        yield client


def check_server(*, base_url: str | None, emulator: bool) -> None:
    """See that the options name one server and that there is a key for it.

    Args:
        base_url: The value of `--base-url`.
        emulator: The value of `--emulator`.

    Raises:
        click.UsageError: They do not, or there is none.
    """
    if emulator and base_url is not None:
        raise click.UsageError("--base-url and --emulator name two servers; give one of them")
    if not emulator and not os.environ.get("STABILITY_API_KEY", "").strip(" ,"):
        raise click.UsageError(_NO_KEY)


def print_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout.

    Args:
        result: What to print.
    """
    text = json.dumps(result, ensure_ascii=False, default=str)
    # A name of a file may hold bytes that are no text; JSON has an escape for each.
    echo_result(text.encode(errors="backslashreplace").decode())
