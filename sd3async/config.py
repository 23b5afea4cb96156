"""What a client is made with, checked before it is made. No message ever holds a key."""

import ipaddress
import os
import re
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

import aiohttp
import attrs

from sd3async.endpoints import Service, find_service
from sd3async.models.fields import (
    AT_LEAST_ONE,
    SECONDS,
    Duration,
    Text,
    check_type,
    refuse,
    shown,
    to_seconds,
)
from sd3async.telemetry import Observer

T = TypeVar("T")


class Secret(str):
    """A key, or a header's value that holds one: no `repr` shows it, nor a traceback with locals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


__version__ = "0.1.0"
USER_AGENT = f"sd3async/{__version__}"
DEFAULT_MAX_IN_FLIGHT = 300
"""For each key: 15 requests a second, each taking up to 20 s."""

_CLIENT_ID = Text(max_chars=256)
_KEYS = "a string of printable ASCII without spaces, or a list of such strings"
_FOR_EVER_OR: Any = attrs.validators.optional(SECONDS)


def _seconds(value: Duration | None) -> float | None:
    return None if value is None else to_seconds(value)


@attrs.frozen(kw_only=True)
class Timeouts:
    """How long parts of one attempt may take: seconds or a `timedelta`; None is for ever.

    Waiting for the rate limit, for a connection slot and between attempts is in none of these:
    the `deadline` of a call covers everything.

    Attributes:
        connect: To open a connection, TLS included [s].
        read: Between two pieces of the answer, and from the request's end to the answer's head
            [s]: a generation takes seconds to tens of seconds.
        attempt: One attempt from its first byte to the answer's last [s].

    Raises:
        InvalidRequestError: A value is not positive.
    """

    connect: float | None = attrs.field(default=15.0, converter=_seconds, validator=_FOR_EVER_OR)
    read: float | None = attrs.field(default=180.0, converter=_seconds, validator=_FOR_EVER_OR)
    attempt: float | None = attrs.field(default=600.0, converter=_seconds, validator=_FOR_EVER_OR)


def read_deadline(deadline: Duration | None) -> float | None:
    """Return the seconds of a deadline; None is for ever.

    Raises:
        InvalidRequestError: It is not positive, or no duration.
    """
    return None if deadline is None else SECONDS.plain("deadline", to_seconds(deadline))


def read_keys(api_key: str | Sequence[str] | None) -> tuple[Secret, ...]:
    """Return the keys given, or those of `$STABILITY_API_KEY`.

    Raises:
        InvalidRequestError: There is none, one twice, or one that no header can carry.
    """
    if api_key is None:
        text = Secret(os.environ.get("STABILITY_API_KEY", ""))
        api_key = [Secret(key.strip()) for key in text.split(",") if key.strip()]
    given = [api_key] if isinstance(api_key, str) else api_key
    keys = several("api_key", given, _is_key, _KEYS)
    if not keys:
        raise refuse("api_key", "is missing; pass api_key=… or set STABILITY_API_KEY")
    if len(set(keys)) < len(keys):
        raise refuse("api_key", "holds one key twice; each key has one limiter, so name it once")
    return tuple(map(Secret, keys))


def read_service(base_url: str | None, *, allow_insecure_http: bool) -> Service:
    """Return the service at a URL or of a preset's name, by default `$STABILITY_BASE_URL`.

    Raises:
        InvalidRequestError: No URL, one with a query, or plain http over a network: the key goes
            with every request.
    """
    check_type("allow_insecure_http", allow_insecure_http, bool, "True or False")
    if base_url is None:
        base_url = os.environ.get("STABILITY_BASE_URL") or "official"
    check_type("base_url", base_url, str, "an http(s) URL or a preset's name")
    service = find_service(base_url)
    parts = _split_url("base_url", service.base_url, "an http(s) URL or a preset's name")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise refuse("base_url", "has a query, a fragment or a password; only a path is allowed")
    if parts.scheme == "http" and not is_loopback(str(parts.hostname)) and not allow_insecure_http:
        raise refuse(
            "base_url",
            f"is {service.base_url!r}, which would send the key unencrypted; use https, or say "
            "allow_insecure_http=True",
        )
    return service


def check_proxy(proxy: str | None, field: str = "proxy") -> None:
    """See that a proxy can be used.

    Args:
        proxy: Its URL; None for no proxy.
        field: Where it was named.

    Raises:
        InvalidRequestError: It is no http(s) URL; it is not shown, since it may hold a password.
    """
    if proxy is not None:
        check_type(field, proxy, str, "a URL")
        _split_url(field, proxy, "a URL such as http://user:password@host:3128")


def read_ca_file(ca_file: str | Path | None) -> ssl.SSLContext | bool:
    """Return whom a file of certificates says to trust; without one, whom aiohttp does.

    Raises:
        InvalidRequestError: It is no file, or holds none.
    """
    try:
        return True if ca_file is None else ssl.create_default_context(cafile=Path(ca_file))
    except (OSError, TypeError, ValueError) as error:
        raise refuse("ca_file", f"holds no certificates that can be read: {error}") from error


def _split_url(field: str, url: str, needed: str) -> SplitResult:
    """Take a URL apart. One that makes no sense is not shown: it may be a key in the wrong place."""
    with suppress(ValueError):  # of a port, or of brackets
        parts = urlsplit(url)
        is_clean = url.isprintable() and " " not in url and parts.port != 0
        if is_clean and parts.hostname and parts.scheme in ("http", "https"):
            return parts
    raise refuse(field, f"is nothing that can be called; {needed} is needed")


def _is_key(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[!-~]+", value) is not None


def is_loopback(host: str) -> bool:
    """Whether a host is this computer: no network between, and nothing to pay for.

    Args:
        host: A name or an address.
    """
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


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
    slots = DEFAULT_MAX_IN_FLIGHT * keys
    if max_in_flight is not None:
        slots = AT_LEAST_ONE.plain("max_in_flight", max_in_flight)
    connector = session.connector if session is not None else None
    bounds = (connector.limit, connector.limit_per_host) if connector is not None else ()
    return min([slots, *filter(None, bounds)])


def client_headers(**values: str | None) -> dict[str, str]:
    """Return the optional headers that tell the service who is calling.

    Args:
        values: `client_id`, `client_user_id` and `client_version`; None for those not given.

    Raises:
        InvalidRequestError: A value is too long or cannot stand in a header.
    """
    headers: dict[str, str] = {}
    for field, value in values.items():
        if value is not None:
            text = _CLIENT_ID.plain(field, value)
            if not text.isprintable():
                raise refuse(field, "has characters that no header can carry")
            headers[f"stability-{field.replace('_', '-')}"] = text
    return headers


_OURS = frozenset(
    [
        "accept",
        "accept-encoding",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
_MAX_HEADER = 8_000  # characters; servers take 8 KiB, some of it for the name
_HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]{1,100}", re.ASCII)


def extra_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return headers of the caller's own, which go with every request.

    Args:
        headers: Values by name; None for none.

    Raises:
        InvalidRequestError: A name is none, or one that this client sets itself; or a value holds
            what no header can carry. No value is shown: it may be a secret.
    """
    if headers is None:
        return {}
    check_type("extra_headers", headers, Mapping, "a mapping of names to values")
    return {_header_name(name): _header_value(name, value) for name, value in headers.items()}


