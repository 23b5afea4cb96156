"""How much to measure, and on what."""

import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

import attrs

_ROOT = Path(__file__).resolve().parent.parent
_NEWER = range(15, sys.version_info.minor, -1)


@attrs.frozen(kw_only=True)
class Plan:
    """What every scenario is told.

    Attributes:
        quick: Scaled down, to see that everything works; the numbers mean little.
        uvloop: Whether uvloop is installed.
        newest: Another interpreter with everything installed, or None.
        newest_name: What it is called.
    """

    quick: bool = False
    uvloop: bool = False
    newest: str | None = None
    newest_name: str = ""


@contextmanager
def newest_python() -> Generator[tuple[str, str] | None]:
    """Give the newest Python on this machine a virtual environment with this project in it.

    Yields:
        Its interpreter and its name; None when there is no newer one, or it cannot be set up.
    """
    found = _find_newest()
    if found is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        python = str(Path(folder) / "bin" / "python")
        for command in (
            [found, "-m", "venv", folder],
            [python, "-m", "pip", "install", "--quiet", "--editable", f"{_ROOT}[benchmarks]"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{found} is left out: {done.stderr.strip()[-300:]}", file=sys.stderr)
                yield None
                return
        version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
        yield python, version.stdout.strip()


def _find_newest() -> str | None:
    """Return the newest Python above this one, from PATH or from pyenv."""
    for minor in _NEWER:
        name = f"python3.{minor}"
        if (path := which(name)) and _runs(path):
            return path
    pyenv = which("pyenv")
    if pyenv is None:
        return None
    listed = subprocess.run(
        [pyenv, "versions", "--bare"], capture_output=True, text=True, check=False
    )
    for minor in _NEWER:
        for version in listed.stdout.split():
            if version.startswith(f"3.{minor}."):
                prefix = subprocess.run(
                    [pyenv, "prefix", version], capture_output=True, text=True, check=False
                )
                path = str(Path(prefix.stdout.strip()) / "bin" / "python")
                if _runs(path):
                    return path
    return None


def _runs(path: str) -> bool:
    """Whether it is more than a shim for a version that is not active."""
    return subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0
