"""Images that were whole when the run that made them ended."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from sd3async.bulk import StorageError
from sd3async.bulk.plan import plan


async def test_an_image_whose_sidecar_found_no_room_keeps_its_facts(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filtered image would pass for a good one: nothing says how it ended, or which it was."""
    here = await site()
    open_file = Path.open

    def open_unless_sidecar(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if "x" in mode and ".json." in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_file(path, mode, *args, **options)

    with monkeypatch.context() as full:
        full.setattr(Path, "open", open_unless_sidecar)
        with pytest.raises(StorageError):
            async with here.job(["x"]) as job:
                await job.run()
    async with here.job(["x"]) as again:
        await again.run()
    (record,) = again.records()

    assert (record.state, here.emulator.paid) == ("done", 1)
    assert record.finish_reason == "SUCCESS"
    assert record.request_id is not None


async def test_a_sidecar_that_found_no_room_is_written_when_there_is_some(site: Any) -> None:
    """Without it, a journal that is lost later takes the image with it."""
    here = await site()
    why = {"prompt": "y", "id": "why", "tags": ["a"], "model": "sd3.5-medium"}
    async with here.job([{"prompt": "x", "endpoint": "core"}, why]) as job:
        await job.run()
    sidecars = here.files("0*.json")
    before = [json.loads(path.read_bytes()) for path in sidecars]
    for sidecar in sidecars:
        sidecar.unlink()
    async with here.job(None) as again:
        await again.run()

    assert len(before) == 2
    assert [json.loads(path.read_bytes()) for path in sidecars] == before


async def test_a_plan_writes_no_sidecar(site: Any) -> None:
    """Looking at what a job would do must change nothing."""
    here = await site()
    async with here.job(["x"]) as job:
        await job.run()
    (sidecar,) = here.files("0*.json")
    sidecar.unlink()
    await plan(["x"], out=here.out, emulated=True)

    assert not sidecar.exists()
