"""Who shares the limit of a key with whom."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sd3async._clock import SYSTEM_CLOCK
from sd3async.limiter import RateLimit, open_supplies, record
from sd3async.limiter.shared import SharedSupply
from sd3async.limiter.sharing import identity
from sd3async.limiter.stores.machine import folder

LIMIT = RateLimit()


def name_of(limit: RateLimit, key: str = "sk-1", base_url: str = "https://a.test") -> str:
    return identity(key, base_url, limit)


@pytest.mark.parametrize(
    "limit",
    [
        RateLimit(max_requests=150, period=10),
        RateLimit(lockout=60),
        RateLimit(max_rate=5),
        RateLimit(max_rate=7.5),
    ],
    ids=["whole numbers", "a whole lock-out", "a pace", "another pace"],
)
def test_the_same_limit_in_other_words_is_shared(limit: RateLimit) -> None:
    """A script that wrote 10 for 10.0 had a limit of its own, and the key twice as much."""
    assert name_of(limit) == name_of(LIMIT)


def test_another_key_service_or_limit_is_not_shared() -> None:
    """The service counts them apart, or one would keep a limit that is not its own."""
    others = [
        name_of(LIMIT, key="sk-2"),
        name_of(LIMIT, base_url="https://b.test"),
        name_of(RateLimit(max_requests=149)),
        name_of(RateLimit(period=9.0)),
        name_of(RateLimit(shape="burst")),
    ]

    assert len({name_of(LIMIT), *others}) == 6


def test_a_release_that_writes_it_otherwise_has_a_record_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each would take the other's for lost, and wait two periods, again and again."""
    mine = name_of(LIMIT)
    monkeypatch.setattr(record, "FORMAT", record.FORMAT + 1)

    assert name_of(LIMIT) != mine


def test_who_has_no_home_keeps_the_limit_for_himself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In a container with a user that nobody knows, no client could be made."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with caplog.at_level(logging.WARNING):
        (supply,) = open_supplies(
            "machine", ["sk-1"], base_url="https://a.test", limit=LIMIT, clock=SYSTEM_CLOCK
        )

    assert not isinstance(supply, SharedSupply)
    assert "for this process alone" in caplog.text


def test_a_cache_folder_that_depends_on_where_one_stands_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two programs in two folders would not share; the XDG specification says to ignore it."""
    monkeypatch.setenv("XDG_CACHE_HOME", "here")

    assert folder().is_absolute()


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such limit to try it with")
def test_who_finds_the_disk_full_keeps_the_limit_for_himself(tmp_path: Path) -> None:
    """The file could be made but not filled, and every call waited for ever."""
    code = """
import resource, logging
from sd3async._clock import SYSTEM_CLOCK
from sd3async.limiter import RateLimit, open_supplies
logging.basicConfig()
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
supplies = open_supplies(
    "machine", ["sk-1"], base_url="https://a.test", limit=RateLimit(), clock=SYSTEM_CLOCK
)
print(type(supplies[0]).__name__)
"""
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout == "Supply\n"
    assert "for this process alone" in done.stderr
