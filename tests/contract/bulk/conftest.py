"""Bulk jobs against the real emulator, over loopback HTTP, in time that jumps."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest

from sd3async import RetryPolicy, SD3Client
from sd3async.bulk import BulkJob
from sd3async.emulator import Emulator, VirtualTimeLoop
from sd3async.emulator.pytest_plugin import see_that_faults_were_met
from sd3async.emulator.virtual_time import LoopClock

MakeJob: TypeAlias = Callable[..., BulkJob]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], VirtualTimeLoop]]:
    return {"virtual": VirtualTimeLoop}


@attrs.define
class Site:
    """An emulator, a client of it, and a maker of jobs in one folder."""

    emulator: Emulator
    client: SD3Client
    out: Path

    def job(self, source: Any = None, **options: Any) -> BulkJob:
        """Return a job on this site's folder, without reports."""
        settings: dict[str, Any] = {"reports": False, "clock": LoopClock(), "out": self.out}
        return BulkJob(self.client, source, **(settings | options))

    def files(self, pattern: str) -> list[Path]:
        """Return files below the job's folder."""
        return sorted(self.out.rglob(pattern))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Return a coroutine function that opens a site.

    `retry` and `api_key` go to the client; the rest goes to the emulator.
    """
    emulators: list[Emulator] = []
    async with AsyncExitStack() as stack:

        async def begin(
            *, retry: RetryPolicy | None = None, api_key: Any = "sk-test", **settings: Any
        ) -> Site:
            settings = {"image_bytes": 1_000, "strict": True, **settings}
            emulator = await stack.enter_async_context(Emulator(**settings))
            emulators.append(emulator)
            make = partial(SD3Client, api_key, base_url=emulator.url, clock=LoopClock())
            client = await stack.enter_async_context(make(retry=retry))
            return Site(emulator, client, tmp_path / "out")

        yield begin
    for emulator in emulators:
        see_that_faults_were_met(emulator)
