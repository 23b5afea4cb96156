"""The emulator as a server: started in this loop, in a thread, or for ever."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import attrs
from aiohttp import web
from aiohttp.http import HttpProcessingError

from sd3async._clock import SYSTEM_CLOCK
from sd3async.emulator.app import Service
from sd3async.emulator.control import add_control_routes
from sd3async.emulator.journal import ReceivedRequest
from sd3async.emulator.ledger import Stats
from sd3async.emulator.settings import Settings
from sd3async.emulator.virtual_time import LoopClock, VirtualTimeLoop

__all__ = ["Emulator"]

_BACKLOG = 2048  # connections the kernel may hold while a first burst is taken in
_DRAWING_THREADS = 2
_KEEPALIVE = 75.0  # [s] as a common reverse proxy has it
_PATIENCE = 5.0  # [s] to close connections; nothing is in flight any more by then


def _is_ours(record: logging.LogRecord) -> bool:
    error = record.exc_info and record.exc_info[1]
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


_log = logging.getLogger("aiohttp.server.emulator")
_log.addFilter(_is_ours)  # what is not HTTP is the client's affair: it is told, with a 400


async def _wait(_: web.Request) -> None:
    """Leave `Expect: 100-continue` to the service: an early refusal comes without a 100."""


@attrs.define(kw_only=True, eq=False, repr=False)
class Emulator(Settings):
    """A stand-in for the Stable Image API on a loopback port.

    Use it as `async with Emulator(...) as emulator`, or in a thread of its own with
    `Emulator.in_thread(...)`. Every setting is a keyword and an attribute: see `Settings`.
    """

    _service: Service | None = attrs.field(default=None, init=False)
    _runner: web.AppRunner | None = attrs.field(default=None, init=False)
    _pool: ThreadPoolExecutor | None = attrs.field(default=None, init=False)
    _url: str = attrs.field(default="", init=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(url={self._url!r})"

    async def __aenter__(self) -> Self:
        """Start listening."""
        virtual = isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
        clock = self.clock or (LoopClock() if virtual else SYSTEM_CLOCK)
        self._pool = ThreadPoolExecutor(_DRAWING_THREADS, "sd3async-emulator")
        self._service = Service(self, clock, self._pool)
        app = web.Application()
        add_control_routes(app, self._service, self, lambda: self.stats)
        app.router.add_route("*", "/{path:.*}", self._service.handle, expect_handler=_wait)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_log,
            handler_cancellation=True,
            keepalive_timeout=_KEEPALIVE,
            shutdown_timeout=_PATIENCE,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, backlog=_BACKLOG)
        try:
            await site.start()
        except OSError:
            await self.aclose()
            raise
        port = self._runner.addresses[0][1]
        host = f"[{self.host}]" if ":" in self.host else self.host
        self._url = f"http://{host}:{port}{self.prefix}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop: see `aclose`."""
        await self.aclose()

    async def aclose(self) -> None:
        """Break off what is in flight, close every connection and stop listening."""
        if self._service is not None:
            await self._service.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    async def run_forever(self, announce: Callable[[str], object]) -> None:
        """Listen until cancelled.

        Args:
            announce: Called with the base URL once the port is open.
        """
        async with self:
            announce(self.url)
            await asyncio.get_running_loop().create_future()

    @classmethod
    @contextlib.contextmanager
    def in_thread(cls, **settings: Any) -> "Generator[Emulator]":
        """Run an emulator in a thread with a loop of its own, for tests without asyncio.

        Args:
            **settings: As for the class.

        Yields:
            The emulator, listening.
        """
        emulator = cls(**settings)
        started, stop = threading.Event(), asyncio.Event()
        loops: list[asyncio.AbstractEventLoop] = []
        failures: list[BaseException] = []

        async def serve() -> None:
            async with emulator:
                loops.append(asyncio.get_running_loop())
                started.set()
                await stop.wait()

        def run() -> None:
            try:
                asyncio.run(serve())
            except BaseException as failure:  # noqa: BLE001 - handed to the caller's thread
                failures.append(failure)
            finally:
                started.set()

        thread = threading.Thread(target=run, name="sd3async-emulator", daemon=True)
        thread.start()
        started.wait()
        try:
            if not failures:
                yield emulator
        finally:
            if loops and not failures:
                loops[0].call_soon_threadsafe(stop.set)
            thread.join()
        if failures:
            raise failures[0]

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        if not self._url:
            raise RuntimeError("the emulator is not running: use `async with`")
        return self._url

    def _running(self) -> Service:
        if self._service is None:
            raise RuntimeError("the emulator has not been started: use `async with`")
        return self._service

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The journal: what arrived, oldest first, as far as it is known now."""
        return self._running().journal.snapshot()

    @property
    def stats(self) -> Stats:
        """Totals since the start or the last `reset`."""
        service = self._running()
        books = service.ledger
        return Stats(
            requests=books.requests,
            started=books.started,
            polls=books.polls,
            paid=books.paid,
            credits_used=books.credits_used,
            refused=books.by_status[429],
            by_status=dict(books.by_status),
            faults=dict(books.faults),
            disconnected=books.disconnected,
            max_in_any_window=service.arrivals.fullest_window(),
        )

    @property
    def credits_used(self) -> float:
        """What was booked [credits]."""
        return self._running().ledger.credits_used

    @property
    def paid(self) -> int:
        """How many generations were booked, whether or not the client got them."""
        return self._running().ledger.paid

    @property
    def refused(self) -> int:
        """How many requests were answered with 429."""
        return self._running().ledger.by_status[429]

    def max_in_any_window(self) -> int:
        """Return the most requests of one key, refused ones included, in any `period`."""
        return self._running().arrivals.fullest_window()

    def reset(self) -> None:
        """Forget journal, books, results, limits and lock-outs; settings and faults stay."""
        self._running().reset()
