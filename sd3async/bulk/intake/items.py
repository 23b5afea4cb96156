"""From the lines of a manifest to the items of a job: defaults, variations, validation."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import attrs

from sd3async.bulk.intake.manifest import Line
from sd3async.bulk.keeping.folder import INPUTS
from sd3async.bulk.options import Defaults
from sd3async.endpoints import ENDPOINTS
from sd3async.models.base import GenerationRequest, fields_of
from sd3async.models.fields import (
    SEED,
    Number,
    Text,
    is_missing,
    refuse,
    to_plain,
)
from sd3async.models.requests import (
    ENDPOINT,
    FIELD_NAMES,
    IMAGE_FIELDS,
    REQUEST_TYPES,
    check_single,
    request_from_dict,
)
from sd3async.models.sources import BytesSource

_MAX_ID_CHARS = 200
_TAG = Text(1, _MAX_ID_CHARS)
_PRIORITY = Number(-1_000_000_000, 1_000_000_000, whole=True)
_OWN_NAMES = "endpoint, id, tags and priority"
_BATCH_KEYS = ("custom_id", "method", "url", "body")

_to_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode

SaveInput = Callable[[str, bytes], None]
"""Keeps the bytes of an image under a name relative to the job's folder."""


@attrs.frozen(kw_only=True)
class Item:
    """One image to make.

    Attributes:
        id: The manifest's own name for it; empty when it has none.
        request: What to send.
        fields: The request as JSON; a path in it is absolute, or relative to the job's folder.
        identity: Hash of the request as the manifest states it [16 bytes]: equal for equal
            requests, wherever the manifest lies.
        tags: Words to search by.
        priority: Higher ones go first.
        columns: What else the manifest says of it, as JSON.
    """

    id: str
    request: GenerationRequest
    fields: str
    identity: bytes
    tags: tuple[str, ...]
    priority: int
    columns: str = "{}"

    @property
    def is_reproducible(self) -> bool:
        """Whether an identical request makes the identical image: its seed is fixed."""
        return bool(self.request.seed)


def items_of(
    line: Line, defaults: Defaults, *, folder: Path, save_input: SaveInput | None = None
) -> Iterator[Item]:
    """Turn a line into its items: one for each variation.

    Args:
        line: The line.
        defaults: What it does not say.
        folder: What image paths are relative to.
        save_input: Keeps images that came as bytes; None keeps none, to look only.

    Yields:
        The items.

    Raises:
        InvalidRequestError: It makes no valid request.
    """
    given = _unwrapped(line.fields)
    item_id = _id(given.pop("id", None))
    tags = _tags(given.pop("tags", None))
    priority = _priority(given.pop("priority", None))
    _apply(defaults, given)
    columns = _columns(given, keep=defaults.keep_columns)
    _check_prompt(given.get("prompt"))
    image_names = _resolve_images(given, folder)
    seed = _first_seed(given, defaults)
    if seed:  # 0 asks for a random one, which has no next one
        _seed_of(given, seed + defaults.repeat - 1)  # all variations are good, or none is made
        given["seed"] = seed
    request = request_from_dict(given)
    check_single(request, "repeat makes variations")
    fields, image_names = _written_down(request, image_names, save_input)
    for variation in range(defaults.repeat):
        if seed:
            fields["seed"] = seed + variation
            request = attrs.evolve(cast("Any", request), seed=seed + variation)
        text = _to_json(fields)
        # The same job elsewhere is still the same job: the paths as written are what counts.
        stated = _to_json(fields | image_names) if image_names else text
        yield Item(
            id=f"{item_id}-{variation + 1}" if item_id and variation else item_id,
            request=request,
            fields=text,
            identity=_identity(stated),
            tags=tags,
            priority=priority,
            columns=columns,
        )


