"""The requests of v1, written down a second time."""

import json
import pickle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sd3async import (
    GenerationRequest,
    InvalidRequestError,
    V1ImageToImageRequest,
    V1MaskingRequest,
    V1TextToImageRequest,
    request_from_dict,
)
from sd3async.models.base import fields_of, required
from sd3async.models.requests import REQUEST_TYPES
from sd3async.wire import form_fields, json_document
from support.pictures import OneWayStream, header_of_size
from support.requests import SDXL_PICTURE, V1_MINIMAL
from support.strategies import requests_of

SHARED = {
    *("text_prompts", "cfg_scale", "clip_guidance_preset", "sampler", "samples", "seed"),
    *("steps", "style_preset", "extras", "engine_id"),
}
FIELDS = {
    "v1.text-to-image": SHARED | {"width", "height"},
    "v1.image-to-image": SHARED
    | {"init_image", "init_image_mode", "image_strength"}
    | {"step_schedule_start", "step_schedule_end"},
    "v1.masking": SHARED | {"init_image", "mask_source", "mask_image"},
}
NUMBERS = [
    ("cfg_scale", 0, 35, 0.01),
    ("samples", 1, 10, 1),
    ("seed", 0, 4_294_967_295, 1),
    ("steps", 10, 150, 1),
]
SHARES = ["image_strength", "step_schedule_start", "step_schedule_end"]
SIZES = [
    *((1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216)),
    *((1344, 768), (768, 1344), (1536, 640), (640, 1536)),
]


def make(endpoint: str, **fields: Any) -> GenerationRequest:
    return REQUEST_TYPES[endpoint](**{**V1_MINIMAL[endpoint], **fields})


def refusal(endpoint: str, **fields: Any) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        make(endpoint, **fields)
    assert str(caught.value).startswith(f"{caught.value.field}: ")
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("endpoint", V1_MINIMAL)
def test_each_endpoint_has_its_fields_and_is_a_value(endpoint: str) -> None:
    """It can be compared, hashed, sent to another process and written down."""
    request = make(endpoint, extras={"a": [1]}, samples=3)

    names = set(fields_of(type(request))) - {"extra_fields", "credits"}
    assert names == FIELDS[endpoint]
    assert pickle.loads(pickle.dumps(request)) == request
    assert request_from_dict(json.loads(json.dumps(request.to_dict()))) == request
    assert hash(request) == hash(make(endpoint, extras={"a": [1]}, samples=3))
    assert request != make(endpoint, extras={"a": [2]}, samples=3)
    assert (request.output_format, request.prompt) == ("png", "a fox")


@pytest.mark.parametrize(
    ("endpoint", "field"), [(e, f) for e in V1_MINIMAL for f in required(REQUEST_TYPES[e])]
)
def test_a_required_field_that_is_missing_is_named(endpoint: str, field: str) -> None:
    """A line of a manifest without it would fail at the service."""
    fields = {name: value for name, value in V1_MINIMAL[endpoint].items() if name != field}
    with pytest.raises(InvalidRequestError, match=f"{field}: is missing"):
        REQUEST_TYPES[endpoint].from_dict(fields)


@pytest.mark.parametrize("endpoint", V1_MINIMAL)
@pytest.mark.parametrize(("field", "low", "high", "step"), NUMBERS)
def test_a_number_is_taken_up_to_its_bounds(
    endpoint: str, field: str, low: float, high: float, step: float
) -> None:
    """The service would refuse what lies beyond, after the wait and the upload."""
    for value in (low, high):
        assert getattr(make(endpoint, **{field: value}), field) == value
    for value in (low - step, high + step):
        assert refusal(endpoint, **{field: value}).field == field


@pytest.mark.parametrize("field", SHARES)
def test_a_share_is_between_0_and_1(field: str) -> None:
    """How much of the image is kept, and of the steps."""
    for value in (0, 1):
        assert getattr(make("v1.image-to-image", **{field: value}), field) == value
    for bad in (-0.01, 1.01):
        assert refusal("v1.image-to-image", **{field: bad}).field == field


