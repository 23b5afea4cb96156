"""A plain aiohttp client, so that the emulator is tested without this package's own."""

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
GENERATE = "/v2beta/stable-image/generate/"


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
        """Post a form to a generate endpoint."""
        headers = {"Accept": accept, "Authorization": f"Bearer {key}"}
        return await self.ask("POST", GENERATE + endpoint, headers=headers, data=form(fields))


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
    settings.setdefault("image_bytes", 400)
    async with Emulator(**settings) as emulator, caller(emulator) as client:
        yield emulator, client
