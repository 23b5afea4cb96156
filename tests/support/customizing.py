"""Programs of our own in a Python that behaves a little differently: slower, or more unlucky."""

import os
import sys
from pathlib import Path

import pytest


def customize(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Let every program that is started from now on run a piece of code before anything else.

    Args:
        monkeypatch: Takes it back.
        folder: For the module that Python looks for.
        code: What to run.
    """
    (folder / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path]))
