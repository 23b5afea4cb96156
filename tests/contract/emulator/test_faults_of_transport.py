"""Trouble of connections, lengths and proxies, byte by byte, and what is booked for it."""

import asyncio
import gzip
import json
from typing import Any

import pytest

from contract.emulator.caller import PROMPT, Wire, emulated, picture, posted, text_parts, wire
from sd3async.emulator import Emulator, Fault, run_in_virtual_time

UPLOAD = 9 * 1024 * 1024  # [bytes] more than any kernel takes in by itself


def upload(*lines: str) -> bytes:
    """Return an image-to-image request of 9 MiB."""
    strength = ('; name="strength"', "0.5")
    body = text_parts(PROMPT, strength).removesuffix(b"--b--\r\n")
    body += b'--b\r\nContent-Disposition: form-data; name="image"; filename="i.png"\r\n\r\n'
    body += picture() + bytes(UPLOAD) + b"\r\n--b--\r\n"
    return posted(body, *lines, endpoint="ultra")


def whole_request() -> bytes:
    return posted(text_parts(PROMPT))


@pytest.mark.parametrize("then", ["reset", "close", "read"])
async def test_an_answer_before_the_body(then: Any) -> None:
    """Proxies refuse uploads like this, and the refusal has to be found behind a broken write."""
    fault = Fault.early(429, then=then, retry_after=7)
    async with emulated(faults=[fault]) as (emulator, _), wire(emulator) as connection:
        await connection.send(upload()[:20_000])
        reply = await connection.reply()
        (seen,) = emulator.requests

        assert (reply.status, reply.headers["retry-after"]) == (429, "7")
        assert reply.json["id"] == reply.json["name"] == "rate_limit_exceeded"
        assert reply.headers.get("connection") == (None if then == "read" else "close")
        assert (seen.fault, seen.status, seen.finished) == ("early", 429, True)
        assert seen.body_size == emulator.paid == emulator.stats.disconnected == 0
        await _check_end(connection, emulator, then)


async def _check_end(connection: Wire, emulator: Emulator, then: str) -> None:
    """See that the connection was reset, closed in order, or goes on."""
    rest = upload()[20_000:]
    if then == "reset":
        with pytest.raises(ConnectionResetError):
            await connection.reader.read()
    elif then == "close":
        assert await connection.reader.read() == b""
        await connection.send(rest)  # still read, and thrown away
    else:
        await connection.send(rest + whole_request())
        assert (await connection.reply()).status == 200
        assert emulator.requests[1].body_size < 1_000


async def test_an_early_answer_may_be_a_page_and_any_status() -> None:
    """HAProxy says it in HTML; 413 and 417 come early too."""
    faults = [Fault.early(429, page=True), Fault.early(413), Fault.early(417)]
    async with emulated(faults=faults) as (_, client):
        replies = [await client.post("core", prompt="a cat") for _ in faults]

    assert [reply.status for reply in replies] == [429, 413, 417]
    assert replies[0].headers["content-type"] == "text/html"
    assert replies[2].json["name"] == "expectation_failed"


@pytest.mark.parametrize(("early", "closes"), [("close", True), ("reset", True), ("read", False)])
async def test_a_lock_out_can_refuse_before_the_body(early: str, *, closes: bool) -> None:
    """The limit itself does what HAProxy does; a body that is there costs no connection."""
    async with emulated(max_requests=1, early_refusal=early) as (emulator, client):
        await client.post("core", prompt="a cat")
        small = await client.post("core", prompt="a cat")
        async with wire(emulator) as connection:
            await connection.send(upload()[:1000])
            large = await connection.reply()

        assert (small.status, large.status) == (429, 429)
        assert small.headers.get("connection") is None
        assert (large.headers.get("connection") == "close") is closes
        assert emulator.requests[2].body_size == 0


def test_a_server_that_does_not_read_for_a_while() -> None:
    """An upload stops half-way for as long as the server likes, and then goes on."""

    async def main() -> tuple[float, int]:
        loop = asyncio.get_running_loop()
        async with emulated(faults=[Fault.unread(20.0)], stamp="body") as (emulator, _):
            async with wire(emulator) as connection:
                sending = asyncio.create_task(connection.send(upload()))
                await asyncio.sleep(19.0)
                assert not sending.done()
                assert (await connection.reply()).status == 200
                await sending
            (seen,) = emulator.requests
            assert seen.at == pytest.approx(20.0, abs=0.1)
            assert emulator.paid == 1
            return loop.time(), seen.body_size

    took, size = run_in_virtual_time(main())
    assert took == pytest.approx(20.0, abs=0.1)
    assert size > UPLOAD


