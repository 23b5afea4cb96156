"""A plain aiohttp client, so that the emulator is tested without this package's own."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal

import aiohttp
import attrs
from PIL import Image

from sd3async.emulator import Emulator

KEY = "sk-of-a-test"
STABLE_IMAGE = "/v2beta/stable-image/"
GENERATE = STABLE_IMAGE + "generate/"


@attrs.frozen
class Reply:
    """An answer read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def errors(self) -> list[str]:
        """The sentences of an error body."""
        return self.json["errors"]  # type: ignore[no-any-return]

    @property
    def image(self) -> Image.Image:
        """The body, decoded."""
        image = Image.open(io.BytesIO(self.body))
        image.load()
        return image


def picture(
    size: tuple[int, int] = (96, 64),
    kind: Literal["png", "jpeg", "webp", "gif"] = "png",
    colour: tuple[int, int, int] = (250, 240, 10),
) -> bytes:
    """Return an encoded picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def form(fields: Mapping[str, object]) -> aiohttp.FormData:
    """Return a form: bytes become a file, everything else a text."""
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        if isinstance(value, bytes):
            stream = io.BytesIO(value)
            data.add_field(name, stream, filename=f"{name}.png", content_type="image/png")
        else:
            data.add_field(name, str(value))
    return data


@attrs.frozen
class Caller:
    """Posts forms to an emulator."""

    session: aiohttp.ClientSession
    url: str

    async def ask(self, method: str, path: str, **options: Any) -> Reply:
        """Send any request."""
        async with self.session.request(method, self.url + path, **options) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def post(
        self, endpoint: str, *, accept: str = "image/*", key: str = KEY, **fields: object
    ) -> Reply:
        """Post a form to a generate endpoint, or to another one such as "edit/erase"."""
        headers = {"Accept": accept, "Authorization": f"Bearer {key}"}
        path = STABLE_IMAGE + endpoint if "/" in endpoint else GENERATE + endpoint
        return await self.ask("POST", path, headers=headers, data=form(fields))

    async def result(self, generation_id: str, *, accept: str = "*/*", key: str = KEY) -> Reply:
        """Ask for the result of a generation that was started."""
        headers = {"Accept": accept, "Authorization": f"Bearer {key}"}
        return await self.ask("GET", f"/v2beta/results/{generation_id}", headers=headers)


@contextlib.asynccontextmanager
async def caller(emulator: Emulator) -> AsyncGenerator[Caller]:
    """Open a client for an emulator that runs in any loop."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Caller(session, emulator.url)


@contextlib.asynccontextmanager
async def emulated(**settings: Any) -> AsyncGenerator[tuple[Emulator, Caller]]:
    """Start an emulator in this loop, quick payloads by default, and a client for it."""
    settings = {"image_bytes": 400, "strict": True, **settings}
    async with Emulator(**settings) as emulator, caller(emulator) as client:
        yield emulator, client


class Wire:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes, as far as they can be sent."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Read the head of an answer: status and headers by lower-case name."""
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        pairs = (line.split(": ", 1) for line in lines if line)
        return int(first.split()[1]), {name.lower(): value for name, value in pairs}

    async def reply(self) -> Reply:
        """Read an answer of known length."""
        status, headers = await self.head()
        return Reply(status, headers, await self.reader.readexactly(int(headers["content-length"])))


@contextlib.asynccontextmanager
async def wire(emulator: Emulator) -> AsyncGenerator[Wire]:
    """Open a connection to an emulator."""
    port = int(emulator.url.removesuffix(emulator.prefix).rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def posted(body: bytes, *lines: str, endpoint: str = "core", boundary: str = "b") -> bytes:
    """Return a whole request; `lines` are further headers."""
    head = [
        f"POST {GENERATE}{endpoint} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {KEY}",
        "Accept: image/*",
        f"Content-Type: multipart/form-data; boundary={boundary}",
        *lines,
    ]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


def text_parts(*parts: tuple[str, str], boundary: str = "b") -> bytes:
    """Return a body: for each part what follows `form-data` in its head, and its content."""
    body = "".join(
        f"--{boundary}\r\nContent-Disposition: form-data{head}\r\n\r\n{content}\r\n"
        for head, content in parts
    )
    return f"{body}--{boundary}--\r\n".encode()


PROMPT = ('; name="prompt"', "a cat")
