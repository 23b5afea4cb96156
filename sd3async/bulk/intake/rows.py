"""From the lines of a manifest to the rows that a ledger takes in."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sd3async.bulk.errors import BadLine
from sd3async.bulk.intake.items import Item, SaveInput, items_of
from sd3async.bulk.intake.manifest import Line
from sd3async.bulk.keeping.registration import Incoming
from sd3async.bulk.keeping.tables import storable
from sd3async.bulk.options import Defaults
from sd3async.errors import InvalidRequestError


def rows_of(
    lines: Iterable[Line | BadLine],
    defaults: Defaults,
    *,
    relative_to: Path,
    position: int = 0,
    save_input: SaveInput | None = None,
) -> Iterator[Incoming]:
    """Yield what lines come to: many rows of one, if it is repeated.

    Args:
        lines: The lines.
        defaults: What they do not say.
        relative_to: The folder that image paths are relative to.
        position: Of the first row in the manifest.
        save_input: Keeps images that came as bytes; None keeps none, to look only.
    """
    positions = itertools.count(position)
    for line in lines:
        if isinstance(line, BadLine):
            yield _bad(next(positions), line, {})
            continue
        try:
            for item in items_of(line, defaults, folder=relative_to, save_input=save_input):
                yield _good(next(positions), line.number, item)
        except InvalidRequestError as error:
            yield _bad(next(positions), BadLine(line.number, str(error)), line.fields)


def _good(position: int, line: int, item: Item) -> Incoming:
    return Incoming(
        position=position,
        line=line,
        rank=-item.priority,
        id=item.id,
        identity=item.identity,
        reproducible=item.is_reproducible,
        endpoint=item.request.endpoint,
        request=storable(item.fields),
        tags=json.dumps(item.tags, ensure_ascii=False) if item.tags else "[]",
        columns=item.columns,
        price=item.request.credits,
        state="pending",
        error="",
    )


def _bad(position: int, line: BadLine, fields: Mapping[str, Any]) -> Incoming:
    text = json.dumps(fields, default=str, sort_keys=True)
    return Incoming(
        position=position,
        line=line.number,
        rank=0,
        id="",
        identity=hashlib.sha256(b"invalid" + text.encode()).digest()[:16],
        reproducible=False,
        endpoint="",
        request=text,
        tags="[]",
        columns="{}",
        price=0.0,
        state="invalid",
        error=storable(line.reason),
    )
