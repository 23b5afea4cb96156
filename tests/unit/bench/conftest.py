"""Loads run against made-up services, in time that jumps; nothing here opens a socket."""

from collections.abc import Callable, Mapping

from sd3async.emulator import VirtualTimeLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], VirtualTimeLoop]]:
    return {"virtual": VirtualTimeLoop}
