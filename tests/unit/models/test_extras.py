"""Room for what the package does not know yet: further fields, and prices of one's own."""

import pickle
from typing import Any

import pytest

from sd3async import InvalidRequestError, SD3Request, UpscaleFastRequest, request_from_dict
from sd3async.wire import form_fields
from support.pictures import picture


def test_extra_fields_are_sent_as_they_are() -> None:
    """A parameter of next month must not wait for a release."""
    extras: dict[str, Any] = {"guidance": "high", "steps": 30, "cfg[scale]": 7.5, "hdr": True}
    fields = form_fields(SD3Request("a", extra_fields=extras))

    assert fields["guidance"] == "high"
    assert (fields["steps"], fields["cfg[scale]"], fields["hdr"]) == ("30", "7.5", "true")


def test_extra_fields_and_a_price_belong_to_the_value() -> None:
    """Equality, hashing, pickling, the journal: a request with them is another request."""
    request = SD3Request("a", extra_fields={"steps": 30}, credits=1.5)

    assert request != SD3Request("a")
    assert hash(request) == hash(SD3Request("a", extra_fields={"steps": 30}, credits=1.5))
    assert pickle.loads(pickle.dumps(request)) == request
    assert request.to_dict()["extra_fields"] == {"steps": 30}
    assert request.to_dict()["credits"] == 1.5
    assert request_from_dict(request.to_dict()) == request
    assert "credits" not in form_fields(request)


def test_without_them_nothing_is_written_down() -> None:
    """Journals of before would not know their own items again."""
    assert set(SD3Request("a").to_dict()) == {"endpoint", "prompt", "mode", "output_format"}


def test_extra_fields_do_not_follow_a_mapping_that_changes() -> None:
    """A value that exists is valid, and stays as it was checked."""
    given = {"steps": 30}
    request = SD3Request("a", extra_fields=given)
    given["steps"] = 31

    assert dict(request.extra_fields) == {"steps": 30}


@pytest.mark.parametrize(
    ("extras", "words"),
    [
        ({"a b": 1}, "has a field named 'a b'"),
        ({'x"\r\n': 1}, "has a field named"),
        ({"": 1}, "has a field named ''"),
        ({1: 1}, "has a field named 1"),
        ({"x" * 101: 1}, "1 to 100 of them"),
        ({"x": None}, "has None as 'x'"),
        ({"x": float("nan")}, "has nan as 'x'"),
        ({"x": picture()}, "a string, a finite number or a bool is needed"),
        ({"x": 10**5_000}, "has a huge int as 'x'; a string, a finite number"),
        ({"x": [1]}, "has [1] as 'x'"),
        ({"x": "a\0"}, "cannot be sent"),
        ({"prompt": "b"}, "names prompt, which is a field; pass prompt=… instead"),
        ({"seed": 7}, "names seed, which is a field"),
        ({"credits": 7}, "names credits, which is a field"),
        ([("x", 1)], "is list; pass a mapping"),
    ],
)
def test_what_no_form_can_carry_is_refused(extras: Any, words: str) -> None:
    """It would forge a part of the form, or say a thing twice."""
    with pytest.raises(InvalidRequestError) as caught:
        SD3Request("a", extra_fields=extras)

    assert words in str(caught.value)
    assert str(caught.value.field).startswith("extra_fields")


def test_an_extra_field_is_the_way_past_an_enumeration() -> None:
    """The model of next month: it is sent, once, and in the place of the default."""
    request = SD3Request("a", extra_fields={"model": "sd4"}).for_service("sd3.5-large")
    formatted = UpscaleFastRequest(picture(), extra_fields={"output_format": "avif"})

    assert form_fields(request)["model"] == "sd4"
    assert form_fields(formatted)["output_format"] == "avif"


def test_an_enumeration_is_not_given_twice() -> None:
    """One of two models would be lost without a word."""
    with pytest.raises(InvalidRequestError, match="names model, which is given too"):
        SD3Request("a", model="sd3.5-medium", extra_fields={"model": "sd4"})


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({}, 6.5),
        ({"extra_fields": {"model": "sd3.5-flash"}}, 2.5),
        ({"extra_fields": {"model": "sd4"}}, 6.5),
        ({"extra_fields": {"model": "sd4"}, "credits": 12}, 12),
        ({"model": "sd3.5-medium", "credits": 0}, 0),
    ],
)
def test_the_price_is_the_one_given_else_the_dearest_that_it_may_be(
    fields: dict[str, Any], price: float
) -> None:
    """A cap on credits must hold for a model that has no price yet."""
    assert SD3Request("a", **fields).credits == price


@pytest.mark.parametrize("price", [-1, float("nan"), "many", True])
def test_a_price_is_a_number(price: Any) -> None:
    """The caps and sums of a job are made of it."""
    with pytest.raises(InvalidRequestError) as caught:
        SD3Request("a", credits=price)

    assert caught.value.field == "credits"
