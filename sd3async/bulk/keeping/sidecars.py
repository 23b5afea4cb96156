"""An image's sidecar: the JSON file beside it that says what it is, even when the journal is gone."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, cast

import attrs

from sd3async._files import write_atomically
from sd3async.models.results import GeneratedImage

_OF_THE_FILE = ("size", "sha256")
_OF_THE_ANSWER = ("content_type", "seed", "finish_reason", "request_id", "emulated", "timings")
FACTS = (*_OF_THE_FILE, *_OF_THE_ANSWER)
"""What the journal keeps of an image, too."""


_KINDS: Mapping[str, tuple[type, ...]] = {
    "size": (int,),
    "sha256": (str,),
    "content_type": (str,),
    "seed": (int, NoneType),
    "finish_reason": (str,),
    "request_id": (str, NoneType),
    "emulated": (bool,),
    "timings": (dict,),
}


def known_facts(sidecar: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the facts that a sidecar tells; None when it lacks one, or somebody has edited it.

    Args:
        sidecar: What `read_sidecar` returned.
    """
    facts = {name: sidecar.get(name) for name in FACTS}
    if any(type(facts[name]) not in kinds for name, kinds in _KINDS.items()):
        return None
    times = cast("dict[str, Any]", facts["timings"]).values()
    return facts if all(type(seconds) in (int, float) for seconds in times) else None


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
    request: Mapping[str, Any],
    facts: Mapping[str, Any],
    *,
    price: float,
    attempts: int,
    service: str | None,
) -> None:
    """Write a sidecar: whole, or not at all.

    Args:
        of: The image's file.
        item: What identifies its item: `index`, `id`, `tags`.
        request: As JSON values.
        facts: From `facts_of`.
        price: What the image cost [credits].
        attempts: Requests sent for it.
        service: Who made it; None is not known.
    """
    sidecar = {
        **item,
        "request": request,
        "model": request.get("model"),
        "credits": price,
        "attempts": attempts,
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
