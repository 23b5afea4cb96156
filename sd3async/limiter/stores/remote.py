"""What the stores on other hosts have in common."""

import asyncio
import os
import re
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import ClassVar, Generic, TypeVar
from urllib.parse import SplitResult, urlsplit

import attrs

from sd3async.limiter.stores.base import Store, StoreAwayError, Work
from sd3async.models.fields import refuse

C = TypeVar("C")
T = TypeVar("T")

PATIENCE = 2.0
"""How long a server may take to answer [s]."""

_GREETING = 3  # times that, with a new connection: over a long way it takes ten round trips

CLOCK_SLIP = 0.5
"""By how much a clock may differ from what is expected before it counts as set [s]."""

LOOK_EVERY = 5.0
"""How often it is seen whether the connection for news still works [s]."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 2.0  # [s] before listening again
_FRESH = 10.0  # [s] for which the time may be reckoned from the last answer,
_DRIFT = 500e-6  # as clocks run apart by at most so much: what NTP may slew
_COUNT_BYTES = 8
_HOST = re.compile(r"(\[[\w:.%]+\]|[^\[\]:\s]*)(?::(\d{1,5}))?")

_OF_PARENTS: list[object] = []
"""Connections that a fork inherited: to close them, or to let them be collected, would take them
out of the event loop of the parent, which still uses them."""


@attrs.define(eq=False)
class _Line(Generic[C]):
    """What one event loop of one process has open."""

    loop: asyncio.AbstractEventLoop
    process: int
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    connection: C | None = None
    listener: "asyncio.Task[None] | None" = None


class RemoteStore(Store, Generic[C]):
    """A record on another host, which is read, and set if it still is the one that was read.

    Nothing is held in between: who stops or dies in the middle of a change holds up nobody, and
    what comes too late is refused by the server. A process that was the last to change the record
    does not read it again, and takes the time from the answer before: one round trip. Otherwise
    two, or one if nothing is to be written, and one more for each time another was quicker.

    What is kept is the record and a count of its changes. If that has fallen, the server came
    back with an older copy, and has lost changes: `was_set` tells so as well.

    Connections belong to one event loop of one process. They are closed when the loop ends.

    Args:
        name: For messages.
    """

    slack = 0.12
    lead = 1.0

    failures: ClassVar[tuple[type[Exception], ...]]
    """What a server or a network can do to us."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._line: _Line[C] | None = None
        self._kept = b""  # as far as is known
        self._is_alone = False  # whether nobody else has changed it of late
        self._is_known = False  # whether somebody has seen `was_set`
        self._is_sent = False  # whether the server may have heard of the change at hand
        self._time = 0.0  # the server's, when it last answered [s]
        self._answered_at = float("-inf")  # [s]

    @abstractmethod
    async def connect(self) -> C:
        """Open a connection; leave none behind if that is cancelled."""

    @abstractmethod
    async def hang_up(self, connection: C) -> None:
        """Close a connection at once."""

    @abstractmethod
    async def get(self, connection: C) -> tuple[float, bytes]:
        """Return the server's time [s], and what it keeps."""

    @abstractmethod
    async def put(
        self, connection: C, before: bytes, after: bytes, now: float
    ) -> tuple[float, bytes | None]:
        """Keep something, if what is kept is `before` and the clock says `now`, or nearly.

        Returns:
            The server's time [s], and what it keeps instead, if it refused.
        """

    @abstractmethod
    async def listen_on(self, connection: C) -> None:
        """Tell `hear` of all news, until the connection breaks."""

    @abstractmethod
    async def find_names(self, connection: C) -> list[str]:
        """Return the names of all records that the server keeps."""

    @abstractmethod
    def reason(self, error: Exception) -> str:
        """Return what went wrong, in a few words: the library's can hold the user's name."""

    async def change(self, work: Work[T]) -> T:
        """See `Store`.

        Raises:
            StoreAwayError: It cannot be done now. If the connection broke while the answer was
                awaited, the change may have been made all the same.
        """
        return await self._run(lambda connection: self._agree(connection, work))

    async def names(self) -> list[str]:
        """Return the names of all records that the server keeps, in order.

        Raises:
            StoreAwayError: They cannot be read now.
        """
        return sorted(await self._run(self.find_names))

    async def aclose(self) -> None:
        """See `Store`."""
        if (line := self._line_here()).listener:
            line.listener.cancel()
            await asyncio.wait([line.listener])

    def hear(self, beginning: bytes) -> None:
        """Take note of the record's first eight bytes."""
        if beginning and beginning != self.heard:
            self.heard = beginning
            self.on_news()

    async def look(self) -> None:
        """See whether there were news while nobody listened."""
        _, kept = await self._run(self.get)
        self.hear(kept[:8])

    async def _agree(self, connection: C, work: Work[T]) -> T:
        """Read, work and write, until nobody was quicker."""
        if self._is_known:
            self._is_known = self.was_set = False
        is_read = not self._is_alone or time.monotonic() > self._answered_at + _FRESH
        if is_read:
            known = self._kept
            self._take(await self._trip(self.get(connection)))
            self._is_alone = self._kept == known
        while True:
            kept, is_known = self._kept, self.was_set
            before = kept[:-_COUNT_BYTES]
            now = self._time + (0 if is_read else self._since_answer())
            after, result = work(before, now)
            if is_read and after == before:
                break
            self._is_sent = True
            count = (_count(kept) + 1).to_bytes(_COUNT_BYTES, "little")
            found = await self._trip(self.put(connection, kept, after + count, now))
            if found is None:
                self._kept = after + count
                break
            self._take(found)
            self._is_alone, is_read = False, True
        self._is_known = is_known
        self.heard = after[:8]
        return result

    def _take(self, found: bytes) -> None:
        if found and _count(found) < _count(self._kept):
            self.was_set = True
        self._kept = found

    def _since_answer(self) -> float:
        """Return how long ago the last answer was, on any clock at least [s]."""
        return (time.monotonic() - self._answered_at) * (1 - _DRIFT)

    async def _trip(self, answer: Awaitable[tuple[float, T]]) -> T:
        """Wait for an answer, and compare the clocks."""
        sent_at = time.monotonic()
        self._time, found = await answer
        known_at, self._answered_at = self._answered_at, time.monotonic()
        least, most = sent_at - self._time, self._answered_at - self._time
        moved = max(least - self.offset[1], self.offset[0] - most)
        # Over an idle hour clocks run apart by as much; before the first answer nothing is known.
        if moved > CLOCK_SLIP + (self._answered_at - known_at) * _DRIFT:
            self.was_set = True
        self.offset = least, most
        return found

    async def _run(self, job: Callable[[C], Awaitable[T]]) -> T:
        """Do something with the connection; close it if anything goes wrong."""
        line = self._line_here()
        async with line.lock:
            while True:
                is_new = line.connection is None
                patience = _GREETING * PATIENCE if is_new else PATIENCE
                self._is_sent = False
                try:
                    async with asyncio.timeout(patience):
                        if line.connection is None:
                            line.connection = await self.connect()
                        if line.listener is None or line.listener.done():
                            line.listener = line.loop.create_task(self._listen(line))
                        return await job(line.connection)
                except self.failures as error:
                    is_late = isinstance(error, TimeoutError)
                    reason = f"no answer within {patience:g} s" if is_late else self.reason(error)
                    await self._cut(line)
                except BaseException:
                    await self._cut(line)
                    raise
                if is_new or is_late or self._is_sent:
                    break  # else it was closed while it was idle, and another one may do
        # Raised out here, so that the library's own words are not its context.
        raise StoreAwayError(f"{self.name}: {reason}")

    async def _listen(self, line: _Line[C]) -> None:
        """Listen for news, for as long as the event loop runs; it ends with all connections."""
        pause = _FIRST_PAUSE
        try:
            while True:
                began_at = time.monotonic()
                with suppress(*self.failures, StoreAwayError):
                    async with asyncio.timeout(_GREETING * PATIENCE):
                        connection = await self.connect()
                    try:
                        await self.listen_on(connection)
                    finally:
                        self._is_alone = False  # the other connection may have broken as well
                        await self.hang_up(connection)
                was_well = time.monotonic() > began_at + LOOK_EVERY
                pause = _FIRST_PAUSE if was_well else min(2 * pause, _LONGEST_PAUSE)
                await asyncio.sleep(pause)
        finally:
            await self._cut(line)

    async def _cut(self, line: _Line[C]) -> None:
        self._is_alone = False
        connection, line.connection = line.connection, None
        if connection is not None:
            await self.hang_up(connection)

    def _line_here(self) -> _Line[C]:
        loop, process, line = asyncio.get_running_loop(), os.getpid(), self._line
        if line is None or line.loop is not loop or line.process != process:
            if line and line.process != process:
                _OF_PARENTS.append(line)
            elif line and line.listener and not line.loop.is_closed():
                _ = line.loop.call_soon_threadsafe(line.listener.cancel)
            self._line = line = _Line[C](loop, process)
        return line


