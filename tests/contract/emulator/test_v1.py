"""The older API: prompts in lists, several images in one answer, errors of another shape."""

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from PIL import Image, ImageChops

from contract.emulator.caller import KEY, Caller, Reply, caller, emulated, form, picture
from sd3async.emulator import Emulator, Fault

SDXL = "stable-diffusion-xl-1024-v1-0"
UPLOAD = picture((1216, 832))
FORM: dict[str, object] = {"init_image": UPLOAD, "text_prompts[0][text]": "a cat"}


async def draw(
    client: Caller,
    document: Any,
    *,
    engine: str = SDXL,
    accept: str = "application/json",
    key: str | None = KEY,
) -> Reply:
    """Post JSON to text-to-image."""
    headers = {"Accept": accept, "Content-Type": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    path = f"/v1/generation/{engine}/text-to-image"
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return await client.ask("POST", path, data=io.BytesIO(body), headers=headers)


async def redraw(
    client: Caller, tail: str, fields: Mapping[str, object], accept: str = "application/json"
) -> Reply:
    """Post a form to one of the other two."""
    headers = {"Authorization": KEY, "Accept": accept}
    path = f"/v1/generation/{SDXL}/{tail}"
    return await client.ask("POST", path, data=form(fields), headers=headers)


def prompted(**fields: Any) -> dict[str, Any]:
    """Return a good request with something on top."""
    return {"text_prompts": [{"text": "a cat"}], **fields}


def images(reply: Reply) -> list[Image.Image]:
    """Return the images of an answer, decoded."""
    return [
        Image.open(io.BytesIO(base64.b64decode(artifact["base64"])))
        for artifact in reply.json["artifacts"]
    ]


@pytest.mark.parametrize(
    ("fields", "price", "size"),
    [
        ({}, 0.9, (1024, 1024)),
        ({"steps": 30}, 0.9, (1024, 1024)),
        ({"steps": 10}, 0.9, (1024, 1024)),
        ({"steps": 50}, 1.5, (1024, 1024)),
        ({"width": 1536, "height": 640, "samples": 10}, 9, (1536, 640)),
        ({"steps": 60, "samples": 2, "style_preset": "anime", "cfg_scale": 0}, 3.6, (1024, 1024)),
    ],
    ids=str,
)
async def test_text_to_image_answers_with_artifacts(
    fields: dict[str, Any], price: float, size: tuple[int, int]
) -> None:
    """One for each sample, each with its own seed; steps beyond 30 and samples cost more."""
    async with emulated() as (emulator, client):
        reply = await draw(client, prompted(seed=7, **fields))

        assert reply.status == 200, reply.body
        assert reply.headers["Content-Type"] == "application/json"
        artifacts = reply.json["artifacts"]
        assert len(artifacts) == fields.get("samples", 1)
        assert [a["seed"] for a in artifacts] == list(range(7, 7 + len(artifacts)))
        assert {a["finishReason"] for a in artifacts} == {"SUCCESS"}
        assert {image.size for image in images(reply)} == {size}
        assert emulator.credits_used == pytest.approx(price)
        assert emulator.paid == 1
        assert json.loads(emulator.requests[0].fields["text_prompts"]) == [{"text": "a cat"}]


async def test_an_accepted_image_comes_as_bytes() -> None:
    """With seed and finish reason in headers, and for one sample only."""
    async with emulated(image_bytes=None) as (_, client):
        reply = await draw(client, prompted(seed=7), accept="image/png")
        several = await draw(client, prompted(samples=2), accept="image/png")

    assert reply.headers["Content-Type"] == "image/png"
    assert (reply.headers["Seed"], reply.headers["Finish-Reason"]) == ("7", "SUCCESS")
    assert reply.image.size == (1024, 1024)
    assert several.status == 400
    assert several.json["message"] == "samples: must be 1 when an image is accepted"


MISTAKES: list[tuple[Any, str, str]] = [
    ({}, "bad_request", "text_prompts: required"),
    ({"text_prompts": []}, "bad_request", "text_prompts: array must contain at least 1"),
    ({"text_prompts": [{}]}, "bad_request", "text_prompts.0.text: required"),
    (
        {"text_prompts": [{"text": "x" * 2001}]},
        "bad_request",
        "text_prompts.0.text: string must contain at most 2000",
    ),
    (
        {"text_prompts": [{"text": "x", "weight": "much"}]},
        "bad_request",
        "text_prompts.0.weight: expected number",
    ),
    (
        {"text_prompts": [{"text": "x", "weight": 10**400}]},
        "bad_request",
        "text_prompts.0.weight: number must be less than or equal to 1.79",
    ),
    (
        {"text_prompts": [{"text": "x"}, {"text": "y", "wait": 1}]},
        "bad_request",
        "text_prompts[1][wait]: unknown field, text-to-image takes",
    ),
    (prompted(samples=11), "invalid_samples", "samples: number must be less than"),
    (prompted(samples=0), "invalid_samples", "samples: number must be greater than"),
    (prompted(samples=True), "invalid_samples", "samples: expected integer"),
    (prompted(steps=9), "bad_request", "steps: number must be greater than or equal to 10"),
    (prompted(steps=151), "bad_request", "steps: number must be less than or equal to 150"),
    (prompted(cfg_scale=35.1), "bad_request", "cfg_scale: number must be less than"),
    (prompted(seed=4294967296), "bad_request", "seed: number must be less than"),
    (prompted(sampler="EULER"), "bad_request", "sampler: invalid enum value. Expected 'DDIM'"),
    (
        prompted(clip_guidance_preset="FAST"),
        "bad_request",
        "clip_guidance_preset: invalid enum value.",
    ),
    (prompted(extras=[]), "bad_request", "extras: expected object"),
    (
        prompted(height=1000),
        "invalid_height_or_width",
        "height: number must be a multiple of 64",
    ),
    (prompted(width=64), "invalid_height_or_width", "width: number must be greater than"),
    (
        prompted(width=512, height=512),
        "invalid_sdxl_v1_dimensions",
        "for stable-diffusion-xl-1024-v0-9 and stable-diffusion-xl-1024-v1-0 the allowed "
        "dimensions are 1024x1024, 1152x896, 1216x832, 1344x768, 1536x640, 640x1536, 768x1344, "
        "832x1216, 896x1152, but we received 512x512",
    ),
    (prompted(size="big"), "bad_request", "size: unknown field, text-to-image takes"),
    (b"{", "bad_request", "body: malformed JSON"),
    (b'{"cfg_scale": NaN}', "bad_request", "body: malformed JSON"),
    (b"[" * 100_000, "bad_request", "body: malformed JSON"),
    (b"[]", "bad_request", "body: must be a JSON object"),
    (b"\xff", "bad_request", "body: malformed JSON"),
]


@pytest.mark.parametrize(
    ("document", "name", "message"),
    MISTAKES,
    ids=lambda value: str(value)[:40],
)
async def test_each_mistake_has_a_name_and_a_sentence(
    document: Any, name: str, message: str, shared: Emulator
) -> None:
    """One `message` in place of the list of v2beta, and names of its own."""
    async with caller(shared) as client:
        reply = await draw(client, document)

    assert reply.status == 400
    assert set(reply.json) == {"id", "message", "name"}
    assert reply.json["name"] == name
    assert message in reply.json["message"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, "missing authorization header"),
        (
            "sk-notarealkey0000zzzz",
            "Incorrect API key provided: sk-nota***********zzzz. "
            "You can find your API key at https://stability.ai.",
        ),
        (
            "short",
            "Incorrect API key provided: *****. You can find your API key at https://stability.ai.",
        ),
    ],
)
async def test_the_key_is_looked_at_first_and_its_ends_are_told(
    key: str | None, message: str
) -> None:
    """Before the fields, the engine, and whether the path exists: as the service was seen to do."""
    headers = {} if key is None else {"Authorization": key}
    async with emulated(keys={KEY}) as (_, client):
        replies = [
            await draw(client, {}, key=key),
            await draw(client, prompted(), engine="gone", key=key),
            await client.ask("GET", "/v1/no/such/path", headers=headers),
            await client.ask("GET", "/v1/engines/list", headers=headers),
            await client.ask("GET", "/v1/user/account", headers=headers),
            await client.ask("GET", "/v1/user/balance", headers=headers),
        ]

    for reply in replies:
        assert (reply.status, reply.json["name"]) == (401, "unauthorized")
        assert reply.json["message"] == message


