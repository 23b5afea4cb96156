"""Requests that are legal but odd, that are no HTTP, or that never end."""

import asyncio
import contextlib
import time
from typing import Any

import pytest

from contract.emulator.caller import (
    GENERATE,
    PROMPT,
    Reply,
    Wire,
    emulated,
    picture,
    posted,
    text_parts,
    wire,
)
from sd3async.emulator import Emulator, Fault

LIMIT = 10 * 1024 * 1024  # [bytes] of a body


async def answer_to(emulator: Emulator, request: bytes) -> Reply:
    async with wire(emulator) as connection:
        await connection.send(request)
        return await connection.reply()


def chunked(body: bytes) -> bytes:
    """Return a body as one chunk and its end."""
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 413)])
async def test_a_body_may_have_ten_mebibytes_to_the_byte(
    more: int, status: int, *, in_chunks: bool
) -> None:
    """One byte less would refuse what the service takes, one more would let it pass."""
    strength = ('; name="strength"', "0.5")
    head = text_parts(PROMPT, strength).removesuffix(b"--b--\r\n")
    head += b'--b\r\nContent-Disposition: form-data; name="image"; filename="i.png"\r\n\r\n'
    head += picture()
    body = head + bytes(LIMIT + more - len(head) - 9) + b"\r\n--b--\r\n"
    request = posted(body, endpoint="ultra")
    if in_chunks:
        request = posted(chunked(body), "Transfer-Encoding: chunked", endpoint="ultra")
    async with emulated() as (emulator, _):
        reply = await answer_to(emulator, request)

        assert len(body) == LIMIT + more
        assert reply.status == status
        assert emulator.requests[0].body_size == len(body)


async def test_an_endless_epilogue_is_too_large_like_any_body() -> None:
    """Bytes that nobody wants count all the same; they must not fill the memory first."""
    body = text_parts(PROMPT) + bytes(LIMIT)
    async with emulated(strict=False) as (emulator, _):
        reply = await answer_to(emulator, posted(chunked(body), "Transfer-Encoding: chunked"))

    assert reply.status == 413


async def test_very_many_parts_are_refused_before_they_take_seconds() -> None:
    """Reading a hundred thousand heads would stop every other request."""
    many = text_parts(PROMPT, *((f'; name="f{number}"', "") for number in range(1_000)))
    async with emulated(strict=False) as (emulator, _):
        reply = await answer_to(emulator, posted(many))

    assert reply.errors == ["body: more than 1000 parts"]


async def test_a_field_that_nobody_knows_may_come_twice_and_in_any_encoding() -> None:
    """Only what is read can be wrong."""
    odd = text_parts(PROMPT, ('; name="none"', "1"), ('; name="none"; filename="x"', "2"), PROMPT)
    latin = text_parts(PROMPT, ('; name="none"', "ä")).replace("ä".encode(), b"\xe4")
    async with emulated(strict=False) as (emulator, _):
        twice = await answer_to(emulator, posted(odd))
        other = await answer_to(emulator, posted(latin))

        assert twice.errors == ["prompt: given more than once"]
        assert other.status == 200
        assert [seen.ignored for seen in emulator.requests] == [("none",)] * 2


async def test_requests_may_follow_each_other_without_waiting() -> None:
    """Pipelined requests are answered in order."""
    prompts = ["a cat", "a dog", "a fox"]
    requests = [posted(text_parts(('; name="prompt"', prompt))) for prompt in prompts]
    async with emulated() as (emulator, _), wire(emulator) as connection:
        await connection.send(b"".join(requests))
        replies = [await connection.reply() for _ in prompts]

        assert [reply.status for reply in replies] == [200] * 3
        assert [seen.fields["prompt"] for seen in emulator.requests] == prompts


async def test_a_head_request_has_no_body_in_its_answer() -> None:
    """The next answer on the connection would begin in the middle of this one."""
    async with emulated() as (emulator, _), wire(emulator) as connection:
        await connection.send(f"HEAD {GENERATE}core HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        status, headers = await connection.head()
        await connection.send(posted(text_parts(PROMPT)))
        reply = await connection.reply()

    assert (status, headers["allow"]) == (405, "POST")
    assert reply.status == 200


@pytest.mark.parametrize("method", ["OPTIONS", "GET", "PUT", "DELETE", "PATCH"])
async def test_other_methods_name_the_right_one(method: str) -> None:
    """405 without `Allow` is against the standard."""
    async with emulated() as (_, client):
        generate = await client.ask(method, GENERATE + "sd3")
        balance = await client.ask(method.replace("GET", "POST"), "/v1/user/balance")

    assert (generate.status, generate.headers["allow"]) == (405, "POST")
    assert (balance.status, balance.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "request_",
    [
        b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        posted(b"", "X-Long: " + 20_000 * "x"),
        posted(b"zz\r\n", "Transfer-Encoding: chunked"),
        posted(text_parts(PROMPT), "Content-Length: 1", "Content-Length: 2"),
        posted(text_parts(PROMPT), "Content-Encoding: gzip"),
    ],
    ids=["method", "TLS", "long header", "chunk", "two lengths", "not packed"],
)
async def test_what_is_no_http_is_refused_without_a_fuss(
    request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A screenful of the web server's own code hides what went wrong."""
    async with emulated(strict=False) as (emulator, client):
        reply = await answer_to(emulator, request_)
        after = await client.post("core", prompt="a cat")

    assert (reply.status, after.status) == (400, 200)
    assert not caplog.records


async def test_a_key_may_be_any_bytes() -> None:
    """It is hashed for the journal, not read."""
    request = posted(text_parts(PROMPT)).replace(b"Bearer sk", b"Bearer \xff\xfe")
    async with emulated(keys={"sk-right"}) as (emulator, _):
        reply = await answer_to(emulator, request)

        assert reply.status == 401
        assert emulator.requests[0].key_id


@pytest.mark.parametrize(
    ("sent", "settings"),
    [
        (b"POST /v2beta HT", {}),
        (posted(text_parts(PROMPT))[:-9], {}),
        (posted(bytes(3_000_000))[:-9], {"faults": {Fault.unread(): 1.0}}),
        (posted(bytes(3_000_000))[:-9], {"faults": {Fault.early(then="close"): 1.0}}),
        (posted(bytes(3_000_000))[:-9], {"faults": {Fault.early(then="read"): 1.0}}),
        (posted(bytes(3_000_000), endpoint="sd4")[:-9], {}),
        (posted(text_parts(PROMPT)), {"latency": 600.0}),
    ],
    ids=["half a head", "half a body", "unread", "lingering", "reading on", "404", "thinking"],
)
async def test_closing_waits_for_nobody(sent: bytes, settings: dict[str, Any]) -> None:
    """A test suite would take five seconds longer for each slow client it has."""
    async with emulated(**settings) as (emulator, _), contextlib.AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(wire(emulator)) for _ in range(20)]
        sending = [asyncio.create_task(line.send(sent)) for line in lines]
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await emulator.aclose()
        took = time.monotonic() - began
        await asyncio.gather(*sending, *map(_rest, lines), return_exceptions=True)

    assert took < 1.0


async def _rest(line: Wire) -> None:
    """Read to the connection's end, which has come."""
    with contextlib.suppress(ConnectionError):
        await line.reader.read()
