"""URLs of stores, right and wrong; nothing is connected here."""

import sys

import pytest

from sd3async.errors import InvalidRequestError
from sd3async.limiter.stores import open_store

SECRET = "pa55"

WRONG = [
    "redis://:pa55/word@host",
    "redis://user:pa55#word@host:6379",
    "redis://user:pa55?word@host",
    "redis://user:pa55@word@host",
    "redis://host:pa55",
    "redis://host:0",
    "redis://host:99999",
    "redis://one,two",
    "redis://[::1",
    "redis://host?pa55=1",
    "redis://host?db=pa55",
    "unix://",
    "postgresql://user:pa55/word@host/db",
    "postgresql://user:pa55@word@host/db",
    "postgresql://host:pa55/db",
    "postgresql://host/db?sslmode=pa55",
    "postgresql://host/db?pa55",
]


@pytest.mark.parametrize("url", WRONG)
def test_a_url_that_cannot_be_meant_so_is_refused_at_once(url: str) -> None:
    """A slip in the settings shows when a program starts, and the password does not."""
    with pytest.raises(InvalidRequestError, match=r"^share: is no URL of") as caught:
        open_store(url, "ab12")

    error = caught.value
    assert error.field == "share"
    assert SECRET not in str(error)
    assert error.__cause__ is error.__context__ is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://", "Redis at localhost:6379"),
        ("redis://redis1", "Redis at redis1:6379"),
        ("redis://u:p%40ss@10.0.0.1:7000/3", "Redis at 10.0.0.1:7000"),
        ("rediss://:pw@cache.example.com", "Redis at cache.example.com:6379"),
        ("redis://[::1]:7000", "Redis at [::1]:7000"),
        ("redis://[::1]", "Redis at [::1]:6379"),
        ("unix://u:pw@/run/redis.sock?db=2", "Redis at /run/redis.sock"),
        ("postgresql://", "PostgreSQL at localhost:5432"),
        ("postgres://u:pw@db", "PostgreSQL at db:5432"),
        ("postgresql://u:pw@db:1/limits?sslmode=require", "PostgreSQL at db:1"),
        ("postgresql://u@one:1,two/db", "PostgreSQL at one:1,two:5432"),
    ],
)
def test_a_store_is_named_by_its_address_alone(url: str, name: str) -> None:
    """Messages name the server, never who logs in."""
    assert open_store(url, "ab12").name == name


@pytest.mark.parametrize(
    ("url", "library", "extra"),
    [("redis://h", "redis", "redis"), ("postgres://h", "asyncpg", "postgres")],
)
def test_a_missing_extra_is_told_by_its_name(
    url: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy is one command."""
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"sd3async.limiter.stores.{extra}", raising=False)

    with pytest.raises(InvalidRequestError, match=rf"share: needs sd3async\[{extra}\]"):
        open_store(url, "ab12")
