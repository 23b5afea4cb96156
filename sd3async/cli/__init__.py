"""The command line, `sd3async …`: one file for each command, each a thin face.

Importing this costs nothing: click, rich and what a command works with are imported when the
command runs.
"""

import signal
import sys

from sd3async import _startup

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave with its exit code: see `sd3async.cli.program`."""
    try:
        _run()
    finally:
        # The end is decided and told; the interpreter's own shutdown is no place to die in.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run() -> None:
    try:
        from sd3async.cli.program import program
    except ModuleNotFoundError as missing:
        if missing.name != "click":
            raise
        print(
            "sd3async: the command line needs click and rich: pip install 'sd3async[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _startup.raise_once)
    program.main()
