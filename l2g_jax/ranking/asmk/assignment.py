"""The nearest words of descriptors, exactly.

Matrix products of float32 on the default device find a few candidates for each descriptor; their
distances are then compared in float64 on the host. So nearly equal distances are told apart, and
the result does not depend on the device.
"""

import functools

import jax
import jax.numpy as jnp
import numba
import numpy as np

# Candidates beyond those that are wanted, for rounding in the order of the first choice.
_SPARE = 3
# Rows of descriptors that are compared at a time: many, or a few at the end.
_MANY_ROWS, _FEW_ROWS = 1024, 256


def nearest_words(
  descriptors: np.ndarray, centroids: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
  """Finds the words whose centroids are nearest by Euclidean distance.

  Args:
    descriptors: `[n, d]` float32, finite.
    centroids: `[C, d]` float32, finite.
    count: how many words for each descriptor, at least 1.

  Returns:
    Words `[n, m]` int32 with m = min(count, C), the nearest first, ties by the smaller word, and
    squared distances `[n, m]` float64.
  """
  count = min(count, len(centroids))
  # Distances do not change by a shift, and rounding is less where no common offset is left.
  middle = np.mean(centroids, axis=0, dtype=np.float64)
  shifted = jnp.asarray((centroids - middle).astype(np.float32))
  num_candidates = min(count + _SPARE, len(centroids))
  # Read-only as in a codebook, so that the loop is compiled once.
  centroids = centroids.view()
  centroids.setflags(write=False)
  words = np.empty((len(descriptors), count), np.int32)
  distances = np.empty((len(descriptors), count), np.float64)
  start = 0
  while start < len(descriptors):
    num_rows = _MANY_ROWS if len(descriptors) - start >= _MANY_ROWS else _FEW_ROWS
    rows = slice(start, start + num_rows)
    block = np.zeros((num_rows, descriptors.shape[1]), np.float32)
    block[: len(descriptors[rows])] = descriptors[rows] - middle
    candidates = np.asarray(_candidates(block, shifted, num_candidates))
    _keep_nearest(descriptors[rows], centroids, candidates, words[rows], distances[rows])
    start += num_rows
  return words, distances


@functools.partial(jax.jit, static_argnames="count")
def _candidates(block: jax.Array, centroids: jax.Array, count: int) -> jax.Array:
  """Returns the nearest centroids `[rows, count]` as float32 has them."""
  half_norms = 0.5 * jnp.sum(centroids**2, axis=1)
  products = jnp.matmul(block, centroids.T, precision="highest")
  return jax.lax.top_k(products - half_norms[None], count)[1]


@numba.njit(cache=True, nogil=True)
def _keep_nearest(descriptors, centroids, candidates, words, distances):
  """Fills `words` and `distances`, `[n, m]`, with the nearest of the candidates `[., >= m]`."""
  num_candidates = candidates.shape[1]
  found = np.empty(num_candidates, np.float64)
  order = np.empty(num_candidates, np.int32)
  for row in range(len(descriptors)):
    for place in range(num_candidates):
      word = candidates[row, place]
      distance = 0.0
      for column in range(descriptors.shape[1]):
        difference = np.float64(descriptors[row, column]) - np.float64(centroids[word, column])
        distance += difference * difference
      slot = place
      while slot > 0 and (
        distance < found[slot - 1] or (distance == found[slot - 1] and word < order[slot - 1])
      ):
        found[slot] = found[slot - 1]
        order[slot] = order[slot - 1]
        slot -= 1
      found[slot] = distance
      order[slot] = word
    # An assignment of slices takes seconds to compile.
    for place in range(words.shape[1]):
      words[row, place] = order[place]
      distances[row, place] = found[place]
