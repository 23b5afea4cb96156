"""What a request says: the text fields of its form, or its JSON."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from sd3async.models.base import GenerationRequest
from sd3async.models.nested import to_json
from sd3async.models.sources import ImageSource

ACCEPT_VALUES = ("image/*", "application/json")


def form_fields(request: GenerationRequest) -> dict[str, str]:
    """Return a request's text fields as they go into the form.

    Args:
        request: The request.

    Returns:
        Names and values, without the images and what stands in the path. Zero is a value; only
        None is left out. An extra field stands in the place of a modelled one of its name. The
        members of a list have names such as `text_prompts[0][text]`.
    """
    return {
        name: _text(value)
        for field, whole in _sent(request).items()
        for name, value in _parts(field, whole)
    }


def json_document(request: GenerationRequest) -> bytes:
    """Return the same fields as an object of JSON.

    Args:
        request: The request; it has no images.
    """
    return json.dumps(_sent(request), separators=(",", ":")).encode()


def _sent(request: GenerationRequest) -> dict[str, Any]:
    fields = {**request.given(), **request.extra_fields}
    in_path = request.row.path_fields
    return {
        name: to_json(value)
        for name, value in fields.items()
        if not isinstance(value, ImageSource) and name not in in_path
    }


def _parts(name: str, value: object) -> Iterator[tuple[str, object]]:
    if not isinstance(value, list):
        yield name, value
        return
    for number, members in enumerate(cast("list[Mapping[str, object]]", value)):
        for member, part in members.items():
            yield f"{name}[{number}][{member}]", part


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return json.dumps(value)
    return repr(value).lower() if isinstance(value, bool) else repr(value)
