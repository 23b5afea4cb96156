"""An emulator in a process of its own, so that its work is not mistaken for the client's."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from sd3async.cli.emulator import faults_from_words, latency_from_text
from sd3async.cli.exits import discard_output

_REFUSED = 429


@attrs.define
class Running:
    """An emulator under way.

    Attributes:
        url: Where it listens.
        pid: Its process.
        stats: What it saw (see `sd3async.emulator`), once it has ended; with the instants at which
            it answered 429, `refused_at` [s].
    """

    url: str
    pid: int
    stats: dict[str, Any] = attrs.field(factory=dict[str, Any])


@contextmanager
def emulator_process(**settings: Any) -> Generator[Running]:
    """Run an emulator beside this process while the block runs.

    Args:
        **settings: Keywords of the emulator, as far as JSON carries them; `latency` and `faults`
            in the words of `sd3async emulator`.

    Yields:
        Where it is, and at the end what it saw.

    Raises:
        OSError: It did not start.
    """
    command = [sys.executable, "-P", "-m", __name__, json.dumps(settings)]
    pipe = subprocess.PIPE
    # In a session of its own it does not hear Ctrl-C; it ends when its pipe is closed.
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None  # we asked for it
        url = process.stdout.readline().strip()
        if not url:
            raise OSError("the emulator's process did not start")
        emulator = Running(url, process.pid)
        try:
            yield emulator
        finally:
            emulator.stats |= json.loads(process.communicate()[0] or "{}")


async def _serve(*, latency: str = "0", faults: Sequence[str] = (), **settings: Any) -> None:
    from sd3async.emulator import Emulator

    settings["latency"] = latency_from_text(latency)
    async with Emulator(faults=faults_from_words(tuple(faults)), **settings) as emulator:
        print(emulator.url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        refused_at = [seen.at for seen in emulator.requests if seen.status == _REFUSED]
        print(json.dumps(attrs.asdict(emulator.stats) | {"refused_at": refused_at}), flush=True)


if __name__ == "__main__":
    try:
        asyncio.run(_serve(**json.loads(sys.argv[1])))
    except BrokenPipeError:  # nobody waits for it any more
        discard_output()
