"""What a method and a path stand for."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

from sd3async.emulator.answers import Refusal
from sd3async.emulator.api_table import ENDPOINTS, NOT_EMULATED, RESULTS, V1_ENDPOINTS, Endpoint

__all__ = ["Route", "find_route", "is_v1"]

Reading: TypeAlias = Literal["balance", "account", "engines"]

READINGS: Mapping[str, Reading] = {
    "/v1/user/balance": "balance",
    "/v1/user/account": "account",
    "/v1/engines/list": "engines",
}
_V1_GENERATION = "/v1/generation/"
_V1_UPSCALE = "/image-to-image/upscale"  # by an engine that has gone


@attrs.frozen
class Route:
    """Where a request goes; exactly one of the first three is set.

    Attributes:
        endpoint: It makes an image.
        result: It asks for the result with this id.
        reading: It asks for something about the account.
        engine: In v1, the engine that the path names.
    """

    endpoint: Endpoint | None = None
    result: str | None = None
    reading: Reading | None = None
    engine: str = ""


def is_v1(path: str) -> bool:
    """Return whether a path belongs to the older API, whose errors have a shape of their own."""
    return path.startswith("/v1/")


def find_route(method: str, path: str, told: str) -> Route:
    """Return where a request goes.

    Args:
        method: HTTP method.
        path: Without the emulator's prefix.
        told: The path as the client knows it.

    Raises:
        Refusal: There is no such path, or not with this method, or not in the emulator.
    """
    route, allowed = _route_of(path, told)
    if method != allowed:
        what = f"{method} {path}: wrong method"
        raise Refusal(405, "method_not_allowed", [what], {"Allow": allowed})
    return route


def _route_of(path: str, told: str) -> tuple[Route, str]:
    if path in ENDPOINTS:
        return Route(endpoint=ENDPOINTS[path]), "POST"
    if path in READINGS:
        return Route(reading=READINGS[path]), "GET"
    for start in RESULTS:
        if path.startswith(start) and "/" not in path.removeprefix(start):
            return Route(result=path.removeprefix(start)), "GET"
    engine, _, rest = path.removeprefix(_V1_GENERATION).partition("/")
    if path.startswith(_V1_GENERATION) and engine and rest in V1_ENDPOINTS:
        return Route(endpoint=V1_ENDPOINTS[rest], engine=engine), "POST"
    known = path.startswith(NOT_EMULATED) or (is_v1(path) and path.endswith(_V1_UPSCALE))
    if known:
        what = f"{path}: documented, but the emulator does not have it"
        raise Refusal(501, "not_emulated", [what])
    raise Refusal(404, "not_found", [f"{told}: no such path"])
