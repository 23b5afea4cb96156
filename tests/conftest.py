"""What every test runs under."""

import asyncio
import functools
import os

import pytest
from hypothesis import settings

from sd3async.emulator.pytest_plugin import EmulatorFactory
from sd3async.limiter import sharing

pytest_plugins = ["pytester"]

settings.register_profile("default", deadline=None)
settings.load_profile("default")


def pytest_configure() -> None:
    # pytest-asyncio asks for the current loop before it sets its own; on older Pythons the
    # question makes a loop that nobody closes. Saying "none" once answers it.
    asyncio.set_event_loop(None)


@pytest.fixture(autouse=True)
def no_settings_from_outside(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A developer's own key, logging and files must not leak into the tests, nor one test's limit
    into the next."""
    for name in list(os.environ):
        if name.startswith(("STABILITY_", "SD3ASYNC_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("SD3ASYNC_SHARE", "process")
    monkeypatch.setattr(sharing, "_OF_THIS_PROCESS", {})


@pytest.fixture
def sd3_emulator_factory(sd3_emulator_factory: EmulatorFactory) -> EmulatorFactory:
    """Emulators of our own tests overlook no slip of the client."""
    return functools.partial(sd3_emulator_factory, strict=True)
