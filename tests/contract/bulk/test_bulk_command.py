"""`sd3async bulk`: what it says, what it leaves with, and what signals do to it."""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner, Result

from sd3async._files import PartFile
from sd3async.bulk.keeping.folder import JobFolder
from sd3async.cli.program import program
from sd3async.emulator import Emulator, Fault
from support.pictures import picture

Run: TypeAlias = Callable[..., Result]

COMMAND = (sys.executable, "-m", "sd3async", "bulk", "--json", "--no-report", "--concurrency=4")
PATIENCE = 60.0  # [s] for a program on a busy machine


@pytest.fixture
def emulator(sd3_emulator_factory: Any) -> Emulator:
    """An emulator without a limit that answers at once."""
    made: Emulator = sd3_emulator_factory(limit=None, image_bytes=1_000)
    return made


@pytest.fixture
def bulk(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `sd3async bulk` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STABILITY_API_KEY", "sk-secret0123456789")

    def run(*args: str, stdin: str | bytes | None = None, report: bool = False) -> Result:
        options = ["bulk", "--out", "out", "--base-url", emulator.url, *args]
        options += [] if report else ["--no-report"]
        result = CliRunner().invoke(program, options, input=stdin)
        assert "secret" not in result.output
        return result

    return run


def test_a_job_says_what_it_did_and_where(bulk: Run, tmp_path: Path) -> None:
    """The last line is for the next program in the pipe."""
    Path("p.txt").write_text("a\nb\nc\n")
    result = bulk("p.txt")

    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path}/out/results.jsonl\n"
    assert "3 of 3" in result.stderr
    assert "19.5 (0.20 dollars)" in result.stderr or "19.5 (0.19 dollars)" in result.stderr


def test_json_is_one_object(bulk: Run) -> None:
    """Programs read stdout; words on it would break them."""
    result = bulk("-", "--json", stdin="a\nb\n")
    told = json.loads(result.stdout)

    assert (told["done"], told["credits_spent"], told["exit_code"]) == (2, 13.0, 0)
    assert told["stop_reason"] is None


def test_the_same_command_resumes_and_a_cap_leaves_with_3(bulk: Run, emulator: Emulator) -> None:
    """The exit code tells a script that money, not prompts, ran out."""
    Path("p.txt").write_text("a\nb\nc\n")
    capped = bulk("p.txt", "--max-credits", "13")
    resumed = bulk("p.txt")

    assert (capped.exit_code, resumed.exit_code) == (3, 0)
    assert "stopped at the credit cap" in capped.stderr
    assert "2 done by earlier runs" in resumed.stderr
    assert emulator.paid == 3


