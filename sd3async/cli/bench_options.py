# ruff: noqa: RUF009  # `_option` makes an attrs field
"""What `bench` can be told: values whose attributes are its options."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import attrs
import click

from sd3async.bench.arrivals import ARRIVALS, Arrival
from sd3async.bench.units import (
    parse_bytes,
    parse_mix,
    parse_numbers,
    parse_rate_limit,
    parse_seconds,
)
from sd3async.limiter import Shape
from sd3async.models.fields import OUTPUT_FORMATS, SD3_MODELS

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T", bound=attrs.AttrsInstance)


class _Parsed(click.ParamType):  # type: ignore[type-arg]  # generic for type checkers alone
    """What a function makes of a word; its ValueError is bad usage.

    Args:
        name: Stands for the word in the help.
        parse: The function.
    """

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value."""
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_TIME = _Parsed("time", parse_seconds)
_SIZE = _Parsed("size", parse_bytes)
_COUNT = click.IntRange(1)
RESULTS = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)


def _option(words: str, **settings: Any) -> Any:
    """Return an attribute that is an option, too; the settings are click's."""
    return attrs.field(metadata={"help": words, **settings})


def options_of(made: type[attrs.AttrsInstance]) -> Callable[[F], F]:
    """Return a decorator that adds an option for each attribute of a class made of options.

    Args:
        made: The class; `taken` makes it from what the command got.
    """

    def add(command: F) -> F:
        for attribute in reversed(attrs.fields(made)):
            if attribute.metadata:
                flag = f"--{attribute.name.replace('_', '-')}"
                add_one = click.option(
                    flag, attribute.name, show_default=True, **attribute.metadata
                )
                command = add_one(command)
        return command

    return add


def taken(made: type[T], options: Mapping[str, Any]) -> T:
    """Return a value of a class made of options.

    Args:
        made: The class.
        options: All keywords that the command got.
    """
    return made(**{attribute.name: options[attribute.name] for attribute in attrs.fields(made)})


@attrs.frozen(kw_only=True)
class RunOptions:
    """What is to be run, with what, and for how much."""

    concurrency: list[int] | None = _option(
        "Closed loop: so many callers, each sending when its last request has ended. Several "
        "numbers are a sweep.  [default: 1,4,16,64]",
        type=_Parsed("n,n,…", lambda text: parse_numbers(text, int)),
    )
    rate: list[float] | None = _option(
        "Open loop: so many starts a second, whatever the service does. Latency counts from the "
        "intended start.",
        type=_Parsed("r,r,…", lambda text: parse_numbers(text, float)),
    )
    arrival: Arrival = _option(
        "How the starts of an open loop are spread.", type=click.Choice(ARRIVALS), default="poisson"
    )
    burstiness: float = _option(
        "For gamma arrivals: below 1 burstier than poisson, above 1 smoother.", default=1.0
    )
    find_knee: bool = _option(
        "Search the least concurrency that gets nearly all the throughput.", is_flag=True
    )
    most: int = _option("How many callers --find-knee may try.", type=_COUNT, default=256)
    duration: float | None = _option("Measure so long.  [default: 15s]", type=_TIME)
    requests: int | None = _option(
        "Measure so many requests; with --duration, whichever is first.", type=_COUNT, metavar="N"
    )
    warmup: float | None = _option(
        "Send, but do not count, for so long.  [default: two periods of the limit or a fifth of "
        "--duration, the longer; none with --requests alone]",
        type=_TIME,
    )
    ramp: float = _option("Reach the whole load over so long.", type=_TIME, default="0")
    drain: float = _option("Wait so long for the last requests.", type=_TIME, default="2m")
    cooldown: float | None = _option(
        "Pause between runs.  [default: two periods of the limit, none after so long a warm-up]",
        type=_TIME,
    )
    repeat: int = _option(
        "Run everything so many times and show the spread.", type=_COUNT, default=1
    )
    slo: float | None = _option("Longest response that counts as good: adds goodput.", type=_TIME)
    seed: int = _option("Decides everything random.", default=0)
    mix: dict[str, float] = _option(
        "Endpoints and their weights, such as sd3=3,core=1,ultra=1.",
        type=_Parsed("e=w,…", parse_mix),
        default="sd3",
    )
    prompts: Path | None = _option(
        "Prompts, one a line, taken in turn.", type=RESULTS, metavar="FILE"
    )
    model: str | None = _option("Model of sd3.", type=click.Choice(SD3_MODELS))
    output_format: str = _option("", type=click.Choice(OUTPUT_FORMATS), default="png")
    upload_size: int = _option(
        "Image-to-image with a picture of this size, such as 2MB.", type=_SIZE, default="0"
    )
    limit: tuple[int, float] = _option(
        "The rate limit of each key.", type=_Parsed("n/t", parse_rate_limit), default="150/10s"
    )
    shape: Shape = _option(
        "How the limiter follows it.", type=click.Choice(get_args(Shape)), default="paced"
    )
    no_limit: bool = _option(
        "Switch the client's limiter off; never with the official service.", is_flag=True
    )
    max_in_flight: int | None = _option(
        "Connection slots of the client.  [default: 300, or the most callers]",
        type=_COUNT,
        metavar="N",
    )
    attempts: int = _option(
        "Attempts for each request; 1 shows every failure.", type=_COUNT, default=5
    )
    yes: bool = _option("Do spend credits.", is_flag=True)
    max_credits: float | None = _option(
        "Stop before more than this is spent.", type=click.FloatRange(0), metavar="N"
    )
    emulator_latency: str = _option(
        "How long a generation takes: 2, 2..8, lognormal:4:0.5 (median, sigma), exponential:2:1.",
        default="1..3",
        metavar="SPEC",
    )
    emulator_image_size: int = _option("Size of each image.", type=_SIZE, default="1.5MB")
    emulator_fault: tuple[str, ...] = _option(
        "Trouble by chance, such as 500=0.02 or reset=0.01. Repeatable.",
        multiple=True,
        metavar="FAULT=P",
    )
    emulator_limit: str | None = _option(
        "How it counts.  [default: log; none with --no-limit]",
        type=click.Choice(["log", "fixed", "counter", "bucket", "none"]),
    )


@attrs.frozen(kw_only=True)
class ReportOptions:
    """How a session is to be shown."""

    html: Path | None = _option(
        "Write a page with tables and pictures (extra sd3async[bench]).",
        type=NEW_FILE,
        metavar="FILE",
    )
    plots: Path | None = _option(
        "Write the pictures into this folder.",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
    )
    plot_format: str = _option("", type=click.Choice(["png", "svg"]), default="png")
    as_json: bool
