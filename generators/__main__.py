"""Bring the generated files up to date; with `--check`, only say which are not."""

import sys
from pathlib import Path

from generators import calls, pages

ROOT = Path(__file__).parents[1]


def contents() -> dict[Path, str]:
    """Return what each generated file must hold."""
    page = ROOT / "docs" / "endpoints.md"
    return {
        ROOT / "sd3async" / "calls.py": calls.source(),
        page: pages.brought_up_to_date(page.read_text()),
    }


def main() -> int:
    """Write, or compare."""
    stale = [path for path, text in contents().items() if _read(path) != text]
    for path in stale:
        if "--check" not in sys.argv:
            path.write_text(contents()[path])
        print(path.relative_to(ROOT))
    return int("--check" in sys.argv and bool(stale))


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
