"""Who takes how much of a key that several processes share, so that busy ones get alike.

Pure, and part of the state that they share. A party is a process that asked lately: it is *hungry*
until `due`, the latest instant at which it said that it would be back for more. While others are
hungry, nobody runs ahead of them by more than one helping; who does not come when it is due (it is
dead, or stopped) is waited for no longer.
"""

import struct

import attrs

_MOST_SLOTS = 16
"""Most slots at once: what a process that dies takes with it."""

_LARGEST_SHARE = (
    10  # at once no more than this part of the limit, or who comes second is far behind
)

_KEPT = 5.0  # [s] a party is remembered after it was due
_MOST = 64  # parties
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


class Parties:
    """Those who asked lately, by their numbers.

    Args:
        limit: Requests that they share in a period.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.known: dict[int, Party] = {}

    def helping(self, who: int, now: float) -> int:
        """Return how many slots a party takes at once, with the others there are."""
        most = min(_MOST_SLOTS, self._limit // _LARGEST_SHARE)
        return max(1, most // (len(self.rivals(who, now)) + 1))

    def serve(self, who: int, now: float) -> int:
        """Return how many slots a party may take now, perhaps none."""
        mine, rivals = self._join(who, now), self.rivals(who, now)
        helping = self.helping(who, now)
        least = min((rival.taken for rival in rivals), default=mine.taken)
        return max(0, min(helping, least + helping - mine.taken))

    def rivals(self, who: int, now: float) -> list[Party]:
        """Return the others who are hungry."""
        return [party for other, party in self.known.items() if other != who and party.due > now]

    def ahead(self, who: int, now: float) -> int:
        """Return how many of the others are served before a party."""
        taken = self.known[who].taken
        return sum(rival.taken <= taken for rival in self.rivals(who, now))

    def note(self, who: int, taken: int, due: float) -> None:
        """Take note of what a party took, and until when it will be back."""
        party = self.known[who]
        party.taken += taken
        party.due = due

    def _join(self, who: int, now: float) -> Party:
        self.known = {
            other: party
            for other, party in self.known.items()
            if party.due > now - _KEPT and (other == who or len(self.known) < _MOST)
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