async def test_an_engine_that_has_gone_is_not_found(shared: Emulator) -> None:
    """The words are captured ones."""
    async with caller(shared) as client:
        reply = await draw(client, prompted(), engine="stable-diffusion-v1-6")

    assert (reply.status, reply.json["name"]) == (404, "not_found")
    assert reply.json["message"] == "The specified engine (ID stable-diffusion-v1-6) was not found."


async def test_account_and_engines_are_told(shared: Emulator) -> None:
    """The fields that clients read are there; nothing of the key is."""
    async with caller(shared) as client:
        headers = {"Authorization": f"Bearer {KEY}"}
        account = await client.ask("GET", "/v1/user/account", headers=headers)
        engines = await client.ask("GET", "/v1/engines/list", headers=headers)

    assert set(account.json) == {"id", "email", "organizations"}
    assert set(account.json["organizations"][0]) == {"id", "name", "role", "is_default"}
    assert KEY not in account.body.decode()
    assert [engine["id"] for engine in engines.json] == [SDXL]
    assert set(engines.json[0]) == {"id", "name", "description", "type"}


async def test_image_to_image_comes_from_the_upload() -> None:
    """image_strength 1 is the upload; a step schedule says the same the other way round."""
    async with emulated(image_bytes=None) as (_, client):
        kept = await redraw(client, "image-to-image", {**FORM, "image_strength": 1})
        schedule = {"init_image_mode": "STEP_SCHEDULE", "step_schedule_start": 0}
        same = await redraw(client, "image-to-image", {**FORM, **schedule})
        usual = await redraw(client, "image-to-image", {**FORM, "seed": 5})

    original = Image.open(io.BytesIO(UPLOAD))
    for reply in (kept, same):
        assert ImageChops.difference(images(reply)[0].convert("RGB"), original).getbbox() is None
    assert ImageChops.difference(images(usual)[0].convert("RGB"), original).getbbox() is not None
    assert images(usual)[0].size == (1216, 832)