def test_a_dry_run_needs_no_key_and_writes_nothing(
    bulk: Run, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at the price must be free in every way."""
    monkeypatch.delenv("STABILITY_API_KEY")
    Path("p.txt").write_text("a\n" * 300)
    result = bulk("p.txt", "--dry-run", "--endpoint", "ultra", "--max-credits", "1000")

    assert result.exit_code == 0
    assert "300 requests to send: 2,400 credits, 24.00 dollars" in result.stdout
    assert "at the soonest in 0:00:10" in result.stdout
    assert "the cap of 1,000 credits does not suffice" in result.stdout
    assert not Path("out").exists()
    assert emulator.stats.requests == 0


@pytest.mark.parametrize(
    ("args", "stdin", "words"),
    [
        (["-"], "good\n" + "x" * 10_001 + "\n", "line 2: prompt: has 10,001 characters"),
        (
            ["missing.txt"],
            None,
            "missing.txt cannot be read: no such file or directory; nothing was sent\n",
        ),
        (["-", "--seed", "3"], "x", "--seed-start counts up"),
        (["-", "--model", "sd9"], "x", "model: is 'sd9'"),
        (["-", "--repeat", "0"], "x", "--repeat"),
        (["-", "--out", ""], "x", "out: is empty; a folder is needed"),
        (["-", "--out", "", "--dry-run"], "x", "out: is empty; a folder is needed"),
        (["-", "--out", "home"], "x", "is not empty and holds no job (index.html); choose another"),
        (["-", "--rate", "nan"], "x", "'--rate': nan is no number"),
        (["-", "--rate", "inf"], "x", "'--rate': inf is no number"),
        (["-", "--rate", "1e-9"], "x", "'--rate': 1e-09 is not in the range x>=0.0001"),
        (["-", "--max-credits", "nan"], "x", "'--max-credits': nan is no number"),
        (["-", "--deadline", "inf"], "x", "'--deadline': inf is no number"),
        (["-"], '[{"prompt": "x"}]', "line 1: begins a JSON array"),
        (["-"], '{"prompt": "   "}', "line 1: prompt: is blank"),
        (["-"], "a\rb\rc", "line 1: holds a carriage return"),
        (["-"], '{"prompt": "x", "\\ud800": 1}', "line 1: \\ud800: is no field of sd3"),
    ],
    ids=[
        "line",
        "file",
        "seed",
        "model",
        "repeat",
        "out",
        "dry out",
        "foreign folder",
        "nan",
        "inf",
        "1e-9",
        "cap",
        "deadline",
        "array",
        "blank",
        "CR",
        "surrogate",
    ],
)
def test_bad_usage_leaves_with_2_and_sends_nothing(
    bulk: Run, emulator: Emulator, args: list[str], stdin: str | None, words: str
) -> None:
    """A wrong word must be caught before it costs anything."""
    Path("home").mkdir()
    Path("home/index.html").write_text("my home page")
    result = bulk(*args, stdin=stdin)

    assert result.exit_code == 2
    assert words in result.stderr
    assert emulator.stats.requests == 0
    assert not Path("out").exists()


def test_a_slow_rate_and_a_long_manifest_can_be_planned(bulk: Run) -> None:
    """Calendars end in the year 9999; an answer must not."""
    Path("p.jsonl").write_text('{"prompt": "x"}\n')
    result = bulk("p.jsonl", "--dry-run", "--rate", "0.0001", "--repeat", "400000")

    assert result.exit_code == 0, result.stderr
    assert "at the soonest in 127 years" in result.stdout


def test_columns_that_are_no_fields_travel_to_the_results(bulk: Run) -> None:
    """A table's other columns are how people find their rows again."""
    Path("p.csv").write_text("prompt,author,id\nx,Ada,1\ny,,2\n")
    refused = bulk("p.csv")
    kept = bulk("p.csv", "--keep-columns")
    lines = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]

    assert refused.exit_code == 2
    assert "author: is no field of sd3" in refused.stderr
    assert "endpoint, id, tags and priority; --keep-columns keeps other" in refused.stderr
    assert kept.exit_code == 0, kept.stderr
    assert [line["columns"] for line in lines] == [{"author": "Ada"}, {}]


def test_a_column_that_changes_changes_no_item(bulk: Run, emulator: Emulator) -> None:
    """A note in a table must not make its image be paid for again."""
    Path("p.jsonl").write_text('{"prompt": "x", "note": "old"}\n')
    bulk("p.jsonl", "--keep-columns")
    Path("p.jsonl").write_text('{"prompt": "x", "note": "new"}\n')
    bulk("p.jsonl", "--keep-columns")

    assert emulator.paid == 1
    assert json.loads(Path("out/results.jsonl").read_text())["columns"] == {"note": "new"}


def test_a_field_of_another_endpoint_is_no_column(bulk: Run) -> None:
    """A model that is silently lost would be an image of another model."""
    line = '{"prompt": "x", "endpoint": "core", "model": "sd3-large"}'
    result = bulk("-", "--keep-columns", stdin=line)

    assert result.exit_code == 2
    assert "model: is no field of core" in result.stderr


