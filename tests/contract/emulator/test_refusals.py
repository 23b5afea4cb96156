"""Bad requests: the status, the name and the sentence for each mistake."""

import re
from typing import Any, cast

import pytest

from contract.emulator.caller import GENERATE, KEY, caller, emulated, form, picture
from sd3async.emulator import Emulator

GOOD_I2I: dict[str, Any] = {"mode": "image-to-image", "image": picture(), "strength": 0.5}


def shown(value: Any) -> str:
    """Return a short id for a parameter."""
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        return ",".join(f"{name}={str(given)[:12]}" for name, given in fields.items())
    return str(value)[:40]


@pytest.mark.parametrize(
    ("endpoint", "fields", "sentence"),
    [
        ("core", {"prompt": None}, "prompt: required"),
        ("core", {"prompt": ""}, "prompt: string must contain at least 1 character(s)"),
        (
            "core",
            {"prompt": "x" * 10_001},
            "prompt: string must contain at most 10000 character(s)",
        ),
        (
            "core",
            {"negative_prompt": "x" * 10_001},
            "negative_prompt: string must contain at most 10000 character(s)",
        ),
        ("core", {"seed": -1}, "seed: number must be greater than or equal to 0"),
        ("core", {"seed": 4294967295}, "seed: number must be less than or equal to 4294967294"),
        ("core", {"seed": 1.5}, "seed: expected integer, received float"),
        ("core", {"seed": "many"}, "seed: expected number, received 'many'"),
        ("core", {"seed": ""}, "seed: expected number, received ''"),
        ("core", {"seed": "NaN"}, "seed: expected number, received 'NaN'"),
        ("core", {"seed": " 7"}, "seed: expected number, received ' 7'"),
        (
            "core",
            {"output_format": "gif"},
            "output_format: invalid enum value. Expected 'jpeg' | 'png' | 'webp', received 'gif'",
        ),
        (
            "core",
            {"aspect_ratio": "1:2"},
            "aspect_ratio: invalid enum value. Expected '21:9' | '16:9'",
        ),
        ("core", {"style_preset": "none"}, "style_preset: invalid enum value. Expected 'enhance'"),
        ("core", {"image": picture()}, "image: unknown field, core takes prompt, aspect_ratio"),
        ("core", {"mode": "text-to-image"}, "mode: unknown field"),
        ("ultra", {"model": "ultra"}, "model: unknown field"),
        ("ultra", {"image": picture()}, "strength: required with image"),
        ("ultra", {"image": "a path", "strength": 1}, "image: expected a file, received text"),
        ("ultra", {"prompt": b"a cat"}, "prompt: expected text, received a file"),
        (
            "ultra",
            {"image": picture((63, 80)), "strength": 1},
            "image: every side must be at least 64",
        ),
        ("ultra", {"image": b"no image", "strength": 1}, "image: must be an image in one of"),
        (
            "ultra",
            {"image": picture(kind="gif"), "strength": 1},
            "image: must be an image in one of",
        ),
        ("ultra", {"image": b"", "strength": 1}, "image: must be an image in one of"),
        ("sd3", {"model": "sd4"}, "model: invalid enum value. Expected 'sd3.5-large'"),
        ("sd3", {"mode": "image"}, "mode: invalid enum value. Expected 'text-to-image'"),
        ("sd3", {"cfg_scale": 0.9}, "cfg_scale: number must be greater than or equal to 1"),
        ("sd3", {"cfg_scale": 10.1}, "cfg_scale: number must be less than or equal to 10"),
        ("sd3", {"image": picture()}, "image: not valid for text-to-image"),
        ("sd3", {"strength": 0.5}, "strength: not valid for text-to-image"),
        ("sd3", {"mode": "image-to-image"}, "image: required for image-to-image"),
        ("sd3", {"mode": "image-to-image"}, "strength: required for image-to-image"),
        ("sd3", {**GOOD_I2I, "aspect_ratio": "1:1"}, "aspect_ratio: not valid for image-to-image"),
        ("sd3", {**GOOD_I2I, "strength": 1.01}, "strength: number must be less than or equal to 1"),
        (
            "sd3",
            {**GOOD_I2I, "strength": -0.1},
            "strength: number must be greater than or equal to 0",
        ),
    ],
    ids=shown,
)
async def test_each_mistake_has_its_sentence(
    endpoint: str, fields: dict[str, Any], sentence: str, shared: Emulator
) -> None:
    """A field that is checked wrongly here would let the client's mistakes through."""
    given: dict[str, Any] = {"prompt": "a cat", **fields}
    sent = {name: value for name, value in given.items() if value is not None}
    async with caller(shared) as client:
        reply = await client.post(endpoint, **sent)

    assert reply.status == 400
    assert reply.json["name"] == "bad_request"
    assert any(error.startswith(sentence) for error in reply.errors), reply.errors


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        ("sd3", {"strength": 0, **{k: v for k, v in GOOD_I2I.items() if k != "strength"}}),
        ("sd3", {**GOOD_I2I, "strength": "1e-05"}),
        ("sd3", {"model": "sd3-large-turbo", "negative_prompt": "people"}),
        ("core", {"negative_prompt": "x" * 10_000, "seed": 4294967294}),
        ("ultra", {"image": picture((64, 64), "webp"), "strength": 1}),
        ("sd3", {"cfg_scale": 10, "mode": "text-to-image", "aspect_ratio": "21:9"}),
    ],
    ids=shown,
)
async def test_values_on_the_bounds_pass(
    endpoint: str, fields: dict[str, Any], shared: Emulator
) -> None:
    """A bound that is too tight would forbid what the service allows."""
    async with caller(shared) as client:
        reply = await client.post(endpoint, prompt="a cat", **fields)

    assert reply.status == 200, reply.body


