"""The client's reading of the API against the emulator's, which was made apart from it."""

from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sd3async import APIError, InvalidRequestError, request_from_dict
from sd3async.models.base import fields_of, required
from sd3async.models.fields import MASK_SOURCES
from sd3async.models.requests import FIELD_NAMES, REQUEST_TYPES
from support.edges import edges_of, emulated, rules_of
from support.pictures import file_of_size
from support.readings import both
from support.requests import MINIMAL, PICTURE, SDXL_PICTURE, V1_MINIMAL
from support.strategies import forms_of, requests_of

SMALL = MINIMAL | V1_MINIMAL

IN_COMPANY: dict[str, dict[str, Any]] = {
    "sd3": {"image": PICTURE, "strength": 0.5},
    "ultra": {"image": PICTURE, "strength": 0.5},
    "edit.replace-background-and-relight": {
        "background_reference": PICTURE,
        "light_source_direction": "left",
    },
    "v1.masking": {"mask_source": "MASK_IMAGE_WHITE", "mask_image": SDXL_PICTURE},
}
"""Where some fields only go with others: these."""


def bases_of(endpoint: str) -> list[dict[str, Any]]:
    """Return valid requests to which a field can be added."""
    small = SMALL[endpoint]
    return [small, {**small, **IN_COMPANY[endpoint]}] if endpoint in IN_COMPANY else [small]


@pytest.mark.parametrize("endpoint", SMALL)
async def test_they_draw_the_same_line_at_every_bound_of_every_field(endpoint: str) -> None:
    """One step inside is taken by both, one step outside refused by both, with the field named."""
    bases = bases_of(endpoint)
    async with both() as readings:
        told = [
            await readings.disagreement(endpoint, {**base, name: value})
            for base in bases
            for name, values in edges_of(endpoint).items()
            for value in values
            if not isinstance(value, bytes) or base is bases[-1]  # images are many
        ]

    assert "\n".join(filter(None, told)) == ""


@pytest.mark.parametrize("endpoint", SMALL)
async def test_they_miss_the_same_fields(endpoint: str) -> None:
    """What one requires the other requires, by itself or with a field that is there."""
    async with both() as readings:
        told = [
            await readings.disagreement(endpoint, without)
            for base in bases_of(endpoint)
            for missing in base
            if (without := {name: value for name, value in base.items() if name != missing})
        ]

    assert "\n".join(filter(None, told)) == ""
    assert set(required(REQUEST_TYPES[endpoint])) == set(emulated(endpoint).required)


@pytest.mark.parametrize("endpoint", SMALL)
async def test_they_refuse_the_fields_of_other_endpoints(endpoint: str) -> None:
    """A `height` beside the image that says it would be dropped, or refused after the upload."""
    others = FIELD_NAMES - set(fields_of(REQUEST_TYPES[endpoint]))
    async with both() as readings:
        told = [
            await readings.disagreement(endpoint, {**SMALL[endpoint], name: "1"})
            for name in sorted(others)
        ]

    assert "\n".join(filter(None, told)) == ""


@pytest.mark.parametrize("endpoint", SMALL)
@given(data=st.data())
@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
async def test_they_agree_about_any_form(endpoint: str, data: st.DataObject) -> None:
    """Fields that go together or do not, zero and empty text among them, and files for no image."""
    forms = [data.draw(forms_of(endpoint)) for _ in range(20)]
    async with both() as readings:
        told = [await readings.disagreement(endpoint, form) for form in forms]

    assert "\n".join(filter(None, told)) == ""


@pytest.mark.parametrize("endpoint", SMALL)
@given(data=st.data())
@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
async def test_what_the_client_sends_the_emulator_takes(endpoint: str, data: st.DataObject) -> None:
    """A field under another name, text that comes out otherwise than it went in, or a price."""
    requests = [data.draw(requests_of(endpoint)) for _ in range(4)]
    async with both() as readings:
        for request in requests:
            before = readings.emulator.credits_used
            images = await readings.client.generate_samples(request)

            assert [image.request.endpoint for image in images] == [endpoint] * request.image_count
            documented = attrs.evolve(request, credits=None).credits
            assert readings.emulator.credits_used - before == pytest.approx(documented)


@pytest.mark.parametrize("endpoint", SMALL)
def test_they_know_the_same_fields_and_defaults(endpoint: str) -> None:
    """A field that one of them lacks would be tried by no other test here."""
    schemas, rules = emulated(endpoint).fields, rules_of(endpoint)
    ours = {name: str(rule.default).strip("`").lower() for name, rule in rules.items()}
    theirs = {name: str(schema.get("default")).lower() for name, schema in schemas.items()}
    differ = {name for name in rules if ours[name] != theirs[name]}

    assert set(rules) == set(schemas)
    # In words: a seed of 0 is none, steps are always sent, the mode follows from the image, the
    # scale from the model.
    assert differ <= {"seed", "steps", "mode", "cfg_scale"}


