"""A PostgreSQL server that many hosts share."""

# asyncpg names few of its types.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol, cast
from urllib.parse import parse_qs

import asyncpg  # type: ignore[import-untyped]  # it ships no py.typed

from sd3async.limiter.stores.remote import (
    CLOCK_SLIP,
    LOOK_EVERY,
    PATIENCE,
    RemoteStore,
    read_url,
    system_reason,
)
from sd3async.models.fields import refuse

_SSL_MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

_STATEMENT_TIMEOUT = 0.75 * PATIENCE  # [s] so that who waits for a lock hears why

# Unlogged: after a crash, or on a standby that takes over, it is empty rather than old, and a
# change waits for no disk.
_CREATE = """\
CREATE UNLOGGED TABLE IF NOT EXISTS sd3async_limits (name text PRIMARY KEY, record bytea NOT NULL)
"""

_CLOCK = "extract(epoch FROM clock_timestamp())::float8"

_GET = f"""\
SELECT (SELECT record FROM sd3async_limits WHERE name = $1), {_CLOCK}
"""

# The lock waits for others that are just changing the row, and then shows what they have made of
# it; the statement's own view of the table would be from before. The clock is read after
# that: `CASE` keeps the planner from reading it before.
_PUT = f"""\
WITH kept AS MATERIALIZED (
    SELECT record FROM sd3async_limits WHERE name = $1 FOR UPDATE
), changed AS (
    UPDATE sd3async_limits SET record = $3 FROM kept
    WHERE name = $1
        AND CASE WHEN kept.record = $2 THEN abs({_CLOCK} - $4::float8) <= {CLOCK_SLIP} END
    RETURNING CASE WHEN substr(kept.record, 1, 8) <> substr($3::bytea, 1, 8)
        THEN pg_notify($5, encode(substr($3::bytea, 1, 8), 'hex')) END
)
SELECT (SELECT record FROM kept), EXISTS (SELECT FROM changed), {_CLOCK}
"""

_PUT_FIRST = f"""\
WITH made AS (
    INSERT INTO sd3async_limits (name, record)
    SELECT $1, $2 WHERE abs({_CLOCK} - $3::float8) <= {CLOCK_SLIP}
    ON CONFLICT DO NOTHING
    RETURNING pg_notify($4, encode(substr($2::bytea, 1, 8), 'hex'))
)
SELECT (SELECT record FROM sd3async_limits WHERE name = $1), EXISTS (SELECT FROM made), {_CLOCK}
"""

_MADE_BY_OTHERS = (
    asyncpg.DuplicateTableError,
    asyncpg.DuplicateObjectError,
    asyncpg.UniqueViolationError,
)
"""What comes of making the table at the same moment: which one depends on how far they are."""

_REASONS: dict[type[Exception], str] = {
    asyncpg.InvalidAuthorizationSpecificationError: "the login is refused",
    asyncpg.InvalidPasswordError: "the login is refused",
    asyncpg.InvalidCatalogNameError: "it has no such database",
    asyncpg.InsufficientPrivilegeError: (
        "the login may not make, read or change the table sd3async_limits"
    ),
    asyncpg.ReadOnlySQLTransactionError: "it is a standby, and takes no changes",
    asyncpg.CannotConnectNowError: "it is starting or stopping",
    asyncpg.AdminShutdownError: "it is stopping",
    asyncpg.TooManyConnectionsError: "it has no connection left",
    asyncpg.QueryCanceledError: "somebody else holds the record",
    asyncpg.ConnectionDoesNotExistError: "it closed the connection",
    asyncpg.InterfaceError: "it closed the connection",
}


class _Connection(Protocol):
    """What is used of asyncpg's."""

    async def execute(self, query: str) -> str: ...

    async def fetchrow(self, query: str, *args: object) -> Any: ...

    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None: ...

    def add_termination_listener(self, callback: Callable[[object], None]) -> None: ...

    def terminate(self) -> None: ...


