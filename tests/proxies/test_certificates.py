"""A proxy that ends TLS with a certificate of its own."""

import inspect
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from sd3async import ConnectFailedError, SD3Client
from sd3async.emulator import Emulator
from support.proxies import Proxy, haproxy

KEY = "sk-test0123456789abcdef"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for loopback."""
    key, certificate = tmp_path / "certificate.pem.key", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=loopback"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    return certificate


@pytest.fixture
def proxy(emulator: Emulator, certificate: Path) -> Generator[Proxy]:
    with haproxy(emulator.url, bind=f"ssl crt {certificate}") as running:
        yield running


async def test_a_certificate_that_nobody_vouches_for_is_refused_once(
    emulator: Emulator, proxy: Proxy
) -> None:
    """It will be as wrong at the next attempt, and the key must not go to it."""
    async with SD3Client(KEY, base_url=proxy.url) as client:
        with pytest.raises(ConnectFailedError, match="certificate") as caught:
            await client.core("a")

    assert len(caught.value.history) == 1
    assert emulator.requests == []


@pytest.mark.skipif(
    "ca_file" not in inspect.signature(SD3Client).parameters, reason="no ca_file= yet"
)
async def test_a_private_authority_is_trusted_when_it_is_named(
    emulator: Emulator, proxy: Proxy, certificate: Path
) -> None:
    """Companies end TLS at proxies with certificates of their own."""
    option: dict[str, Any] = {"ca_file": certificate}
    async with SD3Client(KEY, base_url=proxy.url, **option) as client:
        await client.core("a")

    assert emulator.paid == 1
