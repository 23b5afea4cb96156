"""What the demo asks for: pictures that a person wants to look at, over all that can be asked.

Entries are lines of a manifest: the fields of a request, the endpoint and tags.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

Entry: TypeAlias = dict[str, Any]

_SCENES: tuple[tuple[str, str, str | None], ...] = (
    ("a lighthouse on a cliff at dusk, gulls over a calm sea", "3:2", "photographic"),
    ("snowy mountain peaks at sunrise above a sleeping village", "16:9", "cinematic"),
    ("a fox at the edge of an autumn forest, morning mist", "4:5", "analog-film"),
    ("a neon city street in the rain at midnight", "9:16", "neon-punk"),
    ("hot air balloons over desert dunes in the first light", "3:2", "enhance"),
    ("a sailing boat on a still lake, pines on the shore", "5:4", "digital-art"),
    ("a meadow of spring flowers under a huge summer sky", "16:9", None),
    ("a canyon on Mars with two small moons", "21:9", "fantasy-art"),
    ("an owl in a moonlit wood, stars between the branches", "2:3", "comic-book"),
    ("a harbour town in the fog, fishing boats coming home", "1:1", "analog-film"),
    ("waves of music, an abstract pattern in red and gold", "1:1", "pixel-art"),
    ("northern lights, an aurora above a frozen fjord and glacier", "16:9", "cinematic"),
    ("a robot watering a rooftop garden above the skyline", "4:5", "anime"),
    ("a river winding through a jungle, seen by an eagle", "9:16", "photographic"),
    ("cherry blossom over a quiet temple garden in spring", "3:2", "photographic"),
    ("a camel caravan crossing golden dunes at sunset", "21:9", "digital-art"),
    ("a small red tower by the ocean, storm clouds, crows", "2:3", "fantasy-art"),
    ("winter evening in a mountain village, every window lit", "5:4", "low-poly"),
    ("an island beach under the milky way, the galaxy in the water", "16:9", None),
    ("a whale surfacing beside a tiny boat at dawn", "1:1", "origami"),
    ("rolling hills and a lone tree in the harvest season", "3:2", "isometric"),
    ("a dream of floating rivers and green fire", "9:21", "neon-punk"),
    ("a steam train crossing a valley of pines in the frost", "16:9", "analog-film"),
    ("birds over the old town, roofs in the evening sun", "4:5", "comic-book"),
)

_CHANGES: tuple[tuple[str, float], ...] = (
    ("the same view under fresh snow, winter light", 0.45),
    ("the same view on a starry night", 0.55),
    ("the same view in the colours of autumn", 0.4),
    ("the same view, dreamlike, an aurora above it", 0.6),
    ("the same view as the storm comes in", 0.35),
    ("the same view at sunset, balloons in the sky", 0.5),
)

_TEXT_ENDPOINTS: tuple[Entry, ...] = (
    {"endpoint": "sd3", "model": "sd3.5-large"},
    {"endpoint": "core"},
    {"endpoint": "ultra"},
    {"endpoint": "sd3", "model": "sd3.5-large-turbo"},
    {"endpoint": "core"},
    {"endpoint": "sd3", "model": "sd3.5-medium"},
)
_IMAGE_ENDPOINTS: tuple[Entry, ...] = (
    {"endpoint": "sd3", "model": "sd3.5-large"},
    {"endpoint": "ultra"},
)
_FORMATS = ("png", "jpeg", "webp")


def from_text() -> Iterator[Entry]:
    """Yield text-to-image entries without end; every third has a fixed seed."""
    for number, (scene, where) in enumerate(
        zip(itertools.cycle(_SCENES), itertools.cycle(_TEXT_ENDPOINTS), strict=False)
    ):
        prompt, aspect_ratio, style_preset = scene
        entry = {
            "prompt": prompt,
            "aspect_ratio": aspect_ratio,
            "output_format": _FORMATS[number % len(_FORMATS)],
            "tags": ["text-to-image"],
            **where,
        }
        if style_preset is not None:
            entry["style_preset"] = style_preset
        if number % 3 == 0:
            entry["seed"] = number + 1
        yield entry


def from_images(files: Sequence[str]) -> Iterator[Entry]:
    """Yield image-to-image entries without end.

    Args:
        files: The images to start from, as the manifest names them.
    """
    changes = itertools.cycle(_CHANGES)
    endpoints = itertools.cycle(_IMAGE_ENDPOINTS)
    for file, (prompt, strength), where in zip(
        itertools.cycle(files), changes, endpoints, strict=False
    ):
        yield {
            "prompt": prompt,
            "image": file,
            "strength": strength,
            "tags": ["image-to-image"],
            **where,
        }
