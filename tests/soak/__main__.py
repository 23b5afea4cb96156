"""A soak at length: an hour of virtual time, thousands of items, something wrong every second.

PYTHONPATH=tests python -m soak --seed 7
"""

import argparse
import random
import time

import attrs

from soak.books import in_words
from soak.world import FULL, SMALL, soak


def main() -> None:
    """Print what came of it; leave with 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="repeats what it drew before")
    parser.add_argument("--seconds", type=int, default=FULL.seconds, help="virtual time [s]")
    parser.add_argument("--items", type=int, default=FULL.items)
    parser.add_argument("--small", action="store_true", help="as in the test suite")
    parser.add_argument("--rounds", type=int, default=1, help="with seeds that count up")
    given = parser.parse_args()
    scale = attrs.evolve(FULL, seconds=given.seconds, items=given.items)
    seed = random.randrange(10**6) if given.seed is None else given.seed
    broken = 0
    for number in range(given.rounds):
        print(f"seed {seed + number}", flush=True)
        began = time.monotonic()
        result = soak(SMALL if given.small else scale, seed + number)
        for name, value in attrs.asdict(result, recurse=False).items():
            print(f"  {name}: {in_words(value) if name == 'broken' else value}")
        print(f"  real time: {time.monotonic() - began:.1f} s", flush=True)
        broken += len(result.broken)
    raise SystemExit(1 if broken else 0)


if __name__ == "__main__":
    main()
