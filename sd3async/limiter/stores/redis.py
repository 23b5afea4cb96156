"""A Redis server that many hosts share."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, cast

from redis import exceptions
from redis.asyncio.connection import Connection, parse_url

from sd3async.limiter.stores.remote import (
    CLOCK_SLIP,
    LOOK_EVERY,
    RemoteStore,
    read_url,
    system_reason,
)
from sd3async.models.fields import refuse

_LIFE = 24 * 60 * 60  # [s] after its last change

_PREFIX = "sd3async:limit:"

_SCRIPT = f"""\
local clock = redis.call('TIME')
local kept = redis.call('GET', KEYS[1]) or ''
local before, now, after, channel = unpack(ARGV)
if not before or redis.sha1hex(kept) ~= before
    or math.abs(clock[1] + clock[2] / 1e6 - now) > {CLOCK_SLIP} then
  return {{clock[1], clock[2], kept}}
end
local beginning = string.sub(after, 1, 8)
if string.sub(kept, 1, 8) ~= beginning then redis.call('PUBLISH', channel, beginning) end
redis.call('SET', KEYS[1], after, 'EX', {_LIFE})
return {{clock[1], clock[2]}}
"""

_FORBIDDEN = "the login may not do what is needed"

_REASONS: dict[type[Exception], str] = {
    exceptions.AuthenticationError: "the login is refused",
    exceptions.NoPermissionError: _FORBIDDEN,
    exceptions.BusyLoadingError: "it is still loading its data",
    exceptions.ReadOnlyError: "it is a replica, and takes no changes",
    exceptions.OutOfMemoryError: "it has no memory left",
    exceptions.ConnectionError: "it closed the connection",
}


class _Connection(Protocol):
    """What is used of redis-py's."""

    is_connected: bool

    async def connect(self) -> None: ...

    async def disconnect(self, nowait: bool = False) -> None: ...

    async def send_command(self, *args: str | bytes | int) -> None: ...

    async def read_response(self, *, timeout: float | None = None) -> Any: ...


class RedisStore(RemoteStore[_Connection]):
    """A key of a Redis server, `sd3async:limit:<name>`, changed by a script that compares and sets.

    It takes one round trip to change a record that nobody else has changed meanwhile, two
    otherwise, and one more for each time another process was quicker. The key is forgotten a day
    after its last change. News are published to a channel, `sd3async:limit:<name>:<database>`.

    Redis 5 or later, or what speaks like it. The login needs `EVAL`, `TIME`, `GET`, `SET`,
    `PUBLISH` and `SUBSCRIBE` for key and channel, and `SCAN` to look at all. A cluster or a sentinel needs an address that
    leads to the one server which keeps the key.

    Args:
        url: `redis://`, `rediss://` (TLS) or `unix://`, as redis-py reads it.
        name: The record's.

    Raises:
        InvalidRequestError: The URL is no such one.
    """

    failures = (OSError, EOFError, exceptions.RedisError)

    def __init__(self, url: str, name: str) -> None:
        self._new, where, database = _read(url)
        super().__init__(f"Redis at {where}")
        self._key = _PREFIX + name
        self._channel = f"{self._key}:{database}"  # a channel belongs to all databases

    async def connect(self) -> _Connection:
        """See `RemoteStore`."""
        connection = self._new()
        try:
            await connection.connect()
        except BaseException:
            await self.hang_up(connection)
            raise
        return connection

    async def hang_up(self, connection: _Connection) -> None:
        """See `RemoteStore`."""
        await connection.disconnect(nowait=True)

    async def get(self, connection: _Connection) -> tuple[float, bytes]:
        """See `RemoteStore`."""
        now, kept = await self._eval(connection)
        return now, kept or b""

    async def put(
        self, connection: _Connection, before: bytes, after: bytes, now: float
    ) -> tuple[float, bytes | None]:
        """See `RemoteStore`."""
        digest = hashlib.sha1(before, usedforsecurity=False).hexdigest()
        return await self._eval(connection, digest, f"{now:.6f}", after, self._channel)

    async def listen_on(self, connection: _Connection) -> None:
        """See `RemoteStore`."""
        await _send(connection, "SUBSCRIBE", self._channel)
        is_asked = False
        while True:
            answer = await connection.read_response(timeout=LOOK_EVERY)
            if answer is None:
                if is_asked:
                    return
                await _send(connection, "PING")
            elif answer[0] == b"subscribe":
                await self.look()
            elif answer[0] == b"message":
                self.hear(answer[2])
            is_asked = answer is None

    async def find_names(self, connection: _Connection) -> list[str]:
        """See `RemoteStore`."""
        cursor, found = b"0", set[bytes]()
        while True:
            await _send(connection, "SCAN", cursor, "MATCH", f"{_PREFIX}*", "COUNT", 1000)
            cursor, keys = await connection.read_response()
            found.update(keys)
            if cursor == b"0":
                return [key.decode().removeprefix(_PREFIX) for key in found]

    def reason(self, error: Exception) -> str:
        """See `RemoteStore`."""
        if words := system_reason(error):
            return words
        for kind, words in _REASONS.items():
            if isinstance(error, kind):
                return words
        if "user executing the script" in str(error):
            return _FORBIDDEN
        code = str(error).partition(" ")[0]
        return f"it answers {code if code.isupper() else type(error).__name__}"

    async def _eval(
        self, connection: _Connection, *arguments: str | bytes
    ) -> tuple[float, bytes | None]:
        await _send(connection, "EVAL", _SCRIPT, 1, self._key, *arguments)
        seconds, microseconds, *kept = await connection.read_response()
        return int(seconds) + int(microseconds) / 1e6, kept[0] if kept else None


async def _send(connection: _Connection, *words: str | bytes | int) -> None:
    if not connection.is_connected:  # redis-py would connect it again, and nobody would know
        raise exceptions.ConnectionError
    await connection.send_command(*words)


def _read(url: str) -> tuple[Callable[[], _Connection], str, int]:
    """Return what makes a connection, where to, and the number of its database."""
    parts, where = read_url(url, 6379)
    with suppress(ValueError, TypeError, exceptions.RedisError):
        options: dict[str, Any] = {**parse_url(url)}
        make = cast("Callable[..., _Connection]", options.pop("connection_class", Connection))
        # Ours is the patience, and the protocol in which a subscription is no special case.
        options |= {
            "socket_timeout": None,
            "socket_connect_timeout": None,
            "health_check_interval": 0,
            "decode_responses": False,
            "protocol": 2,
        }
        _ = make(**options)
        path = options.get("path")
        if path if parts.scheme == "unix" else "," not in where:
            return lambda: make(**options), path or where, int(options.get("db", 0))
    raise refuse("share", "is no URL of a Redis server, or has options that redis-py does not know")
