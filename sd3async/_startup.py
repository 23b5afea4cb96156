"""Ctrl-C in the first tenths of a second, while the program `sd3async` imports what it is made of.

Python answers it with a traceback of whatever import it hits. There is nothing to put away yet, so
the program just leaves. Where this package is a library, signals are its user's, and untouched.
"""

import os
import sys

# Every further import is a place to be hit in, and `signal` itself makes enums at length.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal

INTERRUPTED = 130
"""The exit code: what a shell reports for a program that Ctrl-C ended."""


_TOLD = b'{"error": "Interrupted", "message": "interrupted", "exit_code": 130}\n'


def leave_at_once(*_: object) -> "NoReturn":
    """Say so and leave, putting nothing away: a signal handler.

    Not by way of `sys.stdout`: the signal may have come in the middle of a write to it.
    """
    _write(2, b"sd3async: interrupted\n")
    if wants_json(sys.argv) and sys.__stdout__ is not None:  # None when the shell has closed it
        _write(1, _TOLD)
    os._exit(INTERRUPTED)


def _write(descriptor: int, words: bytes) -> None:
    try:  # noqa: SIM105  # contextlib would be one more import
        os.write(descriptor, words)
    except OSError:  # whoever read them has gone
        pass


def raise_once(*_: object) -> "NoReturn":
    """Raise `KeyboardInterrupt`, but never a second one while the first is being told."""
    signal.signal(signal.SIGINT, leave_silently)
    raise KeyboardInterrupt


def leave_silently(*_: object) -> "NoReturn":
    """Leave at once when it has been said already."""
    os._exit(INTERRUPTED)


def wants_json(args: list[str]) -> bool:
    """Whether a command line asks for JSON, also one that cannot be parsed."""
    options = args[: args.index("--")] if "--" in args else args
    return "--json" in options


def _is_program() -> bool:
    """Whether it is the command line that is being imported, by its script or `python -m`."""
    by_module = ("-m", "sd3async") in zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
    started_as = sys.argv[0] if sys.argv else ""
    return (by_module and started_as == "-m") or started_as.rpartition("/")[2] == "sd3async"


if _is_program() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, leave_at_once)
