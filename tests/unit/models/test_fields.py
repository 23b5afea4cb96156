"""Values of every library and enum become plain ones, or are refused with one sentence."""

import json
import pickle
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from sd3async import (
    InvalidRequestError,
    RateLimit,
    SD3Request,
    UltraRequest,
    request_from_dict,
)
from sd3async.models.fields import MAX_SEED, Number, Text
from sd3async.wire import form_fields
from support.pictures import picture


class Shape(str, Enum):  # noqa: UP042  # the older spelling, whose str() is its repr
    WIDE = "16:9"


class Words(StrEnum):
    A_CAT = "a cat"


class Plain(Enum):
    ANIME = "anime"
    SEVEN = 7


class Lucky(IntEnum):
    SEVEN = 7


class Cautious(float):
    """As `np.float64` is: a float that shows itself as something else."""

    def __repr__(self) -> str:
        return f"Cautious({float(self)})"


FIELDS: dict[str, tuple[str, Any, Any]] = {
    "enum of strings": ("aspect_ratio", Shape.WIDE, "16:9"),
    "StrEnum": ("prompt", Words.A_CAT, "a cat"),
    "Enum": ("style_preset", Plain.ANIME, "anime"),
    "np.str_": ("prompt", np.str_("a cat"), "a cat"),
    "IntEnum": ("seed", Lucky.SEVEN, 7),
    "Enum of a number": ("seed", Plain.SEVEN, 7),
    "np.int64": ("seed", np.int64(7), 7),
    "np.uint32": ("seed", np.uint32(MAX_SEED), MAX_SEED),
    "float of a nullable column": ("seed", 7.0, 7),
    "np.float64 of one": ("seed", np.float64(7), 7),
    "Decimal of a database": ("seed", Decimal(7), 7),
    "np.float64": ("cfg_scale", np.float64(4.5), 4.5),
    "np.float32": ("cfg_scale", np.float32(4.5), 4.5),
    "subclass of float": ("cfg_scale", Cautious(4.5), 4.5),
    "Decimal": ("cfg_scale", Decimal("4.5"), 4.5),
    "Fraction": ("cfg_scale", Fraction(9, 2), 4.5),
}


@pytest.mark.parametrize(("field", "value", "plain"), FIELDS.values(), ids=FIELDS)
def test_a_value_of_any_library_becomes_a_plain_one(field: str, value: Any, plain: Any) -> None:
    """`np.float64(4.5)` in a form, or `Shape.WIDE`, is a 400, or the wrong image, paid."""
    fields: dict[str, Any] = {"prompt": "a"}
    request = SD3Request(**(fields | {field: value}))
    stored = getattr(request, field)
    twin = SD3Request(**(fields | {field: plain}))

    assert type(stored) is type(plain)
    assert stored == plain
    assert form_fields(request)[field] == str(plain)
    assert (request, hash(request)) == (twin, hash(twin))
    assert json.loads(json.dumps(request.to_dict()))[field] == plain
    assert type(getattr(pickle.loads(pickle.dumps(request)), field)) is type(plain)


@pytest.mark.parametrize(
    "value",
    [True, np.True_, 7.5, Decimal("7.5"), "7", b"7", float("inf"), np.datetime64(7, "s"), None, 1j],
    ids=repr,
)
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    """What looks like a number is not always meant as one."""
    with pytest.raises(InvalidRequestError, match=r"^seed: is .*; a whole number from 1 to 9 is"):
        Number(1, 9, whole=True).plain("seed", value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(10**400, id="larger than any float"),
        pytest.param(10**5_000, id="too long to be written"),
        pytest.param(Fraction(10**400), id="a huge fraction"),
        pytest.param(Decimal("1e999"), id="a huge decimal"),
        pytest.param(Decimal("sNaN"), id="a signalling NaN"),
        pytest.param(np.timedelta64(5, "s"), id="NumPy's duration"),
        pytest.param(float("nan"), id="NaN"),
    ],
)
def test_a_number_that_is_none_breaks_nothing(value: Any) -> None:
    """Each of these makes Python itself raise something else on the way."""
    with pytest.raises(InvalidRequestError, match=r"^cfg_scale: is "):
        SD3Request("a", cfg_scale=value)


@pytest.mark.parametrize("text", ["a\0b", "half \ud83d", "\udcff"], ids=ascii)
def test_text_that_cannot_be_sent_is_refused(text: str) -> None:
    """Half an emoji, cut by a slice, would fail in the middle of the call."""
    with pytest.raises(InvalidRequestError, match=r"^prompt: holds '.*' after \d characters"):
        SD3Request(text)
    assert Text().plain("prompt", "whole \U0001f63a\r\n\t") == "whole \U0001f63a\r\n\t"


class NAType:
    """As pandas' `NA` is: no float, and nothing that can be compared."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    def __hash__(self) -> int:
        return 0


@pytest.mark.parametrize(
    "empty", [None, float("nan"), np.float32("nan"), NAType()], ids=["None", "NaN", "np.nan", "NA"]
)
def test_an_empty_cell_is_a_field_that_is_not_given(empty: Any) -> None:
    """Rows of a table have every column, and its own word for what is not there."""
    row = {"endpoint": empty, "prompt": "a", "seed": 7.0, "style_preset": empty, "image": empty}

    assert request_from_dict(row) == SD3Request("a", seed=7)
    with pytest.raises(InvalidRequestError, match="prompt: is missing"):
        request_from_dict({"prompt": empty})


def test_settings_are_plain_too() -> None:
    """A rate computed with NumPy ends up in reports and pickles."""
    count: Any = np.int64(10)
    limit = RateLimit(max_requests=count, period=np.float64(2), max_rate=float(np.float32(4)))

    assert repr(limit) == repr(RateLimit(max_requests=10, period=2.0, max_rate=4.0))


def test_an_endpoint_may_be_an_enum_too() -> None:
    """A program's own names for the endpoints are as good as ours."""

    class Endpoint(str, Enum):  # noqa: UP042
        ULTRA = "ultra"

    assert request_from_dict({"prompt": "a"}, endpoint=Endpoint.ULTRA) == UltraRequest("a")
    assert request_from_dict({"prompt": "a", "endpoint": Endpoint.ULTRA}) == UltraRequest("a")


def test_an_image_goes_with_a_strength_of_any_library() -> None:
    """Image-to-image sends its numbers the same way."""
    strength: Any = np.float32(0.5)
    request = SD3Request("a", image=picture(), strength=strength)

    assert form_fields(request)["strength"] == "0.5"