async def test_masking_changes_what_the_mask_says() -> None:
    """White or black of a mask, in the upload's size."""
    mask = Image.new("L", (1216, 832))
    mask.paste(255, (0, 0, 608, 832))
    buffer = io.BytesIO()
    mask.save(buffer, "png")
    fields = {**FORM, "mask_image": buffer.getvalue()}
    async with emulated(image_bytes=None) as (_, client):
        white = await redraw(
            client, "image-to-image/masking", {**fields, "mask_source": "MASK_IMAGE_WHITE"}
        )
        black = await redraw(
            client, "image-to-image/masking", {**fields, "mask_source": "MASK_IMAGE_BLACK"}
        )

    original = Image.open(io.BytesIO(UPLOAD))
    boxes = [
        ImageChops.difference(images(reply)[0].convert("RGB"), original).getbbox()
        for reply in (white, black)
    ]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0][2] <= 608
    assert boxes[1][0] >= 608


@pytest.mark.parametrize(
    ("tail", "fields", "name", "message"),
    [
        ("image-to-image", {"init_image": UPLOAD}, "bad_request", "text_prompts: required"),
        (
            "image-to-image",
            {"text_prompts[0][text]": "a cat"},
            "bad_request",
            "init_image: required",
        ),
        (
            "image-to-image",
            {**FORM, "init_image": picture((450, 672))},
            "invalid_sdxl_v1_dimensions",
            "but we received 450x672",
        ),
        (
            "image-to-image",
            {**FORM, "image_strength": 1.1},
            "bad_request",
            "image_strength: number must be less than",
        ),
        (
            "image-to-image",
            {**FORM, "text_prompts[0][weight]": "much"},
            "bad_request",
            "text_prompts.0.weight: expected number",
        ),
        (
            "image-to-image",
            {**FORM, "text_prompts[1][weight]": 1},
            "bad_request",
            "text_prompts.1.text: required",
        ),
        ("image-to-image", {**FORM, "extras": "{"}, "bad_request", "extras: expected object"),
        ("image-to-image", {**FORM, "extras": '{"a": NaN}'}, "bad_request", "extras: expected obj"),
        (
            "image-to-image",
            {**FORM, "text_prompts[0][weight]": UPLOAD},
            "bad_request",
            "text_prompts[0][weight]: expected text, received a file",
        ),
        ("image-to-image", {**FORM, "height": 1024}, "bad_request", "height: unknown field"),
        ("image-to-image", {**FORM, "samples": "2.5"}, "invalid_samples", "samples: expected int"),
        ("image-to-image/masking", FORM, "bad_request", "mask_source: required"),
        (
            "image-to-image/masking",
            {**FORM, "mask_source": "MASK_IMAGE_WHITE"},
            "invalid_mask_image",
            "mask_image: required for MASK_IMAGE_WHITE",
        ),
        (
            "image-to-image/masking",
            {**FORM, "mask_source": "MASK_IMAGE_BLACK", "mask_image": picture((1024, 1024))},
            "invalid_mask_image",
            "mask_image: must have the dimensions of init_image",
        ),
        (
            "image-to-image/masking",
            {**FORM, "mask_source": "GREEN"},
            "bad_request",
            "mask_source: invalid enum value.",
        ),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else "",
)
async def test_mistakes_in_forms(
    tail: str, fields: dict[str, object], name: str, message: str, shared: Emulator
) -> None:
    """The same rules where the values come as a form."""
    async with caller(shared) as client:
        reply = await redraw(client, tail, fields)

    assert reply.status == 400, reply.body[:200]
    assert reply.json["name"] == name
    assert message in reply.json["message"]


async def test_a_prompt_given_twice_is_refused(shared: Emulator) -> None:
    """One of the two would be drawn, and nobody could say which."""
    data = form(FORM)
    data.add_field("text_prompts[0][text]", "a dog")
    async with caller(shared) as client:
        path = f"/v1/generation/{SDXL}/image-to-image"
        headers = {"Authorization": KEY, "Accept": "application/json"}
        reply = await client.ask("POST", path, data=data, headers=headers)

    assert reply.status == 400
    assert reply.json["message"] == "text_prompts[0][text]: given more than once"


async def test_prompts_of_a_form_may_have_gaps_and_negative_weights() -> None:
    """The index ties text and weight together and nothing more."""
    fields = {
        **FORM,
        "text_prompts[7][text]": "fog",
        "text_prompts[7][weight]": "-0.9",
        "mask_source": "INIT_IMAGE_ALPHA",
        "extras": "{}",
    }
    async with emulated() as (_, client):
        reply = await redraw(client, "image-to-image/masking", fields)

    assert reply.status == 200, reply.body


async def test_faults_limits_and_sizes_speak_v1_too() -> None:
    """A client of v1 reads `message` whatever went wrong."""
    async with emulated(
        faults=[Fault.status(500), Fault.no_image(), Fault.filtered()], max_requests=4
    ) as (emulator, client):
        failed = await draw(client, prompted())
        empty = await draw(client, prompted())
        filtered = await draw(client, prompted(samples=2))
        large = await draw(client, b" " * (10 * 1024 * 1024 + 1))
        refused = await draw(client, prompted())

        for reply, status in ((failed, 500), (large, 413), (refused, 429)):
            assert reply.status == status
            assert set(reply.json) == {"id", "message", "name"}
        assert empty.json == {"artifacts": []}
        reasons = [artifact["finishReason"] for artifact in filtered.json["artifacts"]]
        assert reasons == ["CONTENT_FILTERED"] * 2
        assert emulator.stats.refused == 1


@pytest.mark.parametrize("text", ["\x00", "\ud800", "\U0001f600" * 400, "\u202e\n\t"])
async def test_whatever_json_can_say_can_be_drawn(text: str) -> None:
    """JSON may carry what no form can: half a surrogate pair may not crash the painter."""
    async with emulated(image_bytes=None) as (_, client):
        reply = await draw(client, {"text_prompts": [{"text": text}]})

    assert reply.status in (200, 400), reply.body