class PostgresStore(RemoteStore[_Connection]):
    """A row of a PostgreSQL server's table `sd3async_limits`, changed by a statement of its own.

    It takes one round trip to change a record that nobody else has changed meanwhile, two
    otherwise, and one more for each time another process was quicker; each statement is prepared
    with one more when a connection uses it first. No transaction is open in between. News are
    notifications on the channel `sd3async_<name>`, in the same transaction as the change.

    The table is made when it is missing. If the login may make none, let somebody else make it:
    `CREATE UNLOGGED TABLE sd3async_limits (name text PRIMARY KEY, record bytea NOT NULL)`.

    Behind pgbouncer in transaction mode, set its `ignore_startup_parameters =
    statement_timeout` and `max_prepared_statements`; notifications do not come through there, and
    news take up to five seconds.

    Args:
        url: `postgresql://` or `postgres://`, as asyncpg reads it.
        name: The record's.

    Raises:
        InvalidRequestError: The URL is no such one.
    """

    failures = (
        OSError,
        EOFError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    )

    def __init__(self, url: str, name: str) -> None:
        super().__init__(f"PostgreSQL at {_where(url)}")
        self._url = url
        self._name = name
        self._channel = f"sd3async_{name}"

    async def connect(self) -> _Connection:
        """See `RemoteStore`."""
        connect = cast("Callable[..., Awaitable[_Connection]]", asyncpg.connect)
        milliseconds = f"{1000 * _STATEMENT_TIMEOUT:.0f}"
        return await connect(self._url, server_settings={"statement_timeout": milliseconds})

    async def hang_up(self, connection: _Connection) -> None:
        """See `RemoteStore`."""
        connection.terminate()

    async def get(self, connection: _Connection) -> tuple[float, bytes]:
        """See `RemoteStore`."""
        kept, now = await self._fetch(connection, _GET, self._name)
        return now, kept or b""

    async def put(
        self, connection: _Connection, before: bytes, after: bytes, now: float
    ) -> tuple[float, bytes | None]:
        """See `RemoteStore`."""
        query, old = (_PUT, [before]) if before else (_PUT_FIRST, [])
        answer = self._fetch(connection, query, self._name, *old, after, now, self._channel)
        kept, is_changed, now = await answer
        return now, None if is_changed else kept or b""

    async def listen_on(self, connection: _Connection) -> None:
        """See `RemoteStore`."""
        broken = asyncio.Event()
        connection.add_termination_listener(lambda _: broken.set())
        await connection.add_listener(
            self._channel, lambda *news: self.hear(bytes.fromhex(news[-1]))
        )
        while not broken.is_set():
            async with asyncio.timeout(PATIENCE):
                _, kept = await self.get(connection)
            self.hear(kept[:8])
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    _ = await broken.wait()

    async def find_names(self, connection: _Connection) -> list[str]:
        """See `RemoteStore`."""
        (names,) = await self._fetch(connection, "SELECT array_agg(name) FROM sd3async_limits")
        return names or []

    def reason(self, error: Exception) -> str:
        """See `RemoteStore`."""
        for kind, words in _REASONS.items():
            if isinstance(error, kind):
                return words
        state = getattr(error, "sqlstate", None)
        return system_reason(error) or f"it answers {type(error).__name__} ({state})"

    async def _fetch(self, connection: _Connection, query: str, *args: object) -> Any:
        try:
            return await connection.fetchrow(query, *args)
        except asyncpg.UndefinedTableError:
            with suppress(*_MADE_BY_OTHERS):
                _ = await connection.execute(_CREATE)
            return await connection.fetchrow(query, *args)


def _where(url: str) -> str:
    """Return where a URL leads to, for messages."""
    parts, where = read_url(url, 5432)
    with suppress(ValueError):
        options = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
        if _SSL_MODES.issuperset(options.get("sslmode", ())):
            return where
    raise refuse(
        "share",
        f"is no URL of a PostgreSQL server, or has another sslmode than "
        f"{', '.join(sorted(_SSL_MODES))}",
    )
