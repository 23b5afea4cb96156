"""Generations that were started: where their results wait to be fetched.

Source:
    `GET /v2beta/results/{id}` in the OpenAPI document of v2beta: 64 characters, 202 while it is in
    progress, kept for 24 hours, asked for with the key that started it, at most once in 10 s.
"""

import math

import attrs

from sd3async.emulator.answers import Refusal
from sd3async.emulator.faults import Fault
from sd3async.emulator.orders import Order

__all__ = ["ID_LENGTH", "Generation", "Results", "check_id"]

ID_LENGTH = 64  # characters
POLL_PACE = 10.0  # [s] between two requests for one result
_LEEWAY = 0.5  # [s] by which the network may bring two requests closer together
_MOST_BYTES = 256 * 1024 * 1024  # of images that wait


@attrs.define
class Generation:
    """One generation that was started.

    Attributes:
        key: Which key started it.
        order: What was asked for.
        data: The encoded image; empty when it fails.
        ready_at: When it is done, on the emulator's clock [s].
        failure: How it ends in place of an image, or None.
        asked_at: When the request arrived that was last told about it [s].
    """

    key: str
    order: Order
    data: bytes
    ready_at: float
    failure: Fault | None = None
    asked_at: float = -math.inf

    def hurry(self, now: float) -> float | None:
        """Return the seconds [s] since the last answer if these are too few, else None."""
        passed = now - self.asked_at
        return passed if passed < POLL_PACE - _LEEWAY else None


class Results:
    """Keeps generations for a while: not too many, not too long, not too large.

    Args:
        limit: How many; the oldest goes first.
        lifetime: How long a finished one is kept [s].
        most_bytes: How large all images together [bytes]; the newest is kept however large.
    """

    def __init__(self, limit: int, lifetime: float, most_bytes: int = _MOST_BYTES) -> None:
        self._limit = limit
        self._lifetime = lifetime
        self._most_bytes = most_bytes
        self._size = 0  # [bytes] of all images
        self._generations: dict[str, Generation] = {}

    def add(self, generation_id: str, generation: Generation) -> None:
        """Keep a generation, and drop the oldest ones for which there is no room."""
        self._generations[generation_id] = generation
        self._size += len(generation.data)
        while len(self._generations) > 1 and self._is_too_full():
            self._drop(next(iter(self._generations)))

    def _is_too_full(self) -> bool:
        return len(self._generations) > self._limit or self._size > self._most_bytes

    def _drop(self, generation_id: str) -> None:
        self._size -= len(self._generations.pop(generation_id).data)

    def find(self, generation_id: str, key: str, now: float) -> Generation:
        """Return a generation that this key may see.

        Raises:
            Refusal: There is none, or no longer, or another key has started it.
        """
        generation = self._generations.get(generation_id)
        if generation is not None and now >= generation.ready_at + self._lifetime:
            self._drop(generation_id)
            generation = None
        if generation is None or generation.key != key:
            raise Refusal.generation_not_found()
        return generation


def check_id(generation_id: str) -> None:
    """Refuse what cannot be the id of a generation.

    Raises:
        Refusal: It has another length.
    """
    if len(generation_id) != ID_LENGTH:
        raise Refusal.bad_request(f"id: string must contain exactly {ID_LENGTH} character(s)")
