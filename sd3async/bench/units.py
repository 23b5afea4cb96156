"""Quantities as people type them: `15s`, `2MB`, `sd3=3,core=1`, `1,2,4`, `150/10s`."""

import math
import re
from collections.abc import Callable
from typing import TypeVar

N = TypeVar("N", int, float)

_SECONDS = {"": 1.0, "s": 1.0, "ms": 1e-3, "m": 60.0, "min": 60.0, "h": 3600.0}
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "kib": 2**10, "mib": 2**20}
_QUANTITY = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*")


def parse_seconds(text: str) -> float:
    """Return a duration [s].

    Args:
        text: A number and `ms`, `s` (or nothing), `m` or `h`.

    Raises:
        ValueError: It is none.
    """
    return _parse(text, _SECONDS, "a duration such as 15s, 500ms or 2m")


def parse_bytes(text: str) -> int:
    """Return a size [bytes].

    Args:
        text: A number and `B` (or nothing), `kB`, `MB`, `KiB` or `MiB`.

    Raises:
        ValueError: It is none.
    """
    return round(_parse(text, _BYTES, "a size such as 2MB or 500kB"))


def parse_numbers(text: str, kind: Callable[[str], N]) -> list[N]:
    """Return a list of numbers, without repetition.

    Args:
        text: Numbers, separated by commas.
        kind: `int` or `float`.

    Raises:
        ValueError: It is none, or empty.
    """
    try:
        numbers = [kind(piece) for piece in text.split(",") if piece.strip()]
    except ValueError:
        numbers = []
    if not numbers or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{text!r} is no list of numbers such as 1,2,4")
    return list(dict.fromkeys(numbers))


def parse_mix(text: str) -> dict[str, float]:
    """Return weights by endpoint.

    Args:
        text: `endpoint=weight`, separated by commas; a lone endpoint weighs 1.

    Raises:
        ValueError: It is none.
    """
    mix: dict[str, float] = {}
    for piece in text.split(","):
        name, _, weight = piece.partition("=")
        try:
            mix[name.strip()] = float(weight or 1)
        except ValueError:
            raise ValueError(f"{text!r} is no mix such as sd3=3,core=1") from None
    return mix


def parse_rate_limit(text: str) -> tuple[int, float]:
    """Return a limit: requests, and the period in which they are allowed [s].

    Args:
        text: `requests/period`, such as `150/10s`.

    Raises:
        ValueError: It is none.
    """
    requests, _, period = text.partition("/")
    try:
        return int(requests), parse_seconds(period)
    except ValueError:
        raise ValueError(f"{text!r} is no limit such as 150/10s") from None


def _parse(text: str, factors: dict[str, N], wanted: str) -> float:
    match = _QUANTITY.fullmatch(text)
    factor = factors.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f"{text!r} is not {wanted}")
    return float(match[1]) * factor
