"""The command line where people run it: in other locales, with results on a disk that is full."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(*words: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "sd3async", *words],
        env=os.environ | environment,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_help_is_shown_whatever_letters_a_terminal_has(encoding: str) -> None:
    """`bulk --help` holds an ellipsis, and was a traceback in a Latin-1 locale."""
    shown = run("bulk", "--help", PYTHONIOENCODING=encoding)

    assert shown.returncode == 0, shown.stderr.decode()
    assert b"--out DIR" in shown.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
@pytest.mark.parametrize("options", [[], ["--json"], ["--dry-run"], ["--dry-run", "--json"]])
def test_an_output_without_room_is_one_sentence(tmp_path: Path, options: list[str]) -> None:
    """`--json > told.json` on the disk that the images filled printed two tracebacks."""
    (tmp_path / "p.txt").write_text("a\n")
    words = ["bulk", str(tmp_path / "p.txt"), "--out", str(tmp_path / "out"), "--emulator"]
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run(
            [sys.executable, "-m", "sd3async", *words, *options],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert process.stderr.splitlines()[-1] == "sd3async: No space left on device"
