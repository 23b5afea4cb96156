"""Both readings of the API, the client's and the emulator's, ready to be asked."""

import json
import math
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import attrs

from sd3async import InvalidRequestError, SD3Client, request_from_dict
from sd3async.emulator import Emulator
from sd3async.emulator.virtual_time import LoopClock
from sd3async.endpoints import ENDPOINTS
from sd3async.models.v1 import SDXL
from support.edges import as_raw, rules_of

_NO_TIMEOUT = aiohttp.ClientTimeout()  # a busy machine is slow, and this loop's time jumps

_BEYOND_FLOATS = 10**400  # what JSON, which has no word for infinity, has in its place

_V1_NAMES = {
    "width": "invalid_height_or_width",
    "height": "invalid_height_or_width",
    "samples": "invalid_samples",
    "mask_image": "invalid_mask_image",
}
"""What v1 calls a refusal by the field that it names first; `bad_request` where that is another."""

_SIZED = {"width", "height", "init_image"}
"""The fields that v1 means by `invalid_sdxl_v1_dimensions`, whose captured words name none."""


@attrs.frozen
class Readings:
    """Both sides, ready to be asked."""

    client: SD3Client
    emulator: Emulator
    http: aiohttp.ClientSession

    async def refused_by_emulator(
        self, endpoint: str, fields: Mapping[str, Any], engine: str = SDXL
    ) -> set[str]:
        """Return the fields that the emulator names when it is sent a raw form, or raw JSON.

        Args:
            endpoint: As the client calls it.
            fields: Whatever the client would be given; its short forms are written out.
            engine: For v1, whose paths name one.
        """
        row = ENDPOINTS[endpoint]
        as_json = {"content-type": "application/json"} if row.body == "json" else {}
        async with self.http.post(
            self.emulator.url + row.path.format(engine_id=engine),
            data=raw_json(fields) if as_json else raw_form(endpoint, fields),
            headers={"authorization": "Bearer sk-any", "accept": "application/json", **as_json},
        ) as answer:
            told = await answer.json()
            assert answer.status in (200, 400), told
            return fields_named(endpoint, told)

    async def disagreement(self, endpoint: str, fields: Mapping[str, Any]) -> str:
        """Return how the two differ about a form, in words; empty when they agree."""
        theirs = await self.refused_by_emulator(endpoint, fields)
        request, ours = None, ""
        try:
            request = request_from_dict({"endpoint": endpoint, **fields})
        except InvalidRequestError as refusal:
            ours = refusal.field or "no field"
        if may_differ(endpoint, fields, ours, theirs):
            return ""
        shown = {name: repr(value)[:60] for name, value in fields.items()}
        if bool(ours) != bool(theirs) or (ours and ours not in theirs):
            return f"{endpoint}: we refuse {ours!r}, they refuse {theirs or ''!r}: {shown}"
        if request is not None and not any(isinstance(value, bytes) for value in fields.values()):
            # What the client makes of it is taken as well.
            await self.client.generate_samples(request)
        return ""


def may_differ(endpoint: str, fields: Mapping[str, Any], ours: str, theirs: set[str]) -> bool:
    """Return whether two readings differ where they may; each has a test of its own."""
    is_alone = endpoint == "ultra" and ours == "strength" and "image" not in fields
    is_too_long = not ours and theirs == {"output_format"}
    return is_too_long or (is_alone and not theirs)


def fields_named(endpoint: str, told: Mapping[str, Any]) -> set[str]:
    """Return the fields that a refusal names; an answer that is none names none."""
    if told.get("name") == "invalid_sdxl_v1_dimensions":
        return _SIZED
    sentences = told["message"].split("; ") if "message" in told else told.get("errors", ())
    names = [re.split(r"[:.\[]", sentence, maxsplit=1)[0] for sentence in sentences]
    if "message" in told:
        known = _V1_NAMES if names[0] in rules_of(endpoint) else {}
        assert told["name"] == known.get(names[0], "bad_request"), told
    return set(names)


def raw_form(endpoint: str, fields: Mapping[str, Any]) -> aiohttp.FormData:
    """Return a form of fields as they are, which no model has looked at."""
    form = aiohttp.FormData(default_to_multipart=True)
    if endpoint == "sd3" and "image" in fields:  # the client derives it
        fields = {"mode": "image-to-image", **fields}
    for name, value in fields.items():
        parts = _prompt_parts(value) if name == "text_prompts" else [(name, value)]
        for part, content in parts:
            raw = as_raw(content)
            form.add_field(part, raw, filename="image" if isinstance(raw, bytes) else None)
    return form


def raw_json(fields: Mapping[str, Any]) -> bytes:
    """Return the same as JSON."""
    written = {
        name: _prompts(value) if name == "text_prompts" else value for name, value in fields.items()
    }
    return json.dumps(_finite(written)).encode()


def _prompts(value: Any) -> Any:
    """Return prompts as the API has them, written out, be they good or not."""
    if isinstance(value, str | Mapping):
        return _prompts([value])
    if not isinstance(value, list):
        return value
    parts = cast("list[object]", value)
    return [{"text": part} if isinstance(part, str) else part for part in parts]


def _prompt_parts(value: Any) -> Iterator[tuple[str, Any]]:
    for number, members in enumerate(_prompts(value)):
        for member, part in members.items():
            yield f"text_prompts[{number}][{member}]", part


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        return {name: _finite(member) for name, member in members.items()}
    if isinstance(value, list):
        return [_finite(part) for part in cast("list[object]", value)]
    if isinstance(value, float) and math.isinf(value):
        return _BEYOND_FLOATS if value > 0 else -_BEYOND_FLOATS
    return value


@asynccontextmanager
async def both() -> AsyncGenerator[Readings]:
    """Start both sides."""
    async with (
        Emulator(
            strict=True, image_bytes=2_000, limit=None, turbo_negative_prompt=False
        ) as emulator,
        SD3Client(
            "sk-any", base_url=emulator.url, share="process", clock=LoopClock(), rate_limit=None
        ) as client,
        aiohttp.ClientSession(timeout=_NO_TIMEOUT) as http,
    ):
        yield Readings(client, emulator, http)
