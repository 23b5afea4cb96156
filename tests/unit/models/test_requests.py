"""Requests: what may be asked for, and the sentence for what may not."""

import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd3async import (
    CoreRequest,
    GenerationRequest,
    InvalidRequestError,
    SD3Request,
    UltraRequest,
    request_from_dict,
)
from sd3async.endpoints import ENDPOINTS
from sd3async.models.fields import (
    ASPECT_RATIOS,
    MAX_SEED,
    OUTPUT_FORMATS,
    SD3_MODELS,
    STYLE_PRESETS,
)
from sd3async.models.requests import REQUEST_TYPES
from support.pictures import picture

PICTURE = picture()
PROMPT: dict[str, Any] = {"prompt": "a"}
IMAGE: dict[str, Any] = {"image": PICTURE, "strength": 0.5}


def test_zero_is_a_value_and_not_an_absence() -> None:
    """Seed 0 and strength 0 would be dropped by a truth test."""
    request = SD3Request("a", seed=0, image=PICTURE, strength=0)

    assert request.seed == 0
    assert request.strength == 0
    assert request.to_dict()["seed"] == 0


def test_mode_follows_from_the_image() -> None:
    """A caller who passes an image must not have to say so twice."""
    assert SD3Request("a").mode == "text-to-image"
    assert SD3Request("a", **IMAGE).mode == "image-to-image"


@pytest.mark.parametrize(
    ("request_type", "fields", "field", "words"),
    [
        pytest.param(SD3Request, {"prompt": ""}, "prompt", "is empty; 1 to 10,000", id="no prompt"),
        pytest.param(
            SD3Request,
            {"prompt": "x" * 10_001},
            "prompt",
            "has 10,001 characters",
            id="long prompt",
        ),
        pytest.param(SD3Request, {"prompt": 7}, "prompt", "is 7; a string", id="prompt type"),
        pytest.param(
            CoreRequest,
            {"negative_prompt": "x" * 10_001},
            "negative_prompt",
            "10,001",
            id="negative",
        ),
        pytest.param(
            CoreRequest,
            {"seed": -1},
            "seed",
            "is -1; a whole number from 0 to 4294967294",
            id="low seed",
        ),
        pytest.param(
            CoreRequest, {"seed": MAX_SEED + 1}, "seed", "0 to 4294967294", id="high seed"
        ),
        pytest.param(
            CoreRequest, {"seed": True}, "seed", "is True; a whole number", id="bool seed"
        ),
        pytest.param(CoreRequest, {"seed": 1.5}, "seed", "is 1.5; a whole number", id="float seed"),
        pytest.param(
            CoreRequest,
            {"aspect_ratio": "2:1"},
            "aspect_ratio",
            "is '2:1'; allowed are 21:9",
            id="ratio",
        ),
        pytest.param(
            UltraRequest, {"output_format": "gif"}, "output_format", "png, jpeg, webp", id="format"
        ),
        pytest.param(UltraRequest, {"style_preset": "oil"}, "style_preset", "anime", id="style"),
        pytest.param(SD3Request, {"model": "sd4"}, "model", "sd3.5-large", id="model"),
        pytest.param(SD3Request, {"cfg_scale": 0.5}, "cfg_scale", "1 to 10", id="cfg_scale"),
        pytest.param(
            SD3Request,
            {"cfg_scale": float("nan")},
            "cfg_scale",
            "is nan; a number from 1 to 10",
            id="nan",
        ),
        pytest.param(SD3Request, {"cfg_scale": "7"}, "cfg_scale", "a number", id="number as text"),
        pytest.param(
            SD3Request, {"image": PICTURE}, "strength", "is missing", id="image without strength"
        ),
        pytest.param(
            UltraRequest, {"image": PICTURE}, "strength", "is missing", id="ultra without strength"
        ),
        pytest.param(
            UltraRequest,
            {"strength": 0.5},
            "strength",
            "only goes with `image`",
            id="lone strength",
        ),
        pytest.param(
            SD3Request,
            {**IMAGE, "strength": 1.1},
            "strength",
            "a number from 0 to 1",
            id="strength",
        ),
        pytest.param(
            SD3Request, {**IMAGE, "aspect_ratio": "1:1"}, "aspect_ratio", "leave it out", id="both"
        ),
        pytest.param(
            SD3Request,
            {**IMAGE, "mode": "text-to-image"},
            "image",
            "is set; leave it out where `mode` is text-to-image",
            id="mode",
        ),
        pytest.param(
            SD3Request,
            {"mode": "image-to-image", "strength": 0.5},
            "image",
            "is missing; it is required where `mode` is image-to-image",
            id="mode, no image",
        ),
        pytest.param(
            SD3Request,
            {"model": "sd3-large-turbo", "negative_prompt": "fog"},
            "negative_prompt",
            "does not take one",
            id="turbo of 2024",
        ),
        pytest.param(
            SD3Request,
            {"image": picture(63, 64), "strength": 1},
            "image",
            "is 63 x 64 px",
            id="narrow",
        ),
        pytest.param(
            UltraRequest,
            {"image": picture(64, 63), "strength": 1},
            "image",
            "is 64 x 63 px",
            id="flat",
        ),
    ],
)
def test_a_wrong_value_gets_one_sentence(
    request_type: type[GenerationRequest], fields: dict[str, Any], field: str, words: str
) -> None:
    """The sentence names the field, what is wrong with its value, and what is allowed."""
    with pytest.raises(InvalidRequestError) as caught:
        request_type(**{**PROMPT, **fields})

    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("model", ["sd3.5-large-turbo", "sd3.5-medium", "sd3-large", None])
