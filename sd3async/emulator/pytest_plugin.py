"""pytest fixtures that start the emulator; loaded by pytest wherever the package is installed."""

import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:  # every test run imports this module: no web server, no Pillow
    from sd3async.emulator.server import Emulator

EmulatorFactory: TypeAlias = "Callable[..., Emulator]"


def _emulator_class() -> "type[Emulator]":
    try:
        from sd3async.emulator.server import Emulator
    except ImportError as missing:
        pytest.fail(
            f"the emulator needs its extra: pip install 'sd3async[emulator]' ({missing})",
            pytrace=False,
        )
    return Emulator


def see_that_faults_were_met(emulator: "Emulator") -> None:
    """Fail the test if a fault of a script struck nobody.

    Args:
        emulator: Used by the test. `emulator.faults.clear()` says that it was meant to be so.
    """
    if unmet := emulator.faults.unmet:
        kinds = ", ".join(fault.kind for fault in unmet)
        pytest.fail(f"no request met these faults: {kinds}", pytrace=False)


@pytest.fixture
def sd3_emulator_factory() -> "Generator[EmulatorFactory]":
    """Start emulators with settings of your own; they stop when the test ends.

    Each runs in a thread, so that it serves plain tests and tests with a loop alike. A script of
    faults that was not used up fails the test: it has not shown what it was written for.
    """
    started: list[Emulator] = []
    with contextlib.ExitStack() as running:

        def start(**settings: Any) -> "Emulator":
            started.append(running.enter_context(_emulator_class().in_thread(**settings)))
            return started[-1]

        yield start
    for emulator in started:
        see_that_faults_were_met(emulator)


@pytest.fixture
def sd3_emulator(sd3_emulator_factory: EmulatorFactory) -> "Emulator":
    """An emulator with the default settings: 150 requests in 10 s, then 60 s of lock-out.

    It takes what the service takes, so code that works passes. `sd3_emulator.strict = True`
    refuses slips that the service overlooks.
    """
    return sd3_emulator_factory()
