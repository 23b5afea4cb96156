"""Commands run in this process; none of these tests opens a socket."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from click.testing import CliRunner, Result

from sd3async.cli.program import program

KEY = "sk-secret0123456789"

Run: TypeAlias = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `sd3async` with arguments, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run_command(*args: str, stdin: str | bytes | None = None, key: str | None = None) -> Result:
        result = CliRunner(env={"STABILITY_API_KEY": key}).invoke(program, args, input=stdin)
        assert KEY not in result.output
        return result

    return run_command
