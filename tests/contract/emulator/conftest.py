"""One emulator for the tests that only ask, each with a limit of its own otherwise."""

from collections.abc import Generator

import pytest

from sd3async.emulator import Emulator


@pytest.fixture(scope="session")
def shared() -> Generator[Emulator]:
    """An unlimited emulator with quick payloads, in a thread."""
    with Emulator.in_thread(limit=None, image_bytes=400, strict=True) as emulator:
        yield emulator
