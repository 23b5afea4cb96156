"""Good requests: what comes back, and what the journal and the books say."""

import base64
import hashlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from PIL import ImageChops, ImageStat

from contract.emulator.caller import Caller, Reply, emulated, picture
from sd3async.emulator import Part


@pytest.mark.parametrize(
    ("endpoint", "fields", "size", "price"),
    [
        ("ultra", {}, (1024, 1024), 8),
        ("core", {}, (1536, 1536), 3),
        ("sd3", {}, (1024, 1024), 6.5),
        ("sd3", {"model": "sd3-medium", "aspect_ratio": "16:9"}, (1344, 768), 3.5),
        ("core", {"aspect_ratio": "9:21", "style_preset": "anime"}, (960, 2304), 3),
        (
            "sd3",
            {"model": "sd3.5-flash", "cfg_scale": 1.5, "negative_prompt": ""},
            (1024, 1024),
            2.5,
        ),
    ],
    ids=str,
)
async def test_each_endpoint_sends_its_image(
    endpoint: str, fields: dict[str, Any], size: tuple[int, int], price: float
) -> None:
    """Size, price and headers are the documented ones."""
    async with emulated() as (emulator, client):
        reply = await client.post(endpoint, prompt="a cat", seed=7, **fields)

        assert reply.status == 200
        assert reply.image.size == size
        assert reply.headers["Content-Type"] == "image/png"
        assert reply.headers["finish-reason"] == "SUCCESS"
        assert reply.headers["seed"] == "7"
        assert len(reply.headers["x-request-id"]) == 32
        assert reply.headers["x-emulator"] == "sd3async"
        assert (emulator.paid, emulator.credits_used) == (1, price)


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
async def test_drawn_images_have_the_format_that_was_asked_for(output_format: str) -> None:
    """A file of another type than its header says would corrupt whole folders."""
    async with emulated(image_bytes=None) as (_, client):
        reply = await client.post("sd3", prompt="a cat", output_format=output_format)

        assert reply.headers["Content-Type"] == f"image/{output_format}"
        assert (reply.image.format or "").lower() == output_format


async def test_json_answers_hold_image_and_seed_in_the_body_alone() -> None:
    """In JSON the headers are absent, and the type carries a parameter."""
    async with emulated() as (_, client):
        reply = await client.post("core", prompt="a cat", seed=7, accept="application/json")

        assert reply.headers["Content-Type"] == "application/json; type=image/png"
        assert not {"seed", "finish-reason"} & set(reply.headers)
        assert (reply.json["seed"], reply.json["finish_reason"]) == (7, "SUCCESS")
        assert base64.b64decode(reply.json["image"]).startswith(b"\x89PNG")


async def test_seed_zero_means_random_but_repeatable_by_the_emulators_seed() -> None:
    """0 and absent ask for chance; a test run must still repeat itself."""

    async def seeds(seed: int) -> list[str]:
        async with emulated(seed=seed) as (_, client):
            replies = [
                await client.post("core", prompt="a cat"),
                await client.post("core", prompt="a cat", seed=0),
            ]
            return [reply.headers["seed"] for reply in replies]

    first = await seeds(1)
    assert len(set(first)) == 2
    assert "0" not in first
    assert await seeds(1) == first
    assert await seeds(2) != first


def difference(one: Reply, other: bytes) -> float:
    sent = Reply(200, {}, other).image.convert("RGB").resize(one.image.size)
    return sum(ImageStat.Stat(ImageChops.difference(one.image, sent)).mean) / 3


async def test_image_to_image_comes_from_the_upload() -> None:
    """Strength 0 returns the upload, more of it moves away towards the drawing."""
    upload = picture((128, 128))
    async with emulated(image_bytes=None) as (_, client):

        async def at(strength: float) -> float:
            reply = await client.post(
                "sd3",
                prompt="a cat",
                mode="image-to-image",
                image=upload,
                strength=strength,
                seed=1,
            )
            return difference(reply, upload)

        distances = [await at(0), await at(0.3), await at(1)]

    assert distances[0] == 0
    assert distances == sorted(distances)
    assert distances[2] > 3 * distances[1] > 0


