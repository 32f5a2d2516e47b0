"""Exact nearest points, in blocks on the device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Distances of one block, so that none takes more than some 100 MB.
_BLOCK = 1 << 24


def nearest(
  queries: np.ndarray, points: jax.Array, k: int, excluded: np.ndarray | None = None
) -> np.ndarray:
  """Finds the nearest points.

  Args:
    queries: `[Q, m]` float32.
    points: `[N, m]` float32, on the device where they stay for many calls.
    k: how many, at most N.
    excluded: `[Q, N]` bool, points that are not wanted; None = all are.

  Returns:
    `[Q, k]` int64, nearest first, ties by position; excluded ones stand last.
  """
  rows = max(1, min(len(queries), _BLOCK // max(1, len(points))))
  found = np.empty((len(queries), k), np.int64)
  for start in range(0, len(queries), rows):
    some = queries[start : start + rows]
    mask = None
    if excluded is not None:
      mask = np.resize(excluded[start : start + rows], (rows, len(points)))
    ids = _nearest(np.resize(some, (rows, some.shape[1])), points, mask, k=k)
    found[start : start + rows] = ids[: len(some)]
  return found


@functools.partial(jax.jit, static_argnames="k")
def _nearest(queries, points, excluded, *, k: int) -> jax.Array:
  squares = jnp.sum(points**2, axis=1)[None]
  closeness = 2.0 * jnp.matmul(queries, points.T, precision="highest") - squares
  if excluded is not None:
    closeness = jnp.where(excluded, -jnp.inf, closeness)
  return jax.lax.top_k(closeness, k)[1]