def test_a_server_that_never_reads_goes_when_it_is_closed() -> None:
    """A test with such a server must end all the same."""

    async def main() -> None:
        async with emulated(faults=[Fault.unread()]) as (emulator, _), wire(emulator) as line:
            sending = asyncio.create_task(line.send(upload()))
            await asyncio.sleep(600.0)
            assert not sending.done()
            await emulator.aclose()
            with pytest.raises(ConnectionError):
                await sending
            assert emulator.stats.disconnected == 1
            assert emulator.paid == 0

    run_in_virtual_time(main())


@pytest.mark.parametrize("accept", ["image/*", "application/json"])
async def test_a_cut_answer_may_tell_its_own_length(accept: str) -> None:
    """HTTP has nothing to complain about: only the image's own end is missing."""
    fault = Fault.truncated(0.25, length="cut")
    async with emulated(faults=[fault], image_bytes=1_000) as (emulator, client):
        cut = await client.post("core", prompt="a cat", seed=1, accept=accept)
        whole = await client.post("core", prompt="a cat", seed=1, accept=accept)

        assert cut.status == 200
        assert cut.body == whole.body[: len(whole.body) // 4]
        assert emulator.paid == 2


@pytest.mark.parametrize("keep", [0.33, 1.0])
async def test_an_answer_without_a_length_ends_with_its_connection(keep: float) -> None:
    """HTTP/1.0 proxies answer so; cut or whole, it looks the same."""
    fault = Fault.truncated(keep, length="none")
    async with emulated(faults=[fault], image_bytes=5_000) as (emulator, client):
        async with wire(emulator) as connection:
            await connection.send(whole_request())
            status, headers = await connection.head()
            body = await connection.reader.read()
        reply = await client.post("core", prompt="a cat")

        assert status == 200
        assert headers["connection"] == "close"
        assert not {"content-length", "transfer-encoding"} & set(headers)
        assert len(body) == int(len(reply.body) * keep)
        assert emulator.paid == 2


@pytest.mark.parametrize("accept", ["image/*", "application/json"])
async def test_packed_answers(accept: str) -> None:
    """Proxies pack what they pass on, and a few bytes may hold very many."""
    request = whole_request().replace(b"image/*", accept.encode())
    faults = [Fault.gzip(), Fault.gzip(padding=50_000_000)]
    async with emulated(faults=faults) as (emulator, _), wire(emulator) as connection:
        await connection.send(request * 2)
        packed, swollen = [await connection.reply() for _ in faults]
        image, larger = gzip.decompress(packed.body), gzip.decompress(swollen.body)

        assert packed.headers["content-encoding"] == "gzip"
        assert len(larger) == len(image) + 50_000_000
        assert len(swollen.body) < 60_000
        assert emulator.paid == 2
    if accept == "image/*":
        assert image.startswith(b"\x89PNG")
    else:
        assert json.loads(larger).keys() == json.loads(image).keys()


async def test_other_finish_reasons() -> None:
    """v1 documents ERROR, and a picture comes with it."""
    faults = [Fault.finish_reason(), Fault.finish_reason("NSFW", paid=True)]
    async with emulated(faults=faults) as (emulator, client):
        error = await client.post("core", prompt="a cat")
        other = await client.post("core", prompt="a cat", accept="application/json")

        assert (error.status, error.headers["finish-reason"]) == (200, "ERROR")
        assert error.image.format == "PNG"
        assert other.json["finish_reason"] == "NSFW"
        assert emulator.paid == 1


async def test_an_error_may_come_as_success() -> None:
    """A status of 200 alone says nothing."""
    async with emulated(faults=[Fault.disguised(402)]) as (emulator, client):
        reply = await client.post("core", prompt="a cat")

        assert (reply.status, reply.json["name"]) == (200, "payment_required")
        assert reply.headers["content-type"] == "application/json"
        assert emulator.paid == 0


@pytest.mark.parametrize("code", [502, 503, 504, 520, 521, 522, 523, 524, 529])
async def test_a_proxy_that_gives_up_on_a_service_that_bills(code: int) -> None:
    """The page says error, the books say paid."""
    async with emulated(faults=[Fault.status(code, paid=True)]) as (emulator, client):
        reply = await client.post("core", prompt="a cat")

        assert (reply.status, reply.headers["content-type"]) == (code, "text/html")
        assert reply.body.startswith(b"<html>")
        assert (emulator.paid, emulator.credits_used) == (1, 3)
        assert emulator.requests[0].charged == 3


async def test_a_status_may_say_when_to_come_back() -> None:
    """503 has `Retry-After` in the standard; as JSON or as a page."""
    faults = [Fault.status(503, retry_after=30), Fault.status(503, page=False, retry_after=2)]
    async with emulated(faults=faults) as (_, client):
        page = await client.post("core", prompt="a cat")
        plain = await client.post("core", prompt="a cat")

    assert [reply.headers["retry-after"] for reply in (page, plain)] == ["30", "2"]
    assert plain.json["name"] == "service_unavailable"


async def test_redirections() -> None:
    """A client that follows one sends its key to another host."""
    faults = [Fault.redirect("https://example.org/x", 301)]
    async with emulated(faults=faults) as (emulator, _), wire(emulator) as connection:
        await connection.send(whole_request())
        reply = await connection.reply()

    assert (reply.status, reply.headers["location"]) == (301, "https://example.org/x")


async def test_interim_answers_come_before_the_real_one() -> None:
    """100 nobody asked for, 103 with hints: a client reads on."""
    async with emulated(faults=[Fault.interim(100, 103, 102)]) as (emulator, _):
        async with wire(emulator) as connection:
            await connection.send(whole_request())
            interim = [(await connection.head())[0] for _ in range(3)]
            reply = await connection.reply()

        assert interim == [100, 103, 102]
        assert reply.status == 200
        assert emulator.paid == 1


@pytest.mark.parametrize(("then", "end"), [("close", b""), ("reset", None)])
async def test_a_connection_that_ends_as_its_next_request_arrives(
    then: Any, end: bytes | None
) -> None:
    """A server's patience ends at the worst instant; nothing was taken in, nothing is booked."""
    async with emulated(faults=[Fault.stale(then)], max_requests=2) as (emulator, client):
        async with wire(emulator) as connection:
            await connection.send(whole_request())
            assert (await connection.reply()).status == 200
            await connection.send(whole_request())
            if end is None:
                with pytest.raises(ConnectionResetError):
                    await connection.reader.read()
            else:
                assert await connection.reader.read() == end
        reply = await client.post("core", prompt="a cat")
        first, stale, _ = emulator.requests

        assert (first.status, stale.status, stale.fault) == (200, None, "stale")
        assert stale.disconnected
        assert stale.charged == 0
        assert reply.status == 200  # the limit of two has counted two
        assert emulator.paid == 2
        assert emulator.stats.faults == {"stale": 1}


@pytest.mark.parametrize("asks", ["Expect: 100-continue", "expect: 100-Continue"])
async def test_a_client_that_asks_whether_its_body_is_wanted(asks: str) -> None:
    """curl asks from 1 MB on, and waits for a second when nobody answers."""
    async with emulated() as (emulator, _), wire(emulator) as connection:
        head, _, body = upload(asks).partition(b"\r\n\r\n")
        await connection.send(head + b"\r\n\r\n")
        status, _ = await connection.head()
        await connection.send(body)
        reply = await connection.reply()

    assert (status, reply.status) == (100, 200)


async def test_a_refusal_comes_in_place_of_an_invitation() -> None:
    """The point of asking: a locked-out key uploads nothing."""
    settings: dict[str, Any] = {"max_requests": 1, "early_refusal": "close"}
    async with emulated(**settings) as (emulator, client), wire(emulator) as connection:
        await client.post("core", prompt="a cat")
        head, _, _ = upload("Expect: 100-continue").partition(b"\r\n\r\n")
        await connection.send(head + b"\r\n\r\n")
        reply = await connection.reply()

    assert reply.status == 429


async def test_many_servers_never_invite() -> None:
    """A client that waits for ever for its 100 never sends."""
    async with emulated(says_continue=False) as (emulator, _), wire(emulator) as connection:
        head, _, body = upload("Expect: 100-continue").partition(b"\r\n\r\n")
        await connection.send(head + b"\r\n\r\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await connection.reader.read(1)
        await connection.send(body)
        reply = await connection.reply()

    assert reply.status == 200


async def test_an_expectation_that_nobody_can_meet() -> None:
    """417 is what the standard has for it."""
    async with emulated() as (emulator, _), wire(emulator) as connection:
        await connection.send(posted(text_parts(PROMPT), "Expect: miracles"))
        reply = await connection.reply()

    assert (reply.status, reply.json["name"]) == (417, "expectation_failed")
