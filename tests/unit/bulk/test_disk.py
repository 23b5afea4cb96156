"""How much room a job wants before it sends one more request."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from sd3async._clock import SYSTEM_CLOCK
from sd3async.bulk.keeping.disk import DiskSpace

MB = 1_000_000


async def needed(monkeypatch: pytest.MonkeyPatch, *, in_flight: int, items: int = 0) -> int:
    """Return how many kilobytes must be free for one image more."""
    disk = DiskSpace(Path(), SYSTEM_CLOCK)
    disk.note(MB)
    told = SimpleNamespace(f_bavail=0, f_frsize=1_000, f_blocks=1, f_files=0)

    def statvfs(_: object) -> SimpleNamespace:
        return SimpleNamespace(**vars(told))

    monkeypatch.setattr(os, "statvfs", statvfs)
    too_few, enough = 0, 1_000_000
    while enough - too_few > 1:
        told.f_bavail = free = (too_few + enough) // 2
        await disk.look(in_flight)
        too_few, enough = (free, enough) if disk.shortage(items) else (too_few, free)
    return enough


async def test_each_image_on_its_way_needs_room_for_its_sidecar_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three hundred in flight write as many sidecars, rows and folders beside the images."""
    alone = await needed(monkeypatch, in_flight=0)
    beside = await needed(monkeypatch, in_flight=10)

    assert 10_100 <= beside - alone <= 11_000


async def test_the_results_of_a_large_job_need_room_before_they_are_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A job that ends on a full disk has no list of what it made."""
    small = await needed(monkeypatch, in_flight=0)
    large = await needed(monkeypatch, in_flight=0, items=10_000)

    assert large - small >= 10_000
