"""Every v2beta endpoint beyond generate: what a good request gets, and what each mistake."""

import io
from collections.abc import Mapping
from typing import Any, cast

import pytest
from PIL import Image, ImageChops

from contract.emulator.caller import KEY, caller, emulated, picture
from sd3async.emulator import Emulator, Fault

UPLOAD = picture((120, 80))


def shown(value: Any) -> str:
    """Return a short id for a parameter."""
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        return ",".join(f"{name}={str(given)[:12]}" for name, given in fields.items())
    return str(value)[:40]


def sent(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields to send: a pair of sides [px] becomes a picture, None is left out."""
    return {
        name: picture(cast("tuple[int, int]", value)) if isinstance(value, tuple) else value
        for name, value in fields.items()
        if value is not None
    }


# endpoint, fields, size of the answer, price
SYNCHRONOUS: list[tuple[str, dict[str, Any], tuple[int, int], float]] = [
    ("upscale/fast", {"image": (120, 80)}, (480, 320), 2),
    ("upscale/conservative", {"image": (120, 80), "prompt": "a cat"}, (2508, 1672), 40),
    ("edit/erase", {"image": (120, 80), "mask": (12, 12)}, (120, 80), 5),
    ("edit/inpaint", {"image": (120, 80), "prompt": "a cat", "grow_mask": 100}, (120, 80), 5),
    (
        "edit/outpaint",
        {"image": (120, 80), "left": 30, "right": 5, "up": 7, "down": 2000},
        (155, 2087),
        4,
    ),
    (
        "edit/search-and-replace",
        {"image": (120, 80), "prompt": "a cat", "search_prompt": "dog"},
        (120, 80),
        5,
    ),
    (
        "edit/search-and-recolor",
        {"image": (120, 80), "prompt": "red", "select_prompt": "dog"},
        (120, 80),
        5,
    ),
    ("edit/remove-background", {"image": (120, 80)}, (120, 80), 5),
    ("control/sketch", {"image": (120, 80), "prompt": "a cat"}, (120, 80), 5),
    ("control/structure", {"image": (120, 80), "prompt": "a cat"}, (120, 80), 5),
    ("control/style", {"image": (120, 80), "prompt": "a cat"}, (1024, 1024), 5),
    (
        "control/style",
        {"image": (120, 80), "prompt": "a cat", "aspect_ratio": "16:9"},
        (1365, 768),
        5,
    ),
    (
        "control/style-transfer",
        {"init_image": (120, 80), "style_image": (64, 900)},
        (1254, 836),
        8,
    ),
]
STARTED: list[tuple[str, dict[str, Any]]] = [
    ("upscale/creative", {"image": (120, 80), "prompt": "a cat"}),
    (
        "edit/replace-background-and-relight",
        {"subject_image": (120, 80), "background_prompt": "the sea"},
    ),
]
GOOD = {endpoint: fields for endpoint, fields, _, _ in SYNCHRONOUS} | dict(STARTED)


@pytest.mark.parametrize(("endpoint", "fields", "size", "price"), SYNCHRONOUS, ids=shown)
@pytest.mark.parametrize("drawn", [False, True], ids=["quick", "drawn"])
async def test_each_endpoint_sends_an_image_of_its_size_at_its_price(
    endpoint: str, fields: dict[str, Any], size: tuple[int, int], price: float, *, drawn: bool
) -> None:
    """Sizes and prices are what callers count on."""
    async with emulated(image_bytes=None if drawn else 400) as (emulator, client):
        reply = await client.post(endpoint, **sent(fields))

        assert reply.status == 200, reply.body
        assert reply.image.size == size
        assert reply.headers["Content-Type"] == "image/png"
        assert reply.headers["finish-reason"] == "SUCCESS"
        assert reply.headers["seed"].isdecimal()
        assert (emulator.paid, emulator.credits_used) == (1, price)
        assert emulator.requests[0].path.endswith(endpoint)
        assert [part.name for part in emulator.requests[0].parts] == list(fields)


@pytest.mark.parametrize("endpoint", sorted(GOOD))
async def test_json_and_every_format_are_there_for_all(endpoint: str) -> None:
    """The same two ways to get the image, and the formats of the table."""
    async with emulated() as (_, client):
        for output_format in ("png", "webp", "jpeg"):
            accept = "application/json"
            fields = {**sent(GOOD[endpoint]), "output_format": output_format}
            reply = await client.post(endpoint, accept=accept, **fields)
            if reply.status == 400:
                assert (endpoint, output_format) == ("edit/remove-background", "jpeg")
                continue
            if "id" in reply.json:
                reply = await client.result(reply.json["id"], accept=accept)

            assert reply.headers["Content-Type"] == f"application/json; type=image/{output_format}"
            assert set(reply.json) == {"image", "seed", "finish_reason"}


@pytest.mark.parametrize(
    ("endpoint", "changes", "sentence"),
    [
        ("upscale/fast", {"image": None}, "image: required"),
        ("upscale/fast", {"image": (31, 64)}, "image: every side must be at least 32"),
        ("upscale/fast", {"image": (1537, 64)}, "image: every side must be at most 1536"),
        (
            "upscale/fast",
            {"image": (1536, 683)},
            "image: must have at most 1048576 pixels in all",
        ),
        ("upscale/fast", {"seed": 1}, "seed: unknown field, fast takes image, output_format"),
        ("upscale/conservative", {"prompt": None}, "prompt: required"),
        (
            "upscale/conservative",
            {"creativity": 0.19},
            "creativity: number must be greater than or equal to 0.2",
        ),
        (
            "upscale/conservative",
            {"creativity": 0.51},
            "creativity: number must be less than or equal to 0.5",
        ),
        ("upscale/conservative", {"style_preset": "anime"}, "style_preset: unknown field"),
        (
            "upscale/conservative",
            {"image": (161, 64)},
            "image: aspect ratio must be between 1:2.5 and 2.5:1",
        ),
        (
            "upscale/creative",
            {"image": (1025, 1024)},
            "image: must have at most 1048576 pixels in all",
        ),
        (
            "upscale/creative",
            {"creativity": 0.09},
            "creativity: number must be greater than or equal to 0.1",
        ),
        ("edit/erase", {"image": (63, 80)}, "image: every side must be at least 64"),
        ("edit/erase", {"prompt": "a cat"}, "prompt: unknown field"),
        ("edit/erase", {"mask": b"no image"}, "mask: must be an image in one of the formats"),
        ("edit/erase", {"mask": "a path"}, "mask: expected a file, received text"),
        ("edit/erase", {"grow_mask": 21}, "grow_mask: number must be less than or equal to 20"),
        ("edit/inpaint", {"grow_mask": 101}, "grow_mask: number must be less than or equal to 100"),
        ("edit/inpaint", {"prompt": ""}, "prompt: string must contain at least 1 character(s)"),
        (
            "edit/outpaint",
            {"left": None, "right": None, "up": None, "down": None},
            "left: at least one of left, right, up, down must be greater than 0",
        ),
        (
            "edit/outpaint",
            {"left": 0, "right": 0, "up": 0, "down": 0},
            "left: at least one of left, right, up, down must be greater than 0",
        ),
        ("edit/outpaint", {"up": 2001}, "up: number must be less than or equal to 2000"),
        ("edit/outpaint", {"up": -1}, "up: number must be greater than or equal to 0"),
        ("edit/outpaint", {"up": 1.5}, "up: expected integer, received float"),
        ("edit/outpaint", {"up": "far"}, "up: expected integer, received 'far'"),
        ("edit/outpaint", {"negative_prompt": "x"}, "negative_prompt: unknown field"),
        ("edit/search-and-replace", {"search_prompt": None}, "search_prompt: required"),
        (
            "edit/search-and-recolor",
            {"select_prompt": "x" * 10_001},
            "select_prompt: string must contain at most 10000 character(s)",
        ),
        ("edit/search-and-recolor", {"select_prompt": None}, "select_prompt: required"),
        (
            "edit/remove-background",
            {"output_format": "jpeg"},
            "output_format: invalid enum value. Expected 'png' | 'webp', received 'jpeg'",
        ),
        (
            "edit/remove-background",
            {"image": (2049, 2048)},
            "image: must have at most 4194304 pixels in all",
        ),
        (
            "edit/replace-background-and-relight",
            {"background_prompt": None},
            "background_prompt: required, unless there is background_reference",
        ),
        (
            "edit/replace-background-and-relight",
            {"background_prompt": ""},
            "background_prompt: required, unless there is background_reference",
        ),
        (
            "edit/replace-background-and-relight",
            {"light_source_strength": 0.5},
            "light_source_strength: requires light_reference or light_source_direction",
        ),
        (
            "edit/replace-background-and-relight",
            {"light_source_direction": "behind"},
            "light_source_direction: invalid enum value. Expected 'left' | 'right'",
        ),
        (
            "edit/replace-background-and-relight",
            {"keep_original_background": "yes"},
            "keep_original_background: invalid enum value. Expected 'true' | 'false'",
        ),
        (
            "edit/replace-background-and-relight",
            {"light_reference": (64, 63)},
            "light_reference: every side must be at least 64",
        ),
        ("control/sketch", {"control_strength": 1.01}, "control_strength: number must be less"),
        ("control/structure", {"image": None}, "image: required"),
        ("control/style", {"fidelity": -0.01}, "fidelity: number must be greater than"),
        ("control/style", {"aspect_ratio": "2:1"}, "aspect_ratio: invalid enum value."),
        ("control/style-transfer", {"style_image": None}, "style_image: required"),
        (
            "control/style-transfer",
            {"init_image": (161, 64)},
            "init_image: aspect ratio must be between",
        ),
        (
            "control/style-transfer",
            {"change_strength": 0.09},
            "change_strength: number must be greater than or equal to 0.1",
        ),
        ("control/style-transfer", {"style_preset": "anime"}, "style_preset: unknown field"),
    ],
    ids=shown,
)
async def test_each_mistake_has_its_sentence(
    endpoint: str, changes: dict[str, Any], sentence: str, shared: Emulator
) -> None:
    """A rule that is not kept here would let the client's mistakes through."""
    given = {**GOOD[endpoint], **changes}
    async with caller(shared) as client:
        reply = await client.post(endpoint, **sent(given))

    assert reply.status == 400
    assert reply.json["name"] == "bad_request"
    assert any(error.startswith(sentence) for error in reply.errors), reply.errors


@pytest.mark.parametrize(
    ("endpoint", "changes"),
    [
        ("upscale/fast", {"image": (1536, 682)}),
        ("upscale/fast", {"image": (32, 32)}),
        ("upscale/conservative", {"image": (160, 64), "creativity": 0.2}),
        ("upscale/conservative", {"image": (3072, 3072), "creativity": 0.5}),
        ("edit/erase", {"image": (64, 4000), "mask": (1, 1), "grow_mask": 20}),
        ("edit/inpaint", {"grow_mask": 0.5}),
        ("edit/outpaint", {"prompt": "", "left": 0, "right": 0, "up": 0, "down": 1}),
        ("edit/search-and-replace", {"search_prompt": ""}),
        ("control/style-transfer", {"prompt": "", "change_strength": 0.1}),
        (
            "edit/replace-background-and-relight",
            {"background_prompt": None, "background_reference": (400, 64)},
        ),
        (
            "edit/replace-background-and-relight",
            {
                "light_reference": (120, 80),
                "light_source_direction": "above",
                "light_source_strength": 0,
            },
        ),
    ],
    ids=shown,
)
async def test_values_on_the_bounds_pass(
    endpoint: str, changes: dict[str, Any], shared: Emulator
) -> None:
    """A bound that is too tight would forbid what the service allows."""
    given = {**GOOD[endpoint], **changes}
    async with caller(shared) as client:
        reply = await client.post(endpoint, **sent(given))

    assert reply.status == 200, reply.body


@pytest.mark.parametrize(
    ("upload", "size"), [((3072, 3072), (3072, 3072)), ((64, 64), (2048, 2048))], ids=str
)
async def test_an_upscale_makes_nothing_smaller(
    upload: tuple[int, int], size: tuple[int, int], shared: Emulator
) -> None:
    """Conservative takes nine megapixels and promises four."""
    async with caller(shared) as client:
        reply = await client.post("upscale/conservative", image=picture(upload), prompt="a cat")

    assert reply.image.size == size


async def test_an_erase_over_the_wire_changes_only_its_mask() -> None:
    """The mask arrives, is resized to the image, and nothing outside of it moves."""
    mask = Image.new("L", (12, 8))
    mask.paste(255, (6, 0, 12, 8))
    buffer = io.BytesIO()
    mask.save(buffer, "png")
    async with emulated(image_bytes=None) as (_, client):
        reply = await client.post(
            "edit/erase", image=UPLOAD, mask=buffer.getvalue(), grow_mask=0, seed=3
        )
        again = await client.post(
            "edit/erase", image=UPLOAD, mask=buffer.getvalue(), grow_mask=0, seed=3
        )

    original = Image.new("RGB", (120, 80), (250, 240, 10))
    box = ImageChops.difference(reply.image.convert("RGB"), original).getbbox()
    assert box is not None
    assert box[0] >= 50
    assert box[2] == 120
    assert again.body != reply.body
    assert again.image.tobytes() == reply.image.tobytes()


async def test_a_removed_background_is_transparent_over_the_wire() -> None:
    """png and webp have an alpha channel, which is the point."""
    async with emulated(image_bytes=None) as (_, client):
        for output_format in ("png", "webp"):
            reply = await client.post(
                "edit/remove-background", image=UPLOAD, output_format=output_format
            )

            assert reply.image.mode == "RGBA"
            assert reply.image.getchannel("A").getextrema() == (0, 255)


async def test_a_mask_that_breaks_off_is_named() -> None:
    """With several images the sentence has to say which."""
    broken = picture((300, 300))[:-60]
    async with emulated(image_bytes=None) as (emulator, client):
        reply = await client.post("edit/erase", image=UPLOAD, mask=broken)

        assert reply.errors == ["mask: could not be decoded"]
        assert emulator.paid == 0


@pytest.mark.parametrize(("output_format", "most"), [("webp", 16_383), ("jpeg", 65_500)])
async def test_an_image_that_its_format_cannot_hold_is_refused(
    output_format: str, most: int
) -> None:
    """Some endpoints bound no side; an encoder that gives up would be a failure of ours."""
    tall = picture((64, 66_000))
    async with emulated(image_bytes=None) as (_, client):
        reply = await client.post("edit/erase", image=tall, output_format=output_format)

    assert reply.status == 400
    assert reply.errors[0].startswith(
        f"output_format: {output_format} holds at most {most} pixels a side"
    )


async def test_unknown_fields_are_ignored_everywhere_until_it_is_strict() -> None:
    """The service ignores them, among them the empty part of the vendor's samples."""
    async with emulated(strict=False) as (emulator, client):
        reply = await client.post("edit/erase", image=UPLOAD, none=b"", prompt="a slip")

        assert reply.status == 200
        assert emulator.requests[0].ignored == ("none", "prompt")


async def test_faults_and_balances_reach_the_new_endpoints() -> None:
    """A script may name the end of a path; a balance too small is told before anything is done."""
    async with emulated(credits=41, keys={KEY}) as (emulator, client):
        emulator.faults.script([Fault.status(500)], path="upscale/conservative")
        statuses = [
            (await client.post("upscale/conservative", **sent(GOOD["upscale/conservative"]))).status
            for _ in range(3)
        ]
        wrong = await client.post("upscale/fast", key="sk-wrong", image=UPLOAD)

        assert statuses == [500, 200, 402]
        assert wrong.status == 401
        assert emulator.credits_used == 40
