"""What programs of others send, byte for byte as they sent it, and what comes of it.

Recorded with LiteLLM 1.106.2, requests 2.34.2 (the vendor's own sample) and curl 7.88.1. The
bytes stand in for the programs: LiteLLM alone would bring sixty packages into every test run.
"""

from typing import Any

import pytest

from contract.emulator.caller import PROMPT, Reply, caller, emulated, posted, text_parts, wire

RECORDED = {
    "LiteLLM": """\
POST /v2beta/stable-image/generate/sd3 HTTP/1.1
Host: 127.0.0.1:8998
Accept-Encoding: gzip, deflate
Connection: keep-alive
User-Agent: litellm/1.106.2
Authorization: Bearer sk-any
Accept: application/json
Content-Length: 371
Content-Type: multipart/form-data; boundary=4e705b2b46d9f26e77cad127c51df194

--4e705b2b46d9f26e77cad127c51df194
Content-Disposition: form-data; name="prompt"

a fox
--4e705b2b46d9f26e77cad127c51df194
Content-Disposition: form-data; name="output_format"

png
--4e705b2b46d9f26e77cad127c51df194
Content-Disposition: form-data; name="none"; filename="upload"
Content-Type: application/octet-stream


--4e705b2b46d9f26e77cad127c51df194--
""",
    "the vendor's sample": """\
POST /v2beta/stable-image/generate/ultra HTTP/1.1
Host: 127.0.0.1:8998
User-Agent: python-requests/2.34.2
Accept-Encoding: gzip, deflate
accept: image/*
Connection: keep-alive
authorization: Bearer sk-MYAPIKEY
Content-Length: 368
Content-Type: multipart/form-data; boundary=1529dbe0e4025d449830f37ea567a065

--1529dbe0e4025d449830f37ea567a065
Content-Disposition: form-data; name="prompt"

Lighthouse on a cliff overlooking the ocean
--1529dbe0e4025d449830f37ea567a065
Content-Disposition: form-data; name="output_format"

webp
--1529dbe0e4025d449830f37ea567a065
Content-Disposition: form-data; name="none"; filename="none"


--1529dbe0e4025d449830f37ea567a065--
""",
    "curl": """\
POST /v2beta/stable-image/generate/core HTTP/1.1
Host: 127.0.0.1:8998
User-Agent: curl/7.88.1
Accept: */*
authorization: Bearer sk-x
Content-Length: 250
Content-Type: multipart/form-data; boundary=------------------------4b76d7a6e8a0534e

--------------------------4b76d7a6e8a0534e
Content-Disposition: form-data; name="prompt"

fox
--------------------------4b76d7a6e8a0534e
Content-Disposition: form-data; name="output_format"

webp
--------------------------4b76d7a6e8a0534e--
""",
}


async def answer_to(program: str, **settings: object) -> tuple[Reply, tuple[str, ...]]:
    """Return what a recorded request is answered with, and what of it was ignored."""
    async with emulated(**settings) as (emulator, _), wire(emulator) as connection:
        await connection.send(RECORDED[program].replace("\n", "\r\n").encode())
        return await connection.reply(), emulator.requests[0].ignored


@pytest.mark.parametrize(
    ("program", "content_type", "ignored"),
    [
        ("LiteLLM", "application/json; type=image/png", ("none",)),
        ("the vendor's sample", "image/webp", ("none",)),
        ("curl", "image/webp", ()),
    ],
)
async def test_programs_that_work_with_the_service_work_here(
    program: str, content_type: str, ignored: tuple[str, ...]
) -> None:
    """An emulator that refuses what the service takes makes good programs look broken."""
    reply, passed_over = await answer_to(program, strict=False)

    assert (reply.status, reply.headers["content-type"]) == (200, content_type)
    assert passed_over == ignored


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("LiteLLM", "none: unknown field"),
        ("the vendor's sample", "none: unknown field"),
        ("curl", "accept: invalid enum value"),
    ],
)
async def test_a_strict_emulator_names_what_the_service_passes_over(
    program: str, complaint: str
) -> None:
    """A field that is misspelt costs an image that looks as if it had not been given."""
    reply, passed_over = await answer_to(program, strict=True)

    assert reply.status == 400
    assert reply.errors[0].startswith(complaint)
    assert not passed_over


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({}, 200),
        ({"strict": False, "unknown_fields": "reject"}, 400),
        ({"strict": True, "unknown_fields": "ignore"}, 200),
    ],
    ids=str,
)
async def test_unknown_fields_have_a_switch_of_their_own(
    settings: dict[str, object], status: int
) -> None:
    """Who had set it before there was `strict` gets what it says."""
    async with emulated(**{"strict": False, **settings}) as (_, client):
        reply = await client.post("core", prompt="a cat", size="3")

    assert reply.status == status


