"""The commands against the emulator over loopback: most in this process, some as programs."""

import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest
from click.testing import CliRunner, Result

from sd3async.cli.program import program

KEY = "sk-secret0123456789"
PATIENCE = 30.0  # [s] for a program on a busy machine

Run: TypeAlias = Callable[..., Result]
Start: TypeAlias = Callable[..., "subprocess.Popen[str]"]


def hardly_any(_low: float, _high: float) -> float:
    return 0.001


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with a key, and hardly wait between attempts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STABILITY_API_KEY", KEY)
    monkeypatch.setattr("random.uniform", hardly_any)


@pytest.fixture
def run() -> Run:
    """Return a function that runs `sd3async` with arguments in this process."""

    def run_command(*args: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(program, args, input=stdin)
        assert KEY.encode() not in result.output_bytes
        return result

    return run_command


@pytest.fixture
def start() -> Generator[Start]:
    """Return a function that starts `sd3async` as a program; what still runs is killed."""
    with ExitStack() as started:

        def start_program(*args: str) -> "subprocess.Popen[str]":
            process = started.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "sd3async", *args],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            started.callback(process.kill)
            return process

        yield start_program
