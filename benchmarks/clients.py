"""The clients under comparison, each as its documentation would have it, behind one call.

A client takes a prompt and returns the image's bytes. Certificates, retries and the rate limit
play no part here: the server is on loopback and never refuses.
"""

import asyncio
import base64
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TypeAlias

import aiohttp

from sd3async import RateLimit, SD3Client

Generate: TypeAlias = Callable[[str], Awaitable[bytes]]
Opener: TypeAlias = Callable[[str, int], AbstractAsyncContextManager[Generate]]

_SLOTS = 300
_BACKOFFS = (1.0, 2.0, 0.0)  # [s] after each attempt
KEY = "sk-benchmark"
PATH = "/v2beta/stable-image/generate/sd3"
_FIELDS = {"model": "sd3.5-large", "mode": "text-to-image", "output_format": "png"}


@asynccontextmanager
async def plain_aiohttp(url: str, callers: int) -> AsyncGenerator[Generate]:
    """aiohttp with a form, the way one would write it by hand."""
    headers = {"authorization": f"Bearer {KEY}", "accept": "image/*"}
    connector = aiohttp.TCPConnector(limit=callers)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def generate(prompt: str) -> bytes:
            form = aiohttp.FormData({"prompt": prompt, **_FIELDS}, default_to_multipart=True)
            async with session.post(url + PATH, data=form) as response:
                response.raise_for_status()
                return await response.read()

        yield generate


@asynccontextmanager
async def stubborn_aiohttp(
    url: str, acquire: Callable[[], Awaitable[object]]
) -> AsyncGenerator[Callable[[str], Awaitable[bool]]]:
    """The same behind somebody's limiter, and with the retries of the usual SDKs.

    Yields:
        What tells whether an image came for a prompt.
    """
    async with plain_aiohttp(url, _SLOTS) as ask:

        async def generate(prompt: str) -> bool:
            for backoff in _BACKOFFS:
                await acquire()
                with suppress(aiohttp.ClientResponseError):
                    await ask(prompt)
                    return True
                await asyncio.sleep(backoff)
            return False

        yield generate


@asynccontextmanager
async def sd3async(url: str, callers: int) -> AsyncGenerator[Generate]:
    """This project, its limiter switched off."""
    async with SD3Client(
        KEY, base_url=url, rate_limit=RateLimit.unlimited(), max_in_flight=callers
    ) as client:

        async def generate(prompt: str) -> bytes:
            return (await client.sd3(prompt, model="sd3.5-large")).data or b""

        yield generate


@asynccontextmanager
async def httpx(url: str, callers: int) -> AsyncGenerator[Generate]:
    """httpx, text fields as multipart."""
    import httpx

    headers = {"authorization": f"Bearer {KEY}", "accept": "image/*"}
    limits = httpx.Limits(max_connections=callers, max_keepalive_connections=callers)
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=60.0) as client:

        async def generate(prompt: str) -> bytes:
            fields = {"prompt": prompt, **_FIELDS}
            files = {name: (None, value) for name, value in fields.items()}
            response = await client.post(url + PATH, files=files)
            response.raise_for_status()
            return response.content

        yield generate


@asynccontextmanager
async def openai(url: str, callers: int) -> AsyncGenerator[Generate]:
    """OpenAI's SDK: the same picture by its images API, which answers with base64 in JSON."""
    del callers  # its pool takes a thousand
    from openai import AsyncOpenAI

    base_url = url.replace("/image/", "/base64/") + "/v1"
    async with AsyncOpenAI(api_key=KEY, base_url=base_url) as client:

        async def generate(prompt: str) -> bytes:
            answer = await client.images.generate(model="gpt-image-1", prompt=prompt)
            return base64.b64decode((answer.data or [])[0].b64_json or "")

        yield generate


CLIENTS: dict[str, Opener] = {
    "aiohttp": plain_aiohttp,
    "sd3async": sd3async,
    "httpx": httpx,
    "openai": openai,
}
