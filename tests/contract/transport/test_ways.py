"""Ways to the service: TLS with a certificate of one's own, and proxies."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

from sd3async import ConnectFailedError, InvalidRequestError, ResponseReadError
from sd3async.transport import Transport
from support.raw import (
    KEY,
    Crossing,
    Journal,
    Peer,
    exchange,
    get,
    post,
    raw_server,
    thread_server,
    transport,
    upload,
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate that `localhost` has signed for itself, and a server's context with it."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return certificate, context


async def answer(peer: Peer) -> None:
    while True:
        size = len(await peer.request())
        await peer.answer(str(size > 300_000).encode())


@attrs.define
class Proxy:
    """A proxy that notes what it was asked for.

    Attributes:
        url: Where it is.
        refuses: Whether it refuses everybody.
        asked: The first lines of the requests.
        heads: Their heads.
    """

    refuses: bool = False
    url: str = ""
    asked: list[str] = attrs.field(factory=list[str])
    heads: list[str] = attrs.field(factory=list[str])

    async def serve(self, peer: Peer) -> None:
        head = (await peer.reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        self.asked.append(head.partition("\r\n")[0])
        method, target, _ = self.asked[-1].split()
        if self.refuses:
            await peer.answer(b"", "407 Proxy Authentication Required")
            return
        authority = target.partition("://")[2].partition("/")[0] or target
        host, _, port = authority.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        if method == "CONNECT":
            peer.writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            writer.write(head.replace(target, "/", 1).encode())
        await asyncio.gather(pipe(peer.reader, writer), pipe(reader, peer.writer))


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(2**16):
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()


@asynccontextmanager
async def a_proxy(*, refuses: bool = False) -> AsyncGenerator[Proxy]:
    made = Proxy(refuses)
    async with raw_server(made.serve) as url:
        made.url = url
        yield made


async def test_a_certificate_that_nobody_knows_is_not_tried_again(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    """Not one byte was sent, and the next attempt would meet the same."""
    async with raw_server(answer, tls=certificate[1]) as url, transport() as through:
        watch = Journal()
        with pytest.raises(ConnectFailedError, match="certificate") as caught:
            await exchange(through, post(url), watch)

    assert not caught.value.is_retryable
    assert watch.told == []


async def test_a_certificate_for_another_name_is_not_tried_again(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    """A known authority does not help then."""
    path, context = certificate
    async with raw_server(answer, tls=context) as url, transport(ca_file=path) as through:
        with pytest.raises(ConnectFailedError) as caught:
            await exchange(through, post(url.replace("localhost", "127.0.0.1")))

    assert not caught.value.is_retryable


@pytest.mark.parametrize("as_text", [True, False])
async def test_an_authority_of_ones_own_is_trusted(
    certificate: tuple[Path, ssl.SSLContext], as_text: bool
) -> None:
    """Companies sign their gateways themselves."""
    path, context = certificate
    async with (
        raw_server(answer, tls=context) as url,
        transport(ca_file=str(path) if as_text else path) as through,
    ):
        watch = Journal()
        assert await exchange(through, post(url), watch) == (200, b"False")
        assert await exchange(through, get(url)) == (200, b"False")
        assert watch.told == ["ready", "more", "more", "out"]


@pytest.mark.parametrize("size", [9_000_000, 300_000])
async def test_the_last_byte_is_told_when_it_has_left_under_tls(
    certificate: tuple[Path, ssl.SSLContext], size: int
) -> None:
    """There the bytes wait in one buffer more."""
    path, context = certificate
    resume = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await resume.wait()
        await peer.request()
        await asyncio.sleep(0.1)
        await peer.answer(b"ok")

    async with (
        raw_server(behave, buffer=4096, tls=context) as url,
        transport(ca_file=path) as through,
    ):
        watch = Journal()
        sending = asyncio.create_task(exchange(through, post(url, upload(size)), watch))
        await asyncio.sleep(0.3)
        assert "out" not in watch.told
        resume.set()
        assert await sending == (200, b"ok")

    assert watch.told.count("out") == 1


async def test_an_early_answer_is_read_under_tls(certificate: tuple[Path, ssl.SSLContext]) -> None:
    """Proxies end TLS, too."""
    path, context = certificate

    async def behave(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.answer(b"slow down", "429 Too Many Requests", "connection: close")
        peer.reset()

    async with raw_server(behave, tls=context) as url, transport(ca_file=path) as through:
        for _ in range(12):
            seen = await exchange(through, post(url, upload(9_000_000)))
            assert seen == (429, b"slow down")


@pytest.mark.parametrize("says_goodbye", [True, False])
async def test_a_connection_closed_before_under_tls_is_no_unknown_charge(
    certificate: tuple[Path, ssl.SSLContext], says_goodbye: bool
) -> None:
    """Proxies close idle connections with TLS's own goodbye before TCP's, or without."""
    path, context = certificate
    watch = Crossing(instant="written")

    def behave(sock: socket.socket) -> None:
        watch.event.wait(5)
        if says_goodbye and isinstance(sock, ssl.SSLSocket):
            sock.settimeout(0.01)
            with suppress(OSError):
                sock.unwrap()

    with thread_server(behave, context) as url:
        async with transport(ca_file=path) as through:
            await exchange(through, post(url))
            with pytest.raises(ResponseReadError) as caught:
                await exchange(through, post(url), watch)

    assert not caught.value.may_be_charged


async def test_a_request_that_was_read_under_tls_may_be_charged(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    """Its bytes were acknowledged."""
    path, context = certificate

    async def behave(peer: Peer) -> None:
        await peer.request()

    async with raw_server(behave, tls=context) as url, transport(ca_file=path) as through:
        with pytest.raises(ResponseReadError) as caught:
            await exchange(through, post(url))

    assert caught.value.may_be_charged


async def test_a_plain_request_goes_through_a_proxy() -> None:
    """Text, an upload and a GET."""
    async with (
        raw_server(answer) as url,
        a_proxy() as proxy,
        transport(proxy=proxy.url) as through,
    ):
        assert await exchange(through, post(f"{url}/a")) == (200, b"False")
        assert await exchange(through, post(f"{url}/a", upload(9_000_000))) == (200, b"True")
        assert await exchange(through, get(f"{url}/a")) == (200, b"False")

    assert proxy.asked[0] == f"POST {url}/a HTTP/1.1"


async def test_tls_goes_through_a_proxy_that_never_sees_the_key(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    """`CONNECT` first, and the certificate is the service's."""
    path, context = certificate
    async with raw_server(answer, tls=context) as url, a_proxy() as proxy:
        async with transport(proxy=proxy.url, ca_file=path) as through:
            watch = Journal()
            assert await exchange(through, post(url, upload(9_000_000)), watch) == (200, b"True")
        async with transport(proxy=proxy.url.replace("//", "//user:pa55word@")) as through:
            with pytest.raises(ConnectFailedError) as caught:
                await exchange(through, post(url))

    assert not caught.value.is_retryable
    assert "pa55word" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert proxy.asked[0].startswith("CONNECT localhost:")
    assert KEY not in "".join(proxy.heads)