async def test_unknown_fields_reach_nothing_however_odd_they_are() -> None:
    """A field of another endpoint would be read as if it belonged, and end in a 500."""
    odd: dict[str, Any] = {
        "image": b"no image",
        "cfg_scale": "much",
        "model": "sd4",
        "mode": "x",
        "strength": "y",
    }
    async with emulated(strict=False, image_bytes=None) as (emulator, client):
        reply = await client.post("core", prompt="a cat", **odd)
        (seen,) = emulator.requests

        assert reply.status == 200
        assert seen.ignored == ("image", "cfg_scale", "model", "mode", "strength")
        assert seen.fields["cfg_scale"] == "much"


@pytest.mark.parametrize(
    ("accept", "content_type", "ignored"),
    [
        ("*/*", "image/png", ()),
        ("image/png", "image/png", ()),
        ("application/json; type=image/png", "application/json; type=image/png", ()),
        ("application/json, text/plain, */*", "application/json; type=image/png", ()),
        ("application/json;q=0.5, image/*;q=0.9", "image/png", ()),
        ("type=image/*", "image/png", ("accept: type=image/*",)),
    ],
)
async def test_accept_is_read_as_http_means_it(
    accept: str, content_type: str, ignored: tuple[str, ...]
) -> None:
    """Published clients send each of these, and they work with the service."""
    async with emulated(strict=False) as (emulator, client):
        reply = await client.post("core", prompt="a cat", accept=accept)

        assert (reply.status, reply.headers["content-type"]) == (200, content_type)
        assert emulator.requests[0].ignored == ignored


async def test_no_accept_header_means_an_image() -> None:
    """The document has `image/*` as the default."""
    body = text_parts(PROMPT)
    async with emulated(strict=True) as (emulator, _), wire(emulator) as connection:
        await connection.send(posted(body).replace(b"Accept: image/*\r\n", b""))
        reply = await connection.reply()

    assert (reply.status, reply.headers["content-type"]) == (200, "image/png")


async def test_what_can_only_be_refused_is() -> None:
    """Neither JSON nor an image is what this client can read."""
    async with emulated(strict=False) as (_, client):
        reply = await client.post("core", prompt="a cat", accept="text/html, image/*;q=0")

    assert (reply.status, reply.json["name"]) == (400, "bad_request")


@pytest.mark.parametrize(
    ("body", "oddity", "complaint"),
    [
        (b"hello\r\n" + text_parts(PROMPT), "a preamble", "it does not begin with its boundary"),
        (text_parts(PROMPT) + b"and more", "an epilogue", "it goes on after its last boundary"),
        (
            text_parts(PROMPT).replace(b"--b\r\n", b"--b \t\r\n", 1),
            "blanks after a boundary",
            "a boundary line goes on after the boundary",
        ),
    ],
    ids=["preamble", "epilogue", "blanks"],
)
async def test_what_multipart_allows_is_read_or_named(
    body: bytes, oddity: str, complaint: str
) -> None:
    """RFC 2046 allows it, some writers of mail make use of it, and no form needs it."""
    async with emulated(strict=False) as (emulator, _), wire(emulator) as connection:
        await connection.send(posted(body))
        lenient = await connection.reply()
        emulator.strict = True
        await connection.send(posted(body))
        strict = await connection.reply()
        first = emulator.requests[0]

    assert (lenient.status, first.fields) == (200, {"prompt": "a cat"})
    assert first.ignored == (f"body: {oddity}",)
    assert strict.errors == [f"body: malformed multipart, {complaint}"]


async def test_ignored_parts_are_in_the_journal_of_other_processes_too() -> None:
    """A benchmark elsewhere reads the same journal, as JSON."""
    async with emulated(strict=False) as (emulator, client), caller(emulator) as control:
        await client.post("core", prompt="a cat", none=b"")
        (seen,) = (await control.ask("GET", "/_emulator/requests")).json

    assert seen["ignored"] == ["none"]
