"""Reading answers: in pieces, whole, compressed, endless."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import aclosing

import aiohttp
import pytest

from sd3async import ResponseReadError, SD3Error, UnexpectedResponseError
from support.raw import PATIENT, Journal, Peer, exchange, post, raw_server, transport

MIB = 2**20


def packed_zeros(size: int, *, in_members: bool) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    blocks = [packer.compress(bytes(MIB)) for _ in range(size // MIB)]
    if in_members:
        return gzip.compress(bytes(MIB), 9) * len(blocks)
    return b"".join([*blocks, packer.flush()])


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_answer_comes_in_large_pieces_and_whole(chunked: bool) -> None:
    """Every piece costs a pass of the loop."""
    body = bytes(range(256)) * 16_000

    async def behave(peer: Peer) -> None:
        await peer.request()
        if not chunked:
            await peer.answer(body)
            return
        peer.writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for start in range(0, len(body), 60_000):
            piece = body[start : start + 60_000]
            peer.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await peer.writer.drain()
        peer.writer.write(b"0\r\n\r\n")

    async with raw_server(behave) as url, transport() as through:
        with await through.send(post(url), timeouts=PATIENT, watch=Journal()) as answer:
            async with aclosing(answer.pieces()) as pieces:
                taken = [piece async for piece in pieces]

    assert b"".join(taken) == body
    assert max(map(len, taken)) < MIB


async def test_headers_are_found_whatever_their_case() -> None:
    """HTTP does not care, and proxies change it."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"", "200 OK", "X-Request-ID: 7")

    async with raw_server(behave) as url, transport() as through:
        with await through.send(post(url), timeouts=PATIENT, watch=Journal()) as answer:
            assert answer.headers["x-request-id"] == "7"


def in_members(body: bytes) -> bytes:
    starts = range(0, len(body), 300_000)
    return b"".join(gzip.compress(body[start : start + 300_000]) for start in starts)


def with_padding(body: bytes) -> bytes:
    return gzip.compress(body) + bytes(1_000)


@pytest.mark.parametrize("own_session", [True, False])
@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("gzip", in_members),
        ("gzip", with_padding),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("identity", bytes),
    ],
)
async def test_an_answer_compressed_all_the_same_is_read(
    coding: str, pack: Callable[[bytes], bytes], own_session: bool
) -> None:
    """Some proxies compress for whoever asks; the image is paid."""
    body = bytes(range(256)) * 4_000

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.answer(pack(body), "200 OK", f"content-encoding: {coding}")

    async with raw_server(behave) as url, aiohttp.ClientSession() as session:
        options = {} if own_session else {"session": session}
        async with transport(**options) as through:
            assert await exchange(through, post(url)) == (200, body)


@pytest.mark.parametrize("in_members", [False, True])
async def test_a_bomb_takes_no_memory(in_members: bool) -> None:
    """400 kB of gzip were 850 MB in memory; whoever reads decides when it is enough."""
    bomb = packed_zeros(400 * MIB, in_members=in_members)

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.answer(bomb, "200 OK", "content-encoding: gzip")

    async with raw_server(behave) as url, transport() as through:
        tracemalloc.start()
        try:
            with await through.send(post(url), timeouts=PATIENT, watch=Journal()) as answer:
                size = 0
                async with aclosing(answer.pieces()) as pieces:
                    async for piece in pieces:
                        size += len(piece)
                        if size > 20 * MIB:
                            break
            with await through.send(post(url), timeouts=PATIENT, watch=Journal()) as answer:
                assert len(await answer.read_error_body()) == 65_536
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak < 30 * MIB


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b"no gzip at all"),
        ("gzip", gzip.compress(bytes(100_000), mtime=0)[:-20]),
        ("br", b"anything"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"x", mtime=0), mtime=0)),
    ],
)
async def test_what_cannot_be_unpacked_is_an_error(coding: str, body: bytes) -> None:
    """Compressed bytes must not be taken for an image's."""

    async def behave(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(body, "200 OK", f"content-encoding: {coding}")

    async with raw_server(behave) as url, transport() as through:
        with pytest.raises(SD3Error) as caught:
            await exchange(through, post(url))
        with await through.send(post(url), timeouts=PATIENT, watch=Journal()) as answer:
            await answer.read_error_body()

    assert isinstance(caught.value, ResponseReadError | UnexpectedResponseError)


@pytest.mark.parametrize("in_part", [False, True])
async def test_an_answer_in_words_has_a_largest_size(in_part: bool) -> None:
    """An endless answer ends where nobody reads on."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"x" * 100_000)

    async with raw_server(behave) as url, transport() as through:
        with await through.send(post(url), timeouts=PATIENT, watch=Journal()) as answer:
            assert await answer.read(in_part=in_part) == b"x" * 65_536


async def test_a_connection_comes_back_when_its_answer_was_read() -> None:
    """And is closed when it was not."""
    seen: list[int] = []

    async def behave(peer: Peer) -> None:
        while True:
            await peer.request()
            seen.append(peer.number)
            await peer.answer(b"x" * 2_000_000)

    async with raw_server(behave) as url, transport() as through:
        for _ in range(3):
            await exchange(through, post(url))
        with await through.send(post(url), timeouts=PATIENT, watch=Journal()):
            pass
        await exchange(through, post(url))

    assert seen == [1, 1, 1, 1, 2]
