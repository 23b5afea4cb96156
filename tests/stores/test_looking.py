"""`sd3async limits` at the servers that many hosts share."""

import asyncio
import json

import pytest
from click.testing import CliRunner

from sd3async import RateLimit, SD3Client
from sd3async.cli.program import program
from sd3async.emulator.pytest_plugin import EmulatorFactory
from support.databases import Database

KEYS = ["sk-first0123456789", "sk-second0123456789"]


def test_every_limit_is_shown_without_a_key_at_hand(
    database: Database,
    sd3_emulator_factory: EmulatorFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who watches over the fleet has its URL, and neither its keys nor its settings."""
    emulator = sd3_emulator_factory(max_requests=40, image_bytes=1000)
    limit = RateLimit(max_requests=40)

    async def send() -> None:
        async with SD3Client(
            KEYS, base_url=emulator.url, rate_limit=limit, share=database.url
        ) as client:
            await asyncio.gather(*(client.core("a") for _ in range(4)))

    asyncio.run(send())
    monkeypatch.delenv("STABILITY_API_KEY", raising=False)
    looked = CliRunner().invoke(program, ["limits", "--share", database.url, "--json"])

    assert looked.exit_code == 0
    here = [
        found for found in json.loads(looked.stdout)["limits"] if found["base_url"] == emulator.url
    ]
    assert [found["max_requests"] for found in here] == [40, 40]
    assert sum(found["in_window"] for found in here) == 4
    assert not any(key in looked.output for key in KEYS)
