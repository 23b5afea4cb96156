"""`sd3async bulk` as a program that people stop: at any moment, in any way, more than once."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from sd3async.emulator import Emulator

Start: TypeAlias = Callable[..., "subprocess.Popen[str]"]

PATIENCE = 60.0  # [s] for a program on a busy machine


def hear_ctrl_c() -> None:
    """Let a child hear SIGINT, also where these tests were started by a script's `&`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Start]:
    """Return a function that starts `sd3async` in an empty folder; what still runs is killed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STABILITY_API_KEY", "sk-x")
    Path("p.txt").write_text("".join(f"p{number}\n" for number in range(300)))
    with ExitStack() as started:

        def begin(*words: str, **options: Any) -> "subprocess.Popen[str]":
            settings: dict[str, Any] = {
                "args": [sys.executable, "-m", "sd3async", *words],
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "preexec_fn": hear_ctrl_c,
            }
            process = started.enter_context(subprocess.Popen(**(settings | options)))
            started.callback(process.kill)
            return process

        yield begin


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Return exit code, stdout and stderr."""
    out, err = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in err, err
    assert "Exception" not in err, err
    assert "Fatal" not in err, err
    return process.returncode, out, err


def wait_for(is_so: Callable[[], object]) -> None:
    ends_at = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < ends_at
        time.sleep(0.005)


@pytest.fixture
def slow(sd3_emulator_factory: Any) -> Emulator:
    """An emulator that takes half a second for an image."""
    made: Emulator = sd3_emulator_factory(limit=None, image_bytes=1_000, latency=0.5)
    return made


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_lands_what_is_in_flight(
    start: Start, slow: Emulator, number: signal.Signals
) -> None:
    """A supervisor, or an ssh that hangs up, must not cost images that are paid."""
    job = start(
        "bulk", "p.txt", "--out", "out", "--json", "--concurrency=4", "--base-url", slow.url
    )
    wait_for(lambda: slow.stats.requests >= 5)
    job.send_signal(number)
    code, out, err = finish(job)
    told = json.loads(out)

    assert code == 130, err
    assert (told["done"], told["possibly_paid"]) == (slow.paid, 0)
    assert slow.paid
    assert Path("out/report.json").exists()


