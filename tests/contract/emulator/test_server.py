"""Starting, stopping, threads, other processes, the pytest fixtures."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from typing import Any

import pytest

from contract.emulator.caller import Caller, caller, emulated
from sd3async.emulator import Emulator, Fault, run_in_virtual_time
from sd3async.emulator.pytest_plugin import EmulatorFactory


def test_closing_breaks_off_what_is_in_flight() -> None:
    """A test that fails half-way must not leave tasks, sockets or warnings behind."""

    async def main() -> None:
        before = asyncio.all_tasks()
        async with emulated(latency=1000.0, arrival_jitter=4.0) as (emulator, client):
            calls = [asyncio.ensure_future(client.post("core", prompt="a")) for _ in range(20)]
            await asyncio.sleep(2.0)
            assert 0 < emulator.paid < 20
            await emulator.aclose()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)

        assert all(isinstance(outcome, Exception) for outcome in outcomes)
        assert emulator.stats.disconnected == 20
        assert asyncio.all_tasks() == before
        assert asyncio.get_running_loop().time() < 3.0

    run_in_virtual_time(main())


async def test_closing_twice_and_never_starting_are_harmless() -> None:
    """Clean-up code runs whatever happened before."""
    emulator = Emulator()
    await emulator.aclose()
    with pytest.raises(RuntimeError, match="not running"):
        _ = emulator.url
    with pytest.raises(RuntimeError, match="not been started"):
        _ = emulator.requests

    async with emulator:
        assert emulator.url in repr(emulator)
    await emulator.aclose()


async def test_a_taken_port_is_an_error_at_once() -> None:
    """Two emulators on one port would answer each other's clients."""
    async with Emulator() as first:
        port = int(first.url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match=str(port)):
            async with Emulator(port=port):
                pass


async def test_a_reset_forgets_what_happened_but_not_the_settings() -> None:
    """One emulator can serve many tests."""
    async with emulated(max_requests=1, credits=10, seed=3) as (emulator, client):
        first = await client.post("core", prompt="a")
        assert (await client.post("core", prompt="a")).status == 429

        emulator.reset()

        assert (emulator.requests, emulator.paid, emulator.refused) == ([], 0, 0)
        again = await client.post("core", prompt="a")
        assert (again.status, again.headers["seed"]) == (200, first.headers["seed"])


async def test_three_hundred_connections_at_once() -> None:
    """A first burst opens all its connections in one instant."""
    async with emulated(limit=None) as (emulator, client):
        calls = (client.post("core", prompt=f"cat {number}") for number in range(300))
        replies = await asyncio.gather(*calls)

    assert {reply.status for reply in replies} == {200}
    assert emulator.stats.by_status == {200: 300}


def test_it_runs_in_a_thread_for_plain_tests(sd3_emulator: Emulator) -> None:
    """The fixture serves tests without asyncio, from the entry point, with no import."""
    request = urllib.request.Request(
        f"{sd3_emulator.url}/v1/user/balance", headers={"Authorization": "sk-of-a-test"}
    )
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer) == {"credits": 1_000_000.0}
    assert sd3_emulator.stats.requests == 1


async def test_the_factory_takes_settings(sd3_emulator_factory: EmulatorFactory) -> None:
    """Several emulators with different settings, in a test with a loop of its own."""
    unlimited = sd3_emulator_factory(limit=None, image_bytes=400)
    tight = sd3_emulator_factory(max_requests=1, image_bytes=400)
    for emulator, status in ((unlimited, 200), (tight, 429)):
        async with caller(emulator) as client:
            await client.post("core", prompt="a")
            assert (await client.post("core", prompt="a")).status == status


def test_what_goes_wrong_in_the_thread_is_raised_outside() -> None:
    """A thread that dies silently would leave the test waiting."""
    with Emulator.in_thread() as first:
        port = int(first.url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match=str(port)), Emulator.in_thread(port=port):
            pass


async def test_running_for_ever_announces_the_url() -> None:
    """The command line prints the URL it got and serves until it is interrupted."""
    announced: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(Emulator().run_forever(announced.set_result))
    url = await announced

    assert url.startswith("http://127.0.0.1:")
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_other_processes_can_ask_and_script() -> None:
    """A benchmark in a process of its own needs totals, journal, faults and a reset."""
    async with emulated(prefix="/sd", limit=None) as (emulator, client):
        control = Caller(client.session, emulator.url.removesuffix("/sd") + "/_emulator/")
        await control.ask("POST", "faults", json={"script": ["500", None, 429]})
        statuses = [(await client.post("core", prompt="a")).status for _ in range(3)]
        stats = (await control.ask("GET", "stats")).json
        seen = (await control.ask("GET", "requests")).json
        await control.ask("POST", "reset")
        wrong = await control.ask("POST", "faults", json={"script": ["explode"]})

        assert statuses == [500, 200, 429]
        assert (stats["requests"], stats["paid"], stats["refused"]) == (3, 1, 1)
        assert [line["status"] for line in seen] == statuses
        assert emulator.requests == []
        assert wrong.status == 400


def test_settings_can_be_changed_on_the_run() -> None:
    """One test, several weathers."""

    async def main() -> None:
        async with emulated() as (emulator, client):
            loop = asyncio.get_running_loop()
            emulator.faults.script([Fault.status(500)])
            assert (await client.post("core", prompt="a")).status == 500
            emulator.latency = 30.0  # type: ignore[assignment]  # converted
            await client.post("core", prompt="a")
            assert loop.time() == pytest.approx(30.0, abs=0.1)

    run_in_virtual_time(main())


def fresh(code: str) -> Any:
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True
    )
    return finished.stdout.split()


def test_the_plugin_is_cheap_to_import() -> None:
    """pytest imports it in every project of the environment, most of which never use it."""
    heavy = "[name for name in ('PIL', 'jsonschema', 'aiohttp.web') if name in sys.modules]"

    assert fresh(f"import sd3async.emulator.pytest_plugin, sys; print(*{heavy})") == []


def test_a_missing_extra_is_said_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Without Pillow the fixture must say what to install, not show a stack."""
    monkeypatch.setitem(sys.modules, "sd3async.emulator.server", None)

    with pytest.raises(pytest.fail.Exception, match=r"pip install 'sd3async\[emulator\]'"):
        request.getfixturevalue("sd3_emulator")


def test_a_fault_that_nobody_met_fails_the_fixture(pytester: pytest.Pytester) -> None:
    """A test of a fault that never struck would pass whatever the code did."""
    pytester.makepyfile(
        """
        from sd3async.emulator import Fault

        def test_it(sd3_emulator_factory):
            sd3_emulator_factory(faults=[Fault.status(500), Fault.reset(), None])
        """
    )

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:asyncio")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines("*no request met these faults: status, reset*")


def test_names_are_loaded_on_first_use() -> None:
    """Every public name is there; a wrong one is an AttributeError like anywhere."""
    import sd3async.emulator as package

    assert all(getattr(package, name) is not None for name in package.__all__)
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = package.nonsense
