"""Many rounds of SIGKILL, longer than a test suite should take.

PYTHONPATH=tests python benchmarks/kill_test.py --prompts 400 --kills 10 --rounds 10
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

from sd3async.emulator import Emulator
from sd3async.emulator import latency as latencies
from support.killing import kill_and_resume


def main() -> None:
    """Print a line for each round; an assertion ends it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=400)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--image-bytes", type=int, default=200_000)
    parser.add_argument("--latency", type=float, default=2.0, help="longest generation [s]")
    parser.add_argument("--seed", type=int, default=None, help="picks the moments")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    print("round  kills  seconds  paid  doubles  possibly paid  marked at kills  429s")
    for number in range(1, given.rounds + 1):
        began = time.monotonic()
        latency = latencies.Uniform(given.latency / 4, given.latency)
        with (
            tempfile.TemporaryDirectory() as folder,
            Emulator.in_thread(image_bytes=given.image_bytes, latency=latency) as emulator,
        ):
            fate = kill_and_resume(
                emulator, Path(folder), prompts=given.prompts, kills=given.kills, rng=rng
            )
            refused = emulator.refused
        assert fate.doubles <= fate.possibly_paid <= fate.marked
        print(
            f"{number:5}  {fate.kills:5}  {time.monotonic() - began:7.1f}  {fate.paid:4}  "
            f"{fate.doubles:7}  {fate.possibly_paid:13}  {fate.marked:15}  {refused:4}",
            flush=True,
        )


if __name__ == "__main__":
    main()
