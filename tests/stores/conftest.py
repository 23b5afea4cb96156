"""The stores, and the real servers behind them."""

from collections.abc import Generator
from pathlib import Path
from uuid import uuid4

import pytest

from support.databases import Database, Postgres, Redis, postgres_server, redis_server


@pytest.fixture(scope="session")
def redis() -> Generator[Redis]:
    with redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Generator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["redis", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each server in turn."""
    found: Database = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["machine", "redis", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the records of a test are kept: a folder, or a server's URL."""
    if request.param == "machine":
        return str(tmp_path)
    server: Database = request.getfixturevalue(request.param)
    return server.url


@pytest.fixture
def name() -> str:
    """A record that nobody else has."""
    return uuid4().hex[:24]
