"""`client.v1` against the emulator's own reading of it, over loopback."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sd3async import (
    APIError,
    AuthenticationError,
    InvalidRequestError,
    RateLimit,
    RetryPolicy,
    SD3Client,
    SD3Error,
    ServerError,
    TransportError,
    UnexpectedResponseError,
    V1TextToImageRequest,
    gather_generations,
)
from sd3async.emulator import Fault
from sd3async.telemetry import Done, Event
from support.pictures import OneWayStream, picture
from support.requests import SDXL_PICTURE
from support.servers import serve

KEY = "sk-test0123456789abcdef"
SDXL = "stable-diffusion-xl-1024-v1-0"
PROMPTS: Any = ["a fox", {"text": "fog", "weight": -1}]
NO_RETRY = RetryPolicy(attempts=1)


async def test_prompts_in_json_become_one_image(start: Any) -> None:
    """One sample comes as its own bytes, and every field arrives."""
    emulator, client = await start(image_bytes=None)
    [image] = await client.v1.text_to_image(
        PROMPTS, width=1344, height=768, seed=7, steps=60, cfg_scale=0, sampler="K_LMS",
        clip_guidance_preset="SLOW", style_preset="anime", extras={"a": [1]},
    )  # fmt: skip

    [request] = emulator.requests
    assert request.path == f"/v1/generation/{SDXL}/text-to-image"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == "image/png"
    assert not request.chunked
    assert json.loads(request.fields["text_prompts"]) == [{"text": "a fox"}, PROMPTS[1]]
    assert image.to_pil().size == (1344, 768)
    assert (image.seed, image.finish_reason, image.credits) == (7, "SUCCESS", 1.8)
    assert image.request.prompt == "a fox"
    assert emulator.credits_used == 1.8


async def test_several_samples_are_images_of_their_own(start: Any) -> None:
    """Each has its seed, its finish reason and its share of the price."""
    events: list[Event] = []
    emulator, client = await start(client={"observers": [events.append]})
    images = await client.v1.text_to_image("a fox", samples=3, seed=7)

    assert [image.seed for image in images] == [7, 8, 9]
    assert {image.finish_reason for image in images} == {"SUCCESS"}
    assert [image.credits for image in images] == [0.9] * 3
    assert {image.content_type for image in images} == {"image/png"}
    assert all(image.size == len(image.data) for image in images)
    assert len(emulator.requests) == 1
    [done] = [event for event in events if isinstance(event, Done)]
    assert done.credits == emulator.credits_used == pytest.approx(2.7)


async def test_images_are_uploaded_with_prompts_in_a_form(start: Any, tmp_path: Path) -> None:
    """The names of the form are the API's, and a mask goes with its image."""
    emulator, client = await start()
    path = tmp_path / "fox.png"
    path.write_bytes(SDXL_PICTURE)
    drawn = await client.v1.image_to_image(
        path, PROMPTS, init_image_mode="STEP_SCHEDULE", step_schedule_start=0.4, samples=2
    )
    masked = await client.v1.masking(
        path, "a hat", "MASK_IMAGE_BLACK", mask_image=picture(1216, 832, hue=3)
    )

    assert (len(drawn), len(masked)) == (2, 1)
    first, second = emulator.requests
    assert first.fields == {
        "text_prompts[0][text]": "a fox",
        "text_prompts[1][text]": "fog",
        "text_prompts[1][weight]": "-1",
        "init_image_mode": "STEP_SCHEDULE",
        "step_schedule_start": "0.4",
        "samples": "2",
        "steps": "30",
    }
    assert second.path == f"/v1/generation/{SDXL}/image-to-image/masking"
    assert second.fields["mask_source"] == "MASK_IMAGE_BLACK"


@pytest.mark.parametrize("accept", ["image/*", "application/json"])
async def test_one_sample_streams_to_a_file(start: Any, tmp_path: Path, accept: Any) -> None:
    """Its bytes as they are, or out of the list of one artifact."""
    _, client = await start(image_bytes=400_000)
    path = tmp_path / "fox.png"
    [image] = await client.v1.text_to_image("a fox", seed=7, to=path, accept=accept)

    assert image.data is None
    assert path.stat().st_size == image.size == 400_000
    assert image.seed == 7