SURROGATES = [
    {"prompt": "\ud800"},
    {"prompt": "x", "id": "\ud800"},
    {"prompt": "x", "tags": ["\ud800"]},
    {"prompt": "x", "priority": "\ud800"},
    {"prompt": "x", "\ud800": "x"},
    {"prompt": "x", "\ud800": {"\ud800": ["\ud800"]}},
    {"prompt": "x", "image": "\ud800.png", "strength": 0.5},
    {"prompt": "x", "image": "a\0.png", "strength": 0.5},
    {"prompt": "x", "model": "\ud800"},
    {"prompt": "x", "endpoint": "\ud800"},
    {"custom_id": "\ud800", "url": "/\ud800", "body": {"prompt": "x"}},
    {"custom_id": "a", "method": "\ud800", "body": {"prompt": "x"}},
    {"custom_id": "a", "body": {"prompt": "x"}, "\ud800": 1},
]


@pytest.mark.parametrize("options", [[], ["--keep-columns"]], ids=["strict", "columns"])
def test_no_odd_sign_in_any_field_is_more_than_a_bad_line(bulk: Run, options: list[str]) -> None:
    """One line of somebody's export must not hide the reasons of all others."""
    Path("p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in SURROGATES))
    refused = bulk("p.jsonl", *options)
    skipped = bulk("p.jsonl", *options, "--skip-invalid", report=True)
    results = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]

    assert refused.exit_code == 2, refused.output
    assert skipped.exit_code == 0, skipped.output
    assert len(results) == len(SURROGATES)
    assert [bool(line["error"]) for line in results].count(False) == (3 if options else 0)


def test_names_that_are_no_text_are_names(bulk: Run, emulator: Emulator) -> None:
    """A file system takes any bytes, and people unpack archives from everywhere."""
    folder = Path(os.fsdecode(b"\xff"))
    folder.mkdir()
    (folder / "a.png").write_bytes(picture())
    manifest = folder / os.fsdecode(b"\xfe.jsonl")
    manifest.write_text(json.dumps({"prompt": "x", "image": "a.png", "strength": 0.5}))
    first = bulk(str(manifest), "--json", report=True)
    again = bulk(str(manifest), "--json", report=True)

    assert first.exit_code == 0, first.output
    assert json.loads(again.stdout_bytes)["resumed"] == 1
    assert emulator.paid == 1
    assert list(Path("out").rglob("*.json"))


def test_a_closed_stdin_is_bad_usage(emulator: Emulator, tmp_path: Path) -> None:
    """A service manager starts programs without one."""
    script = f"{sys.executable} -m sd3async bulk - --out out --emulator --json <&-"
    result = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, check=False)

    assert result.returncode == 2, result.stderr
    assert b"standard input is closed" in result.stderr
    assert json.loads(result.stdout)["exit_code"] == 2


