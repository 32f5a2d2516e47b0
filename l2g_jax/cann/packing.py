"""Residuals of descriptors in a few bytes, from which inner products are read without decoding.

A residual is rotated to its principal directions. The first of them have 4 bits each, the next 2,
the last none: as many of each as lose the least of the variance. Levels are evenly spaced, so that
an inner product with a query is one of integers.
"""

import dataclasses

import numba
import numpy as np

# Spacing of the levels in standard deviations, and the variance that is lost by rounding to them:
# the best for a normal distribution.
_SPACING = {4: 0.335, 2: 0.996}
_LOSS = {4: 0.0115, 2: 0.1188}
_DIMENSIONS = {4: 8, 2: 16}  # in a word of four bytes
# Keeps the integers small that a cosine becomes where residuals vanish.
_LEAST_PEAK = 1e-4


@dataclasses.dataclass(frozen=True)
class Packing:
  """How residuals are packed into words of four bytes.

  Attributes:
    rotation: `[d, D]` float32, D = 8 num_4 + 16 num_2; zero where dimensions are too few.
    spacing: `[D]` float32, the distance of a dimension's levels.
    num_4: words of eight dimensions of 4 bits.
    num_2: words of sixteen dimensions of 2 bits, behind them.
  """

  rotation: np.ndarray
  spacing: np.ndarray
  num_4: int
  num_2: int

  @property
  def num_words(self) -> int:
    """Words of a packed residual."""
    return self.num_4 + self.num_2


def fit_packing(residuals: np.ndarray, num_words: int) -> Packing:
  """Learns directions and bits from a sample of residuals `[n, d]` float32."""
  dimension = residuals.shape[1]
  covariance = residuals.T.astype(np.float64) @ residuals / max(1, len(residuals))
  variances, directions = np.linalg.eigh(covariance)
  variances, directions = np.maximum(variances[::-1], 0.0), directions[:, ::-1]
  # eigh leaves the sign open.
  rows = np.argmax(np.abs(directions), axis=0)
  directions = directions * np.sign(directions[rows, np.arange(dimension)])
  num_4, num_2 = min(
    (
      (num_4, min(num_words - num_4, max(0, -(-(dimension - 8 * num_4) // 16))))
      for num_4 in range(min(num_words, -(-dimension // 8)) + 1)
    ),
    key=lambda counts: _loss(variances, *counts),
  )
  bits = np.repeat([4, 2], [num_4 * _DIMENSIONS[4], num_2 * _DIMENSIONS[2]])
  kept = min(dimension, len(bits))
  rotation = np.zeros((dimension, len(bits)), np.float32)
  rotation[:, :kept] = directions[:, :kept]
  spacing = np.zeros(len(bits), np.float32)
  spacing[:kept] = np.sqrt(variances[:kept])
  return Packing(rotation, (spacing * [_SPACING[b] for b in bits]).astype(np.float32), num_4, num_2)


def pack(packing: Packing, residuals: np.ndarray) -> np.ndarray:
  """Returns packed residuals `[n, words, 4]` uint8 of residuals `[n, d]` float32."""
  rotated = residuals @ packing.rotation
  inverse = 1.0 / np.where(packing.spacing > 0.0, packing.spacing, np.inf)
  packed = np.zeros((len(residuals), packing.num_words, 4), np.uint8)
  _pack(rotated, inverse, packing.num_4, packed)
  return packed


def pack_queries(
  packing: Packing, queries: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Prepares queries for products with packed residuals.

  Args:
    packing: the packing.
    queries: `[q, d]` float32.

  Returns:
    Weights `[q, D]` int8, factors `[q]` and offsets `[q]` float32: an inner product is the factor
    times the sum of weights times levels, plus the offset.
  """
  weights = (queries @ packing.rotation) * packing.spacing
  peaks = np.max(np.abs(weights), axis=1, initial=0.0)
  factors = (np.maximum(peaks, _LEAST_PEAK) / 127.0).astype(np.float32)
  values = np.rint(weights / factors[:, None]).astype(np.int8)
  return values, factors, -factors * (values @ _centers(packing)).astype(np.float32)


def _loss(variances: np.ndarray, num_4: int, num_2: int) -> float:
  """Returns the variance that is lost."""
  first = num_4 * _DIMENSIONS[4]
  second = first + num_2 * _DIMENSIONS[2]
  parts = variances[:first], variances[first:second], variances[second:]
  return sum(
    loss * float(part.sum()) for loss, part in zip((_LOSS[4], _LOSS[2], 1.0), parts, strict=True)
  )


def _centers(packing: Packing) -> np.ndarray:
  """Returns the levels `[D]` float32 that stand for zero."""
  counts = [packing.num_4 * _DIMENSIONS[4], packing.num_2 * _DIMENSIONS[2]]
  return np.repeat(np.array([7.5, 1.5], np.float32), counts)


@numba.njit(cache=True, nogil=True)
def _pack(rotated, inverse, num_4, packed):
  """Rounds rows to levels and fills `packed`."""
  for i in range(len(rotated)):
    dimension = 0
    for word in range(packed.shape[1]):
      bits = 4 if word < num_4 else 2
      half = 1 << (bits - 1)
      for shift in range(0, 8, bits):
        for place in range(4):
          level = int(np.floor(rotated[i, dimension] * inverse[dimension])) + half
          level = min(max(level, 0), 2 * half - 1)
          packed[i, word, place] |= np.uint8(level << shift)
          dimension += 1