@pytest.mark.parametrize(
    ("endpoint", "fields", "field", "words"),
    [
        ("text-to-image", {"text_prompts": []}, "text_prompts", "at least one text is needed"),
        ("text-to-image", {"text_prompts": None}, "text_prompts", "a text or a list of them"),
        ("text-to-image", {"text_prompts": ["x" * 2001]}, "text_prompts", "has 2,001 characters"),
        ("text-to-image", {"text_prompts": [7]}, "text_prompts", "a string is needed"),
        ("text-to-image", {"text_prompts": {"weight": 1}}, "text_prompts", "without its text"),
        ("text-to-image", {"text_prompts": {"text": "a", "w": 1}}, "text_prompts", "has 'w' in a"),
        (
            "text-to-image",
            {"text_prompts": {"text": "a", "weight": "much"}},
            "text_prompts",
            "has the weight 'much'; a finite number",
        ),
        (
            "text-to-image",
            {"text_prompts": {"text": "a", "weight": True}},
            "text_prompts",
            "has the weight True",
        ),
        (
            "text-to-image",
            {"text_prompts": {"text": "a", "weight": float("nan")}},
            "text_prompts",
            "has the weight nan",
        ),
        (
            "text-to-image",
            {"text_prompts": {"text": "a", "weight": 10**400}},
            "text_prompts",
            "a finite number is needed",
        ),
        ("text-to-image", {"text_prompts": "a\ud800"}, "text_prompts", "cannot be sent"),
        ("text-to-image", {"width": 1000}, "width", "a multiple of 64, at least 128"),
        ("text-to-image", {"height": 64}, "height", "a multiple of 64, at least 128"),
        ("text-to-image", {"width": 1152, "height": 832}, "width", "makes it 1152x832 px"),
        ("text-to-image", {"height": 896}, "height", "makes it 1024x896 px"),
        ("text-to-image", {"sampler": "k_euler"}, "sampler", "did you mean 'K_EULER'?"),
        ("text-to-image", {"clip_guidance_preset": "FAST"}, "clip_guidance_preset", "FAST_BLUE"),
        ("text-to-image", {"extras": [1]}, "extras", "a mapping that JSON can hold"),
        ("text-to-image", {"extras": {"a": float("inf")}}, "extras", "a mapping that JSON can"),
        ("text-to-image", {"extras": {"a": object()}}, "extras", "a mapping that JSON can hold"),
        ("text-to-image", {"extras": "[" * 100_000}, "extras", "a mapping that JSON can hold"),
        ("text-to-image", {"engine_id": "../user"}, "engine_id", "letters, digits and . _ -"),
        ("text-to-image", {"engine_id": ""}, "engine_id", "is empty"),
        ("text-to-image", {"steps": None}, "steps", "a whole number from 10 to 150"),
        ("image-to-image", {"init_image_mode": "STRENGTH"}, "init_image_mode", "IMAGE_STRENGTH"),
        ("masking", {"mask_source": "MASK_IMAGE_WHITE"}, "mask_image", "MASK_IMAGE_WHITE requires"),
        ("masking", {"mask_source": "MASK_IMAGE_BLACK"}, "mask_image", "MASK_IMAGE_BLACK requires"),
        ("masking", {"mask_source": "white"}, "mask_source", "allowed are MASK_IMAGE_WHITE"),
        (
            "masking",
            {"mask_source": "MASK_IMAGE_WHITE", "mask_image": header_of_size(1024, 1024)},
            "mask_image",
            "is 1024x1024 px; it must have the size of init_image, 1216x832",
        ),
    ],
)
def test_what_does_not_go_is_told_in_a_sentence(
    endpoint: str, fields: dict[str, Any], field: str, words: str
) -> None:
    """The sentence names the field, what is wrong, and what is allowed."""
    error = refusal(f"v1.{endpoint}", **fields)

    assert error.field == field
    assert words in str(error)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_sdxl_has_nine_sizes(width: int, height: int) -> None:
    """Asked for in numbers, or by the image to start from."""
    make("v1.text-to-image", width=width, height=height)
    make("v1.image-to-image", init_image=header_of_size(width, height))
    error = refusal("v1.masking", init_image=header_of_size(width, height + 64))

    assert error.field == "init_image"
    assert f"makes it {width}x{height + 64} px; stable-diffusion-xl-1024-v1-0 takes" in str(error)


