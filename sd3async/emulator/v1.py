"""The older API, v1: its own manner of naming fields, of refusing, and of answering.

Source:
    The vendor's OpenAPI document of v1 (2023), the copy of 2024 for prices and defaults, and
    published captures of its 401, 404 and `invalid_sdxl_v1_dimensions`.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from sd3async.emulator.accept import read_accept
from sd3async.emulator.answers import Refusal
from sd3async.emulator.api_table import ENGINES, V1_ERROR_NAMES, V1_SIZES, Endpoint, Size
from sd3async.emulator.checks import (
    Findings,
    Strictness,
    coerced,
    header_problems,
    kind_problems,
    relation_problems,
    told,
    unwanted,
    upload_problems,
)
from sd3async.emulator.form import Form, parse_json
from sd3async.emulator.images import Picture
from sd3async.emulator.orders import Order
from sd3async.emulator.uploads import read_facts

__all__ = ["account", "check_engine", "examine_v1", "order_v1", "unauthorized", "values_of"]

_PROMPT = re.compile(r"text_prompts\[([0-9]{1,9})\]\[(text|weight)\]")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_MANY_SEEDS = 4294967296
_STEPS_INCLUDED = 30  # the price holds up to so many, and grows with their number beyond
_SHOWN = 7, 4  # characters of a key that a refusal shows, at its start and its end


def unauthorized(key: str) -> Refusal:
    """Return the 401: it tells the ends of a wrong key, as the service does."""
    if not key:
        return Refusal(401, "unauthorized", ["missing authorization header"])
    start, end = _SHOWN
    hidden = max(0, len(key) - start - end)
    shown = f"{key[:start]}{'*' * hidden}{key[-end:]}" if hidden else "*" * len(key)
    sentence = (
        f"Incorrect API key provided: {shown}. You can find your API key at https://stability.ai."
    )
    return Refusal(401, "unauthorized", [sentence])


def check_engine(engine: str) -> None:
    """Refuse an engine that is not, or no longer, there.

    Raises:
        Refusal: 404.
    """
    if engine not in {known["id"] for known in ENGINES}:
        raise Refusal(404, "not_found", [f"The specified engine (ID {engine}) was not found."])


def account(key_id: str) -> dict[str, Any]:
    """Return what `/v1/user/account` tells of a key's owner, all of it made up."""
    home = {"id": f"org-{key_id}", "name": "Emulated", "role": "MEMBER", "is_default": True}
    return {
        "id": f"user-{key_id}",
        "email": "nobody@example.invalid",
        "organizations": [home],
    }


def _number(text: str) -> Any:
    return float(text) if _NUMBER.fullmatch(text) else text


