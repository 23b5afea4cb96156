"""Who takes how much of a key that several processes share, so that busy ones get alike.

Pure, and part of the state that they share. A party is a process that asked lately: it is *hungry*
until `due`, the latest instant at which it said that it would be back for more. While others are
hungry, nobody takes another helping who is a whole one ahead of them; who does not come when it is
due (it is dead, or stopped) is waited for no longer.
"""

import math
import struct

import attrs

MOST_SLOTS = 16
"""Most slots at once: what a process that dies takes with it."""

_LARGEST_SHARE = 10
"""At once no more than this part of the limit, or who comes second is far behind."""

_FEWEST = 4
"""Slots at once beside others: asking costs as much as half a request."""

_ROUND = 32
"""Most slots that all take in a round, or a newcomer waits for seconds."""

_KEPT = 5.0  # [s] a party is remembered after it was due
_MOST_KNOWN = 64  # parties
_COUNT = struct.Struct("=I")
_PARTY = struct.Struct("=qqd")


@attrs.define
class Party:
    """One process.

    Attributes:
        taken: Slots it has had, beside what the others had when it came.
        due: When it will be back for more at the latest [s]; in the past when it wants none.
    """

    taken: int
    due: float


@attrs.define
class Turn:
    """How a party that asks stands beside the others.

    Attributes:
        helping: How many slots it may take at once.
        round: How many all of them take until it comes again.
        held_up_until: When the first of those to be served before will be back at the latest [s];
            minus infinity for none.
        others: When each of the others will be back at the latest [s].
    """

    helping: int
    round: int
    held_up_until: float
    others: list[float]


class Parties:
    """Those who asked lately, by their numbers.

    Args:
        limit: Requests that they share in a period.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.known: dict[int, Party] = {}

    def turn(self, who: int, now: float) -> Turn:
        """Return how a party that asks now stands beside the others."""
        mine, rivals = self._join(who, now), self.rivals(who, now)
        parties = len(rivals) + 1
        alone = min(MOST_SLOTS, self._limit // _LARGEST_SHARE)
        helping = max(alone // parties, min(_FEWEST, alone, _ROUND // parties), 1)
        first = [rival.due for rival in rivals if rival.taken + helping <= mine.taken]
        return Turn(
            helping=helping,
            round=helping * parties,
            held_up_until=min(first, default=-math.inf),
            others=[rival.due for rival in rivals],
        )

    def rivals(self, who: int, now: float) -> list[Party]:
        """Return the others who are hungry."""
        return [party for other, party in self.known.items() if other != who and party.due > now]

    def note(self, who: int, taken: int, due: float) -> None:
        """Take note of what a party took, and until when it will be back."""
        party = self.known[who]
        party.taken += taken
        party.due = due

    def _join(self, who: int, now: float) -> Party:
        self.known = {
            other: party
            for other, party in self.known.items()
            if party.due > now - _KEPT and (other == who or len(self.known) < _MOST_KNOWN)
        }
        if who not in self.known:
            # Whoever comes late has not saved up: it begins where the least served one stands.
            least = min((party.taken for party in self.known.values()), default=0)
            self.known[who] = Party(least, now)
        return self.known[who]

    def dump(self) -> bytes:
        """Write them down."""
        known = self.known.items()
        packed = [_PARTY.pack(who, party.taken, party.due) for who, party in known]
        return b"".join([_COUNT.pack(len(packed)), *packed])

    def load(self, data: bytes) -> None:
        """Take over what `dump` wrote."""
        (length,) = _COUNT.unpack_from(data)
        records = _PARTY.iter_unpack(data[_COUNT.size : _COUNT.size + length * _PARTY.size])
        self.known = {who: Party(taken, due) for who, taken, due in records}
