"""Notice an event loop that runs late: the delay bound is worth nothing without the CPU."""

import logging

logger = logging.getLogger("sd3async.limiter")

_FORGETTING = 0.9  # per timer: a display shows the worst of the last dozen or so
_QUIET = 60.0  # [s] between two warnings
_HARMLESS = 0.1  # [s] late by this much is everyday life, whatever the bound


class LagWatch:
    """How late timers fire.

    Attributes:
        worst: The worst recent lateness, fading [s].
    """

    def __init__(self) -> None:
        self.worst = 0.0
        self._quiet_until = 0.0

    def note(self, late: float, now: float, *, bound: float) -> None:
        """Take in one timer.

        Args:
            late: How much after its instant it fired [s].
            now: The present instant [s].
            bound: The delay the limiter believes in [s]; more than that is worth a warning.
        """
        self.worst = max(late, self.worst * _FORGETTING)
        if late > max(bound, _HARMLESS) and now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            logger.warning(
                "The event loop ran %.2f s late, more than the delay bound of %.2f s: requests "
                "may arrive bunched and be refused. Something blocks the loop, or the CPU is "
                "overloaded.",
                late,
                bound,
            )
