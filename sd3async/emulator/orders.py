"""A checked request turned into what is to be made, and the answers made of it."""

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import attrs

from sd3async.emulator.answers import Answer, Refusal, error_answer, to_json
from sd3async.emulator.api_table import Endpoint, Size, shaped
from sd3async.emulator.faults import Fault
from sd3async.emulator.images import Picture
from sd3async.emulator.pages import gateway_error, proxy_page

__all__ = [
    "FILTERED",
    "Order",
    "Shape",
    "error_of",
    "fault_answer",
    "image_answer",
    "in_progress_answer",
    "order_from",
    "packed",
    "spoilt",
    "started_answer",
]

Shape: TypeAlias = Literal["bytes", "json", "started", "artifacts"]

FILTERED = "CONTENT_FILTERED"

# Fields that a picture keeps under names of their own, or that decide its size alone.
_OWN_PLACE = frozenset(
    {
        "prompt",
        "negative_prompt",
        "model",
        "mode",
        "seed",
        "aspect_ratio",
        "output_format",
        "style_preset",
        "cfg_scale",
        "strength",
    }
)
_LONGEST_SIDE = {"jpeg": 65_500, "webp": 16_383, "png": 1 << 30}  # [px] what the formats hold


@attrs.frozen
class Order:
    """A valid request.

    Attributes:
        pictures: What to draw; v1 may ask for several.
        shape: Whether the answer is the image's bytes, JSON with the image in base64, the id of a
            generation that has begun, or v1's list of images.
        price: [credits].
        reason: The finish reason.
        image_field: The name under which JSON holds the image.
    """

    pictures: tuple[Picture, ...]
    shape: Shape
    price: float
    reason: str = "SUCCESS"
    image_field: str = "image"

    @property
    def picture(self) -> Picture:
        """The first picture, mostly the only one."""
        return self.pictures[0]

    @property
    def image_type(self) -> str:
        """Content type of the image."""
        return f"image/{self.picture.output_format}"


def _rounded_to_64(value: float) -> int:
    return max(64, round(value / 64) * 64)


def _near_a_megapixel(upload: Size, documented: Sequence[Size]) -> Size:
    if upload in documented:
        return upload
    width, height = upload
    shape = (width / height) ** 0.5
    return _rounded_to_64(1024 * shape), _rounded_to_64(1024 / shape)


def _scaled(endpoint: Endpoint, fields: Mapping[str, str], upload: Size) -> Size:
    rule = endpoint.size
    width, height = upload
    if rule.plus:
        left, right, up, down = (int(float(endpoint.value(fields, side))) for side in rule.plus)
        return left + width + right, up + height + down
    if rule.pixels is None:
        return rule.times * width, rule.times * height
    if endpoint.picture == "upscaled" and width * height >= rule.pixels:
        return upload  # an upscale makes nothing smaller
    return shaped(upload, rule.pixels)


def size_of(endpoint: Endpoint, fields: Mapping[str, str], uploads: Mapping[str, Size]) -> Size:
    """Return width and height [px] of the answer to a valid request.

    Args:
        endpoint: Where it was posted.
        fields: Its texts.
        uploads: Sizes of its images [px], by field.
    """
    rule = endpoint.size
    if rule.sides:
        width, height = (int(float(endpoint.value(fields, side))) for side in rule.sides)
        return width, height
    if rule.of is not None:
        return _scaled(endpoint, fields, uploads[rule.of])
    upload = uploads.get(rule.or_of) if rule.or_of else None
    if upload is None or "aspect_ratio" in fields:
        return rule.by_ratio[endpoint.value(fields, "aspect_ratio")]
    return _near_a_megapixel(upload, list(rule.by_ratio.values()))


def order_from(
    endpoint: Endpoint,
    fields: Mapping[str, str],
    *,
    as_json: bool,
    random_seed: int,
    uploads: Mapping[str, Size],
) -> Order:
    """Return what a valid request asks for.

    Args:
        endpoint: Where it was posted.
        fields: Its texts.
        as_json: Whether the answer shall be JSON.
        random_seed: Used when the request names no seed, or zero.
        uploads: Width and height of the uploaded images [px], by field.

    Raises:
        Refusal: The image would be larger than its format can hold.
    """
    fields = {name: text for name, text in fields.items() if name in endpoint.fields}
    model = endpoint.model(fields)
    others = [n for n in endpoint.fields if n not in _OWN_PLACE and not endpoint.is_file(n)]
    picture = Picture(
        prompt=fields.get("prompt", ""),
        negative_prompt=fields.get("negative_prompt", ""),
        model=model,
        seed=int(float(endpoint.value(fields, "seed") or 0)) or random_seed,
        size=size_of(endpoint, fields, uploads),
        style_preset=fields.get("style_preset", ""),
        cfg_scale=fields.get("cfg_scale", ""),
        output_format=endpoint.value(fields, "output_format"),
        strength=float(fields["strength"]) if "strength" in fields and uploads else 1.0,
        kind=endpoint.picture,
        values=tuple((name, endpoint.value(fields, name)) for name in others),
    )
    _refuse_what_no_file_holds(picture)
    shape: Shape = "json" if as_json else "bytes"
    if endpoint.answer == "started":
        shape = "started"
    return Order((picture,), shape, endpoint.credits[model])


