"""Fuzzing of every parser by coverage, outside the suite; see `__main__`."""
