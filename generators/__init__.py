"""Writes what follows from the request classes: `python -m generators`, or `--check` to compare."""