def _refuse_what_no_file_holds(picture: Picture) -> None:
    longest = _LONGEST_SIDE[picture.output_format]
    if max(picture.size) > longest:
        what = f"output_format: {picture.output_format} holds at most {longest} pixels a side"
        raise Refusal.bad_request(f"{what}, the image would be {'x'.join(map(str, picture.size))}")


def spoilt(order: Order, fault: Fault) -> Order:
    """Return the order with the picture or finish reason that a fault gives it."""
    if fault.kind == "filtered":
        pictures = tuple(attrs.evolve(picture, filtered=True) for picture in order.pictures)
        return attrs.evolve(order, pictures=pictures, reason=FILTERED)
    return attrs.evolve(order, reason=fault.reason or order.reason)


def image_answer(order: Order, images: Sequence[bytes]) -> Answer:
    """Return the answer that holds images, in the form that was asked for.

    Args:
        order: What was asked for.
        images: Encoded, one for each of its pictures.
    """
    seed, reason = order.picture.seed, order.reason
    if order.shape == "artifacts":
        artifacts = [
            {"base64": _text(data), "finishReason": reason, "seed": picture.seed}
            for picture, data in zip(order.pictures, images, strict=True)
        ]
        return Answer(200, to_json({"artifacts": artifacts}), seed=seed)
    if order.shape == "json":
        body = {"finish_reason": reason, order.image_field: _text(images[0]), "seed": seed}
        return Answer(200, to_json(body), f"application/json; type={order.image_type}", seed=seed)
    headers = {"finish-reason": reason, "seed": str(seed)}
    return Answer(200, images[0], order.image_type, headers, seed=seed)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def started_answer(generation_id: str, status: int) -> Answer:
    """Return the answer that tells of a generation that has begun."""
    return Answer(status, to_json({"id": generation_id}))


def in_progress_answer(generation_id: str) -> Answer:
    """Return the answer for a result that is not there yet."""
    return Answer(202, to_json({"id": generation_id, "status": "in-progress"}))


def _headless(order: Order) -> Answer:
    """Return the answer without what it is for: an image, or a generation's id."""
    match order.shape:
        case "started":
            return Answer(200, to_json({}))
        case "artifacts":
            return Answer(200, to_json({"artifacts": []}))
        case _:
            body = to_json({"finish_reason": "SUCCESS", "seed": order.picture.seed})
            return Answer(200, body, f"application/json; type={order.image_type}")


def _bodiless(order: Order) -> Answer:
    if order.shape == "started":
        return Answer(200, b"")
    return attrs.evolve(image_answer(order, [b""] * len(order.pictures)), body=b"")


def error_of(fault: Fault, request_id: str, *, is_v1: bool = False) -> Answer:
    """Return the error answer of a fault: the documented JSON, or a proxy's page.

    Args:
        fault: Says which status.
        request_id: 32 hexadecimal digits.
        is_v1: Whether the JSON is that of the older API.
    """
    headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
    if fault.page:
        return Answer(fault.code, proxy_page(fault.code), "text/html", headers)
    refusal = Refusal.with_status(fault.code)
    return attrs.evolve(error_answer(refusal, request_id, is_v1=is_v1), headers=headers)


def fault_answer(order: Order, fault: Fault, request_id: str) -> Answer | None:
    """Return the answer that stands in for the image, or None when the image is to be made."""
    is_v1 = order.shape == "artifacts"
    match fault.kind:
        case "status" | "failed":
            return error_of(fault, request_id, is_v1=is_v1)
        case "disguised":
            return attrs.evolve(error_of(fault, request_id, is_v1=is_v1), status=200)
        case "redirect":
            return Answer(fault.code, b"", "text/plain", {"Location": fault.location})
        case "gateway":
            return Answer(fault.code, to_json(gateway_error(fault.gateway, request_id)))
        case "html":
            return Answer(200, proxy_page(200), "text/html")
        case "empty":
            return _bodiless(order)
        case "no_image":
            return _headless(order)
        case _:
            return None


def packed(answer: Answer, padding: int) -> Answer:
    """Return the answer as gzip, with so many [bytes] of nothing before that."""
    filler = b" " if answer.content_type.startswith("application/json") else b"\0"
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    pieces = [packer.compress(answer.body)]
    while padding > 0:
        pieces.append(packer.compress(filler * min(padding, 1 << 20)))
        padding -= 1 << 20
    body = b"".join([*pieces, packer.flush()])
    return attrs.evolve(answer, body=body, headers={**answer.headers, "Content-Encoding": "gzip"})
