"""The load generator, the real client and the real emulator, in time that jumps."""

from collections.abc import Callable, Mapping

from sd3async.emulator import VirtualTimeLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], VirtualTimeLoop]]:
    return {"virtual": VirtualTimeLoop}
