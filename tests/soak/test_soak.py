"""A job in a bad world: see `soak.world`. Longer: `PYTHONPATH=tests python -m soak`."""

import random

from soak.books import in_words
from soak.script import KINDS
from soak.world import SMALL, soak


def test_the_books_agree_to_the_credit_whatever_happens() -> None:
    """Kills, stops, full disks and a server that fails must cost no image and hide no credit."""
    seed = random.randrange(10**6)
    fate = soak(SMALL, seed)

    assert not fate.broken, f"seed {seed}:\n{in_words(fate.broken)}"
    assert fate.audit.booked == fate.audit.spent + fate.audit.lost
    assert fate.audit.real <= fate.audit.told
    assert fate.linked > 0
    expected = set(KINDS) if fate.has_disk else set(KINDS) - {"disk full"}
    assert fate.events.keys() == expected, "something of the script never happened"
