"""The stage's end of the processes: starting them, hearing how they ended, filling their disk."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, Self

import attrs

from soak.turns import LONGEST_MESSAGE

_PATIENCE = 120.0  # [s] real time
_APART = ("unshare", "--user", "--map-root-user", "--mount")
_TESTS = Path(__file__).parent.parent


@attrs.frozen
class Started:
    """A process that an order has started.

    Attributes:
        pid: Its number.
        turns: For its turns, if it takes any.
        status: Tells its exit code.
        output: What it prints, if it prints to a file.
    """

    pid: int
    turns: socket.socket
    status: socket.socket
    output: Path | None

    def exit_code(self) -> int:
        """Wait until it is dead and buried; return its exit code, negative for a signal."""
        code = int(self.status.recv(LONGEST_MESSAGE))
        self.status.close()
        self.turns.close()
        return code


class Forge:
    """Makes processes for orders.

    Args:
        control: To the process that forks.
        home: The folder of everything, as seen from here.
        has_disk: Whether `home` is a disk of its own.
    """

    def __init__(self, control: socket.socket, home: Path, *, has_disk: bool) -> None:
        self._control = control
        self.home = home
        self.has_disk = has_disk

    @classmethod
    @contextlib.contextmanager
    def open(cls, folder: Path, errors: Path, size: int) -> Generator[Self]:
        """Start the process that forks.

        Args:
            folder: For the job.
            errors: Gets what the processes complain about.
            size: Of their disk [MiB], where disks may be made.
        """
        folder.mkdir()
        has_disk = _may_mount()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        serving = [sys.executable, "-m", "soak.worker", str(theirs.fileno()), str(folder)]
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [*_APART, *serving, str(size)] if has_disk else serving,
                env=_environment(),
                pass_fds=[theirs.fileno()],
                stderr=stderr,
            )
        theirs.close()
        try:
            if ours.recv(LONGEST_MESSAGE) != b"ready":
                raise RuntimeError(f"no process came up: {errors.read_text()}")
            # What is mounted there shows in that process's view of the file system alone.
            view = Path(f"/proc/{process.pid}/root{folder}") if has_disk else folder
            yield cls(ours, view, has_disk=has_disk)
        finally:
            ours.close()
            process.wait(_PATIENCE)

    def start(self, order: dict[str, Any], *, output: Path | None = None) -> Started:
        """Start a process.

        Args:
            order: What for: see `soak.worker`.
            output: Where it prints to.
        """
        kind = socket.SOCK_SEQPACKET
        turns, their_turns = socket.socketpair(socket.AF_UNIX, kind)
        status, their_status = socket.socketpair(socket.AF_UNIX, kind)
        with their_turns, their_status:
            descriptors = [their_turns.fileno(), their_status.fileno()]
            message = json.dumps(order | {"output": str(output)}).encode()
            socket.send_fds(self._control, [message], descriptors)
        status.settimeout(_PATIENCE)
        return Started(int(status.recv(LONGEST_MESSAGE)), turns, status, output)

    def fill_disk(self, left: int) -> None:
        """Leave so many [bytes] on the disk, for others to fill."""
        space = os.statvfs(self.home)
        with (self.home / "ballast").open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, max(1, space.f_bavail * space.f_frsize - left))

    def free_disk(self) -> None:
        """Take away what `fill_disk` has put there."""
        (self.home / "ballast").unlink(missing_ok=True)


def _may_mount() -> bool:
    trial = [*_APART, "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(trial, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _environment() -> dict[str, str]:
    paths = [str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
