"""Spearman's rank correlation, and its interval by the bootstrap."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

_NUM_RESAMPLED = 2000
_LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Correlation:
  """A rank correlation; None where a value is the same for all, or there are fewer than 3 pairs.

  Attributes:
    rho: in [-1, 1].
    low: end of the interval of 95 %, by percentiles of the bootstrap over pairs.
    high: its other end.
    count: pairs.
  """

  rho: float | None
  low: float | None
  high: float | None
  count: int


def correlate(x: ArrayLike, y: ArrayLike, *, seed: int = 0) -> Correlation:
  """Correlates the ranks of two values over items; items with a NaN are left out.

  Args:
    x: `[n]`.
    y: `[n]`.
    seed: of the bootstrap.
  """
  pairs = np.stack([np.asarray(x, np.float64), np.asarray(y, np.float64)])
  pairs = pairs[:, ~np.any(np.isnan(pairs), axis=0)]
  count = pairs.shape[1]
  rho = spearman(*pairs) if count >= 3 else None
  if rho is None:
    return Correlation(None, None, None, count)
  rng = np.random.default_rng(seed)
  drawn = [spearman(*pairs[:, rng.integers(0, count, count)]) for _ in range(_NUM_RESAMPLED)]
  tail = 50.0 * (1.0 - _LEVEL)
  low, high = np.percentile([value for value in drawn if value is not None], [tail, 100.0 - tail])
  return Correlation(rho, float(low), float(high), count)


def spearman(x: np.ndarray, y: np.ndarray) -> float | None:
  """Returns the correlation of ranks `[n]`, ties at their mean; None where one is constant."""
  ranks = np.stack([_ranks(x), _ranks(y)])
  ranks -= ranks.mean(axis=1, keepdims=True)
  norms = np.sqrt(np.sum(ranks**2, axis=1))
  if not norms.all():
    return None
  return float(ranks[0] @ ranks[1] / (norms[0] * norms[1]))


def _ranks(values: np.ndarray) -> np.ndarray:
  """Returns ranks `[n]` from 0; equal values share their mean rank."""
  _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
  return (np.cumsum(counts) - 0.5 * (counts + 1))[places]
