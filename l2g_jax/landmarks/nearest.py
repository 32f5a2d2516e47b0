"""Nearest points: exact in blocks on the device, or by cells where all are compared to all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Distances of one block, so that none takes more than some 100 MB.
_BLOCK = 1 << 24
# More points are sought in cells, about as many as the root of their number.
_MOST_EXACT = 20_000
# Nearest cells in which the points of one are sought, and points that are sought at a time.
_CELLS = 12
_ROWS = 1024


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


def nearest_of_all(points: jax.Array, k: int, *, seed: int) -> np.ndarray:
  """Finds the nearest of each point among all, itself included.

  Many points are divided into cells, and found in the cells nearest to their own alone.

  Args:
    points: `[N, m]` float32.
    k: how many, cut down to N.
    seed: of the cells.

  Returns:
    `[N, k]` int32, nearest first; -1 pads.
  """
  number, k = len(points), min(k, len(points))
  values = np.asarray(points)
  if number <= _MOST_EXACT:
    return nearest(values, points, k).astype(np.int32)
  count = int(number**0.5)
  drawn = np.random.default_rng([seed, 2]).choice(number, count, replace=False)
  cells = nearest(values, points[np.sort(drawn)], 1)[:, 0]
  sizes = np.bincount(cells, minlength=count)
  order = np.argsort(cells, kind="stable")
  members = np.split(order, np.cumsum(sizes)[:-1])
  centres = np.stack([values[some].mean(axis=0) for some in members])
  around = nearest(centres, jnp.asarray(centres), min(_CELLS, count))
  squares = np.sum(values**2, axis=1)
  found = np.full((number, k), -1, np.int32)
  for some, others in zip(members, around, strict=True):
    pool = np.sort(np.concatenate([members[cell] for cell in others]))
    size = min(k, len(pool))
    for start in range(0, len(some), _ROWS):
      rows = some[start : start + _ROWS]
      apart = squares[pool] - 2.0 * values[rows] @ values[pool].T
      best = np.argpartition(apart, size - 1, axis=1)[:, :size]
      ranked = np.argsort(np.take_along_axis(apart, best, axis=1), axis=1, kind="stable")
      found[rows, :size] = pool[np.take_along_axis(best, ranked, axis=1)]
  return found