def test_the_sizes_of_another_engine_are_not_known() -> None:
    """A gateway's own may draw others; the multiples stay."""
    request = make("v1.text-to-image", engine_id="acme-7b", width=128, height=2048)

    assert request.path == "/v1/generation/acme-7b/text-to-image"
    for width in (64, 160):
        assert refusal("v1.text-to-image", engine_id="acme-7b", width=width).field == "width"


def test_a_late_image_is_held_to_the_sizes_too() -> None:
    """What a stream gives is known only when the call begins."""
    stream: Any = OneWayStream(SDXL_PICTURE)
    request = V1MaskingRequest(
        SDXL_PICTURE, "a fox", mask_source="MASK_IMAGE_WHITE", mask_image=stream
    )
    known = {name: source.facts for name, source in request.images() if source.facts}
    [facts] = known.values()
    small = {"mask_image": make_facts(64, 64)}
    with pytest.raises(InvalidRequestError, match="mask_image: is 64x64 px"):
        request.check_images({"init_image": facts, **small})
    with pytest.raises(InvalidRequestError, match="init_image: makes it 64x64"):
        request.check_images({"init_image": make_facts(64, 64)})


def make_facts(width: int, height: int) -> Any:
    request = V1ImageToImageRequest(
        header_of_size(width, height), "a", engine_id="any-other-engine"
    )
    [(_, source)] = request.images()
    return source.facts


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({}, 0.9),
        ({"steps": 10}, 0.9),
        ({"steps": 31}, 0.93),
        ({"steps": 150}, 4.5),
        ({"samples": 10}, 9.0),
        ({"steps": 60, "samples": 2}, 3.6),
        ({"samples": 3, "credits": 2}, 2.0),
    ],
)
def test_the_price_goes_by_steps_and_samples(fields: dict[str, Any], price: float) -> None:
    """0.9 credits up to 30 steps, in proportion beyond; a price that is given is the answer's."""
    assert make("v1.text-to-image", **fields).credits == price


def test_prompts_may_be_given_in_every_form_that_is_plain() -> None:
    """One text, several, with weights, as a mapping alone."""
    one = V1TextToImageRequest({"text": "a fox", "weight": None})
    several = V1TextToImageRequest(["a fox", {"text": "fog", "weight": -1}, ("sea")])

    assert one == V1TextToImageRequest("a fox") == V1TextToImageRequest(("a fox",))
    assert several.prompt == "a fox, sea"
    assert several.to_dict()["text_prompts"] == [
        {"text": "a fox"},
        {"text": "fog", "weight": -1},
        {"text": "sea"},
    ]
    assert V1TextToImageRequest("a", extras='{"a": 1}').to_dict()["extras"] == {"a": 1}


def test_the_same_fields_as_json_and_as_a_form() -> None:
    """What stands in the path is not sent again, and numbers in JSON are numbers."""
    fields = {"text_prompts": ["a", {"text": "b", "weight": -0.5}], "extras": {"x": [1]}, "seed": 0}
    document = json.loads(json_document(make("v1.text-to-image", **fields, width=1152, height=896)))

    assert document == {
        "text_prompts": [{"text": "a"}, {"text": "b", "weight": -0.5}],
        "extras": {"x": [1]},
        "seed": 0,
        "steps": 30,
        "width": 1152,
        "height": 896,
    }
    assert form_fields(make("v1.image-to-image", **fields)) == {
        "text_prompts[0][text]": "a",
        "text_prompts[1][text]": "b",
        "text_prompts[1][weight]": "-0.5",
        "extras": '{"x": [1]}',
        "seed": "0",
        "steps": "30",
    }


@pytest.mark.parametrize("endpoint", V1_MINIMAL)
@given(data=st.data())
@settings(
    max_examples=25, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)
def test_a_request_survives_being_written_down(endpoint: str, data: st.DataObject) -> None:
    """A journal gives back what was put in."""
    request = data.draw(requests_of(endpoint))

    assert request_from_dict(json.loads(json.dumps(request.to_dict()))) == request