async def test_a_proxy_that_refuses_means_that_nothing_was_sent(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    """And its password is in no words."""
    async with raw_server(answer, tls=certificate[1]) as url, a_proxy(refuses=True) as proxy:
        secret = proxy.url.replace("http://", "http://user:pa55word@")
        async with transport(proxy=secret) as through:
            watch = Journal()
            with pytest.raises(ConnectFailedError, match="407") as caught:
                await exchange(through, post(url), watch)
            assert "pa55word" not in repr(through)

    assert watch.told == []
    assert "pa55word" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert "dXNlcjpwYTU1d29yZA" in proxy.heads[0]  # user:pa55word, to the proxy alone


async def test_a_proxy_that_is_not_there_means_that_nothing_was_sent() -> None:
    """Its password is not told either."""
    async with raw_server(answer) as url, transport(proxy="http://u:pa55word@127.0.0.1:1") as to:
        with pytest.raises(ConnectFailedError) as caught:
            await exchange(to, post(url))

    assert "pa55word" not in f"{caught.value!r} {caught.value.__cause__!r}"


async def test_the_environment_names_a_proxy_when_it_is_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`NO_PROXY` is heeded, and a `.netrc` never takes the key's place."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with raw_server(answer) as url, a_proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        for trust_env, no_proxy in [(False, ""), (True, "localhost"), (True, "example.com")]:
            monkeypatch.setenv("no_proxy", no_proxy)
            async with transport(trust_env=trust_env) as through:
                await exchange(through, get(url))
            assert len(proxy.asked) == (no_proxy == "example.com")

    assert KEY in proxy.heads[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"proxy": "proxy:3128"}, "is nothing that can be called"),
        ({"proxy": "socks5://u:pa55word@proxy:3128"}, "is nothing that can be called"),
        ({"ca_file": "/no/such/file.pem"}, "no certificates"),
        ({"ca_file": __file__}, "no certificates"),
        ({"ca_file": "a\0b"}, "no certificates"),
    ],
)
def test_a_setting_that_is_no_good_is_refused_at_once(options: Any, words: str) -> None:
    """Before anything is opened."""
    with pytest.raises(InvalidRequestError, match=words) as caught:
        Transport(max_connections=1, **options)

    assert caught.value.field in options
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize("options", [{"proxy": "http://p"}, {"ca_file": "x"}, {"trust_env": True}])
async def test_a_session_passed_in_has_settings_of_its_own(options: Any) -> None:
    """Two masters of one connection would surprise one of them."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidRequestError, match="give it to the session"):
            Transport(session=session, max_connections=1, **options)


async def test_a_bad_proxy_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent, with the variable's name."""
    monkeypatch.setenv("http_proxy", "socks5://proxy:1")
    async with raw_server(answer) as url, transport(trust_env=True) as through:
        with pytest.raises(InvalidRequestError, match="http_proxy"):
            await exchange(through, get(url))


async def test_a_callers_middlewares_see_every_request() -> None:
    """A GET's as well as a POST's."""
    seen: list[str] = []

    async def note(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        seen.append(request.method)
        return await handler(request)

    async with (
        raw_server(answer) as url,
        aiohttp.ClientSession(middlewares=[note]) as session,
        transport(session=session) as through,
    ):
        await exchange(through, get(url))
        await exchange(through, post(url))

    assert seen == ["GET", "POST"]
