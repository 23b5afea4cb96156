"""One request on its way through, and what its head says."""

from collections.abc import Mapping

import attrs
from aiohttp import web

from sd3async.emulator.journal import Visit

__all__ = ["Turn", "below", "key_of", "told_headers"]

_NOT_TOLD = frozenset({"authorization", "proxy-authorization", "cookie"})


def key_of(request: web.Request) -> str:
    """Return the key that a request carries, with or without "Bearer"; may be empty."""
    value = request.headers.get("Authorization", "").strip()
    scheme, _, rest = value.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else value


def below(prefix: str, path: str) -> str:
    """Return a path without the prefix; empty, which no route is, when it lies elsewhere."""
    return path.removeprefix(prefix) if path.startswith(prefix) else ""


def told_headers(request: web.Request) -> dict[str, str]:
    """Return what may be told of the headers, by lower-case name."""
    names = dict.fromkeys(name.lower() for name in request.headers)
    told = (name for name in names if name not in _NOT_TOLD)
    return {name: ", ".join(request.headers.getall(name)) for name in told}


@attrs.frozen(eq=False)
class Turn:
    """One request on its way through.

    Attributes:
        request: As aiohttp gives it.
        visit: Its line in the journal.
        key: The key it carries; may be empty.
        path: Without the emulator's prefix.
        headers: What may be told of its headers, by lower-case name.
        number: 1 for the first request.
        request_id: 32 hexadecimal digits.
        began: When its head had arrived [s].
    """

    request: web.Request
    visit: Visit
    key: str
    path: str
    headers: Mapping[str, str]
    number: int
    request_id: str
    began: float