def read_url(url: str, port: int) -> tuple[SplitResult, str]:
    """Return a URL's parts, and its hosts with their ports, as words.

    Args:
        url: It may hold a password, which is shown nowhere.
        port: The usual one.

    Raises:
        InvalidRequestError: It cannot be meant so: of a password that is not encoded, a part
            would be taken for the host.
    """
    with suppress(ValueError):
        parts = urlsplit(url)
        hosts = [_HOST.fullmatch(host) for host in parts.netloc.rpartition("@")[2].split(",")]
        is_clear = not parts.fragment and "@" not in parts.path + parts.query
        found = [(host[1] or "localhost", int(host[2] or port)) for host in hosts if host]
        are_ports = all(0 < own < 65536 for _, own in found)
        if is_clear and parts.netloc.count("@") < 2 and len(found) == len(hosts) and are_ports:
            return parts, ",".join(f"{host}:{own}" for host, own in found)
    raise refuse(
        "share",
        "is no URL of a store; write scheme://user:password@host:port/database, "
        "with / ? # @ : and % of the password percent-encoded",
    )


def system_reason(error: BaseException) -> str:
    """Return what the operating system has to say of an error, or an error behind it."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, OSError):
            number = behind.errno or 0
            return os.strerror(number) if number > 0 else behind.strerror or str(behind)
        behind = behind.__cause__ or behind.__context__
    return ""


def _count(kept: bytes) -> int:
    return int.from_bytes(kept[-_COUNT_BYTES:], "little")
