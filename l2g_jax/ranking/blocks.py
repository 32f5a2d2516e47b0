"""Blocks of rows that fill a compiled program."""

from collections.abc import Iterator

import numpy as np


def blocks(num_rows: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields the rows of every block, and the same rows filled up, so that one size is compiled.

  Args:
    num_rows: how many rows there are.
    size: the most of a block, at least 1.

  Yields:
    Rows `[n]`, and `[min(size, num_rows)]` rows of which the first n are these.
  """
  size = min(size, num_rows)
  for start in range(0, num_rows, max(1, size)):
    rows = np.arange(start, min(start + size, num_rows))
    yield rows, np.resize(rows, size)
