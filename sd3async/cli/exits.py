"""How a command ends: an exit code, and one sentence on stderr when it is not 0."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import click

from sd3async.errors import InvalidRequestError, PaymentRequiredError, SD3Error

T = TypeVar("T")

ALL_DONE = 0
SOME_FAILED = 1
BAD_USAGE = 2
OUT_OF_CREDITS = 3
INTERRUPTED = 130
PIPE_CLOSED = 141  # what a shell reports for a program that its reader left

_EXTRA_OF_MODULE = {
    "rich": "cli",
    "PIL": "emulator",
    "jsonschema": "emulator",
    "matplotlib": "bench",
    "webdataset": "webdataset",
    "pyarrow": "parquet",
}


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; SIGTERM and SIGHUP then do what Ctrl-C does.

    Args:
        main: The coroutine. It is cancelled by the first signal and can put its things away.

    Returns:
        What it returns.

    Raises:
        KeyboardInterrupt: A signal cancelled it.
    """
    # A script's `&` starts programs deaf to SIGINT, and asyncio then puts up no handler: so it is
    # given one for the other signals' sake. What was ignored at the start (nohup) stays ignored.
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}

    async def stoppable() -> T:
        cancel = signal.getsignal(signal.SIGINT)
        for number, handler in before.items():
            signal.signal(number, handler if handler is signal.SIG_IGN else cancel)
        return await main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return asyncio.run(stoppable())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(command: Callable[[], object]) -> int:
    """Run a command and say in one sentence what stopped it, if something did.

    Args:
        command: Returns an exit code, or None for 0.

    Returns:
        The exit code.
    """
    try:
        code = command()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return BAD_USAGE
    except click.ClickException as error:
        say(_usage_words(error))
        return BAD_USAGE if isinstance(error, click.UsageError) else error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return PIPE_CLOSED
    except SD3Error as error:
        say(str(error))
        return code_of(error)
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF_MODULE.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        say(f"this needs {error.name}, which is not there: pip install 'sd3async[{extra}]'")
        return BAD_USAGE
    except OSError as error:
        say(os_error_words(error))
        return SOME_FAILED
    return code if isinstance(code, int) else ALL_DONE


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


def _usage_words(error: click.ClickException) -> str:
    words = error.format_message().strip().removesuffix(".")
    words = " ".join(words.split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return words
    return f"{words} (see '{context.command_path} --help')"


def _discard_output() -> None:
    """Point stdout nowhere, so that the interpreter's last flush finds no broken pipe."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
