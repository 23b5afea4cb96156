import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract.cli.conftest import KEY, PATIENCE, Run, Start
from sd3async.emulator import Constant
from sd3async.emulator.pytest_plugin import EmulatorFactory


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Return exit code, stdout and stderr."""
    out, err = process.communicate(timeout=PATIENCE)
    assert KEY not in out + err
    assert "Traceback" not in err
    return process.returncode, out, err


def test_the_emulator_is_a_program_that_others_can_try_against(start: Start) -> None:
    """The emulator on its own would not serve the client on its own."""
    emulator = start("emulator", "--port", "0", "--json", "--max-requests", "7")
    assert emulator.stdout is not None
    url = json.loads(emulator.stdout.readline())["url"]
    code, out, _ = finish(start("generate", "a fox", "--seed", "7", "--base-url", url))
    emulator.send_signal(signal.SIGINT)
    stopped, _, words = finish(emulator)

    assert (code, out) == (0, "a-fox-7.png\n")
    assert Path("a-fox-7.png").exists()
    assert stopped == 0
    assert "stopped after 1 requests: 1 paid" in words


def test_the_emulator_stops_cleanly_on_sigterm(start: Start) -> None:
    """A supervisor would see a crash each time it stops it."""
    emulator = start("emulator", "--port", "0")
    assert emulator.stdout is not None
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+\n", emulator.stdout.readline())
    emulator.send_signal(signal.SIGTERM)

    assert finish(emulator)[0] == 0


@contextmanager
def in_background(before: str = "") -> Generator[tuple["subprocess.Popen[str]", int]]:
    """Start the emulator as a script does, with `&`; yield the shell and the program's id."""
    script = f"{before} {sys.executable} -m sd3async emulator --port 0 & echo $!; wait $!"
    pipe = subprocess.PIPE
    with subprocess.Popen(["sh", "-c", script], stdout=pipe, stderr=pipe, text=True) as shell:
        assert shell.stdout is not None
        told = [shell.stdout.readline(), shell.stdout.readline()]  # the id and the URL
        program = int(next(line for line in told if not line.startswith("http")))
        try:
            yield shell, program
        finally:
            if shell.poll() is None:
                os.kill(program, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_a_script_can_stop_what_it_started_in_the_background(number: signal.Signals) -> None:
    """A shell starts such programs deaf to Ctrl-C; the other signals must not die of that."""
    with in_background() as (shell, program):
        os.kill(program, signal.SIGINT)  # Ctrl-C was meant for the script
        os.kill(program, number)
        code, _, words = finish(shell)

    assert code == 0
    assert "stopped after 0 requests" in words


def test_nohup_is_respected() -> None:
    """Who has hung up on purpose wants the program to go on."""
    with in_background(before="trap '' HUP;") as (shell, program):
        os.kill(program, signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            shell.wait(0.3)
        os.kill(program, signal.SIGTERM)

        assert finish(shell)[0] == 0


def test_a_terminal_that_has_gone_is_no_crash() -> None:
    """The last words cannot be said any more; the exit code still can."""
    program, terminal = pty.fork()
    if program == 0:
        os.execv(sys.executable, [sys.executable, "-m", "sd3async", "emulator", "--port", "0"])
    os.read(terminal, 100)  # the URL
    os.close(terminal)

    assert os.waitstatus_to_exitcode(os.waitpid(program, 0)[1]) == 0


def test_a_port_that_is_taken_is_one_sentence(
    run: Run, sd3_emulator_factory: EmulatorFactory
) -> None:
    """A second emulator would end in a traceback."""
    port = sd3_emulator_factory().url.rpartition(":")[2]
    result = run("emulator", "--port", port)

    assert result.exit_code == 1
    assert not result.stdout
    assert "already in use" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_interruption_says_whether_money_may_be_gone_and_leaves_no_file(
    start: Start,
    sd3_emulator_factory: EmulatorFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C would leave a torn file, a traceback, or doubt about the bill."""
    server = sd3_emulator_factory(latency=Constant(600.0))
    monkeypatch.setenv("SD3ASYNC_LOG", "debug")
    process = start("generate", "a fox", "-o", "fox.png", "--base-url", server.url)
    assert process.stderr is not None
    for line in process.stderr:
        if "attemptsent" in line:
            break
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)

    assert code == 130
    assert not out
    assert "interrupted; the request was on its way, so it may be charged all the same" in err
    assert not list(Path().iterdir())


def test_a_reader_that_leaves_is_no_error_worth_a_traceback(start: Start) -> None:
    """`sd3async … | head` would end in a screenful of Python."""
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [sys.executable, "-m", "sd3async", "balance", "--emulator"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    _, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 141
    assert err.splitlines() == [
        "sd3async: emulated: images come from an emulator in this process, nothing is charged"
    ]


def test_the_demo_delivers_every_image_through_trouble(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first command of the README would fail, or show less than it says."""
    monkeypatch.setattr("sd3async.cli.demo._LOCKOUT", 0.1)
    monkeypatch.setattr("sd3async.cli.demo._MEDIAN_LATENCY", 0.02)
    result = run("demo", "--count", "8", "--out", "demo", "--json")

    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["total"], told["done"], told["failed"]) == (8, 8, 0)
    assert told["injected"] == {"status": 2, "truncated": 1, "rate_limited": 1}
    assert told["retried"] >= 4
    assert told["frozen"] >= 1
    assert told["possibly_paid"] == 2  # the truncated answer, and the proxy's 502
    assert told["emulated"] is True
    assert Path(told["gallery"]).stat().st_size > 10_000
    lines = [json.loads(line) for line in Path("demo/results.jsonl").read_text().splitlines()]
    assert [line["state"] for line in lines] == ["done"] * 8
    assert all(Path("demo", line["file"]).stat().st_size for line in lines)
    assert {line["endpoint"] for line in lines} == {"sd3", "core", "ultra"}
    assert "image-to-image" in {line["request"].get("mode") for line in lines}


def test_the_demo_ends_with_a_table_and_finds_a_folder_of_its_own(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second demo would fail, or overwrite the first."""
    monkeypatch.setattr("sd3async.cli.demo._LOCKOUT", 0.1)
    monkeypatch.setattr("sd3async.cli.demo._MEDIAN_LATENCY", 0.02)
    Path("sd3async-demo").mkdir()
    Path("sd3async-demo/index.html").write_text("the first")
    result = run("demo", "--count", "8")

    assert result.exit_code == 0, result.stderr
    assert "emulated" in result.stdout
    for row in ("done", "failed", "retried", "frozen", "rate", "credits", "possibly paid"):
        assert f"│ {row} " in result.stdout
    assert result.stdout.endswith("gallery: sd3async-demo-2/index.html\n")
    assert "possibly paid, and sent again" in result.stderr
    assert Path("sd3async-demo/index.html").read_text() == "the first"


def test_the_demo_takes_nobody_elses_folder(run: Run) -> None:
    """Somebody's images would be mixed with drawn ones."""
    Path("mine").mkdir()
    Path("mine/holiday.png").write_bytes(b"mine")
    result = run("demo", "--out", "mine")

    assert result.exit_code == 2
    assert "mine is not empty" in result.stderr
    assert [path.name for path in Path("mine").iterdir()] == ["holiday.png"]


def test_an_interrupted_demo_keeps_what_was_done(start: Start) -> None:
    """Ctrl-C would lose images that are there."""
    process = start("demo", "--out", "demo")
    assert process.stderr is not None
    for line in process.stderr:
        if "again in" in line or "locked out" in line:
            break
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)

    assert code == 130
    assert "interrupted; what was done is in demo" in err
    assert "cut off; possibly paid" in err
    assert "again" not in err.partition("cut off")[2]  # nothing is, once it is interrupted
    assert len(list(Path("demo/images").rglob("*.json"))) >= 4
    assert not list(Path("demo").rglob("*.part"))