async def test_every_mistake_is_told_at_once(shared: Emulator) -> None:
    """One round trip per mistake would be a nuisance."""
    async with caller(shared) as client:
        reply = await client.post("core", prompt="", seed=-1, output_format="gif", size=3)

    assert len(reply.errors) == 4


async def test_error_bodies_have_the_services_form(shared: Emulator) -> None:
    """Compact, keys sorted, the id in the header too, JSON whatever was accepted."""
    async with caller(shared) as client:
        reply = await client.post("core")

    assert re.fullmatch(
        rb'\{"errors":\["prompt: required"\],"id":"[0-9a-f]{32}","name":"bad_request"\}', reply.body
    )
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["x-request-id"] == reply.json["id"]


@pytest.mark.parametrize(
    ("headers", "body", "sentence"),
    [
        ({}, None, "content-type: required"),
        ({"Content-Type": "application/json"}, b"{}", "content-type: must be multipart/form-data"),
        (
            {"Content-Type": "application/x-www-form-urlencoded"},
            b"prompt=x",
            "content-type: must be multipart/form-data",
        ),
        ({"Content-Type": "multipart/form-data"}, b"--x--", "content-type: boundary required"),
        (
            {"Content-Type": "multipart/form-data; boundary=x"},
            b"hello",
            "body: malformed multipart, it",
        ),
        (
            {"Content-Type": "multipart/form-data; boundary=x"},
            b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\xff\r\n--x--',
            "prompt: must be UTF-8 text",
        ),
        (
            {"Content-Type": "multipart/form-data; boundary=x"},
            b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na\r\n'
            b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na\r\n--x--',
            "prompt: given more than once",
        ),
    ],
    ids=shown,
)
async def test_bodies_that_are_no_form(
    headers: dict[str, str], body: bytes | None, sentence: str, shared: Emulator
) -> None:
    """The endpoints take multipart/form-data, also when there is no file."""
    async with caller(shared) as client:
        headers = {"Accept": "image/*", **headers}
        reply = await client.ask("POST", GENERATE + "core", headers=headers, data=body)

    assert reply.status == 400
    assert reply.errors[0].startswith(sentence)


@pytest.mark.parametrize("accept", ["image/png", "*/*", "text/html", ""])
async def test_only_the_two_documented_accept_values(accept: str, shared: Emulator) -> None:
    """Anything else is a client that does not say what it wants."""
    async with caller(shared) as client:
        reply = await client.post("core", prompt="a cat", accept=accept)

    assert reply.status == 400
    assert reply.errors[0].startswith("accept: invalid enum value. Expected 'image/*'")


async def test_client_headers_are_bounded(shared: Emulator) -> None:
    """The three stability-client headers take 256 characters."""
    async with caller(shared) as client:
        client.session.headers["Stability-Client-ID"] = "x" * 257
        reply = await client.post("core", prompt="a cat")

    assert reply.errors == ["stability-client-id: string must contain at most 256 character(s)"]


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer  ", "Bearer sk-wrong"])
async def test_requests_without_a_known_key(authorization: str | None) -> None:
    """Missing, empty and wrong keys are all 401, after the fields have been checked."""
    async with emulated(keys={KEY}) as (_, client):
        headers = {} if authorization is None else {"Authorization": authorization}
        good, bad = form({"prompt": "a cat"}), form({"prompt": ""})
        path = GENERATE + "core"
        right = await client.ask("POST", path, data=good, headers={**headers, "Accept": "image/*"})
        wrong = await client.ask("POST", path, data=bad, headers={**headers, "Accept": "image/*"})

    assert (right.status, right.json["name"]) == (401, "unauthorized")
    assert right.errors == ["authorization: invalid or missing header value"]
    assert wrong.status == 400


