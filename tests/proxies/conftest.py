"""The real client, real proxies, the emulator behind them, and real time."""

from collections.abc import AsyncGenerator

import pytest

from sd3async.emulator import Emulator


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    """An emulator that leaves refusing to the proxies."""
    async with Emulator(limit=None, image_bytes=3_000) as running:
        yield running
