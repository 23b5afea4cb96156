"""What a client is made with, checked before it is made. No message ever holds a key."""

import ipaddress
import os
from collections.abc import Sequence
from urllib.parse import urlsplit

import aiohttp

from sd3async.models.fields import refuse

DEFAULT_MAX_IN_FLIGHT = 300
"""For each key: 15 requests a second, each taking up to 20 s."""

_MAX_ID_CHARS = 256


def read_keys(api_key: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the keys given, or those of `$STABILITY_API_KEY`.

    Raises:
        InvalidRequestError: There is none, one twice, or one that no header can carry.
    """
    if api_key is None:
        given = os.environ.get("STABILITY_API_KEY", "").split(",")
        keys = tuple(key.strip() for key in given if key.strip())
    else:
        keys = (api_key,) if isinstance(api_key, str) else tuple(api_key)
    if not keys:
        raise refuse("api_key", "is missing; pass api_key=… or set STABILITY_API_KEY")
    for number, key in enumerate(keys, start=1):
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise refuse(
                "api_key",
                f"number {number} is empty or has characters that no header can carry; "
                "printable ASCII without spaces is needed",
            )
    if len(set(keys)) < len(keys):
        raise refuse("api_key", "holds one key twice; each key has one limiter, so name it once")
    return keys


def check_base_url(url: str, *, allow_insecure_http: bool) -> None:
    """See that the key can be sent there.

    Raises:
        InvalidRequestError: No URL, one with a query, or plain http over a network.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise refuse("base_url", f"is {url!r}; an http(s) URL or a preset's name is needed")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise refuse("base_url", "has a query, a fragment or a password; only a path is allowed")
    if parts.scheme == "http" and not is_loopback(parts.hostname) and not allow_insecure_http:
        raise refuse(
            "base_url",
            f"is {url!r}, which would send the key unencrypted; use https, or say "
            "allow_insecure_http=True",
        )


def is_official(url: str) -> bool:
    """Whether a URL is that of the official service.

    Args:
        url: A base URL.
    """
    host = urlsplit(url).hostname or ""
    return host == "stability.ai" or host.endswith(".stability.ai")


def is_loopback(host: str) -> bool:
    """Whether a host is this computer: no network between, and nothing to pay for.

    Args:
        host: A name or an address.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def count_slots(max_in_flight: int | None, keys: int, session: aiohttp.ClientSession | None) -> int:
    """Return how many calls may be under way at once.

    Args:
        max_in_flight: What was asked for; None for the default.
        keys: How many keys there are.
        session: The caller's session, whose connection pool is a bound too: a permit must
            never wait for a connection.

    Raises:
        InvalidRequestError: Less than one was asked for.
    """
    slots = DEFAULT_MAX_IN_FLIGHT * keys if max_in_flight is None else max_in_flight
    if slots < 1:
        raise refuse("max_in_flight", f"is {slots}; 1 or more is needed")
    connector = session.connector if session is not None else None
    if connector is None:
        return slots
    bounds = [bound for bound in (connector.limit, connector.limit_per_host) if bound]
    return min([slots, *bounds])


def client_headers(
    client_id: str | None, client_user_id: str | None, client_version: str | None
) -> dict[str, str]:
    """Return the optional headers that tell the service who is calling.

    Raises:
        InvalidRequestError: A value is too long or cannot stand in a header.
    """
    given = {
        "client_id": client_id,
        "client_user_id": client_user_id,
        "client_version": client_version,
    }
    headers: dict[str, str] = {}
    for field, value in given.items():
        if value is None:
            continue
        if len(value) > _MAX_ID_CHARS or not value.isprintable():
            raise refuse(
                field, f"has {len(value)} characters; at most 256 printable ones are allowed"
            )
        headers[f"stability-{field.replace('_', '-')}"] = value
    return headers


def check_deadline(deadline: float | None) -> None:
    """See that a deadline lies ahead.

    Raises:
        InvalidRequestError: It is not positive.
    """
    if deadline is not None and not deadline > 0:
        raise refuse("deadline", f"is {deadline}; seconds above 0, or None, are needed")
