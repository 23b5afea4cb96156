"""Bulk jobs in processes that are killed at random moments, and what must be true afterwards."""

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import attrs

from sd3async.bulk.keeping.journal import read_records
from sd3async.emulator import Emulator

_COMMAND = (sys.executable, "-m", "sd3async", "bulk", "--no-report")
_POLL = 0.002  # [s]
_PATIENCE = 60.0  # [s] for a process to get anywhere on a busy machine


@attrs.frozen(kw_only=True)
class Killing:
    """What a job was put through, and what came of it.

    Attributes:
        prompts: Items of the job; each has its image in the end.
        kills: Times that it was killed.
        marked: Rows marked as sent, summed over the kills.
        paid: Generations that the server booked.
        possibly_paid: What the journal says may have been paid without an image.
    """

    prompts: int
    kills: int
    marked: int
    paid: int
    possibly_paid: int

    @property
    def doubles(self) -> int:
        """Generations paid beyond one for each prompt."""
        return self.paid - self.prompts


def start_job(manifest: Path, out: Path, url: str, *options: str) -> "subprocess.Popen[bytes]":
    """Start `sd3async bulk` in a process of its own."""
    return subprocess.Popen(
        [*_COMMAND, str(manifest), "--out", str(out), "--base-url", url, *options],
        env=os.environ | {"STABILITY_API_KEY": "sk-killed"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def kill_and_resume(
    emulator: Emulator, folder: Path, *, prompts: int, kills: int, rng: random.Random
) -> Killing:
    """Run a job, kill it so many times, and let it end.

    Args:
        emulator: Running, in this process.
        folder: For manifest and job.
        prompts: Items of the job.
        kills: How often to kill.
        rng: Picks the moments.
    """
    manifest, out = folder / "prompts.txt", folder / "out"
    manifest.write_text("".join(f"prompt number {number}\n" for number in range(prompts)))
    marked = done_kills = 0
    moments = sorted(rng.sample(range(1, prompts), kills))
    for moment in moments:
        process = start_job(manifest, out, emulator.url)
        if not _wait_until_paid(emulator, moment, process):
            break
        time.sleep(rng.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done_kills += 1
        marked += _count_marked(out)
    last = start_job(manifest, out, emulator.url)
    _, words = last.communicate(timeout=_PATIENCE + prompts / 10)
    assert last.returncode == 0, words.decode()
    return Killing(
        prompts=prompts,
        kills=done_kills,
        marked=marked,
        paid=emulator.paid,
        possibly_paid=check_folder(out, prompts),
    )


def check_folder(out: Path, prompts: int) -> int:
    """See that every image is there, whole and once; return the possibly paid ones."""
    assert list(out.rglob("*.part")) == []
    images = sorted((out / "images").rglob("*.png"))
    assert len(images) == prompts
    possibly_paid = 0
    for record in read_records(out / "journal.sqlite"):
        assert record.state == "done", record
        assert record.file is not None
        data = (out / record.file).read_bytes()
        assert record.size == len(data)
        assert record.sha256 == hashlib.sha256(data).hexdigest()
        assert record.seed is not None
        assert record.request_id is not None
        assert record.finish_reason == "SUCCESS"
        assert (out / record.file).with_suffix(".json").exists()
        possibly_paid += record.unknown_charges
    lines = (out / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(prompts))
    return possibly_paid


def _wait_until_paid(emulator: Emulator, count: int, process: "subprocess.Popen[bytes]") -> bool:
    """Wait; return whether the process still runs then."""
    ends_at = time.monotonic() + _PATIENCE
    while emulator.paid < count and process.poll() is None:
        assert time.monotonic() < ends_at, "the job gets nowhere"
        time.sleep(_POLL)
    return process.poll() is None


def _count_marked(out: Path) -> int:
    with closing(sqlite3.connect(out / "journal.sqlite")) as db:
        (count,) = db.execute("SELECT count(*) FROM items WHERE state = 'sent'").fetchone()
    return int(count)
