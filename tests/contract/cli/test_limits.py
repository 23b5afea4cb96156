"""`sd3async limits`: what processes share, for people and for programs."""

import json
import re
from pathlib import Path

import pytest

from contract.cli.conftest import KEY, Run
from sd3async.emulator.pytest_plugin import EmulatorFactory


@pytest.fixture(autouse=True)
def shared_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SD3ASYNC_SHARE", "machine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_every_shared_limit_is_shown_and_the_key_is_nowhere(
    run: Run, sd3_emulator_factory: EmulatorFactory, tmp_path: Path
) -> None:
    """Who wonders why a program waits sees who else uses the key."""
    server = sd3_emulator_factory(image_bytes=2_000)
    for name in ("fox.png", "vixen.png"):
        assert run("generate", "a fox", "-o", name, "--base-url", server.url).exit_code == 0

    [limit] = json.loads(run("limits", "--json").stdout)["limits"]

    assert (limit["base_url"], limit["max_requests"], limit["period"]) == (server.url, 150, 10.0)
    assert (limit["in_window"], limit["stage"], limit["lockouts"]) == (2, "open", 0)
    assert limit["frozen_for"] == 0.0
    assert "2 of 150 in the window" in run("limits").stdout
    [kept] = (tmp_path / "cache" / "sd3async" / "limits").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert KEY.encode() not in kept.read_bytes() + bytes(kept)


def test_an_emulator_in_the_same_process_shares_nothing(run: Run, tmp_path: Path) -> None:
    """Nobody else can reach it; a file for each try would fill the folder."""
    assert run("generate", "a fox", "-o", "fox.png", "--emulator").exit_code == 0

    assert not (tmp_path / "cache").exists()


def test_where_nothing_is_shared_it_says_so(run: Run) -> None:
    """An empty screen leaves people guessing."""
    assert run("limits").stdout == "nothing is shared here\n"


def test_a_way_to_share_that_makes_no_sense_is_refused(run: Run) -> None:
    """A typing mistake must not look like "nothing is shared"; a password in it is not shown."""
    result = run("limits", "--share", "redsi://user:secret@host")

    assert result.exit_code == 2
    assert "share" in result.output
    assert "secret" not in result.output


def test_the_progress_of_a_job_tells_the_part_of_others(
    run: Run, sd3_emulator_factory: EmulatorFactory, tmp_path: Path
) -> None:
    """Whoever shares a key would wonder where the limit of a slow job has gone."""
    server = sd3_emulator_factory(image_bytes=2_000)
    for name in ("fox.png", "vixen.png"):
        assert run("generate", "a fox", "-o", name, "--base-url", server.url).exit_code == 0
    (tmp_path / "prompts.txt").write_text("a boat\na barge\n")

    job = run("bulk", str(tmp_path / "prompts.txt"), "--out", "out", "--base-url", server.url)

    assert re.search(r"2 / 2 done, .* of 150 in 10 s, 2 by others, 13 credits", job.stderr)
