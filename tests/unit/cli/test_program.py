import errno
import inspect
import json
import os
import signal
import subprocess
import sys
from functools import partial
from importlib import metadata
from pathlib import Path

import click
import pytest

from sd3async import (
    AuthenticationError,
    InvalidRequestError,
    PaymentRequiredError,
    SD3Error,
    ServerError,
    errors,
)
from sd3async.cli import exits
from sd3async.models.base import fields_of
from sd3async.models.generate import CoreRequest, SD3Request, UltraRequest
from unit.cli.conftest import KEY, Run

COMMANDS = ["demo", "generate", "bulk", "bench", "emulator", "balance"]


def test_the_help_lists_every_command(run: Run) -> None:
    """A command would be there without anybody knowing."""
    result = run("--help")

    assert result.exit_code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_a_help_text(run: Run, command: str, flag: str) -> None:
    """A person could not find out how a command is used."""
    result = run(command, flag)

    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: sd3async {command}")
    assert "\\b" not in result.stdout
    assert not result.stderr


def test_the_version_is_that_of_the_package(run: Run) -> None:
    """A bug report would name a wrong version."""
    assert run("--version").stdout == f"sd3async {metadata.version('sd3async')}\n"


def test_no_command_at_all_shows_the_help_as_bad_usage(run: Run) -> None:
    """A script with an empty variable would look as if all were done."""
    result = run()

    assert result.exit_code == 2
    assert "Usage: sd3async" in result.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nope"], "No such command 'nope'"),
        (["generate"], "Missing argument 'PROMPT'"),
        (["generate", "x", "--foo"], "No such option '--foo'"),
        (["generate", "x", "--seed", "soon"], "Invalid value for '--seed': 'soon'"),
    ],
    ids=["command", "argument", "option", "number"],
)
def test_bad_usage_is_one_line_that_names_the_help(run: Run, args: list[str], words: str) -> None:
    """A misspelt option would be answered with a screenful, or with success."""
    result = run(*args, key=KEY)

    assert result.exit_code == 2
    assert not result.stdout
    assert result.stderr.startswith(f"sd3async: {words}")
    assert "--help'" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("args", [["generate", "a fox"], ["balance"]], ids=["generate", "balance"])
@pytest.mark.parametrize("key", [None, "", " , "], ids=["none", "empty", "commas"])
def test_without_a_key_both_ways_out_are_named(run: Run, args: list[str], key: str | None) -> None:
    """A newcomer would not know how to go on, or get emulated images unasked."""
    result = run(*args, key=key)

    assert result.exit_code == 2
    assert "STABILITY_API_KEY" in result.stderr
    assert "--emulator" in result.stderr
    assert result.stderr.count("\n") == 1


def test_two_servers_are_one_too_many(run: Run) -> None:
    """Somebody would believe that the service was asked when the emulator answered."""
    result = run("balance", "--emulator", "--base-url", "official")

    assert result.exit_code == 2
    assert "--base-url and --emulator name two servers" in result.stderr


@pytest.mark.parametrize(
    ("url", "words"),
    [("http://example.com", "unencrypted"), ("frog", "an http(s) URL")],
    ids=["plain http", "no URL"],
)
def test_a_base_url_that_cannot_be_used_is_bad_usage(run: Run, url: str, words: str) -> None:
    """The key would be sent in the clear, or to nowhere."""
    result = run("balance", "--base-url", url, key=KEY)

    assert result.exit_code == 2
    assert words in result.stderr


def test_every_field_of_every_endpoint_is_an_option(run: Run) -> None:
    """A field that the API takes could not be given, or only unexplained."""
    fields = {name for cls in (SD3Request, CoreRequest, UltraRequest) for name in fields_of(cls)}
    fields -= {"prompt", "extra_fields"}
    text = run("generate", "--help").stdout

    for name in fields:
        assert f"--{name.replace('_', '-')} " in text


def test_options_show_the_values_and_bounds_of_their_fields(run: Run) -> None:
    """A person would have to guess what is allowed."""
    text = run("generate", "--help").stdout

    assert "--output-format [png|jpeg|webp]" in text
    assert "--cfg-scale [1..10]" in text
    assert "--seed [0..4294967294]" in text


