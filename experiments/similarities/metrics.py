"""Distances of two rows, compiled, for peers that evaluate one pair at a time."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

# Of two rows, to a float.
Metric = Callable[..., Any]


@numba.njit(cache=True)
def levenshtein(a, b):  # pragma: no cover
  """Returns the normalised Levenshtein distance of two rows of symbols; 0 ends a row."""
  n, m = 0, 0
  while n < len(a) and a[n] > 0:
    n += 1
  while m < len(b) and b[m] > 0:
    m += 1
  row = np.arange(m + 1)
  for i in range(n):
    before = row[0]
    row[0] = i + 1
    for j in range(m):
      kept = row[j + 1]
      row[j + 1] = min(before + (a[i] != b[j]), kept + 1, row[j] + 1)
      before = kept
  return row[m] / max(n, m, 1)


@numba.njit(cache=True)
def warping(a, b):  # pragma: no cover
  """Returns the distance of two series `[t, d]` by dynamic time warping."""
  row = np.full(len(b) + 1, np.inf)
  row[0] = 0.0
  for i in range(len(a)):
    before = row[0]
    row[0] = np.inf
    for j in range(len(b)):
      apart = 0.0
      for axis in range(a.shape[1]):
        apart += (a[i, axis] - b[j, axis]) ** 2
      kept = row[j + 1]
      row[j + 1] = apart + min(before, kept, row[j])
      before = kept
  return np.sqrt(row[len(b)])


@numba.njit(cache=True)
def warpings(first, second):  # pragma: no cover
  """Returns the distances of series `[a, t, d]` and `[b, t, d]`, `[a, b]`."""
  found = np.empty((len(first), len(second)))
  for i in range(len(first)):
    for j in range(len(second)):
      found[i, j] = warping(first[i], second[j])
  return found


@numba.njit(cache=True)
def chamfer(a, b):  # pragma: no cover
  """Returns 1 - the Chamfer similarity of two sets `[n, d]` with the kernel power(alpha=7)."""
  total = 0.0
  for best in np.dot(a, b.T):
    total += max(np.max(best), 0.0) ** 7
  return 1.0 - total / len(a)


def of_rows(metric: Metric, width: int) -> Metric:
  """Returns a metric of flat rows, of one of arrays `[., width]`."""

  @numba.njit
  def distance(a, b):  # pragma: no cover
    return metric(a.reshape((-1, width)), b.reshape((-1, width)))

  return distance


def counted(metric: Metric) -> Metric:
  """Returns a metric of rows with one more number, which counts how often it came first."""

  @numba.njit
  def distance(a, b):  # pragma: no cover
    a[-1] += 1
    return np.float32(metric(a[:-1], b[:-1]))

  return distance
