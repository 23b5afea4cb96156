"""Every bound of every endpoint's fields, written down a second time."""

import json
import pickle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sd3async import (
    ASPECT_RATIOS,
    STYLE_PRESETS,
    GenerationRequest,
    InvalidRequestError,
    request_from_dict,
)
from sd3async.endpoints import ENDPOINTS
from sd3async.models.base import fields_of, required
from sd3async.models.fields import Choice, Number, Text
from sd3async.models.images import ImageBounds
from sd3async.models.requests import REQUEST_TYPES
from sd3async.wire import form_fields
from support.pictures import OneWayStream, header_of_size, picture
from support.requests import MINIMAL, PICTURE
from support.strategies import requests_of

FIELDS = {
    "sd3": "prompt negative_prompt aspect_ratio seed style_preset output_format model image strength "
    "cfg_scale mode",
    "core": "prompt negative_prompt aspect_ratio seed style_preset output_format",
    "ultra": "prompt negative_prompt aspect_ratio seed style_preset output_format image strength",
    "upscale.fast": "image output_format",
    "upscale.conservative": "image prompt negative_prompt seed output_format creativity",
    "upscale.creative": "image prompt negative_prompt seed output_format creativity style_preset",
    "edit.erase": "image mask grow_mask seed output_format",
    "edit.inpaint": "image prompt negative_prompt mask grow_mask seed output_format style_preset",
    "edit.outpaint": "image left right up down creativity prompt seed output_format style_preset",
    "edit.search-and-replace": "image prompt search_prompt negative_prompt grow_mask seed "
    "output_format style_preset",
    "edit.search-and-recolor": "image prompt select_prompt negative_prompt grow_mask seed "
    "output_format style_preset",
    "edit.remove-background": "image output_format",
    "edit.replace-background-and-relight": "subject_image background_reference background_prompt "
    "foreground_prompt negative_prompt preserve_original_subject original_background_depth "
    "keep_original_background light_source_direction light_reference light_source_strength seed "
    "output_format",
    "control.sketch": "prompt image control_strength negative_prompt seed output_format style_preset",
    "control.structure": "prompt image control_strength negative_prompt seed output_format "
    "style_preset",
    "control.style": "prompt image negative_prompt aspect_ratio fidelity seed output_format "
    "style_preset",
    "control.style-transfer": "init_image style_image prompt negative_prompt seed style_strength "
    "composition_fidelity change_strength output_format",
}

NUMBERS = [
    ("upscale.conservative", "creativity", 0.2, 0.5),
    ("upscale.creative", "creativity", 0.1, 0.5),
    ("edit.erase", "grow_mask", 0, 20),
    ("edit.inpaint", "grow_mask", 0, 100),
    ("edit.outpaint", "left", 0, 2000),
    ("edit.outpaint", "right", 0, 2000),
    ("edit.outpaint", "up", 0, 2000),
    ("edit.outpaint", "down", 0, 2000),
    ("edit.outpaint", "creativity", 0, 1),
    ("edit.search-and-replace", "grow_mask", 0, 20),
    ("edit.search-and-recolor", "grow_mask", 0, 20),
    ("edit.replace-background-and-relight", "preserve_original_subject", 0, 1),
    ("edit.replace-background-and-relight", "original_background_depth", 0, 1),
    ("edit.replace-background-and-relight", "light_source_strength", 0, 1),
    ("control.sketch", "control_strength", 0, 1),
    ("control.structure", "control_strength", 0, 1),
    ("control.style", "fidelity", 0, 1),
    ("control.style-transfer", "style_strength", 0, 1),
    ("control.style-transfer", "composition_fidelity", 0, 1),
    ("control.style-transfer", "change_strength", 0.1, 1),
    ("ultra", "strength", 0, 1),
    ("sd3", "strength", 0, 1),
    ("sd3", "cfg_scale", 1, 10),
    *[(name, "seed", 0, 4_294_967_294) for name, fields in FIELDS.items() if "seed" in fields],
]