@pytest.mark.parametrize(
    ("upload", "fields", "size"),
    [
        ((1344, 768), {}, (1344, 768)),
        ((300, 200), {}, (1280, 832)),
        ((300, 200), {"aspect_ratio": "1:1"}, (1024, 1024)),
    ],
    ids=str,
)
async def test_an_upload_gives_ultra_its_shape(
    upload: tuple[int, int], fields: dict[str, str], size: tuple[int, int]
) -> None:
    """About a megapixel in the upload's shape, unless an aspect ratio is named."""
    async with emulated() as (_, client):
        reply = await client.post(
            "ultra", prompt="a cat", image=picture(upload), strength=0.5, **fields
        )

        assert reply.image.size == size


async def test_the_journal_tells_what_arrived_without_the_key() -> None:
    """Tests of a client assert on fields, parts and hashes; keys must not leak into reports."""
    image = picture()
    async with emulated() as (emulator, client):
        await client.post("ultra", prompt="a cat", image=image, strength=0.5, seed=9)
        (seen,) = emulator.requests

    assert (seen.number, seen.method, seen.status) == (1, "POST", 200)
    assert seen.path == "/v2beta/stable-image/generate/ultra"
    assert seen.fields == {"prompt": "a cat", "strength": "0.5", "seed": "9"}
    assert seen.parts[1] == Part(
        "image", "image.png", "image/png", len(image), hashlib.sha256(image).hexdigest()
    )
    assert seen.content_length == seen.body_size > len(image)
    assert not seen.chunked
    assert seen.finished
    assert not seen.disconnected
    assert (seen.seed, seen.charged) == (9, 8)
    assert seen.answered_at is not None
    assert seen.answered_at >= seen.at
    assert "sk-of-a-test" not in repr(seen)
    assert "authorization" not in seen.headers
    assert seen.key_id


async def test_a_chunked_upload_is_read_and_noticed() -> None:
    """A client that promises Content-Length is caught when it sends chunks instead."""
    async with emulated() as (emulator, client):
        boundary = "abc"

        async def body() -> AsyncGenerator[bytes]:
            yield f'--{boundary}\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n'.encode()
            yield f"a cat\r\n--{boundary}--\r\n".encode()

        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Authorization": "sk-bare",
            "Accept": "image/*",
        }
        path = "/v2beta/stable-image/generate/core"
        reply = await client.ask("POST", path, data=body(), headers=headers)

        assert reply.status == 200
        assert emulator.requests[0].chunked
        assert emulator.requests[0].content_length is None


async def test_the_balance_goes_down_with_each_success() -> None:
    """The account is shared by its keys."""
    async with emulated(credits=20) as (_, client):
        await client.post("core", prompt="a cat", key="sk-one")
        reply = await client.ask("GET", "/v1/user/balance", headers={"Authorization": "sk-two"})

        assert reply.json == {"credits": 17}


async def test_keys_may_have_balances_of_their_own() -> None:
    """A pool of keys runs dry one after the other."""
    async with emulated(credits={"sk-poor": 2, "sk-rich": 6}) as (_, client):
        keys = ["sk-poor", "sk-rich", "sk-rich", "sk-rich"]
        statuses = [(await client.post("core", prompt="a cat", key=key)).status for key in keys]

        assert statuses == [402, 200, 200, 402]


async def test_the_journal_keeps_only_the_last_lines() -> None:
    """A million requests may not fill the memory; the totals go on counting."""
    async with emulated(journal_limit=3, limit=None) as (emulator, client):
        for number in range(5):
            await client.post("core", prompt=f"cat {number}")

        assert [seen.fields["prompt"] for seen in emulator.requests] == ["cat 2", "cat 3", "cat 4"]
        assert emulator.stats.requests == 5


async def test_a_gateways_prefix_is_part_of_the_url() -> None:
    """Resellers put the same paths under one of their own."""
    async with emulated(prefix="/sd") as (emulator, client):
        assert emulator.url.endswith("/sd")
        assert (await client.post("core", prompt="a cat")).status == 200
        bare = Caller(client.session, emulator.url.removesuffix("/sd"))
        assert (await bare.post("core", prompt="a cat")).status == 404
