"""What the gallery shows of an item, as small plain values."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imagesize  # type: ignore[import-untyped]  # it ships no py.typed

from sd3async.bulk.records import ItemRecord
from sd3async.bulk.report.numbers import model_of
from sd3async.bulk.report.plain import plain
from sd3async.bulk.report.thumbnails import needs_thumbnail, thumbnail_of

_AS_RECORDED = (
    "id",
    "endpoint",
    "prompt",
    "state",
    "file",
    "linked_to",
    "content_type",
    "size",
    "sha256",
    "seed",
    "finish_reason",
    "request_id",
    "credits",
    "attempts",
    "unknown_charges",
    "error",
    "sent_at",
    "finished_at",
    "priority",
)
_SHOWN_ELSEWHERE = frozenset({"endpoint", "prompt", "model"})
_MOST_OF_A_DATA_URI = 40
_SOURCES = ("image", "init_image", "subject_image")  # what an image was made from, by endpoint


def card(record: ItemRecord, out: Path, *, thumbnails: bool) -> dict[str, Any]:
    """Return what the page needs to know of an item; what is empty is left out.

    Args:
        record: The item.
        out: The job's folder; the image's header is read for its dimensions.
        thumbnails: Whether large images get a thumbnail.
    """
    facts: dict[str, Any] = {name: getattr(record, name) for name in _AS_RECORDED}
    facts["model"] = model_of(record)
    facts["emulated"] = record.emulated or None
    facts["tags"] = list(record.tags)
    facts["timings"] = dict(record.timings)
    facts["options"] = _options(record.request)
    images = (record.request[name] for name in _SOURCES if name in record.request)
    facts["source"] = _source(next(images, None), out)
    if record.file is not None:
        width, height = _dimensions(out / record.file)
        facts |= {"width": width, "height": height}
        if thumbnails and needs_thumbnail(width, height):
            facts["thumbnail"] = thumbnail_of(record.file)
    told = {name: plain(value) for name, value in facts.items() if not _is_empty(value)}
    return {"index": record.index, **told}


def _is_empty(value: object) -> bool:
    # A seed of 0 is a seed, and an item linked to number 0 is linked.
    return value is None or value in ("", [], {})


def _options(request: Mapping[str, Any]) -> dict[str, Any]:
    return {
        str(name): _short(value)
        for name, value in request.items()
        if name not in _SHOWN_ELSEWHERE and value is not None
    }


def _short(value: object) -> object:
    if isinstance(value, str) and value.startswith("data:") and len(value) > _MOST_OF_A_DATA_URI:
        return f"{value[:_MOST_OF_A_DATA_URI]}… ({len(value):,} characters)"
    return value


def _source(image: object, out: Path) -> str | None:
    """Return where the uploaded image lies, seen from the page, if it is a file still there."""
    if not isinstance(image, str) or image.startswith("data:"):
        return None
    try:
        found = Path(image).resolve(strict=True)
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return None
    return Path(os.path.relpath(found, out.resolve())).as_posix()


def _dimensions(image: Path) -> tuple[int | None, int | None]:
    """Return width and height [px] from an image's header, or Nones."""
    try:
        width, height = imagesize.get(image)  # pyright: ignore[reportUnknownMemberType]
    except (OSError, ValueError):
        return None, None
    return (int(width), int(height)) if width > 0 and height > 0 else (None, None)
