"""One virtual time for two processes, so that one of them can be killed for real.

They take turns over a socket: whoever has the turn runs until it has nothing left to do, threads
included, and then hands over. When a whole round finds nothing to do, time moves on to the next
timer of either. TCP between them works, because what one has sent lies in the other's socket
before that one gets the turn.

A turn also carries how far the worker's wall clock is off: it may step, time itself does not.
"""

import asyncio
import math
import os
import select
import selectors
import signal
import socket
import struct
from collections.abc import Callable, Generator
from contextlib import suppress

from sd3async.emulator import VirtualTimeLoop
from sd3async.emulator.virtual_time import LoopClock

_GRACE = 0.0002  # [s] real time given to bytes that the kernel has not yet delivered
_TICK = 1e-6  # [s]
_PATIENCE = 120.0  # [s] real time: a worker that keeps the turn for longer hangs

_LONGEST_WATCH = 300  # turns

_TURN = struct.Struct("<dd")  # to the worker: the time, and how far the wall clock is off
_REPLY = struct.Struct("<d?")  # to the stage: the worker's next timer, and whether it did anything
LONGEST_MESSAGE = 64 * 1024  # [bytes]


class _Selector(selectors.DefaultSelector):
    """Waits for files as usual; what else there is to wait for, its loop knows."""

    loop: "_TurnLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = self.loop
        if timeout is not None and timeout <= 0:
            loop.is_busy = True
            if not vars(loop)["_ready"]:
                loop.move_to(loop.time() + _TICK)  # the timer is due but for a rounding
            return super().select(0)
        until = math.inf if timeout is None else loop.time() + timeout
        while True:
            ready = super().select(None if loop.has_jobs else _GRACE)
            if ready or vars(loop)["_ready"] or until <= loop.time():
                loop.is_busy = True
                return ready
            loop.yield_turn(until)


class _TurnLoop(VirtualTimeLoop):
    """A loop whose time is virtual and shared.

    Attributes:
        is_busy: Whether anything was done since the last turn was handed over.
    """

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self._virtual_now = 0.0
        self._jobs = 0
        self.is_busy = True
        asyncio.SelectorEventLoop.__init__(self, selector)

    def move_to(self, instant: float) -> None:
        """Let time pass, never backwards [s]."""
        self._virtual_now = max(self._virtual_now, instant)

    def yield_turn(self, until: float) -> None:
        """Let the other one work, or time pass.

        Args:
            until: The next timer of this loop [s].
        """
        raise NotImplementedError


class WorkerLoop(_TurnLoop):
    """The loop of the process that may be killed. Waits for its first turn.

    Args:
        channel: To the stage.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.wall_offset = 0.0
        super().__init__()
        self._await_turn()

    def yield_turn(self, until: float) -> None:
        """See `_TurnLoop`."""
        self._channel.send(_REPLY.pack(until, self.is_busy))
        self.is_busy = False
        self._await_turn()

    def _await_turn(self) -> None:
        message = self._channel.recv(LONGEST_MESSAGE)
        if not message:
            os._exit(99)  # the stage has gone
        now, self.wall_offset = _TURN.unpack(message)
        self.move_to(now)


class SteppedClock(LoopClock):
    """The time of a `WorkerLoop`: its wall clock steps, its monotonic time does not."""

    def time(self) -> float:
        """See `Clock.time`."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, WorkerLoop)
        return super().time() + loop.wall_offset


class Worker:
    """The process at work, as the stage sees it.

    Args:
        pid: The process.
        channel: Its turns.
        ended: Called once, when it is gone, with its last words, if it had time for any.
    """

    def __init__(
        self, pid: int, channel: socket.socket, ended: Callable[[bytes | None], object]
    ) -> None:
        self.pid = pid
        self.channel = channel
        self.ended = ended
        self.next_timer = -math.inf
        self.last_words: bytes | None = None
        self.was_killed = False
        self._doom: Generator[bool] | None = None

    def doom_in(self, turns: int, delay: float) -> None:
        """Have it killed while it works, at any instruction.

        Args:
            turns: How many turns it still gets to the end.
            delay: Into the turn after those [s], real time.
        """

        def wait() -> Generator[bool]:
            for _ in range(turns):
                yield False
            select.select([self.channel], [], [], delay)
            yield True

        self._doom = wait()

    def doom_at(self, look: Callable[[], object], changes: int) -> None:
        """Have it killed at the very moment when something changes, such as a folder.

        Args:
            look: Returns what may change.
            changes: Which change is its last; if there are none for long, it is killed anyway.
        """

        def wait() -> Generator[bool]:
            left, seen = changes, look()
            for _ in range(_LONGEST_WATCH):
                while left and not select.select([self.channel], [], [], _GRACE)[0]:
                    left, seen = left - (seen != (seen := look())), seen
                yield not left
            yield True

        self._doom = wait()

    def signal(self, number: int) -> None:
        """Send it a signal; harmless when it is gone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def turn(self, now: float, offset: float) -> bool | None:
        """Give it a turn.

        Args:
            now: The time [s].
            offset: How far its wall clock is off [s].

        Returns:
            Whether it did anything; None if it is gone.
        """
        try:
            self.channel.send(_TURN.pack(now, offset))
            self._strike()
            while message := self.channel.recv(LONGEST_MESSAGE):
                if len(message) != _REPLY.size:
                    self.last_words = message
                elif not self.was_killed:
                    self.next_timer, was_busy = _REPLY.unpack(message)
                    return bool(was_busy)
        except TimeoutError:
            self.signal(signal.SIGABRT)  # it prints where it stands
            raise
        except OSError:
            pass  # killed
        self.channel.close()
        return None

    def _strike(self) -> None:
        """Kill it if its time has come."""
        self.channel.settimeout(_PATIENCE)
        if self._doom is not None and next(self._doom):
            self.was_killed = True
            self.signal(signal.SIGKILL)


class StageLoop(_TurnLoop):
    """The loop of the process that stays: it holds the clock.

    Attributes:
        worker: Who takes turns with it, if anybody.
        wall_offset: How far the worker's wall clock is off [s].
    """

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.wall_offset = 0.0
        super().__init__()

    def yield_turn(self, until: float) -> None:
        """See `_TurnLoop`."""
        worker = self.worker
        was_busy = worker.turn(self.time(), self.wall_offset) if worker is not None else False
        if worker is not None and was_busy is None:
            self.worker = None
            self.call_soon(worker.ended, worker.last_words)
        elif not was_busy:
            next_timer = until if worker is None else min(until, worker.next_timer)
            if math.isinf(next_timer):
                raise RuntimeError("nobody has anything left to wait for")
            self.move_to(next_timer)
