"""How a command ends: an exit code, and one sentence on stderr when it is not 0."""

import asyncio
import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeVar

import attrs
import click

from sd3async import _startup
from sd3async.errors import InvalidRequestError, PaymentRequiredError, SD3Error

T = TypeVar("T")

ALL_DONE = 0
SOME_FAILED = 1
BAD_USAGE = 2
OUT_OF_CREDITS = 3
INTERRUPTED = _startup.INTERRUPTED
PIPE_CLOSED = 141  # what a shell reports for a program that its reader left

_EXTRA_OF_MODULE = {
    "rich": "cli",
    "PIL": "emulator",
    "jsonschema": "emulator",
    "matplotlib": "bench",
    "webdataset": "webdataset",
    "pyarrow": "parquet",
}


SIGNALS = [signal.SIGINT, signal.SIGTERM]
"""What ends a program that people started. Each does what Ctrl-C does."""

if sys.platform != "win32":
    SIGNALS.append(signal.SIGHUP)


class Interrupted(click.ClickException):
    """A command that a signal ended, with more to say than that."""

    exit_code = INTERRUPTED


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, or until a signal.

    The first signal cancels it, so that it can put its things away; the second does so again.

    Args:
        main: The coroutine.

    Returns:
        What it returns.

    Raises:
        KeyboardInterrupt: A signal cancelled it.
    """
    was_stopped = False

    async def stoppable() -> T:
        task = asyncio.current_task()
        assert task is not None  # we are in it

        def stop(_: int) -> None:
            nonlocal was_stopped
            was_stopped = True
            task.cancel()

        # asyncio.run would put up a handler of its own, but only for SIGINT, and only where a
        # script's `&` has not made the program deaf to that.
        stack.enter_context(handling_signals(stop))
        return await main

    with ExitStack() as stack:
        try:
            return asyncio.run(stoppable())
        except asyncio.CancelledError:
            if not was_stopped:
                raise
            raise KeyboardInterrupt from None


@contextmanager
def handling_signals(handle: Callable[[int], object]) -> Generator[None]:
    """Call a function in the running loop for each of the first two signals.

    The third leaves at once, whatever the loop is doing. What was ignored at the start (SIGHUP by
    `nohup`, SIGINT by a script's `&`) stays ignored.

    Args:
        handle: Given 1 for the first signal and 2 for the second.
    """
    loop = asyncio.get_running_loop()
    received = 0

    def on_signal(*_: object) -> None:
        nonlocal received
        received += 1
        if received > 2:
            _startup.leave_at_once()
        with suppress(RuntimeError):  # the loop is closed: there is nothing left to stop
            loop.call_soon_threadsafe(handle, received)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, on_signal)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(command: Callable[[], object], *, as_json: bool = False) -> int:
    """Run a command and say in one sentence what stopped it, if something did.

    Args:
        command: Returns an exit code, or None for 0.
        as_json: Whether to print what stopped it as a JSON object, too.

    Returns:
        The exit code.
    """
    try:
        code = command()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return BAD_USAGE
    except BrokenPipeError:
        discard_output()
        return PIPE_CLOSED
    except (Exception, KeyboardInterrupt) as error:
        words, code = _end_of(error)
        tell_end(error, words, code, as_json=as_json)
        if not words:
            raise
        return code
    return code if isinstance(code, int) else ALL_DONE


def _end_of(error: BaseException) -> tuple[str, int]:
    """Return how to tell what stopped a command, and its exit code; no words for a bug."""
    match error:
        case click.UsageError():
            return _usage_words(error), BAD_USAGE
        case click.ClickException():
            return _usage_words(error), error.exit_code
        case click.Abort() | KeyboardInterrupt():
            return "interrupted", INTERRUPTED
        case SD3Error():
            return str(error), code_of(error)
        case ModuleNotFoundError():
            extra = _EXTRA_OF_MODULE.get((error.name or "").partition(".")[0])
            words = f"this needs {error.name}, which is not there: pip install 'sd3async[{extra}]'"
            return (words, BAD_USAGE) if extra else ("", SOME_FAILED)
        case OSError():
            return os_error_words(error), SOME_FAILED
        case _:
            return "", SOME_FAILED


def tell_end(error: BaseException, words: str, code: int, *, as_json: bool) -> None:
    """Say what stopped a command.

    Args:
        error: What did.
        words: One sentence; empty for a bug, which a traceback tells.
        code: The exit code.
        as_json: Whether to print a JSON object, too.
    """
    if as_json:
        try:
            echo_result(json.dumps(_facts_of(error, words, code), default=str))
        except OSError:  # there is no room for it: maybe the very thing that is to be told
            discard_output()
    if words:
        say(words)


def _facts_of(error: BaseException, words: str, code: int) -> dict[str, Any]:
    is_interrupt = isinstance(error, click.Abort | KeyboardInterrupt)
    told: dict[str, Any] = {
        "error": "Interrupted" if is_interrupt else type(error).__name__,
        "message": words or str(error),
        "exit_code": code,
    }
    if isinstance(error, SD3Error):
        names = ("field", "status", "errors", "request_id", "retry_after")
        found = {name: getattr(error, name, None) for name in names}
        told |= {name: value for name, value in found.items() if value}
        told["attempts"] = [attrs.asdict(failed) for failed in error.history]
    return told


def code_of(error: SD3Error) -> int:
    """Return the exit code that an error stands for.

    Args:
        error: What stopped the command.
    """
    if isinstance(error, InvalidRequestError):
        return BAD_USAGE
    return OUT_OF_CREDITS if isinstance(error, PaymentRequiredError) else SOME_FAILED


def os_error_words(error: OSError) -> str:
    """Return an operating system's error for people, with the file it is about.

    Args:
        error: The error.
    """
    words = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {words}" if error.filename else words


def say(words: str) -> None:
    """Write a sentence to stderr, with the program's name before it.

    Args:
        words: One sentence.
    """
    with suppress(OSError):  # a closed pipe, or a terminal that has gone
        click.echo(f"sd3async: {words}", err=True)


def echo_result(words: object) -> None:
    """Print what a command that has done its work leaves; a reader that left is no failure.

    Args:
        words: A line for the next program.
    """
    try:
        click.echo(words)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):  # a pipe, or a terminal that hung up
            raise
        discard_output()


def _usage_words(error: click.ClickException) -> str:
    words = error.format_message().strip().removesuffix(".")
    words = " ".join(words.split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return words
    return f"{words} (see '{context.command_path} --help')"


def discard_output() -> None:
    """Point stdout nowhere, so that the interpreter's last flush finds no broken pipe."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
