"""Spearman's rank correlation, and its interval by the bootstrap."""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

_NUM_RESAMPLED = 2000
# So many have their ranks in memory.
_AT_ONCE = 50
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
  rho = float(spearman(*pairs)) if count >= 3 else math.nan
  if math.isnan(rho):
    return Correlation(None, None, None, count)
  rng = np.random.default_rng(seed)
  drawn = []
  for _ in range(_NUM_RESAMPLED // _AT_ONCE):
    rows = rng.integers(0, count, (_AT_ONCE, count))
    drawn.append(spearman(pairs[0][rows], pairs[1][rows]))
  tail = 50.0 * (1.0 - _LEVEL)
  low, high = np.nanpercentile(np.concatenate(drawn), [tail, 100.0 - tail])
  return Correlation(rho, float(low), float(high), count)


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Returns the correlations `[...]` of ranks `[..., n]`, ties at their mean; NaN of constants."""
  ranks = np.stack([_ranks(x), _ranks(y)])
  ranks -= ranks.mean(axis=-1, keepdims=True)
  norms = np.sqrt(np.prod(np.sum(ranks**2, axis=-1), axis=0))
  return np.sum(np.prod(ranks, axis=0), axis=-1) / np.where(norms > 0.0, norms, math.nan)


def _ranks(values: np.ndarray) -> np.ndarray:
  """Returns ranks `[..., n]` from 0; equal values share their mean rank."""
  one, other = values[..., :, None], values[..., None, :]
  return np.sum(other < one, axis=-1) + 0.5 * (np.sum(other == one, axis=-1) - 1)
