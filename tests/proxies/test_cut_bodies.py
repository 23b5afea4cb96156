"""Images that break off on their way: some proxies leave no trace of it in the protocol."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from sd3async import RetryPolicy, SD3Client, SD3Error
from sd3async.emulator import Emulator, Fault
from support.proxies import Gate, Proxy, haproxy, nginx, through

KEY = "sk-test0123456789abcdef"

# A filter that may change the length drops it, and without chunks only the end of the
# connection ends the image: as with every proxy that speaks HTTP/1.0.
NO_LENGTH = """
    sub_filter_types *;
    sub_filter "what no image holds" "";
    chunked_transfer_encoding off;
"""
ZIPPED = "gzip on; gzip_types *; chunked_transfer_encoding off;"


@contextmanager
def _haproxy_that_makes_it_look_whole(upstream: str) -> Generator[Proxy]:
    """HAProxy puts what ends with its connection into chunks, the last of them included."""
    with nginx(upstream, NO_LENGTH) as lengthless, haproxy(lengthless.url) as proxy:
        yield proxy


EVERY_WAY = through(
    {
        "nginx": nginx,
        "nginx unbuffered": lambda upstream: nginx(upstream, "proxy_buffering off;"),
        "nginx without a length": lambda upstream: nginx(upstream, NO_LENGTH),
        "nginx unbuffered without a length": lambda upstream: nginx(
            upstream, f"proxy_buffering off; {NO_LENGTH}"
        ),
        "nginx with gzip": lambda upstream: nginx(upstream, ZIPPED),
        "HAProxy": haproxy,
        "HAProxy before nginx without a length": _haproxy_that_makes_it_look_whole,
    }
)


@EVERY_WAY
@pytest.mark.parametrize("keep", [1 / 3, 0.9999], ids=["a third", "all but 20 bytes"])
@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
async def test_a_cut_image_is_never_a_success(
    tmp_path: Path, gate: Gate, keep: float, output_format: str
) -> None:
    """Half an image under its final name is worse than an error: it is paid, and lost."""
    async with Emulator(
        limit=None, image_bytes=200_000, faults=[Fault.truncated(keep)] * 2
    ) as emulator:
        with gate(emulator.url) as proxy:
            once = RetryPolicy(attempts=1)
            async with SD3Client(KEY, base_url=proxy.url, retry=once) as client:
                with pytest.raises(SD3Error) as into_memory:
                    await client.core("a", output_format=output_format)
                path = tmp_path / f"image.{output_format}"
                with pytest.raises(SD3Error) as into_a_file:
                    await client.core("a", output_format=output_format, to=path)
        assert emulator.paid == 2
    assert list(tmp_path.iterdir()) == []
    assert into_memory.value.history[0].may_be_charged
    assert into_a_file.value.history[0].may_be_charged


@EVERY_WAY
@pytest.mark.parametrize("accept", ["image/*", "application/json"])
async def test_a_cut_image_is_asked_for_again(
    tmp_path: Path, gate: Gate, accept: Literal["image/*", "application/json"]
) -> None:
    """The next attempt brings it whole, and the first one is told as possibly paid."""
    async with Emulator(limit=None, image_bytes=200_000, faults=[Fault.truncated(0.5)]) as emulator:
        with gate(emulator.url) as proxy:
            policy = RetryPolicy(attempts=2, wait=0)
            async with SD3Client(KEY, base_url=proxy.url, retry=policy) as client:
                image = await client.core("a", accept=accept, to=tmp_path / "image.png")
        assert emulator.paid == 2
    assert (image.attempts, image.unknown_charges) == (2, 1)
    assert (tmp_path / "image.png").stat().st_size == 200_000
