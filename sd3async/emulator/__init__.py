"""The emulator: an independent reading of the API, to run and test against.

It shares no code with the client, so that a misreading on one side shows up as a disagreement.
Names are loaded on first use: the pytest plugin of this package is imported by every test run on
the machine, and neither Pillow nor a web server is wanted there.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sd3async.emulator.faults import Fault, FaultPlan
    from sd3async.emulator.journal import Part, ReceivedRequest
    from sd3async.emulator.latency import Constant, Exponential, Latency, LogNormal, Uniform
    from sd3async.emulator.ledger import Stats
    from sd3async.emulator.server import Emulator
    from sd3async.emulator.settings import Settings
    from sd3async.emulator.virtual_time import VirtualClock, VirtualTimeLoop, run_in_virtual_time

__all__ = [
    "Constant",
    "Emulator",
    "Exponential",
    "Fault",
    "FaultPlan",
    "Latency",
    "LogNormal",
    "Part",
    "ReceivedRequest",
    "Settings",
    "Stats",
    "Uniform",
    "VirtualClock",
    "VirtualTimeLoop",
    "run_in_virtual_time",
]

_HOMES = {
    "sd3async.emulator.faults": ("Fault", "FaultPlan"),
    "sd3async.emulator.journal": ("Part", "ReceivedRequest"),
    "sd3async.emulator.latency": ("Constant", "Exponential", "Latency", "LogNormal", "Uniform"),
    "sd3async.emulator.ledger": ("Stats",),
    "sd3async.emulator.server": ("Emulator",),
    "sd3async.emulator.settings": ("Settings",),
    "sd3async.emulator.virtual_time": ("VirtualClock", "VirtualTimeLoop", "run_in_virtual_time"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