def _header_name(name: object) -> str:
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise refuse("extra_headers", f"has {shown(name)}, which is no name of a header")
    if name.lower() in _OURS:
        raise refuse("extra_headers", f"has {name!r}, which the client sets itself")
    return name.lower()


def _header_value(name: str, value: object) -> Secret:
    if not isinstance(value, str) or len(value) > _MAX_HEADER or not value.isprintable():
        needed = f"printable text of at most {_MAX_HEADER:,} characters is needed"
        raise refuse("extra_headers", f"has a value of {name!r} that cannot be sent; {needed}")
    return Secret(value)


def setting(field: str, value: T | None, kind: type[T], default: T | None = None) -> T:
    """Return a setting that was passed, or its default.

    Args:
        field: The parameter to name.
        value: What was passed; None asks for the default.
        kind: Its class.
        default: The default; None is for the class's own.

    Raises:
        InvalidRequestError: It is of another class.
    """
    if value is None:
        return default or kind()
    check_type(field, value, kind, f"{kind.__name__}(…)")
    return value


def several(
    field: str, values: Iterable[T], is_one: Callable[[object], bool], needed: str
) -> tuple[T, ...]:
    """Return what was passed as a list of things of one kind, as a tuple.

    Args:
        field: The parameter to name.
        values: The list, or another iterable.
        is_one: Whether something is of that kind.
        needed: What is, in words.

    Raises:
        InvalidRequestError: It is no list, or holds something else; neither is shown.
    """
    with suppress(TypeError):
        if not isinstance(values, Mapping) and all(map(is_one, made := tuple(values))):
            return made
    raise refuse(field, f"must be {needed}")


def read_observers(observers: Iterable[Observer]) -> tuple[Observer, ...]:
    """Return the observers given: they are called and never awaited.

    Raises:
        InvalidRequestError: One cannot be called, or would not run when it is.
    """
    needed = "a list of callables, none of them async or a generator function"
    return several("observers", observers, is_callback, needed)


def is_callback(value: object, *, may_be_async: bool = False) -> bool:
    """Whether something runs when it is called; a generator function only makes a generator.

    Args:
        value: Anything.
        may_be_async: Whether what it returns is awaited.
    """
    lazy = [
        isgeneratorfunction,
        isasyncgenfunction,
        *([] if may_be_async else [iscoroutinefunction]),
    ]
    return callable(value) and not any(
        is_lazy(function) for is_lazy in lazy for function in (value, value.__call__)
    )
