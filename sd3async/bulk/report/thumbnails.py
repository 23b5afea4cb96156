"""Small copies of large images, so that a page of sixty stays light. Needs Pillow.

They go to `thumbs/`; the images themselves are signed and never touched.
"""

import functools
import importlib.util
import itertools
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

FOLDER = "thumbs"
LONGEST_SIDE = 480
"""[px] at least: a card is some 240 px wide, on a screen of twice the density."""

_BATCH = 64
_QUALITY = 78
_METHOD = 0  # the next one takes twice the time for 30 % off some 10 kB


def can_make_thumbnails() -> bool:
    """Whether Pillow is installed."""
    return importlib.util.find_spec("PIL") is not None


def needs_thumbnail(width: int | None, height: int | None) -> bool:
    """Whether an image is at least twice as large as it needs to be; unknown sizes are not.

    Args:
        width: Columns [px].
        height: Rows [px].
    """
    return max(width or 0, height or 0) >= 2 * LONGEST_SIDE


def thumbnail_of(file: str) -> str:
    """Return where an image's thumbnail lies, relative to the job's folder.

    Args:
        file: The image, relative to the job's folder.
    """
    path = PurePosixPath(file)
    below = path.relative_to("images") if path.parts[0] == "images" else path
    return str(PurePosixPath(FOLDER) / below.with_suffix(".webp"))


def make_thumbnails(out: Path, files: Iterable[str]) -> int:
    """Make the thumbnails that are missing or older than their image.

    Decoding and encoding let go of the interpreter's lock, so threads use every core.

    Args:
        out: The job's folder.
        files: Images, relative to it.

    Returns:
        How many were made. An image that cannot be read gets none, and is no error here.
    """
    made = 0
    waiting = iter(files)
    with ThreadPoolExecutor(os.cpu_count(), "sd3async-thumbnails") as pool:
        while batch := list(itertools.islice(waiting, _BATCH)):
            made += sum(pool.map(functools.partial(_make, out), batch))
    return made


def _make(out: Path, file: str) -> bool:
    from PIL import Image

    image, thumbnail = out / file, out / thumbnail_of(file)
    try:
        if thumbnail.exists() and thumbnail.stat().st_mtime >= image.stat().st_mtime:
            return False
        with Image.open(image) as opened:
            if not needs_thumbnail(*opened.size):
                return False
            encoded = BytesIO()
            _reduced(opened).save(encoded, "WEBP", quality=_QUALITY, method=_METHOD)
    except (OSError, ValueError, Image.DecompressionBombError):
        return False
    _write(thumbnail, encoded.getvalue())
    return True


def _reduced(image: "PILImage") -> "PILImage":
    """Return an image shrunk by a whole number: a tenth of the time of a finer resize."""
    image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))  # a JPEG is decoded at a half or a quarter
    if image.mode not in ("RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.reduce(max(1, max(image.size) // LONGEST_SIDE))


def _write(target: Path, data: bytes) -> None:
    # Whole or not at all, but not synced: a thumbnail lost to a power cut is made again.
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.write_bytes(data)
    part.replace(target)
