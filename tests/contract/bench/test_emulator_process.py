"""The emulator in a process of its own, as `bench` and the benchmarks start it."""

import os
import subprocess
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from sd3async.cli.bench_emulator import emulator_process

_STARTER = """
import signal
from sd3async.cli.bench_emulator import emulator_process

with emulator_process() as emulator:
    print(emulator.pid, flush=True)
    signal.pause()
"""


def test_it_serves_as_told_and_says_at_its_end_what_it_saw() -> None:
    """A benchmark would have to believe the client about its own refusals."""
    with emulator_process(max_requests=1, period=60.0, latency="0..0.1") as emulator:
        ask = Request(f"{emulator.url}/v1/user/balance", headers={"authorization": "Bearer sk-1"})
        urlopen(ask).close()
        with pytest.raises(HTTPError, match="429") as refused:
            urlopen(ask)
        refused.value.close()

    assert emulator.stats["by_status"] == {"200": 1, "429": 1}
    assert len(emulator.stats["refused_at"]) == emulator.stats["refused"] == 1


def test_ctrl_c_is_not_for_it() -> None:
    """It would end first, and the last samples of a broken-off run would be its failures."""
    with emulator_process() as emulator:
        assert os.getsid(emulator.pid) == emulator.pid != os.getsid(0)


def test_it_does_not_outlive_who_started_it() -> None:
    """Every benchmark that was killed would leave a server behind."""
    with subprocess.Popen(
        [sys.executable, "-c", _STARTER],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        assert int(starter.stdout.readline()) > 0
        starter.kill()
        # The emulator has the same stderr, so that this ends when it has ended, too.
        _, words = starter.communicate(timeout=15)

    assert words == ""


def test_one_that_cannot_start_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    """A benchmark would wait for it for ever."""
    with pytest.raises(OSError, match="did not start"), emulator_process(latency="soon"):
        pass

    assert "latency" in capfd.readouterr().err
