"""Answers that need no server: what the client makes of a status, a header, a body."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses

from sd3async import (
    APIError,
    ConnectFailedError,
    RetryPolicy,
    SD3Client,
    UnexpectedResponseError,
)
from sd3async.emulator.virtual_time import VirtualClock
from support.pictures import picture

BASE = "https://api.stability.ai"
CORE = f"{BASE}/v2beta/stable-image/generate/core"


class Response(aiohttp.ClientResponse):
    """aiohttp 3.14 asks for a writer that aioresponses 0.7.9 does not hand over."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


@pytest.fixture
def service() -> Iterator[aioresponses]:
    with aioresponses() as mocked:
        yield mocked


def answer_with(service: Any, **answer: Any) -> None:
    service.post(CORE, response_class=Response, **answer)


async def ask(**options: Any) -> Any:
    policy = RetryPolicy(attempts=1)
    async with SD3Client("sk-a", retry=policy, clock=VirtualClock()) as client:
        return await client.core("a", **options)


async def test_seed_reason_and_id_come_from_the_headers(service: aioresponses) -> None:
    """They stand nowhere else in an answer of bytes."""
    headers = {"seed": "343940597", "finish-reason": "SUCCESS", "x-request-id": "r-1"}
    answer_with(service, body=picture(), content_type="image/png", headers=headers)
    image = await ask()

    assert (image.seed, image.finish_reason, image.request_id) == (343940597, "SUCCESS", "r-1")
    assert image.data == picture()


async def test_a_gateways_field_name_is_understood(service: aioresponses) -> None:
    """One gateway calls the picture base64, and polled results call it result."""
    for name in ("image", "result", "base64"):
        body = {name: base64.b64encode(picture()).decode(), "seed": 3}
        answer_with(service, body=json.dumps(body), content_type="application/json")

        assert (await ask(accept="application/json")).data == picture()


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ({"status": 418, "body": "teapot"}, APIError, "418: teapot"),
        ({"status": 200, "body": "hello", "content_type": "text/plain"}, UnexpectedResponseError,
         r"with text/plain: no image, but 'hello'"),
        ({"status": 200, "body": b"GIF89a", "content_type": "image/gif"}, UnexpectedResponseError,
         r"with image/gif: no image, but 'GIF89a'"),
        ({"exception": aiohttp.ClientConnectionError("down")}, ConnectFailedError,
         "no connection: ClientConnectionError: down"),
    ],
    ids=["odd status", "text", "gif", "no connection"],
)  # fmt: skip
async def test_odd_answers_become_readable_errors(
    service: aioresponses, answer: dict[str, Any], error: type[Exception], words: str
) -> None:
    """Whatever stands between the client and the service may answer in its stead."""
    answer_with(service, **answer)

    with pytest.raises(error, match=words):
        await ask()


async def test_the_request_carries_key_accept_and_agent(service: aioresponses) -> None:
    """The service reads the first, its support the last."""
    answer_with(service, body=picture(), content_type="image/png")
    await ask()

    calls: list[Any] = [call for made in service.requests.values() for call in made]
    [sent] = [call.kwargs for call in calls]
    headers = sent["headers"]
    assert headers["authorization"] == "Bearer sk-a"
    assert headers["accept"] == "image/*"
    assert headers["user-agent"].startswith("sd3async/")
    assert sent["allow_redirects"] is False