async def test_the_balance_needs_a_key_too() -> None:
    """Errors of v1 have a shape of their own."""
    async with emulated(keys={KEY}) as (_, client):
        reply = await client.ask("GET", "/v1/user/balance")
        wrong = await client.ask("GET", "/v1/user/balance", headers={"Authorization": "sk-no"})

    assert (reply.status, wrong.status) == (401, 401)
    assert set(reply.json) == {"id", "message", "name"}


async def test_too_few_credits_are_402() -> None:
    """Nothing is charged for what is refused."""
    async with emulated(credits=7.5) as (emulator, client):
        statuses = [(await client.post("core", prompt="a cat")).status for _ in range(3)]

        assert statuses == [200, 200, 402]
        assert emulator.requests[-1].error_name == "payment_required"
        assert emulator.credits_used == 6


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
async def test_ten_mebibytes_are_for_the_whole_body(*, early: bool, chunked: bool) -> None:
    """The limit counts the form around the image too, declared or not."""
    image = picture() + bytes(10 * 1024 * 1024 - 900)
    async with emulated(early_refusal=early) as (emulator, client):
        fits = await client.post("ultra", prompt="a cat", strength=1, image=image)
        path, headers = GENERATE + "ultra", {"Authorization": KEY, "Accept": "image/*"}
        data = form({"prompt": "x" * 900, "strength": 1, "image": image})
        large = await client.ask("POST", path, data=data, headers=headers, chunked=chunked or None)

        assert fits.status == 200
        assert (large.status, large.json["name"]) == (413, "payload_too_large")
        assert large.errors == ["body: payloads cannot be larger than 10MiB in size"]
        assert emulator.requests[-1].chunked is chunked
        if early and not chunked:  # the declared length suffices
            assert emulator.requests[-1].body_size < 1024 * 1024


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("POST", "/v2beta/stable-image/generate/sd4", 404, "not_found"),
        ("POST", "/", 404, "not_found"),
        ("POST", "/v2beta/stable-image/generate/core/", 404, "not_found"),
        ("GET", GENERATE + "core", 405, "method_not_allowed"),
        ("POST", "/v1/user/balance", 405, "method_not_allowed"),
        ("GET", "/v2beta/stable-image/edit/erase", 405, "method_not_allowed"),
        ("POST", "/v2beta/results/" + "a" * 64, 405, "method_not_allowed"),
        ("POST", "/v2beta/3d/stable-fast-3d", 501, "not_emulated"),
        ("GET", "/v2beta/audio/results/" + "a" * 64, 501, "not_emulated"),
        ("POST", "/v1/generation/x/image-to-image/upscale", 501, "not_emulated"),
    ],
)
async def test_other_paths_are_refused_loudly(
    method: str, path: str, status: int, name: str, shared: Emulator
) -> None:
    """A typing error in a path, or an endpoint that is missing here, must not pass for good."""
    async with caller(shared) as client:
        reply = await client.ask(method, path)

    told = reply.json["message"] if path.startswith("/v1/") else reply.errors[0]
    assert (reply.status, reply.json["name"]) == (status, name)
    assert path in told


async def test_the_service_ignores_unknown_fields_and_so_does_the_emulator_when_told() -> None:
    """Official samples send an empty part named "none"."""
    async with emulated(unknown_fields="ignore") as (_, client):
        reply = await client.post("core", prompt="a cat", none=b"", model="x")

        assert reply.status == 200


async def test_a_service_may_know_fewer_models() -> None:
    """Gateways document the names of 2024 alone, and turbo took no negative prompt then."""
    settings = {"models": {"sd3-large", "sd3-large-turbo"}, "turbo_negative_prompt": False}
    async with emulated(**settings) as (_, client):
        default = await client.post("sd3", prompt="a cat")
        old = await client.post("sd3", prompt="a cat", model="sd3-large")
        turbo = await client.post("sd3", prompt="a", model="sd3-large-turbo", negative_prompt="b")
        none = await client.post("sd3", prompt="a", model="sd3-large-turbo", negative_prompt="")

    assert default.errors == [
        "model: invalid enum value. Expected 'sd3-large' | 'sd3-large-turbo', received 'sd3.5-large'"
    ]
    assert old.status == 200
    assert none.status == 200
    assert turbo.errors == ["negative_prompt: does not work with sd3-large-turbo"]


async def test_an_upload_that_breaks_off_inside_is_a_bad_request() -> None:
    """The header of an image may be good while its data is not."""
    broken = picture((300, 300))[:-60]
    async with emulated(image_bytes=None) as (emulator, client):
        reply = await client.post("ultra", prompt="a cat", image=broken, strength=0.5)

        assert reply.errors == ["image: could not be decoded"]
        assert emulator.paid == 0
