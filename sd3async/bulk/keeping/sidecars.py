"""An image's sidecar: the JSON file beside it that says what it is, even when the journal is gone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import attrs

from sd3async._files import write_atomically
from sd3async.models.results import GeneratedImage

_OF_THE_FILE = ("size", "sha256")
_OF_THE_ANSWER = ("content_type", "seed", "finish_reason", "request_id", "emulated", "timings")
FACTS = (*_OF_THE_FILE, *_OF_THE_ANSWER)
"""What the journal keeps of an image, too."""


def facts_of(image: GeneratedImage, *, sha256: str, emulated: bool) -> dict[str, Any]:
    """Return the facts of an image that has just come.

    Args:
        image: The image.
        sha256: Of its bytes.
        emulated: Whether no service made it.
    """
    timings = {name: round(value, 6) for name, value in attrs.asdict(image.timings).items()}
    known = {"sha256": sha256, "emulated": emulated, "timings": timings}
    return {name: known[name] if name in known else getattr(image, name) for name in FACTS}


def write_sidecar(
    of: Path,
    item: Mapping[str, Any],
    image: GeneratedImage,
    facts: Mapping[str, Any],
    *,
    service: str | None,
) -> None:
    """Write a sidecar: whole, or not at all.

    Args:
        of: The image's file.
        item: What identifies its item: `index`, `id`, `tags`.
        image: The image.
        facts: From `facts_of`.
        service: Who made it; None is not known.
    """
    request = image.request.to_dict()
    sidecar = {
        **item,
        "request": request,
        "model": request.get("model"),
        "credits": image.credits,
        "attempts": image.attempts,
        "service": service,
        **facts,
    }
    text = json.dumps(sidecar, ensure_ascii=False, indent=1) + "\n"
    write_atomically(of.with_suffix(".json"), text.encode(errors="backslashreplace"))


def read_sidecar(of: Path) -> dict[str, Any]:
    """Return what an image's sidecar says; nothing when there is none that can be read.

    Args:
        of: The image's file.
    """
    try:
        value: Any = json.loads(of.with_suffix(".json").read_bytes())
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
