"""Quantities as people type them."""

from collections.abc import Callable

import pytest

from sd3async.bench.units import (
    parse_bytes,
    parse_mix,
    parse_numbers,
    parse_rate_limit,
    parse_seconds,
)


def _name(value: object) -> str:
    """Name a case the same in every process that collects it."""
    return getattr(value, "__name__", str(value))


def ints(text: str) -> list[int]:
    return parse_numbers(text, int)


def floats(text: str) -> list[float]:
    return parse_numbers(text, float)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_seconds, "15s", 15.0),
        (parse_seconds, "500ms", 0.5),
        (parse_seconds, "2m", 120.0),
        (parse_seconds, "1.5", 1.5),
        (parse_seconds, ".5 s", 0.5),
        (parse_bytes, "2MB", 2_000_000),
        (parse_bytes, "2MiB", 2_097_152),
        (parse_bytes, "500kb", 500_000),
        (parse_bytes, "10", 10),
        (parse_mix, "sd3=3,core", {"sd3": 3.0, "core": 1.0}),
        (parse_rate_limit, "150/10s", (150, 10.0)),
    ],
    ids=_name,
)
def test_a_quantity_means_what_it_says(
    parse: Callable[[str], object], text: str, value: object
) -> None:
    """Minutes taken for milliseconds cost an evening, or credits."""
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_seconds, "soon"),
        (parse_seconds, "5 apples"),
        (parse_seconds, "-1s"),
        (parse_seconds, ""),
        (parse_bytes, "2GB2"),
        (parse_mix, "sd3=much"),
        (parse_rate_limit, "150"),
        (parse_rate_limit, "x/10s"),
        (ints, "1,two"),
        (ints, "1.5"),
        (floats, ","),
        (floats, "inf"),
    ],
    ids=_name,
)
def test_nonsense_is_refused_with_the_word_in_it(parse: Callable[[str], object], text: str) -> None:
    """A guess at what was meant measures something else."""
    with pytest.raises(ValueError, match="is no"):
        parse(text)


def test_a_list_keeps_its_order_and_names_each_number_once() -> None:
    """A load that ran twice by mistake would be taken for two repeats."""
    assert parse_numbers("4,1,4,2", int) == [4, 1, 2]
