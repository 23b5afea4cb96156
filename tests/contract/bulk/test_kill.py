"""SIGKILL at random moments, with real processes and real files."""

import random
from pathlib import Path
from typing import Any

from sd3async.emulator import latency as latencies
from support.killing import kill_and_resume


def test_killed_jobs_lose_nothing_and_count_what_was_paid_twice(
    sd3_emulator_factory: Any, tmp_path: Path
) -> None:
    """A crash at any instant must cost no image, and no generation that goes uncounted."""
    emulator = sd3_emulator_factory(
        limit=None, image_bytes=20_000, latency=latencies.Uniform(0.02, 0.4)
    )
    fate = kill_and_resume(emulator, tmp_path, prompts=80, kills=6, rng=random.Random())

    assert fate.kills == 6
    assert 0 <= fate.doubles <= fate.possibly_paid <= fate.marked