def _prompts(fields: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the prompts of a form; their numbers order them and need not be gapless."""
    prompts: dict[int, dict[str, Any]] = {}
    for name, text in fields.items():
        if found := _PROMPT.fullmatch(name):
            value = _number(text) if found[2] == "weight" else text
            prompts.setdefault(int(found[1]), {})[found[2]] = value
    return [prompts[number] for number in sorted(prompts)]


def values_of(endpoint: Endpoint, form: Form) -> dict[str, Any]:
    """Return the values of a request by field, whether it came as JSON or as a form."""
    if form.document is not None:
        return form.document
    values = coerced(endpoint, form.fields)
    if prompts := _prompts(form.fields):
        values["text_prompts"] = prompts
    if "extras" in values:
        with contextlib.suppress(ValueError, RecursionError):  # told of as what it is then: a text
            values["extras"] = parse_json(values["extras"])
    return values


def examine_v1(
    endpoint: Endpoint,
    form: Form,
    values: Mapping[str, Any],
    headers: Mapping[str, str],
    strictness: Strictness,
) -> Findings:
    """Return everything that is to be said of a request.

    Args:
        endpoint: Where it was posted.
        form: What came in.
        values: The same, as values.
        headers: By lower-case name.
        strictness: How to read the unsettled rules.
    """
    unknown = [
        name
        for name in _names(endpoint, form, values)
        if name not in endpoint.fields and not _PROMPT.fullmatch(name)
    ]
    as_json = _wants_json(headers.get("accept", ""))
    given = {*values, *form.files}
    problems = [
        *header_problems("artifacts", headers, strictness),
        *unwanted(endpoint, unknown, strictness),
        *kind_problems(endpoint, form),
        *_prompt_problems(form),
        *told(endpoint.validator, values),
        *relation_problems(endpoint, values, given),
        *upload_problems(endpoint, form),
    ]
    if not as_json and values.get("samples", 1) != 1:
        problems.append("samples: must be 1 when an image is accepted")
    first = problems[0].partition(":")[0].partition(".")[0] if problems else ""
    name = V1_ERROR_NAMES.get(first, "bad_request") if first in endpoint.fields else "bad_request"
    if not problems:
        name, problems = _size_problems(endpoint, form, values)
    ignored = [] if strictness.rejects_unknown else unknown
    return Findings(tuple(problems), tuple(ignored), as_json, name)


def _names(endpoint: Endpoint, form: Form, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of all that was sent; in JSON, the members of a prompt as a form names them."""
    yield from form.files
    if endpoint.body != "json":
        yield from form.fields
        return
    yield from values
    prompts = values.get("text_prompts")
    if isinstance(prompts, list):
        for number, prompt in enumerate(cast("list[object]", prompts)):
            members = cast("dict[str, object]", prompt) if isinstance(prompt, dict) else ()
            yield from (f"text_prompts[{number}][{member}]" for member in members)


def _prompt_problems(form: Form) -> Iterator[str]:
    """Yield what is wrong with the parts of prompts, whatever they say."""
    yield from (f"{name}: {flaw}" for name, flaw in form.flaws if _PROMPT.fullmatch(name))
    for name in form.files:
        if _PROMPT.fullmatch(name):
            yield f"{name}: expected text, received a file"


def _wants_json(accept: str) -> bool:
    ranges = accept.lower()
    return "image/" not in ranges or bool(read_accept(accept).as_json)


def _size_problems(
    endpoint: Endpoint, form: Form, values: Mapping[str, Any]
) -> tuple[str, list[str]]:
    sizes = dict(_upload_sizes(form))
    width, height = sizes.get("init_image") or _asked_size(endpoint, values)
    if (width, height) not in V1_SIZES:
        allowed = ", ".join(f"{w}x{h}" for w, h in V1_SIZES)
        sentence = (
            "for stable-diffusion-xl-1024-v0-9 and stable-diffusion-xl-1024-v1-0 the allowed "
            f"dimensions are {allowed}, but we received {width}x{height}"
        )
        return "invalid_sdxl_v1_dimensions", [sentence]
    if sizes.get("mask_image", (width, height)) != (width, height):
        return "invalid_mask_image", ["mask_image: must have the dimensions of init_image"]
    return "bad_request", []


def _upload_sizes(form: Form) -> Iterator[tuple[str, Size]]:
    for name, stream in form.files.items():
        if facts := read_facts(stream):
            yield name, (facts.width, facts.height)


def _asked_size(endpoint: Endpoint, values: Mapping[str, Any]) -> Size:
    width, height = (
        int(values.get(side, endpoint.fields[side]["default"])) for side in ("width", "height")
    )
    return width, height


def _strength(endpoint: Endpoint, values: Mapping[str, Any]) -> float:
    """Return the drawing's share in a blend with the upload, in [0, 1]."""
    if "image_strength" not in endpoint.fields:
        return 1.0
    default = endpoint.fields
    if values.get("init_image_mode") == "STEP_SCHEDULE":
        return float(values.get("step_schedule_start", default["step_schedule_start"]["default"]))
    return 1.0 - float(values.get("image_strength", default["image_strength"]["default"]))


def order_v1(
    endpoint: Endpoint,
    engine: str,
    values: Mapping[str, Any],
    *,
    as_json: bool,
    random_seed: int,
    uploads: Mapping[str, Size],
) -> Order:
    """Return what a valid request asks for.

    Args:
        endpoint: Where it was posted.
        engine: By its id.
        values: By field.
        as_json: Whether the answer shall be JSON.
        random_seed: Used when the request names no seed, or zero.
        uploads: Width and height of the uploaded images [px], by field.
    """
    steps = int(values.get("steps", endpoint.fields["steps"]["default"]))
    samples = int(values.get("samples", 1))
    first = int(values.get("seed", 0)) or random_seed
    texts: list[dict[str, Any]] = values["text_prompts"]
    wished = [prompt["text"] for prompt in texts if prompt.get("weight", 1) >= 0]
    unwished = [prompt["text"] for prompt in texts if prompt.get("weight", 1) < 0]
    further = ("mask_source", "sampler", "steps", "clip_guidance_preset")
    pictures = tuple(
        Picture(
            prompt=", ".join(wished),
            negative_prompt=", ".join(unwished),
            model=engine,
            seed=(first + number) % _MANY_SEEDS,
            size=uploads.get("init_image") or _asked_size(endpoint, values),
            style_preset=values.get("style_preset", ""),
            cfg_scale=str(values.get("cfg_scale", "")),
            strength=_strength(endpoint, values),
            kind=endpoint.picture,
            values=tuple((name, str(values[name])) for name in further if name in values),
        )
        for number in range(samples)
    )
    (price,) = endpoint.credits.values()
    price = round(price * max(1.0, steps / _STEPS_INCLUDED) * samples, 9)
    return Order(pictures, "artifacts" if as_json else "bytes", price)
