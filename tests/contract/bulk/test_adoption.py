"""Images that were whole when the run that made them ended."""

import errno
from pathlib import Path
from typing import Any

import pytest

from sd3async.bulk import StorageError


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