async def test_what_takes_one_image_refuses_several_with_the_way_out(
    start: Any, tmp_path: Path
) -> None:
    """Nothing is sent, and nothing is paid."""
    emulator, client = await start()
    request = V1TextToImageRequest("a fox", samples=2)
    with pytest.raises(InvalidRequestError, match=r"samples: is 2, .*generate_samples"):
        await client.generate(request)
    with pytest.raises(InvalidRequestError, match="without `to` several come"):
        await client.generate_samples(request, to=tmp_path / "x.png")
    with pytest.raises(InvalidRequestError, match=r"x.jpg' ends in .jpg"):
        await client.v1.text_to_image("a fox", to=tmp_path / "x.jpg")
    one, many = await gather_generations(client, [V1TextToImageRequest("a fox"), request])

    assert one.ok
    assert "samples: is 2" in str(many.error)
    assert len(emulator.requests) == 1
    assert len(await client.generate_samples(request)) == 2


async def test_a_filtered_artifact_is_flagged(start: Any) -> None:
    """It is returned, as everywhere."""
    _, client = await start(faults=[Fault.filtered(), Fault.filtered()])
    [one] = await client.v1.text_to_image("a fox")
    several = await client.v1.text_to_image("a fox", samples=2)

    assert one.is_filtered
    assert all(image.is_filtered for image in several)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("accept", ["image/*", "application/json"])
async def test_an_artifact_that_failed_is_an_error_that_says_so(
    start: Any, samples: int, accept: Any
) -> None:
    """Nothing says that it is free, so it may be charged, and is not tried again."""
    emulator, client = await start(faults=[Fault.finish_reason("ERROR")])
    with pytest.raises(UnexpectedResponseError, match="the finish reason ERROR") as caught:
        await client.v1.text_to_image("a fox", samples=samples, accept=accept)

    assert caught.value.may_be_charged
    assert len(emulator.requests) == 1


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(
    "fault",
    [Fault.status(500), Fault.status(503), Fault.reset(), Fault.truncated(), Fault.rate_limited()],
    ids=str,
)
async def test_what_passes_is_tried_again(start: Any, fault: Fault, samples: int) -> None:
    """JSON and forms are laid out afresh; a 429 freezes the key as everywhere."""
    emulator, client = await start(faults=[fault, fault])
    drawn = await client.v1.text_to_image("a fox", samples=samples, seed=7)
    redrawn = await client.v1.image_to_image(SDXL_PICTURE, "a fox", samples=samples)

    assert len(drawn) == len(redrawn) == samples
    assert drawn[0].attempts == 3
    assert len(emulator.requests) == 4


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Fault.status(500), ServerError), (Fault.no_image(), UnexpectedResponseError)],
)
@pytest.mark.parametrize("samples", [1, 2])
async def test_what_stays_is_told_in_v1s_own_words(
    start: Any, fault: Fault, kind: type[SD3Error], samples: int
) -> None:
    """Its errors have one message in the place of a list."""
    _, client = await start(faults=[fault], retry=NO_RETRY)
    with pytest.raises(kind) as caught:
        await client.v1.text_to_image("a fox", samples=samples)

    if isinstance(caught.value, APIError):
        assert caught.value.name == "internal_error"
        assert len(caught.value.errors) == 1
        assert caught.value.error_id


@pytest.mark.parametrize("samples", [1, 2])
async def test_an_answer_that_never_came_tells_of_its_request(start: Any, samples: int) -> None:
    """Somebody has to decide whether to pay again, and for what."""
    _, client = await start(faults=[Fault.reset()], retry=NO_RETRY)
    request = V1TextToImageRequest("a fox", samples=samples)
    with pytest.raises(TransportError) as caught:
        await client.generate_samples(request)

    assert caught.value.request == request
    assert caught.value.may_be_charged


async def test_an_engine_that_is_gone_is_told(start: Any) -> None:
    """The service says which."""
    _, client = await start()
    with pytest.raises(APIError, match="ID stable-diffusion-v1-6\\) was not found") as caught:
        await client.v1.text_to_image("a", engine_id="stable-diffusion-v1-6", width=512)

    assert (caught.value.status, caught.value.name) == (404, "not_found")


async def test_a_refused_key_is_never_repeated() -> None:
    """The service's own 401 holds its first seven characters and its last four."""
    message = (
        f"Incorrect API key provided: {KEY[:7]}{'*' * 12}{KEY[-4:]}. You can find your API key"
    )

    async def refuse(_: web.Request) -> web.StreamResponse:
        body = {"id": "35e2a3c9", "message": message, "name": "unauthorized"}
        return web.json_response(body, status=401)

    async with serve(refuse) as url, SD3Client(KEY, base_url=url) as client:
        for call in (
            client.v1.text_to_image("a fox"),
            client.v1.text_to_image("a fox", samples=2),
            client.v1.engines(),
        ):
            with pytest.raises(AuthenticationError, match=r"provided: \[key\]") as caught:
                await call
            told = f"{caught.value!r} {vars(caught.value)}"
            assert KEY[:7] not in told
            assert KEY[-4:] not in told
            assert caught.value.name == "unauthorized"