@pytest.mark.parametrize(
    ("args", "field"),
    [
        (["--strength", "3"], "strength: is 3.0"),
        (["--strength", "0.5"], "strength: is set; it only goes with `image`"),
        (["--endpoint", "core", "--strength", "0"], "strength: is no field of core"),
        (["--endpoint", "ultra", "--model", "sd3-large"], "model: is no field of ultra"),
        (["--aspect-ratio", "7:5"], "aspect_ratio: is '7:5'"),
        (["--seed", "-1"], "seed: is -1"),
        (["--output-format", "gif"], "output_format: is 'gif'"),
        (["--image", "missing.png", "--strength", "0"], "image: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_field_is_refused_by_the_request_itself(
    run: Run, args: list[str], field: str
) -> None:
    """A parameter would be lost, or the service asked to judge it for money."""
    result = run("generate", "a fox", *args, key=KEY)

    assert result.exit_code == 2
    assert result.stderr.startswith(f"sd3async: {field}")


def test_with_json_an_error_is_an_object_too(run: Run) -> None:
    """A program would find nothing on stdout to read."""
    result = run("generate", "a fox", "--cfg-scale", "99", "--json", key=KEY)

    assert result.exit_code == 2
    found = json.loads(result.stdout)
    assert found["error"] == "InvalidRequestError"
    assert found["field"] == "cfg_scale"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-o", "there.png"], "there.png is there already; --force replaces it"),
        (["-o", "nowhere/x.png"], "there is no folder nowhere"),
        (["-o", "x.jpg", "--output-format", "png"], "-o ends in .jpg, but --output-format is png"),
        (["-o", "-", "--json"], "both want stdout"),
        (["-o", ""], "-o is empty; a file, a folder or - is needed"),
        (["-o", "pipe.png", "--force"], "'pipe.png' is a pipe, a device or a socket"),
        (["-o", "/dev/null", "--force"], "'/dev/null' is a pipe, a device or a socket"),
        (["-o", "é" * 126 + ".png"], "file name too long"),
    ],
    ids=["exists", "no folder", "suffix", "stdout", "empty", "pipe", "device", "long name"],
)
def test_an_image_that_could_not_be_kept_is_not_paid_for(
    run: Run, args: list[str], words: str
) -> None:
    """Money would be spent on an image that then has no place to go."""
    Path("there.png").write_bytes(b"mine")
    os.mkfifo("pipe.png")
    result = run("generate", "a fox", *args, key=KEY)

    assert result.exit_code == 2
    assert words in result.stderr
    assert Path("pipe.png").is_fifo()
    assert Path("there.png").read_bytes() == b"mine"


def test_a_prompt_of_bytes_that_are_no_text_is_bad_usage(run: Run) -> None:
    """A picture piped in by mistake would end in a traceback."""
    result = run("generate", "-", stdin=b"\xff\xfe\x00", key=KEY)

    assert result.exit_code == 2
    assert "stdin holds no text" in result.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--host", "0.0.0.0"], "host: the emulator listens on loopback only"),
        (["--max-requests", "0"], "max_requests: must be > 0"),
        (["--lockout", "-1"], "lockout: must be >= 0"),
        (["--latency", "soon"], "latency: 'soon' is neither seconds nor"),
        (["--latency", "uniform:1"], "latency: 'uniform:1'"),
        (["--fault", "frog"], "fault: 'frog'"),
        (["--fault", "500=often"], "500=often"),
        (["--fault", "500=0.9", "--fault", "reset=0.2"], "add up to at most 1"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_a_wrong_setting_of_the_emulator_is_bad_usage(
    run: Run, args: list[str], words: str
) -> None:
    """An emulator would run with another setting than the one asked for."""
    result = run("emulator", "--port", "0", *args)

    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidRequestError("seed: is -1", field="seed"), 2),
        (PaymentRequiredError("no credits", status=402), 3),
        (AuthenticationError("wrong key", status=401), 1),
        (ServerError("broken", status=500), 1),
        (PermissionError(errno.EACCES, "Permission denied", "out.png"), 1),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (click.UsageError("bad option"), 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_end_has_its_exit_code_and_one_sentence(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script could not tell a bad manifest from an empty account."""

    def command() -> object:
        raise error

    assert exits.leave(command) == code

    told = capsys.readouterr()
    assert told.err.startswith("sd3async: ")
    assert told.err.count("\n") == 1
    assert not told.out


def test_an_error_of_the_system_names_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk would be reported without saying which."""

    def command() -> object:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/out.png")

    exits.leave(command)

    assert capsys.readouterr().err == "sd3async: /data/out.png: No space left on device\n"


@pytest.mark.parametrize(
    ("module", "extra"), [("PIL.Image", "emulator"), ("jsonschema", "emulator"), ("rich", "cli")]
)
def test_a_missing_extra_is_named(
    module: str, extra: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slim installation would answer with a traceback."""

    def command() -> object:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    assert exits.leave(command) == 2
    assert f"pip install 'sd3async[{extra}]'" in capsys.readouterr().err


def test_a_missing_module_of_our_own_is_a_bug_and_shows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A broken installation would send people to install an extra that they have."""

    def command() -> object:
        raise ModuleNotFoundError("No module named 'sd3async.x'", name="sd3async.x")

    with pytest.raises(ModuleNotFoundError):
        exits.leave(command)


ERRORS = [
    cls for cls in vars(errors).values() if inspect.isclass(cls) and issubclass(cls, SD3Error)
]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_of_the_package_has_a_code_other_than_zero(error: type[SD3Error]) -> None:
    """A failure would look like success to a script."""
    assert exits.code_of(error.__new__(error)) in (1, 2, 3)


def test_importing_the_command_line_imports_nothing_it_may_not_need() -> None:
    """Every start of the program would pay for Pillow, and a slim one would fail."""
    script = (
        "import sys, sd3async.cli\n"
        "names = ('click', 'rich', 'PIL', 'sd3async.emulator', 'sd3async.bulk', 'sd3async.bench')\n"
        "print(*[name for name in names if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == ""


def test_without_click_one_sentence_says_what_to_install() -> None:
    """`pip install sd3async` puts the command on the path: it must not end in a traceback."""
    script = "import sys; sys.modules['click'] = None\nfrom sd3async.cli import main\nmain()"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert result.returncode == 2
    assert "pip install 'sd3async[cli]'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_library_touches_no_signal() -> None:
    """Somebody else's program would no longer hear Ctrl-C as it was written to."""
    script = (
        "import signal, sd3async\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )

    assert result.returncode == 0
