"""Dissimilarities from similarities of any range."""

import dataclasses

import numpy as np

from l2g_jax.landmarks.config import Weighting

# Smaller dissimilarities weigh no more than this one, under the weighting `near`.
_NEAREST = 0.05
_FAR = 3.0


@dataclasses.dataclass(frozen=True)
class Range:
  """The range of a similarity, from that of the landmarks.

  Attributes:
    low: the similarity that counts as 0.
    high: the similarity that counts as 1; equal to `low` where all are alike.
  """

  low: float
  high: float

  def shares(self, similarities: np.ndarray) -> np.ndarray:
    """Returns (s - low) / (high - low), clipped to [0, 1], float32; 0 where all are alike."""
    # In float64, where the difference of two floats is finite.
    span = self.high - self.low
    if span <= 0.0:
      return np.zeros(similarities.shape, np.float32)
    shares = (similarities.astype(np.float64) - self.low) / span
    return np.clip(shares, 0.0, 1.0).astype(np.float32)


def range_of(similarities: np.ndarray) -> Range:
  """Returns the range of similarities of landmarks `[L, L]`, self included.

  What lies several times further below the median than the greatest lies above it is left out: a
  mark such as -1e38, for an item that is similar to nothing, says nothing of the others.
  """
  values = similarities.astype(np.float64)
  median, high = float(np.median(values)), float(values.max())
  return Range(float(values[values >= median - _FAR * (high - median)].min()), high)


def dissimilarities(shares: np.ndarray, power: float) -> np.ndarray:
  """Returns 1 - u^p of shares u in [0, 1], float32."""
  return 1.0 - shares.astype(np.float32) ** np.float32(power)


def weights_of(delta: np.ndarray, weighting: Weighting) -> np.ndarray | None:
  """Returns the weights of dissimilarities, of the same shape; None = all 1."""
  if weighting == "equal":
    return None
  return np.float32(_NEAREST**2) / np.maximum(delta, np.float32(_NEAREST)) ** 2
