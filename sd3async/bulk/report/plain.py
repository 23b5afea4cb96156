"""Values that came from anywhere, made fit for JSON, for a script element and for UTF-8."""

import json
import math
from collections.abc import Mapping
from typing import Any, cast

# What a script element's text must not hold: "</script" and "<!--" would end or change it.
_IN_SCRIPT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def plain(value: object) -> Any:
    """Return a value that JSON can hold; what it cannot hold becomes text.

    Args:
        value: Anything: a skipped line of a manifest may hold NaN, for one.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        members = cast("Mapping[object, object]", value)
        return {str(name): plain(inner) for name, inner in members.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in cast("list[object]", value)]
    return str(value)


def script_json(value: object) -> str:
    """Return JSON that is safe inside a script element and as a script of its own.

    Everything but ASCII is escaped, U+2028 among it, which ends a line in older scripts.

    Args:
        value: Plain values; untrusted text may be anywhere inside.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.translate(_IN_SCRIPT)


def encodable(text: str) -> str:
    """Return the text with what UTF-8 cannot hold (lone surrogates) replaced by `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")
