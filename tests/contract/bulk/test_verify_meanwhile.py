"""`--verify` in a folder where a job is at work."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sd3async.cli.program import program


def mark(out: Path, state: str) -> None:
    with closing(sqlite3.connect(out / "journal.sqlite")) as db, db:
        db.execute("UPDATE items SET state = ? WHERE number = 0", [state])


async def test_an_image_that_arrives_while_the_folder_is_read_is_no_flaw(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sound job would be reported as one that holds images of nobody."""
    here = await site()
    async with here.job(["x", "y"]) as job:
        await job.run()
    mark(here.out, "sent")
    list_folder = os.scandir

    def list_while_it_arrives(folder: Any) -> Any:
        if Path(folder).parent.name == "images":
            mark(here.out, "done")
        return list_folder(folder)

    monkeypatch.setattr(os, "scandir", list_while_it_arrives)
    found = CliRunner().invoke(program, ["bulk", "--verify", str(here.out)])

    assert found.exit_code == 0, found.output