def test_without_a_key_it_says_both_ways_out(bulk: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newcomer must learn from the first sentence what to do."""
    monkeypatch.delenv("STABILITY_API_KEY")
    result = bulk("-", stdin="x")

    assert result.exit_code == 2
    assert "STABILITY_API_KEY" in result.stderr
    assert "--emulator" in result.stderr


def test_failures_leave_with_1_and_can_be_sent_again(bulk: Run, emulator: Emulator) -> None:
    """Some failed is not all done."""
    emulator.faults.script([Fault.status(403)])
    Path("p.txt").write_text("a\nb\n")
    first, again = bulk("p.txt"), bulk("p.txt", "--retry-failed")

    assert (first.exit_code, again.exit_code) == (1, 0)


def test_a_disk_that_fails_leaves_with_1_and_the_whole_account(
    bulk: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is told only that the disk was full does not know what it has cost."""
    write = PartFile.write

    def write_while_there_is_room(part: PartFile, data: bytes) -> None:
        if part.target.name == "00000002.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(part, data)

    monkeypatch.setattr(PartFile, "write", write_while_there_is_room)
    Path("p.txt").write_text("a\nb\nc\nd\n")
    words = bulk("p.txt", "--concurrency", "1")
    told = json.loads(bulk("p.txt", "--concurrency", "1", "--json").stdout)

    assert words.exit_code == 1
    assert "the disk is full; what was done is safe" in words.stderr
    assert "2 of 4" in words.stderr
    assert re.search(r"possibly paid, no image +1\b", words.stderr)
    assert (told["exit_code"], told["stop_reason"]) == (1, "storage")
    assert (told["done"], told["possibly_paid"]) == (2, 2)


def test_a_long_manifest_says_how_far_it_is(bulk: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million lines take a minute; silence looks like a hang."""
    monkeypatch.setattr("sd3async.cli.bulk_words.LINE_PERIOD", 0.0)
    Path("p.txt").write_text("a\n" * 1_200)
    result = bulk("p.txt", "--dry-run")

    assert "500 lines read and checked, nothing sent yet" in result.stderr
    assert "1,200 lines read and checked" in result.stderr


def test_a_folder_in_use_leaves_with_2(bulk: Run) -> None:
    """A second terminal must not send everything twice."""
    Path("out").mkdir()
    lock = os.open("out", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    result = bulk("-", "--json", stdin="x")
    os.close(lock)

    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"] == "JobLockedError"
    assert "is at work in" in result.stderr


def test_reports_and_a_table_are_written_when_asked_for(bulk: Run) -> None:
    """The folder is there to be looked at."""
    args = ["--format", "parquet", "--format", "webdataset", "--format", "files"]
    result = bulk("-", *args, stdin="a\nb\n", report=True)

    assert result.exit_code == 0, result.stderr
    names = {path.name for path in Path("out").iterdir()}
    assert {"report.json", "index.html", "results.jsonl", "results.parquet"} <= names
    assert Path("out/shards/000000.tar").stat().st_size > 2_000


@pytest.mark.parametrize(
    ("name", "library"), [("parquet", "pyarrow"), ("webdataset", "webdataset")]
)
@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=["run", "dry"])
def test_a_missing_library_is_told_before_anything_is_paid(
    bulk: Run,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    library: str,
    options: list[str],
) -> None:
    """A night's images without the table that they were made for is a bad morning."""

    def find(asked: str) -> object:
        return None if asked == library else asked

    monkeypatch.setattr("sd3async.bulk.options.find_spec", find)
    result = bulk("-", "--json", "--format", name, *options, stdin="x")

    assert result.exit_code == 2
    assert f"{name} needs {library}: pip install 'sd3async[{name}]'" in result.stderr
    assert json.loads(result.stdout)["field"] == "formats"
    assert emulator.stats.requests == 0


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (["-", "--frog"], 2, "NoSuchOption"),
        ([], 2, "UsageError"),
        (["-", "--rate", "soon"], 2, "BadParameter"),
        (["-", "--emulator"], 2, "UsageError"),
        (["missing.txt"], 2, "ManifestError"),
    ],
    ids=["option", "argument", "number", "two servers", "manifest"],
)
def test_with_json_every_end_is_an_object(
    bulk: Run, args: list[str], code: int, error: str
) -> None:
    """A program that reads stdout must not have to guess why it is empty."""
    result = bulk(*args, "--json", stdin="x")
    told = json.loads(result.stdout)

    assert (result.exit_code, told["exit_code"], told["error"]) == (code, code, error)
    assert told["message"] in result.stderr


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["words", "json"])
def test_a_reader_that_leaves_after_success_is_no_failure(
    emulator: Emulator, tmp_path: Path, options: list[str]
) -> None:
    """The images are there; that nobody reads the last line changes nothing."""
    (tmp_path / "p.txt").write_text("a\n")
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(
        [sys.executable, "-m", "sd3async", "bulk", "p.txt", "--out", "out", *options],
        cwd=tmp_path,
        env=os.environ | {"STABILITY_API_KEY": "sk-x", "STABILITY_BASE_URL": emulator.url},
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)

    assert result.returncode == 0, result.stderr
    assert b"Traceback" not in result.stderr
    assert emulator.paid == 1


def test_images_that_are_gone_are_told_and_leave_with_1(bulk: Run, emulator: Emulator) -> None:
    """`done` and 0 for a folder with holes is found out when it is delivered."""
    Path("p.txt").write_text("a\nb\nc\n")
    bulk("p.txt")
    Path("out/images/000000/00000001.png").unlink()
    dry, run = bulk("p.txt", "--dry-run"), bulk("p.txt")
    paid = emulator.paid
    again = bulk("p.txt", "--remake-missing")
    words = "1 paid for, but gone or empty; --remake-missing makes them again for 6.5 credits"

    assert (run.exit_code, again.exit_code) == (1, 0)
    assert words in dry.stdout
    assert words in run.stderr
    assert (paid, emulator.paid) == (3, 4)