UP_TO_9_MEGAPIXELS = {
    "good": [(64, 64), (3072, 3072), (20_000, 400)],
    "bad": [(63, 99), (3072, 3073)],
}
NOT_TOO_LONG = {
    "good": [(64, 64), (3072, 3072), (160, 64), (64, 160)],
    "bad": [(63, 99), (3072, 3073), (161, 64), (64, 161)],
}
IMAGES = [
    ("sd3", "image", {"good": [(64, 64), (64, 20_000)], "bad": [(63, 64), (64, 63)]}),
    ("ultra", "image", {"good": [(64, 64), (64, 16_384)], "bad": [(63, 99), (64, 16_385)]}),
    (
        "upscale.fast",
        "image",
        {"good": [(32, 32), (1536, 682)], "bad": [(31, 99), (1537, 99), (1536, 683)]},
    ),
    ("upscale.conservative", "image", NOT_TOO_LONG),
    (
        "upscale.creative",
        "image",
        {"good": [(64, 64), (1024, 1024), (8192, 128)], "bad": [(63, 99), (1024, 1025)]},
    ),
    ("edit.erase", "image", UP_TO_9_MEGAPIXELS),
    ("edit.inpaint", "image", UP_TO_9_MEGAPIXELS),
    ("edit.outpaint", "image", NOT_TOO_LONG),
    ("edit.search-and-replace", "image", NOT_TOO_LONG),
    ("edit.search-and-recolor", "image", NOT_TOO_LONG),
    (
        "edit.remove-background",
        "image",
        {"good": [(64, 64), (2048, 2048), (9000, 400)], "bad": [(63, 99), (2048, 2049)]},
    ),
    ("edit.replace-background-and-relight", "subject_image", NOT_TOO_LONG),
    ("edit.replace-background-and-relight", "background_reference", UP_TO_9_MEGAPIXELS),
    ("edit.replace-background-and-relight", "light_reference", UP_TO_9_MEGAPIXELS),
    ("control.sketch", "image", NOT_TOO_LONG),
    ("control.structure", "image", NOT_TOO_LONG),
    ("control.style", "image", NOT_TOO_LONG),
    ("control.style-transfer", "init_image", NOT_TOO_LONG),
    (
        "control.style-transfer",
        "style_image",
        {"good": [(64, 64), (3072, 3072), (16_383, 64)], "bad": [(63, 99), (16_384, 64)]},
    ),
]

COMPANY: dict[str, dict[str, Any]] = {
    "strength": {"image": PICTURE},
    "light_source_strength": {"light_source_direction": "left"},
    "image": {"strength": 0.5},
}
"""What a field only goes with."""


def make(endpoint: str, **fields: Any) -> GenerationRequest:
    """Make the smallest request of an endpoint, with some fields of its own."""
    wanted: dict[str, Any] = {}
    for name in fields:
        company = COMPANY.get(name, {})
        wanted |= {key: v for key, v in company.items() if key in FIELDS[endpoint].split()}
    return REQUEST_TYPES[endpoint](**{**MINIMAL[endpoint], **wanted, **fields})


def refusal(endpoint: str, **fields: Any) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        make(endpoint, **fields)
    assert str(caught.value).startswith(f"{caught.value.field}: ")
    assert str(caught.value).count("\n") == 0
    return caught.value


@pytest.mark.parametrize("endpoint", FIELDS)
def test_each_endpoint_has_its_fields(endpoint: str) -> None:
    """A field that is missing could only be sent unchecked, one too many would be refused."""
    names = set(fields_of(REQUEST_TYPES[endpoint])) - {"extra_fields", "credits"}

    assert names == set(FIELDS[endpoint].split())


@pytest.mark.parametrize("endpoint", MINIMAL)
def test_the_smallest_request_of_each_endpoint_is_a_value(endpoint: str) -> None:
    """It can be compared, sent to another process, and written down."""
    request = make(endpoint)

    assert pickle.loads(pickle.dumps(request)) == request
    assert request_from_dict(request.to_dict()) == request
    assert request.credits == ENDPOINTS[endpoint].price()
    assert set(required(type(request))) <= MINIMAL[endpoint].keys()


