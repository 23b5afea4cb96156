"""A disk that is full when everything is made, and only the results are to be written."""

import errno
from pathlib import Path
from typing import Any

import pytest

from sd3async.bulk import StorageError


async def test_results_that_find_no_room_fail_as_the_disk(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who catches what a job is said to raise would miss this, and see a traceback."""
    here = await site()
    open_file = Path.open

    def open_unless_results(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if "x" in mode and "results.jsonl" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_file(path, mode, *args, **options)

    monkeypatch.setattr(Path, "open", open_unless_results)
    with pytest.raises(StorageError):
        async with here.job(["x"]) as job:
            await job.run()
