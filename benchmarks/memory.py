"""How much memory this process holds, as the system sees it."""

from sd3async.bench.resources import memory

_MIB = 2**20


def peak() -> float:
    """Return the most memory held since it was forgotten, or since the process began [MiB]."""
    return memory("VmHWM") / _MIB


def now() -> float:
    """Return the memory held now [MiB]."""
    return memory("VmRSS") / _MIB