def test_the_emulator_and_the_service_do_not_share_a_folder(bulk: Run, emulator: Emulator) -> None:
    """The first thing that anybody does is to try it out and then to do it for real."""
    Path("p.txt").write_text("a\nb\n")
    trial = CliRunner().invoke(program, ["bulk", "p.txt", "--out", "out", "--emulator", "--json"])
    real, dry = bulk("p.txt", "--json"), bulk("p.txt", "--dry-run")

    assert json.loads(trial.stdout)["emulated"] is True
    assert (real.exit_code, dry.exit_code) == (2, 2)
    assert json.loads(real.stdout)["error"] == "FolderError"
    assert "holds a job of the emulator" in dry.stderr
    assert emulator.stats.requests == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_one_signal_lands_what_is_in_flight(
    sd3_emulator_factory: Any, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C must neither lose paid images nor leave the job where it cannot go on."""
    emulator = sd3_emulator_factory(limit=None, image_bytes=1_000, latency=0.5)
    process = start_job(emulator, tmp_path)
    process.send_signal(number)
    output, words = process.communicate(timeout=PATIENCE)
    told = json.loads(output)

    assert process.returncode == 130, words
    assert "stopping: what is in flight may land" in words
    assert told["stop_reason"] == "interrupted"
    assert told["done"] == emulator.paid > 0
    assert told["possibly_paid"] == 0
    assert told["unsent"] == 400 - told["done"]


def test_a_second_signal_breaks_off(sd3_emulator_factory: Any, tmp_path: Path) -> None:
    """Who presses it twice wants out, and the truth about the bill."""
    emulator = sd3_emulator_factory(limit=None, image_bytes=1_000, latency=30.0)
    process = start_job(emulator, tmp_path)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    output, words = process.communicate(timeout=PATIENCE)
    told = json.loads(output)

    assert process.returncode == 130, words
    assert told["done"] == 0
    assert 0 < told["possibly_paid"] <= 4


def start_job(emulator: Emulator, folder: Path) -> "subprocess.Popen[str]":
    """Start a job as a program, and wait until its first requests have arrived."""
    manifest = folder / "p.txt"
    manifest.write_text("".join(f"p{number}\n" for number in range(400)))
    process = subprocess.Popen(
        [*COMMAND, str(manifest), "--out", str(folder / "out"), "--base-url", emulator.url],
        env=os.environ | {"STABILITY_API_KEY": "sk-x"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ends_at = time.monotonic() + PATIENCE
    while emulator.stats.requests < 5:  # the balance and four images
        assert time.monotonic() < ends_at, "the job sends nothing"
        time.sleep(0.005)
    return process


def test_a_wrong_service_is_told_with_the_way_on(bulk: Run, emulator: Emulator) -> None:
    """A person who mistyped an address must read that, and not ten thousand failures."""
    emulator.faults.by_chance({Fault.status(404): 1.0})
    Path("p.txt").write_text("".join(f"p{number}\n" for number in range(40)))
    result = bulk("p.txt")

    assert result.exit_code == 1
    assert "the service refuses every request of a kind; see to its address" in result.stderr
    assert "404" in result.stderr


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["words", "json"])
def test_an_error_of_the_program_is_told_as_one(
    bulk: Run, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """Neither a screenful of Python nor a lie about the disk helps anybody."""

    def fail(*_: object) -> None:
        raise TypeError("no such operand")

    monkeypatch.setattr(JobFolder, "seal", fail)
    result = bulk("-", *options, stdin="a\nb\n")

    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert "TypeError: no such operand" in result.output
    assert "in fail" in Path("out/error.log").read_text()
    if options:
        assert json.loads(result.stdout)["stop_reason"] == "error"
    else:
        assert "stopped by an error of this program" in result.stderr
