"""Bursts: descriptors that are alike within one image, as those of windows, leaves or letters.

A sum over a query's descriptors counts a texture as often as it repeats. Weights count it about
once, so that what an image has but once has its say.

Source: Jegou, Douze and Schmid, On the burstiness of visual elements, CVPR 2009, weigh a match by
its share among the matches of a descriptor in one image. Here a query's descriptors are weighed
before any match is known, by how many others they are like.
"""

import numpy as np

from l2g_jax.similarity.codec import Codes

# What a descriptor weighs that is like no other: weights are integers, whose sums are exact.
UNIT = 1 << 20
# Cosines that are in memory at a time; and dimensions up to which their sums of integers are exact
# in float32.
_BLOCK = 1 << 22
_EXACT_DIMENSION = 1024
_PRODUCTS = (1.0, 2.0, 3.0, 4.0)


def weights(query: Codes, power: float) -> np.ndarray:
  """Returns what each descriptor of an image counts as its query.

  w_i = 1 / sum over j of max(<q_i, q_j>, 0)^power, with j = i among them: 1 where a descriptor is
  like no other, 1 / n for n equal ones.

  Args:
    query: q codes.
    power: at least 0. The smaller, the more counts as alike; 0 weighs all the same.

  Returns:
    `[q]` int64, at least 1: multiples of 1 / UNIT, or all 1 where power is 0.
  """
  if power == 0.0 or not len(query):
    return np.ones(len(query), np.int64)
  exact = np.float32 if query.values.shape[1] <= _EXACT_DIMENSION else np.float64
  values = query.values.astype(exact)
  sums = np.empty(len(query))
  step = max(1, _BLOCK // len(query))
  for start in range(0, len(query), step):
    rows = slice(start, start + step)
    cosines = (values[rows] @ values.T).astype(np.float32, copy=False)
    cosines *= query.scales[rows, None]
    cosines *= query.scales
    np.maximum(cosines, 0.0, out=cosines)
    sums[rows] = np.sum(_raise(cosines, power), axis=1, dtype=np.float64)
  return np.maximum(np.rint(UNIT / np.maximum(sums, 1.0)), 1.0).astype(np.int64)


def _raise(values: np.ndarray, power: float) -> np.ndarray:
  """Returns values to a power; small whole ones are products, which take a tenth of the time."""
  if power not in _PRODUCTS:
    return values ** np.float32(power)
  result = values.copy()
  for _ in range(int(power) - 1):
    result *= values
  return result
