"""`sd3async bench`: measure how concurrency behaves, and report it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sd3async.bench.units import (
    parse_bytes,
    parse_numbers,
    parse_seconds,
)

if TYPE_CHECKING:
    pass

F = TypeVar("F", bound=Callable[..., object])

_PROG_DEFAULT = "run"


class _Parsed(click.ParamType):
    """A value that a function reads from a word."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_SECONDS = _Parsed("duration", parse_seconds)
_BYTES = _Parsed("size", parse_bytes)
_COUNTS = _Parsed("list", lambda text: parse_numbers(text, int))
_RATES = _Parsed("list", lambda text: parse_numbers(text, float))
_RESULTS = click.Path(exists=True, dir_okay=False, path_type=Path)
