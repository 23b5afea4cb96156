"""The real client against the real emulator, over loopback HTTP, in time that jumps."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import pytest

from sd3async import RateLimit, RetryPolicy, SD3Client
from sd3async.emulator import Emulator, VirtualTimeLoop
from sd3async.emulator.pytest_plugin import see_that_faults_were_met
from sd3async.emulator.virtual_time import LoopClock

KEY = "sk-test0123456789abcdef"

Setup: TypeAlias = Callable[..., Any]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], VirtualTimeLoop]]:
    return {"virtual": VirtualTimeLoop}


@pytest.fixture
async def start() -> AsyncIterator[Setup]:
    """Return a coroutine function that starts an emulator and a client for it.

    Keywords of the client are `rate_limit`, `retry` and those given as `client={...}`; the rest
    goes to the emulator, which answers with small images unless told otherwise.
    """
    emulators: list[Emulator] = []
    async with AsyncExitStack() as stack:

        async def begin(
            *,
            rate_limit: RateLimit | None = None,
            retry: RetryPolicy | None = None,
            client: Mapping[str, Any] | None = None,
            **settings: Any,
        ) -> tuple[Emulator, SD3Client]:
            settings = {"image_bytes": 3_000, "strict": True, **settings}
            emulator = await stack.enter_async_context(Emulator(**settings))
            emulators.append(emulator)
            options: dict[str, Any] = {"clock": LoopClock(), **(client or {})}
            key = options.pop("api_key", KEY)
            made = SD3Client(
                key, base_url=emulator.url, rate_limit=rate_limit, retry=retry, **options
            )
            return emulator, await stack.enter_async_context(made)

        yield begin
    for emulator in emulators:
        see_that_faults_were_met(emulator)
