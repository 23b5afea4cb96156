"""The processes of a soak: one that makes others, on a small disk of its own, and those it makes.

python -m soak.worker CONTROL FOLDER [SIZE]

It listens on the socket CONTROL for orders and forks for each: a run of the job, a look at the
folder, a second run that must be kept out. With SIZE [MiB] a disk of that size is mounted on
FOLDER first. Only what runs the job shares the stage's time.
"""

import asyncio
import contextlib
import faulthandler
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import attrs

from sd3async import RateLimit, RetryPolicy, SD3Client, SD3Error, Timeouts
from sd3async.bulk import BulkJob, JobLockedError
from sd3async.cli import main as command_line
from soak.turns import LONGEST_MESSAGE, SteppedClock, WorkerLoop

KEYS = ("sk-soak", "sk-that-runs-out")
READ_TIMEOUT = 60.0  # [s]
_CHANNELS = 2  # that come with an order: for turns, and for pid and exit status


def serve(control: socket.socket) -> None:
    """Fork for each order, until there are no more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, LONGEST_MESSAGE, _CHANNELS)
        if not message:
            return
        turns, status = (socket.socket(fileno=descriptor) for descriptor in descriptors)
        if os.fork() == 0:
            control.close()
            _watch(json.loads(message), turns, status)
        turns.close()
        status.close()


def _watch(order: dict[str, Any], turns: socket.socket, status: socket.socket) -> NoReturn:
    """Fork once more, and tell of its child."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        status.close()
        os._exit(_obey(order, turns))
    turns.close()
    status.send(str(pid).encode())
    _, how = os.waitpid(pid, 0)
    status.send(str(os.waitstatus_to_exitcode(how)).encode())
    os._exit(0)


def _obey(order: dict[str, Any], turns: socket.socket) -> int:
    match order["task"]:
        case "run":
            return _run(order, turns)
        case "verify":
            return _verify(order)
        case _:
            return asyncio.run(_intrude(order))


def _run(order: dict[str, Any], turns: socket.socket) -> int:
    logging.getLogger("sd3async").addHandler(logging.NullHandler())
    with asyncio.Runner(loop_factory=lambda: WorkerLoop(turns)) as runner:
        told = runner.run(_work(order))
        turns.send(json.dumps(told).encode())
    return 0


async def _work(order: dict[str, Any]) -> dict[str, Any]:
    """Run the job until something ends it; say how it ended."""
    clock = SteppedClock()
    job: BulkJob | None = None
    _listen_for_signals(None)
    told: dict[str, Any] = {"failure": None, "stats": None}
    try:
        async with _client(order, clock) as client:
            options = order["options"]
            job = BulkJob(
                client,
                Path(order["manifest"]),
                out=order["out"],
                clock=clock,
                reports=False,
                emulated=True,
                **options,
            )
            async with job:
                _listen_for_signals(job)
                await job.run()
    except asyncio.CancelledError:
        told["failure"] = "cancelled"
    except SD3Error as error:
        told["failure"] = f"{type(error).__name__}: {error}"
    if job is not None:
        told["stop_reason"] = job.stop_reason
        told["stats"] = attrs.asdict(job.stats)
        with contextlib.suppress(SD3Error):  # no journal yet, or the disk is full
            _write_records(job, Path(order["records"]))
    return told


def _client(order: dict[str, Any], clock: SteppedClock) -> SD3Client:
    return SD3Client(
        KEYS,
        base_url=order["url"],
        rate_limit=RateLimit(max_requests=order["max_requests"]),
        retry=RetryPolicy(max_wait=8.0),
        timeouts=Timeouts(read=READ_TIMEOUT),
        clock=clock,
    )


def _listen_for_signals(job: BulkJob | None) -> None:
    """Do as the command does: the first signal stops, the second breaks off.

    SIGINT stands for a caller that is cancelled, and before there is a job, so does SIGTERM.
    """
    loop, caller, count = asyncio.get_running_loop(), asyncio.current_task(), 0
    assert caller is not None

    def on_term() -> None:
        nonlocal count
        count += 1
        if job is None:
            caller.cancel()
        else:
            (job.stop if count == 1 else job.cancel)()

    loop.add_signal_handler(signal.SIGTERM, on_term)
    loop.add_signal_handler(signal.SIGINT, caller.cancel)


def _write_records(job: BulkJob, target: Path) -> None:
    records = [json.dumps(record.to_dict()) for record in job.records()]
    target.write_text("\n".join(records))


def _verify(order: dict[str, Any]) -> int:
    with Path(order["output"]).open("w") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    sys.argv = ["sd3async", "bulk", "--verify", order["out"]]
    try:
        command_line()
    except SystemExit as end:
        sys.stdout.flush()
        return int(end.code or 0)
    return 0


async def _intrude(order: dict[str, Any]) -> int:
    """Try to work in the same folder; being kept out is success."""
    async with SD3Client(KEYS, base_url=order["url"], share="process") as client:
        try:
            async with BulkJob(client, ["x"], out=order["out"], emulated=True, reports=False):
                return 1
        except JobLockedError:
            return 0


def main() -> None:
    """See the module."""
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # who has no loop yet just dies of it
    descriptor, folder, *size = sys.argv[1:]
    if size:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size[0]}m", "none", folder]
        subprocess.run(mount, check=True)
    control = socket.socket(fileno=int(descriptor))
    control.send(b"ready")
    serve(control)


if __name__ == "__main__":
    main()
