"""`sd3async` itself: the group that loads a command when it is called for."""

import importlib
import logging
import os
import sys
from io import TextIOWrapper
from typing import Any, NoReturn

import click

from sd3async._startup import wants_json
from sd3async.cli import exits

_COMMANDS = {
    "demo": "See a whole job run, without a key: the embedded server, faults and all.",
    "generate": "Generate one image.",
    "upscale": "Make an image larger.",
    "edit": "Change an image in part: erase, inpaint, outpaint, replace, recolour, relight.",
    "control": "Draw by a sketch, a structure or a style.",
    "v1": "Use the older API: SDXL 1.0, several images at once, engines, the account.",
    "result": "Fetch an image that was started.",
    "bulk": "Run a durable job over a file of prompts; the same command again resumes it.",
    "bench": "Measure how concurrency behaves, and report it.",
    "emulator": "Run the emulator on its own.",
    "balance": "Show the credits left.",
    "prices": "Show the documented prices.",
    "limits": "Show the rate limits that processes share: who sends what, frozen until when.",
}
"""Each is the name of a module here and of the command in it, but for the groups of endpoints,
which are made of the request classes. The help texts stand here too, so
that listing them imports none."""


_GROUPS = ("upscale", "edit", "control", "v1")

_SILENT = logging.NullHandler()


class Program(click.Group):
    """A group that imports a command's module on first use, and owns errors and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, most wanted first."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing it."""
        if cmd_name not in _COMMANDS:
            return None
        _import_endpoints()
        if cmd_name in _GROUPS:
            from sd3async.cli.groups import group_of

            return group_of(cmd_name, _COMMANDS[cmd_name])
        command = getattr(importlib.import_module(f"sd3async.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        _keep_lines(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, keeping a closed pipe away from click, which has its own code for it."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _PipeClosedError from error

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run the command line and exit; nothing but a bug leaves a traceback."""
        options |= {"standalone_mode": False, "prog_name": self.name}
        _allow_any_letter()

        def command() -> object:
            try:
                return super(Program, self).main(*args, **options)
            except _PipeClosedError as error:
                raise BrokenPipeError from error

        given = args[0] if args else options.get("args")
        sys.exit(exits.leave(command, as_json=wants_json(list(given or sys.argv[1:]))))


def _allow_any_letter() -> None:
    """Let a terminal of another locale show what it has no letters for as escapes, and not end us."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _import_endpoints() -> None:
    """Import the modules that `$SD3ASYNC_ENDPOINTS` names: those that register endpoints."""
    names = os.environ.get("SD3ASYNC_ENDPOINTS", "").split(",")
    for name in filter(None, map(str.strip, names)):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise click.UsageError(f"SD3ASYNC_ENDPOINTS: cannot import {name}: {error}") from error


def _keep_lines(command: click.Command) -> None:
    r"""Give `\b` its meaning: keep the lines that follow. In a raw docstring it is two characters."""
    if command.help:
        command.help = command.help.replace(r"\b", "\b")
    if isinstance(command, click.Group):
        for part in command.commands.values():
            _keep_lines(part)


class _PipeClosedError(Exception):
    """Carries a `BrokenPipeError` past click."""


@click.command(
    name="sd3async",
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="The key is read from STABILITY_API_KEY. Exit codes: 0 all done, 1 some requests "
    "failed, 2 bad usage, 3 out of credits, 130 interrupted.",
)
@click.version_option(package_name="sd3async", message="%(prog)s %(version)s")
def program() -> None:
    """Generate images with the Stable Image API: one, or a million."""
    if not os.environ.get("SD3ASYNC_LOG"):
        # The commands tell of trouble in their own words; without any handler, logging would
        # repeat warnings on stderr.
        logging.getLogger("sd3async").addHandler(_SILENT)
