"""Who shares a key, as its record remembers it."""

from sd3async.limiter.parties import Parties


def test_the_record_of_a_key_does_not_grow_with_the_processes_that_used_it() -> None:
    """A thousand short programs in a second would make every change a slow one."""
    parties = Parties(150)
    for who in range(1_000):
        parties.turn(who, now=0.0)

    assert len(parties.known) <= 65