async def test_a_strength_that_leaves_nothing_is_refused_by_the_client_alone() -> None:
    """The documents do not forbid it, but whoever sends it has forgotten the image."""
    form = {"prompt": "a fox", "strength": 0.5}
    async with both() as readings:
        assert await readings.refused_by_emulator("ultra", form) == set()

    with pytest.raises(InvalidRequestError, match="strength: is set; it only goes with `image`"):
        request_from_dict({"endpoint": "ultra", **form})


async def test_what_no_file_can_hold_is_refused_by_the_emulator_alone() -> None:
    """An image may be longer than a WebP can be; no document says what the service makes of it."""
    form = {"image": file_of_size(64, 16_384), "output_format": "webp"}
    async with both() as readings:
        assert await readings.refused_by_emulator("edit.erase", form) == {"output_format"}

    request_from_dict({"endpoint": "edit.erase", **form})


async def test_both_know_the_same_prices() -> None:
    """A cap on credits would be kept on paper only."""
    async with both() as readings:
        spent = 0.0
        for endpoint, fields in SMALL.items():
            request = request_from_dict({"endpoint": endpoint, **fields})
            spent += (await readings.client.generate(request)).credits

        assert spent == readings.emulator.credits_used


async def test_they_draw_the_same_sizes_of_v1() -> None:
    """Each side has nine values or fewer, and only some pairs of them are drawn."""
    sides = [512, 640, 768, 832, 896, 1024, 1088, 1152, 1216, 1344, 1536, 1600]
    of_text = [{"width": width, "height": height} for width in sides for height in sides]
    of_text += [{side: length} for side in ("width", "height") for length in sides]
    async with both() as readings:
        told = [
            await readings.disagreement("v1.text-to-image", {"text_prompts": "a fox", **size})
            for size in of_text
        ]

    assert "\n".join(filter(None, told)) == ""


@pytest.mark.parametrize("side", ["width", "height"])
def test_they_read_the_same_bounds_of_a_side_of_v1(side: str) -> None:
    """Behind the nine sizes nothing shows them, but the client lets other engines draw others."""
    rule, schema = rules_of("v1.text-to-image")[side], emulated("v1.text-to-image").fields[side]

    assert (rule.low, rule.multiple) == (schema["minimum"], schema["multipleOf"]) == (128, 64)


@pytest.mark.parametrize(("width", "height"), [(1216, 832), (832, 1216), (1216, 831), (1024, 1024)])
async def test_they_compare_the_same_mask_with_its_image(width: int, height: int) -> None:
    """It may be unwanted, but must fit; a size that could be drawn is not enough."""
    mask = {
        "init_image": SDXL_PICTURE,
        "text_prompts": "a",
        "mask_image": file_of_size(width, height),
    }
    async with both() as readings:
        told = [
            await readings.disagreement("v1.masking", {**mask, "mask_source": source})
            for source in MASK_SOURCES
        ]

    assert "\n".join(filter(None, told)) == ""


async def test_a_schedule_of_v1_may_end_before_it_starts() -> None:
    """No document says that it may not, nor that it excludes a strength or needs its mode."""
    form = {
        **V1_MINIMAL["v1.image-to-image"],
        "step_schedule_start": 0.9,
        "step_schedule_end": 0.1,
        "image_strength": 0.5,
    }
    async with both() as readings:
        assert await readings.refused_by_emulator("v1.image-to-image", form) == set()

    request_from_dict({"endpoint": "v1.image-to-image", **form})


@pytest.mark.parametrize("text", ["a\ud800", "a\0"])
async def test_nul_and_half_a_character_are_refused_by_the_client_alone(text: str) -> None:
    """JSON can escape it, and no document forbids it; a file's name or a log cannot hold it."""
    form = {"text_prompts": text}
    async with both() as readings:
        assert await readings.refused_by_emulator("v1.text-to-image", form) == set()

    with pytest.raises(InvalidRequestError, match="cannot be sent"):
        request_from_dict({"endpoint": "v1.text-to-image", **form})


@pytest.mark.parametrize("endpoint", V1_MINIMAL)
async def test_an_engine_that_is_not_there_is_known_to_the_service_alone(endpoint: str) -> None:
    """A gateway may have its own, so the client takes any name, whose sizes it does not know."""
    request = request_from_dict({"endpoint": endpoint, **V1_MINIMAL[endpoint], "engine_id": "x-1"})
    async with both() as readings:
        with pytest.raises(APIError, match=r"engine \(ID x-1\) was not found"):
            await readings.client.generate_samples(request)