@pytest.mark.parametrize(
    ("endpoint", "field"), [(e, f) for e in MINIMAL for f in required(REQUEST_TYPES[e])]
)
def test_a_required_field_that_is_missing_is_named(endpoint: str, field: str) -> None:
    """A line of a manifest without it would fail with Python's words, or at the service."""
    fields = {name: value for name, value in MINIMAL[endpoint].items() if name != field}
    with pytest.raises(InvalidRequestError, match=f"{field}: is missing") as caught:
        REQUEST_TYPES[endpoint].from_dict(fields)

    assert caught.value.field == field


@pytest.mark.parametrize(("endpoint", "field", "low", "high"), NUMBERS)
def test_a_number_is_taken_up_to_its_bounds(
    endpoint: str, field: str, low: float, high: float
) -> None:
    """The service would refuse what lies beyond, after the wait and the upload."""
    others = {"right": 1} if endpoint == "edit.outpaint" and field != "right" else {}
    if field == "right":
        others = {"left": 1}
    for value in (low, high):
        assert getattr(make(endpoint, **others, **{field: value}), field) == value
    step = 1 if high > 10 else 0.01
    for value in (low - step, high + step):
        assert refusal(endpoint, **others, **{field: value}).field == field


@pytest.mark.parametrize(
    ("endpoint", "field", "sizes"),
    IMAGES,
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_image_is_taken_up_to_its_bounds(
    endpoint: str, field: str, sizes: dict[str, list[tuple[int, int]]]
) -> None:
    """Each image field has bounds of its own."""
    for size in sizes["good"]:
        make(endpoint, **{field: header_of_size(*size)})
    for width, height in sizes["bad"]:
        error = refusal(endpoint, **{field: header_of_size(width, height)})

        assert error.field == field
        assert f"is {width:,} x {height:,} px" in str(error)


def test_every_field_with_bounds_is_in_the_tables_above() -> None:
    """A number or an image that no test knows may have any bounds."""
    found = {
        (name, field, isinstance(attribute.validator, Number))
        for name in MINIMAL
        for field, attribute in fields_of(REQUEST_TYPES[name]).items()
        if isinstance(attribute.validator, Number | ImageBounds) and field != "credits"
    }
    unbounded = {("edit.erase", "mask", False), ("edit.inpaint", "mask", False)}
    listed = {(e, f, True) for e, f, *_ in NUMBERS} | {(e, f, False) for e, f, _ in IMAGES}

    assert found - unbounded == listed


@pytest.mark.parametrize("endpoint", MINIMAL)
def test_texts_and_enumerations_have_the_documented_bounds(endpoint: str) -> None:
    """Of all texts 10,000 characters at most; prompts that are required have at least one."""
    enumerations = {"style_preset": STYLE_PRESETS, "aspect_ratio": ASPECT_RATIOS}
    for name, field in fields_of(REQUEST_TYPES[endpoint]).items():
        rule = field.validator
        if isinstance(rule, Text):
            is_needed = name == "prompt" and name in required(REQUEST_TYPES[endpoint])
            assert (rule.min_chars, rule.max_chars) == (int(is_needed), 10_000)
        if isinstance(rule, Choice) and name in enumerations:
            assert rule.values == enumerations[name]


@pytest.mark.parametrize(
    ("endpoint", "fields", "field", "words"),
    [
        ("edit.remove-background", {"output_format": "jpeg"}, "output_format", "are png, webp"),
        ("edit.outpaint", {"left": None}, "left", "at least one of `left`, `right`, `up` and"),
        ("edit.outpaint", {"left": 0, "up": 0}, "left", "at least one of"),
        ("edit.outpaint", {"left": 1.5}, "left", "a whole number from 0 to 2000"),
        (
            "edit.replace-background-and-relight",
            {"background_prompt": None},
            "background_prompt",
            "at least one of `background_prompt` and `background_reference` is needed",
        ),
        (
            "edit.replace-background-and-relight",
            {"light_source_strength": 0, "light_source_direction": None},
            "light_source_strength",
            "only goes with `light_reference` or `light_source_direction`",
        ),
        (
            "edit.replace-background-and-relight",
            {"light_source_direction": "up"},
            "light_source_direction",
            "allowed are left, right, above, below",
        ),
        (
            "edit.replace-background-and-relight",
            {"keep_original_background": 1},
            "keep_original_background",
            "True or False is needed",
        ),
        ("upscale.fast", {"image": None}, "image", "an image is required"),
        ("sd3", {"model": "sd3.5-larg"}, "model", "did you mean 'sd3.5-large'? allowed are"),
        ("core", {"style_preset": "Anime"}, "style_preset", "did you mean 'anime'?"),
        ("core", {"output_format": "jpg"}, "output_format", "did you mean 'jpeg'?"),
        ("core", {"aspect_ratio": "2:1"}, "aspect_ratio", "is '2:1'; allowed are"),
        ("core", {"style_preset": "x" * 100_000}, "style_preset", "allowed are"),
    ],
)
def test_what_does_not_go_is_told_in_a_sentence(
    endpoint: str, fields: dict[str, Any], field: str, words: str
) -> None:
    """The sentence names the field, what is wrong, and what is allowed."""
    error = refusal(endpoint, **fields)

    assert error.field == field
    assert words in str(error)


@pytest.mark.parametrize(
    "fields",
    [
        {"background_prompt": None, "background_reference": PICTURE},
        {"background_reference": PICTURE},
        {"light_source_strength": 0, "light_source_direction": None, "light_reference": PICTURE},
        {"light_source_strength": 1, "light_reference": PICTURE},
    ],
    ids=["reference", "both", "light by image", "light by both"],
)
def test_one_of_two_is_enough_and_both_are_taken(fields: dict[str, Any]) -> None:
    """The document says "and/or" of the background, and needs one light for its strength."""
    request = make("edit.replace-background-and-relight", **fields)

    assert request.credits == 8


@pytest.mark.parametrize("value", [True, "true", "TRUE"])
def test_yes_has_the_words_of_python_and_of_the_api(value: Any) -> None:
    """The API's enumeration is of two strings; a table holds either."""
    request: Any = make("edit.replace-background-and-relight", keep_original_background=value)

    assert request.keep_original_background is True


def test_two_fields_may_hold_the_same_picture_and_keep_their_names() -> None:
    """A mask is often made of the image itself."""
    stream = OneWayStream(picture())
    same = make("edit.inpaint", image=PICTURE, mask=PICTURE)
    streamed = make("edit.inpaint", mask=stream)

    assert [name for name, _ in same.images()] == ["image", "mask"]
    assert [name for name, _ in streamed.images()] == ["image", "mask"]
    assert refusal("edit.inpaint", mask=b"no image").field == "mask"


def test_what_an_endpoint_does_not_take_reads_as_nothing() -> None:
    """Whoever shows a request asks for its prompt and seed, whatever it is."""
    request = make("upscale.fast")

    assert (request.prompt, request.seed) == ("", None)
    assert set(request.to_dict()) == {"endpoint", "image", "output_format"}


def test_an_empty_prompt_that_is_optional_is_not_sent() -> None:
    """It is the default, and says nothing."""
    assert "prompt" not in make("edit.outpaint").given()
    assert make("edit.outpaint", prompt="sea").given()["prompt"] == "sea"


@pytest.mark.parametrize("endpoint", MINIMAL)
def test_help_on_a_class_tells_each_field_with_its_bounds(endpoint: str) -> None:
    """Somebody in a notebook asks `help(InpaintRequest)`."""
    request_type = REQUEST_TYPES[endpoint]
    text = request_type.__doc__ or ""

    for name, field in fields_of(request_type).items():
        assert f"    {name}: " in text, name
        if isinstance(field.validator, ImageBounds | Number | Choice | Text):
            assert field.validator.bounds().lower() in text.lower()


@pytest.mark.parametrize("endpoint", MINIMAL)
@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
def test_a_request_of_any_endpoint_survives_being_written_down(
    endpoint: str, data: st.DataObject
) -> None:
    """A journal gives back what was put in, and the form holds every field that was given."""
    request = data.draw(requests_of(endpoint))

    assert request_from_dict(json.loads(json.dumps(request.to_dict()))) == request
    sent = {*form_fields(request), *(name for name, _ in request.images())}
    assert sent == {*request.to_dict()} - {"endpoint", "credits"}
