"""The emulator: a strict, independent reading of the API, to run and test against."""
