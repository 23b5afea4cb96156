"""A checked request turned into what is to be made, and the answers made of it."""

import base64
import zlib
from collections.abc import Mapping

import attrs

from sd3async.emulator.answers import Answer, Refusal, error_answer, to_json
from sd3async.emulator.api_table import Endpoint
from sd3async.emulator.faults import Fault
from sd3async.emulator.images import Picture
from sd3async.emulator.pages import gateway_error, proxy_page

__all__ = [
    "Order",
    "error_of",
    "fault_answer",
    "image_answer",
    "order_from",
    "packed",
    "spoilt",
]


@attrs.frozen
class Order:
    """A valid request.

    Attributes:
        picture: What to draw.
        as_json: Whether the answer is JSON with the image in base64.
        price: [credits].
        reason: The finish reason.
    """

    picture: Picture
    as_json: bool
    price: float
    reason: str = "SUCCESS"

    @property
    def image_type(self) -> str:
        """Content type of the image."""
        return f"image/{self.picture.output_format}"


def _rounded_to_64(value: float) -> int:
    return max(64, round(value / 64) * 64)


def _size(
    endpoint: Endpoint, fields: Mapping[str, str], upload: tuple[int, int] | None
) -> tuple[int, int]:
    if upload is None or "aspect_ratio" in fields:
        return endpoint.sizes[endpoint.value(fields, "aspect_ratio")]
    if upload in endpoint.sizes.values():
        return upload
    width, height = upload
    shape = (width / height) ** 0.5
    return _rounded_to_64(1024 * shape), _rounded_to_64(1024 / shape)


def order_from(
    endpoint: Endpoint,
    fields: Mapping[str, str],
    *,
    as_json: bool,
    random_seed: int,
    upload: tuple[int, int] | None,
) -> Order:
    """Return what a valid request asks for.

    Args:
        endpoint: Where it was posted.
        fields: Its texts.
        as_json: Whether the answer shall be JSON.
        random_seed: Used when the request names no seed, or zero.
        upload: Width and height of the uploaded image [px], or None.
    """
    fields = {name: text for name, text in fields.items() if name in endpoint.fields}
    model = endpoint.model(fields)
    picture = Picture(
        prompt=fields["prompt"],
        negative_prompt=fields.get("negative_prompt", ""),
        model=model,
        seed=int(float(endpoint.value(fields, "seed"))) or random_seed,
        size=_size(endpoint, fields, upload),
        style_preset=fields.get("style_preset", ""),
        cfg_scale=fields.get("cfg_scale", ""),
        output_format=endpoint.value(fields, "output_format"),
        strength=float(fields["strength"]) if upload is not None else 1.0,
    )
    return Order(picture, as_json, endpoint.credits[model])


def spoilt(order: Order, fault: Fault) -> Order:
    """Return the order with the picture or finish reason that a fault gives it."""
    if fault.kind == "filtered":
        picture = attrs.evolve(order.picture, filtered=True)
        return attrs.evolve(order, picture=picture, reason="CONTENT_FILTERED")
    return attrs.evolve(order, reason=fault.reason or order.reason)


def image_answer(order: Order, data: bytes) -> Answer:
    """Return the answer that holds an image, in the form that was asked for."""
    picture, reason = order.picture, order.reason
    if order.as_json:
        body = {"finish_reason": reason, "image": base64.b64encode(data).decode()}
        return Answer(
            200,
            to_json({**body, "seed": picture.seed}),
            f"application/json; type={order.image_type}",
            seed=picture.seed,
        )
    headers = {"finish-reason": reason, "seed": str(picture.seed)}
    return Answer(200, data, order.image_type, headers, seed=picture.seed)


def error_of(fault: Fault, request_id: str) -> Answer:
    """Return the error answer of a fault: the documented JSON, or a proxy's page."""
    headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
    if fault.page:
        return Answer(fault.code, proxy_page(fault.code), "text/html", headers)
    refusal = Refusal.with_status(fault.code)
    return attrs.evolve(error_answer(refusal, request_id), headers=headers)


def fault_answer(order: Order, fault: Fault, request_id: str) -> Answer | None:
    """Return the answer that stands in for the image, or None when the image is to be made."""
    match fault.kind:
        case "status":
            return error_of(fault, request_id)
        case "disguised":
            return attrs.evolve(error_of(fault, request_id), status=200)
        case "redirect":
            return Answer(fault.code, b"", "text/plain", {"Location": fault.location})
        case "gateway":
            return Answer(fault.code, to_json(gateway_error(fault.gateway, request_id)))
        case "html":
            return Answer(200, proxy_page(200), "text/html")
        case "empty":
            return attrs.evolve(image_answer(order, b""), body=b"")
        case "no_image":
            body = to_json({"finish_reason": "SUCCESS", "seed": order.picture.seed})
            return Answer(200, body, f"application/json; type={order.image_type}")
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