def _unwrapped(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flat line, also from one in the shape of a batch file."""
    given = {name: value for name, value in fields.items() if not is_missing(value)}
    if "body" not in given and "custom_id" not in given:
        return given
    batch = {name: given.pop(name, None) for name in _BATCH_KEYS}
    body = batch["body"]
    if not isinstance(body, dict):
        raise refuse("body", "is missing; a line with custom_id needs an object there")
    if batch["method"] not in (None, "POST"):
        raise refuse("method", f"is {batch['method']!r}; only POST is allowed")
    for name in cast("dict[str, Any]", body):
        if name in given:
            raise refuse(name, "is given both in the line and in its body")
    given |= cast("dict[str, Any]", body)
    if batch["custom_id"] is not None:
        given["id"] = batch["custom_id"]
    if batch["url"] is not None:
        given = _told_by(batch["url"]) | given
    return given


def _told_by(url: object) -> dict[str, str]:
    """Return the endpoint of a URL, and the fields that stand in its path."""
    text = str(url).rstrip("/")
    for name, row in ENDPOINTS.items():
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(row.path))
        if told := re.search(f"{pattern}$", text):
            return {"endpoint": name, **told.groupdict()}
    name = text.rpartition("/")[2]
    if name not in REQUEST_TYPES:
        raise refuse("url", f"is {url!r}; its last part must be one of {', '.join(REQUEST_TYPES)}")
    return {"endpoint": name}


def _id(value: object) -> str:
    if value is None:
        return ""
    text = to_plain(value)
    if isinstance(text, float) and text.is_integer():  # of a column with empty cells
        text = int(text)
    if type(text) is int:
        text = str(text)
    if not isinstance(text, str) or not text.isprintable() or not 0 < len(text) <= _MAX_ID_CHARS:
        raise refuse("id", f"is no name of 1 to {_MAX_ID_CHARS} printable characters")
    return text


def _tags(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    tags = [value] if isinstance(value, str) else value
    if not isinstance(tags, list | tuple):
        raise refuse("tags", "is no list of words")
    return tuple(_TAG.plain("tags", word) for word in cast("list[object]", tags))


def _priority(value: object) -> int:
    if value is None:
        return 0
    return cast("int", _PRIORITY.plain("priority", value))


def _apply(defaults: Defaults, given: dict[str, Any]) -> None:
    endpoint = ENDPOINT.plain("endpoint", given.setdefault("endpoint", defaults.endpoint))
    known = fields_of(REQUEST_TYPES[endpoint])
    for name, value in defaults.fields.items():
        has_image = given.get("image") is not None
        unfit = (name == "aspect_ratio" and has_image and endpoint == "sd3") or (
            name == "strength" and not has_image
        )
        if name in known and not unfit:
            given.setdefault(name, value)


def _columns(given: dict[str, Any], *, keep: bool) -> str:
    """Take out what is no field of any endpoint; return it as JSON."""
    unknown = [name for name in given if name != "endpoint" and name not in FIELD_NAMES]
    if not unknown:
        return "{}"
    if not keep:
        endpoint = given["endpoint"]
        fields = ", ".join(fields_of(REQUEST_TYPES[endpoint]))
        problem = f"is no field of {endpoint}; {fields} are, and a line may hold {_OWN_NAMES}"
        raise refuse(str(unknown[0]), f"{problem}; --keep-columns keeps other columns")
    return json.dumps({str(name): given.pop(name) for name in unknown}, default=str)


def _check_prompt(prompt: object) -> None:
    if isinstance(prompt, str) and prompt and not prompt.strip():
        raise refuse("prompt", "is blank; words are needed")


def _first_seed(given: dict[str, Any], defaults: Defaults) -> int | None:
    """Return the seed of a line's first variation; None where there is none, or can be none."""
    if "seed" in given:
        return _seed_of(given, given["seed"])
    takes_seed = "seed" in fields_of(REQUEST_TYPES[given["endpoint"]])
    return defaults.seed_start if takes_seed else None


def _seed_of(given: dict[str, Any], value: object) -> int:
    """Hold a seed to the bounds of its endpoint; one that takes none refuses the field later."""
    field = fields_of(REQUEST_TYPES[given["endpoint"]]).get("seed")
    rule = SEED if field is None else cast("Number", field.validator)
    return cast("int", rule.plain("seed", value))


def _resolve_images(given: dict[str, Any], folder: Path) -> dict[str, str]:
    """Make the paths of images absolute; return those as they were written, by their fields."""
    names: dict[str, str] = {}
    for field in IMAGE_FIELDS & given.keys():
        image = given[field]
        if isinstance(image, str | os.PathLike):
            written = os.fspath(cast("str | os.PathLike[str]", image))
            if not written.startswith("data:"):
                given[field] = str(folder / written)
                names[field] = written
    return names


def _written_down(
    request: GenerationRequest, names: dict[str, str], save_input: SaveInput | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a request's fields as the journal keeps them, and what its images are known by."""
    kept: dict[str, str] = {}
    for field, source in request.images():
        if isinstance(source, BytesSource):
            digest = hashlib.sha256(source.data).hexdigest()
            kept[field] = f"{INPUTS}/{digest}.{source.facts.format}"
            if save_input is not None:
                save_input(kept[field], source.data)
    return request.to_dict() | kept, names | kept


def _identity(text: str) -> bytes:
    try:
        return hashlib.sha256(text.encode()).digest()[:16]
    except UnicodeEncodeError as error:
        raise refuse("image", "has a name that is no text (a lone surrogate)") from error
