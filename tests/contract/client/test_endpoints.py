"""Every endpoint over loopback: what arrives is what was asked for, and the image comes back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sd3async import (
    InpaintRequest,
    InvalidRequestError,
    OutpaintRequest,
    RetryPolicy,
    SD3Client,
    UpscaleFastRequest,
    gather_generations,
)
from sd3async.emulator.virtual_time import LoopClock
from sd3async.endpoints import ENDPOINTS
from sd3async.models.base import fields_of, required
from sd3async.models.requests import REQUEST_TYPES
from support.forms import Forms
from support.pictures import OneWayStream, picture
from support.requests import MINIMAL
from support.servers import serve

KEY = "sk-test0123456789abcdef"
IMAGE, MASK = picture(hue=1), picture(80, 80, "webp")

FULL: dict[str, dict[str, Any]] = {
    "sd3": {"model": "sd3.5-medium", "cfg_scale": 7, "negative_prompt": "fog", "seed": 0},
    "core": {"aspect_ratio": "9:21", "style_preset": "anime", "output_format": "webp"},
    "ultra": {"image": IMAGE, "strength": 0, "negative_prompt": "fog"},
    "upscale.fast": {"output_format": "jpeg"},
    "upscale.conservative": {"creativity": 0.2, "negative_prompt": "fog", "seed": 9},
    "edit.erase": {"mask": MASK, "grow_mask": 0, "seed": 9},
    "edit.inpaint": {"mask": MASK, "grow_mask": 100, "style_preset": "origami", "seed": 9},
    "edit.outpaint": {
        "left": 0,
        "right": 1,
        "up": 2,
        "down": 2000,
        "creativity": 0,
        "prompt": "sea",
    },
    "edit.search-and-replace": {"search_prompt": "hen", "grow_mask": 2.5, "negative_prompt": "fog"},
    "edit.search-and-recolor": {"select_prompt": "hen", "grow_mask": 20, "style_preset": "anime"},
    "edit.remove-background": {"output_format": "webp"},
    "control.sketch": {"control_strength": 0, "negative_prompt": "fog"},
    "control.structure": {"control_strength": 1, "style_preset": "anime"},
    "control.style": {"fidelity": 0.25, "aspect_ratio": "16:9"},
    "control.style-transfer": {
        "style_image": MASK,
        "style_strength": 0,
        "composition_fidelity": 1,
        "change_strength": 0.1,
        "prompt": "sea",
    },
}
"""Fields beside the smallest ones, for the endpoints that answer with the image."""


@pytest.fixture
def forms() -> Forms:
    return Forms()


@pytest.fixture
async def client(forms: Forms) -> AsyncIterator[SD3Client]:
    async with (
        serve(forms.take) as url,
        SD3Client(
            KEY, base_url=url, share="process", clock=LoopClock(), extra_headers={"X-Team": "art"}
        ) as made,
    ):
        yield made


def coroutine_of(client: SD3Client, endpoint: str) -> Any:
    owner: Any = client
    for part in endpoint.replace("-", "_").split("."):
        owner = getattr(owner, part)
    return owner


def as_text(value: object) -> str:
    return value if isinstance(value, str) else str(value)


@pytest.mark.parametrize("endpoint", FULL)
async def test_every_field_arrives_at_the_endpoints_own_path(
    endpoint: str, client: SD3Client, forms: Forms
) -> None:
    """A field that is lost, renamed or sent elsewhere costs money for the wrong picture."""
    fields = {**MINIMAL[endpoint], **FULL[endpoint]}
    image = await coroutine_of(client, endpoint)(**fields)

    [form] = forms.taken
    assert form.path == ENDPOINTS[endpoint].path
    assert form.files == {name: v for name, v in fields.items() if isinstance(v, bytes)}
    texts = {name: as_text(v) for name, v in fields.items() if not isinstance(v, bytes)}
    derived = {"mode": "text-to-image"} if endpoint == "sd3" else {}
    assert form.fields == {"output_format": "png", **texts, **derived}
    assert form.headers["x-team"] == "art"
    assert image.credits == ENDPOINTS[endpoint].price(fields.get("model"))
    assert image.request.endpoint == endpoint


@pytest.mark.parametrize("endpoint", FULL)
async def test_what_is_required_may_be_given_by_place(
    endpoint: str, client: SD3Client, forms: Forms
) -> None:
    """`client.edit.inpaint(image, prompt)` reads like the API."""
    names = required(REQUEST_TYPES[endpoint])
    rest = {name: value for name, value in MINIMAL[endpoint].items() if name not in names}
    await coroutine_of(client, endpoint)(*(MINIMAL[endpoint][name] for name in names), **rest)

    assert forms.taken[0].path == ENDPOINTS[endpoint].path


async def test_two_images_are_sent_again_on_a_retry(forms: Forms, tmp_path: Path) -> None:
    """A body is laid out afresh for each attempt, also when one file is given to two fields."""
    path = tmp_path / "fox.png"
    path.write_bytes(IMAGE)
    forms = Forms(fail_first=2)
    retry = RetryPolicy(wait=0, max_wait=0)
    async with serve(forms.take) as url, SD3Client(KEY, base_url=url, retry=retry) as client:
        image = await client.edit.inpaint(path, "a fox", mask=path)

    assert image.attempts == 3
    assert [form.files for form in forms.taken] == [{"image": IMAGE, "mask": IMAGE}] * 3


async def test_an_image_that_comes_later_is_held_to_the_bounds_of_its_own_field(
    client: SD3Client, forms: Forms
) -> None:
    """What a callable gives is known only when the call begins."""
    small = picture(40, 40)
    source: Any = lambda: OneWayStream(small)  # noqa: E731  # no BinaryIO by its type
    await client.upscale.fast(source)
    with pytest.raises(
        InvalidRequestError, match="is 40 x 40 px; each side must have 64 to"
    ) as caught:
        await client.control.style_transfer(IMAGE, source)

    assert caught.value.field == "style_image"
    assert len(forms.taken) == 1


async def test_what_makes_the_body_too_large_is_named(client: SD3Client) -> None:
    """Of two images, one should know which to shrink."""
    large = MASK + bytes(9 * 2**20)
    with pytest.raises(InvalidRequestError, match="10 MiB") as caught:
        await client.edit.inpaint(IMAGE + bytes(2**20), "a fox", mask=large)

    assert caught.value.field == "mask"


async def test_extra_fields_go_into_the_form(client: SD3Client, forms: Forms) -> None:
    """The parameter of next month, and the model of next month in the place of the default."""
    image = await client.sd3("a fox", extra_fields={"model": "sd4", "hdr": True}, credits=9)

    assert forms.taken[0].fields["model"] == "sd4"
    assert forms.taken[0].fields["hdr"] == "true"
    assert image.credits == 9


async def test_many_requests_of_many_kinds_run_together(client: SD3Client, forms: Forms) -> None:
    """Those without a prompt, too."""
    requests: list[Any] = [
        UpscaleFastRequest(IMAGE),
        OutpaintRequest(IMAGE, left=5),
        "a fox",
        {"endpoint": "edit.remove-background", "image": IMAGE},
        InpaintRequest(IMAGE, "a fox", mask=MASK),
    ]
    outcomes = await gather_generations(client, requests)

    assert [outcome.unwrap().credits for outcome in outcomes] == [2, 4, 6.5, 5, 5]
    assert len(forms.taken) == 5


async def test_extra_headers_are_those_of_the_variant(client: SD3Client, forms: Forms) -> None:
    """A variant adds to what its client sends, and never to that client."""
    variant = client.with_options(extra_headers={"x-call": "7", "USER-AGENT": "painter/1"})
    await variant.core("a")
    await client.core("a")

    first, second = (form.headers for form in forms.taken)
    assert (first["x-team"], first["x-call"], first["user-agent"]) == ("art", "7", "painter/1")
    assert "x-call" not in second
    assert second["user-agent"].startswith("sd3async/")


def test_every_field_of_every_endpoint_is_sent_in_a_test_above() -> None:
    """What is never sent may be lost on its way."""
    common = {"seed", "style_preset", "negative_prompt", "aspect_ratio", "output_format"}
    for endpoint, fields in FULL.items():
        known = set(fields_of(REQUEST_TYPES[endpoint])) - {"extra_fields", "credits", "mode"}
        left_out = known - {*fields, *MINIMAL[endpoint]}
        assert left_out <= common | ({"image", "strength"} if endpoint == "sd3" else set())


async def test_a_generation_without_a_price_says_nothing_of_the_way(forms: Forms) -> None:
    """How long it takes to draw is not how long a request travels, which the limiter goes by."""
    waits = [0.1, 9.0, 0.1, 5.0]

    async def draw(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(waits[len(forms.taken)])
        return await forms.take(request)

    async with serve(draw) as url, SD3Client(KEY, base_url=url, clock=LoopClock()) as client:
        before = client.limiter_state().delay_bound
        for _ in waits:
            await client.core("a fox", credits=0)

        assert client.limiter_state().delay_bound == before