def artifacts(*reasons: str) -> dict[str, Any]:
    image = base64.b64encode(picture()).decode()
    return {"artifacts": [{"base64": image, "seed": 7, "finishReason": word} for word in reasons]}


@pytest.mark.parametrize(
    ("reasons", "words", "good"),
    [
        (("SUCCESS", "ERROR", "SUCCESS"), "2 of 3 images are good: .*reason ERROR", 2),
        (("SUCCESS", "CONTENT_FILTERED"), "2 of 3 images are good: not sent", 2),
        (("SUCCESS",) * 4, "more images than the 3", 0),
        ((), "no images", 0),
    ],
)
async def test_the_good_ones_of_several_are_kept(
    reasons: tuple[str, ...], words: str, good: int
) -> None:
    """They were paid for; the error holds them, and no second try pays again."""
    asked = 0

    async def draw(_: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return web.json_response(artifacts(*reasons))

    async with serve(draw) as url, SD3Client(KEY, base_url=url) as client:
        with pytest.raises(UnexpectedResponseError, match=words) as caught:
            await client.v1.text_to_image("a fox", samples=3)

    assert asked == 1
    assert [image.data for image in caught.value.images] == [picture()] * good


async def test_no_image_may_be_larger_than_is_allowed() -> None:
    """Each of several is held to it, so memory has a bound."""

    async def draw(_: web.Request) -> web.StreamResponse:
        return web.json_response(artifacts("SUCCESS", "SUCCESS"))

    async with serve(draw) as url, SD3Client(KEY, base_url=url, max_image_bytes=100) as client:
        with pytest.raises(UnexpectedResponseError, match="an image of more than 100 bytes"):
            await client.v1.text_to_image("a fox", samples=2)


async def test_a_late_image_is_held_to_the_sizes_before_anything_is_sent(start: Any) -> None:
    """What a callable gives is known only when the call begins."""
    emulator, client = await start()
    small: Any = lambda: OneWayStream(picture(640, 640))  # noqa: E731  # no BinaryIO by its type
    with pytest.raises(InvalidRequestError, match="init_image: makes it 640x640 px"):
        await client.v1.image_to_image(small, "a fox")
    with pytest.raises(InvalidRequestError, match="mask_image: is 640x640 px"):
        await client.v1.masking(SDXL_PICTURE, "a", "MASK_IMAGE_WHITE", mask_image=small)

    assert emulator.requests == []


async def test_prompts_that_make_the_request_too_large_are_named(start: Any) -> None:
    """10 MiB are all that the service reads."""
    _, client = await start()
    with pytest.raises(InvalidRequestError, match="10 MiB") as caught:
        await client.v1.text_to_image(["x" * 2_000] * 6_000)

    assert caught.value.field == "text_prompts"


async def test_engines_account_and_balance_are_told(start: Any) -> None:
    """They cost nothing, and take a permit of the limit like any request."""
    emulator, client = await start(rate_limit=RateLimit(3, 10))
    [engine] = await client.v1.engines()
    account = await client.v1.account()

    assert (engine.id, engine.type) == (SDXL, "PICTURE")
    assert account.email
    assert account.organizations[0].is_default
    assert await client.v1.balance() == pytest.approx(await client.balance())
    assert emulator.stats.refused == 0
    assert emulator.credits_used == 0


async def test_extra_fields_go_into_the_json_with_their_types() -> None:
    """The parameter of next month; what stands in the path is not sent twice."""
    taken: list[tuple[str, Any]] = []

    async def draw(request: web.Request) -> web.StreamResponse:
        taken.append((request.path, await request.json()))
        return web.Response(body=picture(), content_type="image/png")

    async with serve(draw) as url, SD3Client(KEY, base_url=url) as client:
        await client.v1.text_to_image(
            "a", engine_id="x-1", extra_fields={"hdr": True, "sampler": "NEW"}
        )

    fields = {"text_prompts": [{"text": "a"}], "steps": 30, "hdr": True, "sampler": "NEW"}
    assert taken == [("/v1/generation/x-1/text-to-image", fields)]
