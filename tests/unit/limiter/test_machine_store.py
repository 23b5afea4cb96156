"""The file that processes of one machine share; its contract is in `tests/stores`."""

import os
import time
from pathlib import Path

import pytest

from sd3async.limiter.stores import MachineStore, machine

DAY = 86_400.0


def test_a_new_file_takes_the_place_of_those_that_nobody_uses(tmp_path: Path) -> None:
    """Each start of the machine makes files anew, and nobody else would ever delete the old."""
    for name, days in (("old", 31.0), ("young", 29.0)):
        (tmp_path / name).touch()
        then = time.time() - days * DAY
        os.utime(tmp_path / name, (then, then))

    MachineStore(tmp_path / "mine")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "young"]


def test_a_file_that_is_there_deletes_nothing(tmp_path: Path) -> None:
    """Looking through the folder costs time, which only the first of a start should pay."""
    (tmp_path / "mine").touch()
    (tmp_path / "old").touch()
    os.utime(tmp_path / "old", (0, 0))

    MachineStore(tmp_path / "mine")

    assert (tmp_path / "old").exists()


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    """Somebody else's file would be written over with what a limit knows."""
    theirs = tmp_path / "theirs"
    theirs.write_text("a thesis")
    (tmp_path / "mine").symlink_to(theirs)
    with pytest.raises(OSError, match="symbolic links"):
        MachineStore(tmp_path / "mine")

    assert theirs.read_text() == "a thesis"


async def test_a_process_that_was_stopped_between_two_clocks_knows_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would have taken its slots for as much later as it had been stopped, and used them so."""
    exact = time.monotonic() - machine.boot_clock()

    def stopped() -> float:
        now = time.monotonic() - exact
        time.sleep(0.1)
        return now

    monkeypatch.setattr(machine, "boot_clock", stopped)
    store = MachineStore(tmp_path / "mine")
    await store.change(lambda record, _: (record, None))
    least, most = store.offset

    assert least - 0.01 <= exact <= most
    assert most - least >= 0.1
    await store.aclose()
