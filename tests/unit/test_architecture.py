"""The house: imports point down, and every room can be entered alone."""

import ast
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import get_args

import pytest

import sd3async

PACKAGE = Path(sd3async.__file__).parent

ROWS: list[set[str]] = [
    {"errors", "telemetry", "_clock", "_files", "_percentiles", "_startup", "_threads"},
    {"endpoints"},
    {"models"},
    {"limiter", "retry"},
    {"config", "multipart", "sinks", "wire"},
    {"transport"},
    {"exchange"},
    {"call"},
    {"session"},
    {"caller", "waiting"},
    {"calls"},
    {"v1"},
    {"client"},
    {"progress"},
    {"gather"},
    {"bulk", "bench", "fleet"},
    {"cli"},
]
"""From the bottom up. A topic imports from its own row's folder and from lower rows."""

EMULATOR_MAY_IMPORT = {"_clock", "emulator"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def topic_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_topics(path: Path) -> set[str]:
    topics: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "sd3async":
            topics |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sd3async."):
            topics.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            topics |= {parts[1] for parts in names if parts[0] == "sd3async" and len(parts) > 1}
    return topics


def imported_modules(path: Path) -> set[str]:
    return {
        node.module or ""
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
    }


def row_of(topic: str) -> int:
    return next(number for number, row in enumerate(ROWS) if topic in row)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    """An upward import ties a knot that nobody can take apart later."""
    topic = topic_of(path)
    imported = imported_topics(path) - {topic}
    if topic in ("__init__", "__main__"):
        return
    if topic == "emulator":
        assert imported <= EMULATOR_MAY_IMPORT
        return
    lower = set[str]().union(*ROWS[: row_of(topic)])
    if topic == "cli":
        lower |= {"emulator"}

    assert imported <= lower


CHAPTERS = {
    "keeping": {"errors", "records", "status"},
    "intake": {"errors", "options", "records", "status", "keeping"},
    "sending": {"errors", "records", "status", "keeping"},
    "report": {"options", "records"},
}
"""Of a bulk job, and what of it each may import besides itself."""


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_chapters_of_a_bulk_job_point_down(chapter: str) -> None:
    """The way of an item would go back and forth between those who take in, send and keep."""
    imported = {
        name.removeprefix("sd3async.bulk.").split(".")[0]
        for path in (PACKAGE / "bulk" / chapter).rglob("*.py")
        for name in imported_modules(path)
        if name.startswith("sd3async.bulk.")
    }

    assert imported <= CHAPTERS[chapter] | {chapter}


def test_sending_knows_what_keeps_only_by_its_face() -> None:
    """A job that is kept in a database would need a second copy of the sending side."""
    imported = {
        name
        for path in (PACKAGE / "bulk" / "sending").rglob("*.py")
        for name in imported_modules(path)
        if name.startswith("sd3async.bulk.keeping")
    }

    assert imported == {"sd3async.bulk.keeping.ledger", "sd3async.bulk.keeping.disk"}


def test_only_the_transport_speaks_to_the_network() -> None:
    """One place maps aiohttp's errors; sessions are passed through by name only."""
    speakers = {
        topic_of(path)
        for path in modules()
        if "ClientSession(" in path.read_text() and topic_of(path) != "emulator"
    }

    assert speakers == {"transport"}


OPTIONAL = [
    *("PIL", "rich", "click", "jsonschema", "matplotlib", "pyarrow", "webdataset"),
    *("asyncpg", "redis"),
]
LATER = ["imagesize"]
"""Slow to import, and not needed before a first image."""


def test_importing_the_package_loads_no_optional_part() -> None:
    """A service that awaits one image should not pay for a command line and an emulator."""
    script = (
        "import sys, sd3async\n"
        f"names = {OPTIONAL + LATER!r} + ['sd3async.' + n for n in ('emulator', 'cli', 'bulk', 'bench')]\n"
        "print([name for name in names if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "[]"


def test_every_module_can_be_imported_alone() -> None:
    """An import that only works after another one hides a cycle."""
    names = [
        ".".join(("sd3async", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in modules()
        if path.name not in ("__init__.py", "__main__.py")
    ]
    # One interpreter, forked for each module. Python always imports the package itself first, so
    # that, and what is not ours, is loaded once.
    script = (
        "import importlib, os, sys\n"
        "import PIL.Image, aiohttp.web, aiolimiter, click, imagesize, jsonschema, sqlite3\n"
        "import matplotlib.figure, rich.console, rich.live, rich.table, tenacity, sd3async\n"
        f"for name in {names!r}:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        importlib.import_module(name)\n"
        "        os._exit(0)\n"
        "    if os.waitpid(child, 0)[1]:\n"
        "        sys.exit(f'{name} cannot be imported alone')\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
    )

    assert result.returncode == 0, result.stderr


def test_the_public_names_are_those_of_all() -> None:
    """`__all__` is the contract, and nothing is left out of it."""
    public = {
        name
        for name in vars(sd3async)
        if not name.startswith("_") and not hasattr(vars(sd3async)[name], "__path__")
    }
    modules_loaded = {name for name in public if type(vars(sd3async)[name]).__name__ == "module"}

    assert public - modules_loaded == set(sd3async.__all__)


def test_the_constants_and_the_version_are_public() -> None:
    """Programs build their menus and their bug reports of them."""
    assert "sd3.5-flash" in sd3async.SD3_MODELS
    assert "21:9" in sd3async.ASPECT_RATIOS
    assert "anime" in sd3async.STYLE_PRESETS
    assert "webp" in sd3async.OUTPUT_FORMATS
    assert sd3async.__version__ == metadata.version("sd3async")


def test_every_public_name_is_documented() -> None:
    """A name without words is a guess."""
    for name in sd3async.__all__:
        value = getattr(sd3async, name)
        assert value.__doc__ or get_args(value), name
