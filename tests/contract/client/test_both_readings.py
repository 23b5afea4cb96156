"""The client's reading of the API against the emulator's, which was made apart from it."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sd3async import SD3Client, request_from_dict
from sd3async.emulator import Emulator
from sd3async.emulator.virtual_time import LoopClock
from support.requests import MINIMAL
from support.strategies import requests_of


@pytest.mark.parametrize("endpoint", MINIMAL)
@given(data=st.data())
@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
async def test_what_the_client_takes_the_emulator_takes(endpoint: str, data: st.DataObject) -> None:
    """A bound that one of them has misread, or a field under another name."""
    requests = [data.draw(requests_of(endpoint)) for _ in range(4)]
    async with (
        Emulator(strict=True, image_bytes=2_000) as emulator,
        SD3Client("sk-any", base_url=emulator.url, share="process", clock=LoopClock()) as client,
    ):
        for request in requests:
            image = await client.generate(request)

            assert image.request.endpoint == endpoint


async def test_both_know_the_same_prices() -> None:
    """A cap on credits would be kept on paper only."""
    async with (
        Emulator(strict=True, image_bytes=2_000) as emulator,
        SD3Client("sk-any", base_url=emulator.url, share="process", clock=LoopClock()) as client,
    ):
        spent = 0.0
        for endpoint, fields in MINIMAL.items():
            image = await client.generate(request_from_dict({"endpoint": endpoint, **fields}))
            spent += image.credits

        assert spent == emulator.credits_used
