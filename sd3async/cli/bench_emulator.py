"""An emulator in a process of its own, so that its work is not mistaken for the client's."""

import asyncio
import multiprocessing
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

import attrs

from sd3async.cli.emulator import faults_from_words, latency_from_text

_PATIENCE = 20.0  # [s] for a new interpreter to import the server and listen


@attrs.frozen(kw_only=True)
class EmulatorOptions:
    """What `bench --emulator` runs against; texts, because they travel to another process.

    Attributes:
        latency: How long a generation takes, as `sd3async emulator --latency` has it, or
            `LOW..HIGH` [s].
        faults: As `sd3async emulator --fault` has them.
        image_bytes: Size of every image [bytes].
        limit: How the server counts, or None for no limit.
        max_requests: Requests allowed in a period.
        period: Its length [s].
        seed: Decides everything random.
    """

    latency: str
    faults: tuple[str, ...] = ()
    image_bytes: int
    limit: str | None
    max_requests: int
    period: float
    seed: int

    def check(self) -> None:
        """See that the texts mean something.

        Raises:
            ValueError: One does not.
        """
        latency_from_text(_latency_words(self.latency))
        faults_from_words(self.faults)


@contextmanager
def emulator_process(options: EmulatorOptions) -> Generator[str]:
    """Run an emulator beside this process while the block runs.

    Args:
        options: What it is like.

    Yields:
        Its base URL.

    Raises:
        OSError: It did not start.
    """
    # Not forked: a copy of this process would share its open files and its memory's history.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, options), daemon=True)
    # Ctrl-C reaches both processes; the other one ends when this one closes the pipe. It inherits
    # deafness at its birth: put up later, an early Ctrl-C would break its imports.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.start()
    signal.signal(signal.SIGINT, before)
    theirs.close()
    try:
        try:
            url = ours.recv() if ours.poll(_PATIENCE) else None
        except EOFError:
            url = None
        if not isinstance(url, str):
            raise OSError("the emulator's process did not start")
        yield url
    finally:
        ours.close()  # which is what ends it
        process.join(_PATIENCE)


def _serve(pipe: Connection, options: EmulatorOptions) -> None:
    asyncio.run(_serve_until_closed(pipe, options))


async def _serve_until_closed(pipe: Connection, options: EmulatorOptions) -> None:
    from sd3async.emulator import Emulator

    is_closed = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), is_closed.set)
    settings = attrs.asdict(options)
    settings["latency"] = latency_from_text(_latency_words(options.latency))
    settings["faults"] = faults_from_words(options.faults)
    async with Emulator(**settings) as emulator:
        with suppress(BrokenPipeError):  # nobody waits for it any more
            pipe.send(emulator.url)
            await is_closed.wait()


def _latency_words(text: str) -> str:
    """Return `LOW..HIGH` as the emulator's own command has it."""
    low, dots, high = text.partition("..")
    return f"uniform:{low}:{high}" if dots else text
