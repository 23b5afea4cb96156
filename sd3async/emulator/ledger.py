"""Money and counts: what was booked, on which key, and how the answers went."""

import collections
from collections.abc import Mapping

import attrs

__all__ = ["Ledger", "Stats"]

ENDLESS = 1_000_000.0  # [credits] shown as the balance of an account that never runs out


@attrs.frozen
class Stats:
    """Totals since the start or the last reset.

    Attributes:
        requests: Everything that arrived.
        started: Generations whose result is to be fetched.
        polls: Requests for a result.
        paid: Generations booked.
        credits_used: Their price [credits].
        refused: Answers 429.
        by_status: Answers by HTTP status.
        faults: Injected faults by kind.
        disconnected: Connections that ended before the answer was complete.
        max_in_any_window: Most requests of one key in any window of the limit's period.
    """

    requests: int
    started: int
    polls: int
    paid: int
    credits_used: float
    refused: int
    by_status: Mapping[int, int]
    faults: Mapping[str, int]
    disconnected: int
    max_in_any_window: int


@attrs.define
class Ledger:
    """The books of the account.

    Attributes:
        balance: Credits at the start: of the account, or of each key, or None for endless.
    """

    balance: float | Mapping[str, float] | None
    requests: int = 0
    started: int = 0
    polls: int = 0
    paid: int = 0
    credits_used: float = 0.0
    disconnected: int = 0
    by_status: collections.Counter[int] = attrs.field(factory=collections.Counter[int])
    faults: collections.Counter[str] = attrs.field(factory=collections.Counter[str])
    _spent: collections.defaultdict[str, float] = attrs.field(
        factory=lambda: collections.defaultdict[str, float](float)
    )

    def credits_left(self, key: str) -> float:
        """Return what a key may still spend [credits]."""
        if isinstance(self.balance, Mapping):
            return self.balance.get(key, 0.0) - self._spent[key]
        return (ENDLESS if self.balance is None else self.balance) - self.credits_used

    def suffices(self, key: str, price: float) -> bool:
        """Return whether a key can pay `price` [credits]."""
        return self.balance is None or self.credits_left(key) >= price

    def book(self, key: str, price: float) -> None:
        """Charge a generation."""
        self.paid += 1
        self.credits_used += price
        self._spent[key] += price