def test_a_terminal_that_hangs_up_costs_no_image(start: Start, slow: Emulator) -> None:
    """The ssh drops, the words go nowhere, and what is paid lands all the same."""
    ours, theirs = pty.openpty()
    job = start(
        "bulk", "p.txt", "--out", "out", "--concurrency=4", "--base-url", slow.url,
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    wait_for(lambda: slow.stats.requests >= 5)
    os.close(ours)
    job.send_signal(signal.SIGHUP)

    assert job.wait(PATIENCE) == 130
    report = json.loads(Path("out/report.json").read_text())
    assert json.dumps(report).count("possibly_paid")
    results = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    assert sum(line["state"] == "done" for line in results) == slow.paid
    assert not sum(line["unknown_charges"] for line in results)


SLOW_REPORTS = """
import itertools, sys, time
from sd3async.bulk.report import write
def make_thumbnails(out, images):
    for _ in images:
        print("report", file=sys.stderr, flush=True)
        time.sleep(0.01)
write.make_thumbnails = make_thumbnails
write.can_make_thumbnails = lambda: True
write.ReportWriter.images = itertools.repeat("one.png")
sys.argv = ["sd3async", *sys.argv[1:]]
from sd3async.cli import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_reports_ends_them(
    start: Start, slow: Emulator, number: signal.Signals
) -> None:
    """A supervisor must see an interruption, not a crash."""
    Path("few.txt").write_text("a\nb\n")
    args = ["bulk", "few.txt", "--out", "out", "--json", "--base-url", slow.url]
    job = start(args=[sys.executable, "-c", SLOW_REPORTS, *args])
    assert job.stderr is not None
    for line in job.stderr:
        if line == "report\n":
            break
    job.send_signal(number)
    code, out, _ = finish(job)

    assert code == 130
    assert json.loads(out)["exit_code"] == 130
    assert len(Path("out/results.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", ["bulk - --out out --dry-run", "bulk - --out out", "demo"])
def test_a_script_can_stop_what_it_started_in_the_background(
    start: Start, command: str, number: signal.Signals
) -> None:
    """A shell starts such programs deaf to Ctrl-C; the other signals must not die of that."""
    reading, writing = os.pipe()
    script = f"{sys.executable} -m sd3async {command} <&0 & echo $!; wait $!"
    shell = start(args=["sh", "-c", script], stdin=reading)
    os.close(reading)
    assert shell.stdout is not None
    program_id = int(shell.stdout.readline())
    wait_for(lambda: hears_signals(program_id))
    os.kill(program_id, number)
    code, _, err = finish(shell)
    os.close(writing)

    assert code == 130, err
    assert "interrupted" in err


def hears_signals(program_id: int) -> bool:
    """Whether a program has put up its handlers: SIGHUP's is the last, and nobody else's."""
    status = Path(f"/proc/{program_id}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGHUP - 1) & 1)


@pytest.mark.parametrize("manifest", ["-", "pipe"])
def test_ctrl_c_ends_the_wait_for_a_manifest_that_never_comes(start: Start, manifest: str) -> None:
    """Who forgot the `<` waits at a terminal, and Ctrl-C is all they know."""
    os.mkfifo("pipe")
    reading, writing = os.pipe()
    job = start("bulk", manifest, "--out", "out", "--dry-run", stdin=reading)
    wait_for(lambda: hears_signals(job.pid))
    job.send_signal(signal.SIGINT)
    code, _, err = finish(job)
    os.close(reading)
    os.close(writing)

    assert (code, err.strip()) == (130, "sd3async: interrupted")


def test_a_manifest_may_come_through_a_pipe(start: Start) -> None:
    """A shell's <(…) is a pipe with a name; looking into it beforehand would empty it."""
    os.mkfifo("pipe.txt")
    job = start("bulk", "pipe.txt", "--out", "out", "--dry-run")
    Path("pipe.txt").write_text("a\nb\n")

    assert "2 items in the manifest" in finish(job)[1]


def test_a_pipe_as_image_is_a_bad_line(start: Start) -> None:
    """Opening it would wait for ever for somebody who writes an image into it."""
    os.mkfifo("pipe.png")
    line = {"prompt": "x", "image": "pipe.png", "strength": 0.5}
    Path("p.jsonl").write_text(json.dumps(line))
    code, _, err = finish(start("bulk", "p.jsonl", "--out", "out", "--dry-run"))

    assert code == 2
    assert "line 1: image: cannot read" in err
    assert "a pipe" in err


CTRL_C_AT_IMPORT = """
import os, signal, sys
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == os.environ["CTRL_C_AT"]:
            sys.meta_path.remove(Finder)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder)
"""


@pytest.mark.parametrize(
    "module",
    ["sd3async.client", "aiohttp", "sd3async.cli", "click", "sd3async.cli.bulk", "sd3async.bulk",
     "sd3async.emulator"],
)  # fmt: skip
@pytest.mark.parametrize("entry", ["module", "script"])
def test_ctrl_c_while_it_starts_is_one_line(
    start: Start, monkeypatch: pytest.MonkeyPatch, module: str, entry: str
) -> None:
    """Half a second of imports must not answer with a screenful of them."""
    Path("sitecustomize.py").write_text(CTRL_C_AT_IMPORT)
    script = Path(sys.executable).with_name("sd3async")
    if entry == "script" and not script.exists():
        pytest.skip("the package is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([".", *sys.path]))
    monkeypatch.setenv("CTRL_C_AT", module)
    args = ["-m", "sd3async"] if entry == "module" else [str(script)]
    words = ["bulk", "p.txt", "--out", "out", "--emulator", "--json"]
    job = start(args=[sys.executable, *args, *words])
    code, out, err = finish(job)

    assert code == 130
    assert err.splitlines()[-1] == "sd3async: interrupted"
    assert json.loads(out)["exit_code"] == 130


@pytest.mark.parametrize("pause", [0.0, 0.01, 0.05, 0.2])
def test_four_in_a_row_are_quiet(start: Start, slow: Emulator, pause: float) -> None:
    """Who is in a hurry gets out, without a traceback, into a job that goes on."""
    job = start("bulk", "p.txt", "--out", "out", "--base-url", slow.url)
    wait_for(lambda: slow.stats.requests >= 5)
    for _ in range(4):
        job.send_signal(signal.SIGINT)
        time.sleep(pause)

    assert finish(job)[0] == 130


def test_a_reader_of_the_words_that_leaves_stops_nothing(start: Start, slow: Emulator) -> None:
    """`2>&1 | head` must cost no image: the words are for people, the job is not."""
    Path("few.txt").write_text("a\nb\nc\n")
    reading, writing = os.pipe()
    job = start(
        "bulk", "few.txt", "--out", "out", "--base-url", slow.url, stdout=writing, stderr=writing
    )
    os.close(writing)
    os.close(reading)

    assert job.wait(PATIENCE) == 0
    assert slow.paid == 3
    assert Path("out/index.html").exists()