def test_other_models_take_a_negative_prompt(model: str | None) -> None:
    """Only the turbo model of 2024 is documented not to."""
    assert SD3Request("a", model=model, negative_prompt="fog").negative_prompt == "fog"


@pytest.mark.parametrize(
    ("request_", "price"),
    [
        (UltraRequest("a"), 8),
        (CoreRequest("a"), 3),
        (SD3Request("a"), 6.5),
        (SD3Request("a", model="sd3.5-large"), 6.5),
        (SD3Request("a", model="sd3-large"), 6.5),
        (SD3Request("a", model="sd3.5-large-turbo"), 4),
        (SD3Request("a", model="sd3-large-turbo"), 4),
        (SD3Request("a", model="sd3.5-medium"), 3.5),
        (SD3Request("a", model="sd3-medium"), 3.5),
        (SD3Request("a", model="sd3.5-flash"), 2.5),
    ],
    ids=repr,
)
def test_credits_are_the_documented_price(request_: GenerationRequest, price: float) -> None:
    """The price follows the model that is really used."""
    assert request_.credits == price


def test_requests_are_values() -> None:
    """They can be compared, hashed, and sent to another process."""
    request = SD3Request("a", seed=1)

    assert request == SD3Request("a", seed=1) != SD3Request("a", seed=2)
    assert len({request, SD3Request("a", seed=1)}) == 1
    assert pickle.loads(pickle.dumps(request)) == request
    assert SD3Request("a", **IMAGE) == SD3Request("a", **IMAGE)


def test_an_image_never_shows_its_bytes() -> None:
    """A request ends up in logs."""
    shown = repr(SD3Request("a", **IMAGE))

    assert "width=96" in shown
    assert "IHDR" not in shown


CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


def _requests() -> st.SearchStrategy[GenerationRequest]:
    common: dict[str, st.SearchStrategy[Any]] = {
        "prompt": st.text(CHARACTERS, min_size=1, max_size=50),
        "negative_prompt": st.none() | st.text(CHARACTERS, max_size=20),
        "aspect_ratio": st.none() | st.sampled_from(ASPECT_RATIOS),
        "seed": st.none() | st.integers(0, MAX_SEED),
        "output_format": st.sampled_from(OUTPUT_FORMATS),
        "style_preset": st.none() | st.sampled_from(STYLE_PRESETS),
    }
    models = st.none() | st.sampled_from([name for name in SD3_MODELS if name != "sd3-large-turbo"])
    scales = st.none() | st.floats(1, 10)
    return st.one_of(
        st.builds(CoreRequest, **common),
        st.builds(UltraRequest, **common),
        st.builds(UltraRequest, **common, image=st.just(PICTURE), strength=st.floats(0, 1)),
        st.builds(SD3Request, **common, model=models, cfg_scale=scales),
    )


@given(_requests())
def test_a_request_survives_being_written_down(request_: GenerationRequest) -> None:
    """A journal or manifest gives back what was put in, whatever the fields."""
    assert request_from_dict(request_.to_dict()) == request_


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"prompt": "a", "promt": "b"}, "promt", "is no field of sd3; prompt,"),
        ({"endpoint": "core", "prompt": "a", "model": "sd3.5-large"}, "model", "no field of core"),
        (
            {"endpoint": "sd4", "prompt": "a"},
            "endpoint",
            "allowed are sd3, core, ultra, upscale.fast",
        ),
        ({"endpoint": "core"}, "prompt", "is missing"),
        ({"prompt": "a", "image": "no such file.png", "strength": 1}, "image", "no such file"),
        (
            {"prompt": "a", "endpoint": ["sd3"]},
            "endpoint",
            "allowed are sd3, core, ultra, upscale.fast",
        ),
        ([("prompt", "a")], "fields", "is list; pass a mapping"),
    ],
)
def test_no_field_is_ever_lost(fields: Any, field: str, words: str) -> None:
    """An unknown or misplaced field raises instead of vanishing."""
    with pytest.raises(InvalidRequestError, match=words) as caught:
        request_from_dict(fields)

    assert caught.value.field == field


def test_a_class_refuses_another_endpoints_fields() -> None:
    """`from_dict` of one class must not read a line meant for another."""
    with pytest.raises(InvalidRequestError, match="allowed are core"):
        CoreRequest.from_dict({"endpoint": "sd3", "prompt": "a"})


def test_each_endpoint_has_a_class_and_a_row() -> None:
    """The registry is what manifests and the command line choose from."""
    assert list(REQUEST_TYPES) == list(ENDPOINTS)
    assert all(name == kind.endpoint for name, kind in REQUEST_TYPES.items())
    prices = ENDPOINTS["sd3"].credits
    assert isinstance(prices, Mapping)
    assert tuple(prices) == SD3_MODELS
