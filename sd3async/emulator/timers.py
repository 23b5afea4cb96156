"""What shall happen later, and is called off when the emulator forgets."""

from collections.abc import Callable

from sd3async._clock import Clock, Timer

__all__ = ["Timers"]


class Timers:
    """Calls things later, on any clock.

    Args:
        clock: Time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pending: set[Timer] = set()

    def after(self, seconds: float, callback: Callable[[], object]) -> None:
        """Call `callback` in so many seconds [s], at once when there are none to wait."""
        if seconds <= 0:
            callback()
            return

        def fire() -> None:
            self._pending.discard(timer)
            callback()

        timer = self._clock.call_later(seconds, fire)
        self._pending.add(timer)

    def clear(self) -> None:
        """Call off whatever has not happened yet."""
        for timer in list(self._pending):
            timer.cancel()
        self._pending.clear()
