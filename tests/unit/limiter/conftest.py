import math

import pytest

from sd3async.limiter import settings


@pytest.fixture
def no_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a burst go in one instant, so that a test's numbers are those of the window alone."""
    monkeypatch.setattr(settings, "_SPREAD_OF_BURSTS", math.inf)
