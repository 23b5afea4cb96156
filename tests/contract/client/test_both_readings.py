"""The client's reading of the API against the emulator's, which was made apart from it."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sd3async import InvalidRequestError, SD3Client, request_from_dict
from sd3async.emulator import Emulator
from sd3async.emulator.api_table import ENDPOINTS as EMULATED
from sd3async.emulator.virtual_time import LoopClock
from sd3async.endpoints import ENDPOINTS
from sd3async.models.base import required
from sd3async.models.requests import REQUEST_TYPES
from support.edges import as_raw, edges_of, rules_of
from support.pictures import file_of_size
from support.requests import MINIMAL, PICTURE
from support.strategies import forms_of, requests_of


def may_differ(endpoint: str, fields: Mapping[str, Any], ours: str, theirs: set[str]) -> bool:
    """Return whether two readings differ where they may; each has a test of its own below."""
    is_alone = endpoint == "ultra" and ours == "strength" and "image" not in fields
    is_too_long = not ours and theirs == {"output_format"}
    return is_too_long or (is_alone and not theirs)


@attrs.frozen
class Readings:
    """Both sides, ready to be asked."""

    client: SD3Client
    emulator: Emulator
    http: aiohttp.ClientSession

    async def refused_by_emulator(self, endpoint: str, fields: Mapping[str, Any]) -> set[str]:
        """Return the fields that the emulator names when it is sent a raw form."""
        form = aiohttp.FormData(default_to_multipart=True)
        if endpoint == "sd3" and "image" in fields:  # the client derives it
            fields = {"mode": "image-to-image", **fields}
        for name, value in fields.items():
            raw = as_raw(value)
            form.add_field(name, raw, filename="image" if isinstance(raw, bytes) else None)
        async with self.http.post(
            self.emulator.url + ENDPOINTS[endpoint].path,
            data=form,
            headers={"authorization": "Bearer sk-any", "accept": "application/json"},
        ) as answer:
            told = await answer.json()
            assert answer.status in (200, 400), told
            return {error.partition(":")[0] for error in told.get("errors", ())}

    async def disagreement(self, endpoint: str, fields: Mapping[str, Any]) -> str:
        """Return how the two differ about a form, in words; empty when they agree."""
        theirs = await self.refused_by_emulator(endpoint, fields)
        request, ours = None, ""
        try:
            request = request_from_dict({"endpoint": endpoint, **fields})
        except InvalidRequestError as refusal:
            ours = refusal.field or "no field"
        if may_differ(endpoint, fields, ours, theirs):
            return ""
        shown = {name: repr(value)[:60] for name, value in fields.items()}
        if bool(ours) != bool(theirs) or (ours and ours not in theirs):
            return f"{endpoint}: we refuse {ours!r}, they refuse {theirs or ''!r}: {shown}"
        if request is not None and not any(isinstance(value, bytes) for value in fields.values()):
            await self.client.generate(request)  # what the client makes of it is taken as well
        return ""


NO_TIMEOUT = aiohttp.ClientTimeout()  # a busy machine is slow, and this loop's time jumps

IN_COMPANY: dict[str, dict[str, Any]] = {
    "sd3": {"image": PICTURE, "strength": 0.5},
    "ultra": {"image": PICTURE, "strength": 0.5},
    "edit.replace-background-and-relight": {
        "background_reference": PICTURE,
        "light_source_direction": "left",
    },
}
"""Where some fields only go with others: these."""


def bases_of(endpoint: str) -> list[dict[str, Any]]:
    """Return valid requests to which a field can be added."""
    small = MINIMAL[endpoint]
    return [small, {**small, **IN_COMPANY[endpoint]}] if endpoint in IN_COMPANY else [small]


def path_of(endpoint: str) -> str:
    return ENDPOINTS[endpoint].path


@asynccontextmanager
async def both() -> AsyncGenerator[Readings]:
    async with (
        Emulator(
            strict=True, image_bytes=2_000, limit=None, turbo_negative_prompt=False
        ) as emulator,
        SD3Client(
            "sk-any", base_url=emulator.url, share="process", clock=LoopClock(), rate_limit=None
        ) as client,
        aiohttp.ClientSession(timeout=NO_TIMEOUT) as http,
    ):
        yield Readings(client, emulator, http)


@pytest.mark.parametrize("endpoint", MINIMAL)
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


@pytest.mark.parametrize("endpoint", MINIMAL)
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
    assert set(required(REQUEST_TYPES[endpoint])) == set(EMULATED[path_of(endpoint)].required)


@pytest.mark.parametrize("endpoint", MINIMAL)
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


@pytest.mark.parametrize("endpoint", MINIMAL)
@given(data=st.data())
@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
async def test_what_the_client_sends_the_emulator_takes(endpoint: str, data: st.DataObject) -> None:
    """A field under another name, or text that comes out otherwise than it went in."""
    requests = [data.draw(requests_of(endpoint)) for _ in range(4)]
    async with both() as readings:
        for request in requests:
            image = await readings.client.generate(request)

            assert image.request.endpoint == endpoint


@pytest.mark.parametrize("endpoint", MINIMAL)
def test_they_know_the_same_fields_and_defaults(endpoint: str) -> None:
    """A field that one of them lacks would be tried by no other test here."""
    schemas, rules = EMULATED[path_of(endpoint)].fields, rules_of(endpoint)
    ours = {name: str(rule.default).strip("`").lower() for name, rule in rules.items()}
    theirs = {name: str(schema.get("default")).lower() for name, schema in schemas.items()}
    differ = {name for name in rules if ours[name] != theirs[name]}

    assert set(rules) == set(schemas)
    # In words: a seed of 0 is none, the mode follows from the image, the scale from the model.
    assert differ <= {"seed", "mode", "cfg_scale"}


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
        for endpoint, fields in MINIMAL.items():
            request = request_from_dict({"endpoint": endpoint, **fields})
            spent += (await readings.client.generate(request)).credits

        assert spent == readings.emulator.credits_used
