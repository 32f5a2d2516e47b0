"""Candidates and neighbour lists by the cosines of global features, exact."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from l2g_jax import settings
from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.blocks import blocks
from l2g_jax.ranking.global_features import GlobalFeatures, check_global_shapes, unit_rows

# Rows that are compared with as many others at a time.
_ROWS_AT_A_TIME = 2048


def candidates_by_global(features: GlobalFeatures, *, num_candidates: int) -> Ranked:
  """Finds the images nearest to each query.

  Args:
    features: of Q queries and N images; the database is read part by part.
    num_candidates: k, at least 1.

  Returns:
    `[Q, k]`: ids int32, ties by the smaller, and cosines float32. Images of a cosine of 0 or less
    are left out.

  Raises:
    InputError: shapes that do not fit, no image, a value that is not finite, or k below 1.
  """
  num_candidates = settings.integer("num_candidates", num_candidates, least=1)
  return _nearest(features.queries, features.database, num_candidates, leaves_itself_out=False)


def neighbors_by_global(database: np.ndarray, *, num_neighbors: int) -> Ranked:
  """Finds the images nearest to each image of a collection, itself left out.

  Args:
    database: `[N, D]` floating, of any norms; may be memory-mapped.
    num_neighbors: L, at least 1.

  Returns:
    Neighbour lists `[N, L]`, see `candidates_by_global`.

  Raises:
    InputError: see `candidates_by_global`.
  """
  num_neighbors = settings.integer("num_neighbors", num_neighbors, least=1)
  return _nearest(database, database, num_neighbors, leaves_itself_out=True)


def _nearest(
  queries: np.ndarray, database: np.ndarray, count: int, *, leaves_itself_out: bool
) -> Ranked:
  check_global_shapes(queries.shape, database.shape)
  if not len(database):
    raise InputError("The collection has no image to search by global features.")
  ids = np.empty((len(queries), count), np.int32)
  cosines = np.empty((len(queries), count), np.float32)
  for rows, padded in blocks(len(queries), _ROWS_AT_A_TIME):
    block = jnp.asarray(unit_rows(queries[padded]))
    left_out = jnp.asarray(padded if leaves_itself_out else np.full(len(padded), -1), jnp.int32)
    # A cosine of 0 or less is not above the start, and so never enters.
    best = (
      jnp.full((len(padded), count), -1, jnp.int32),
      jnp.zeros((len(padded), count), jnp.float32),
    )
    for part, part_padded in blocks(len(database), _ROWS_AT_A_TIME):
      part_ids = np.where(np.arange(len(part_padded)) < len(part), part_padded, -1)
      best = _merge(
        best, block, left_out, unit_rows(database[part_padded]), part_ids.astype(np.int32)
      )
    ids[rows], cosines[rows] = (np.asarray(array)[: len(rows)] for array in best)
  return Ranked(ids, cosines)


@functools.partial(jax.jit, donate_argnums=0)
def _merge(best, rows, left_out, part, part_ids):
  """Merges the ids `[p]` of a part into the best so far `[b, count]`, whose ids are smaller."""
  best_ids, best_cosines = best
  cosines = jnp.matmul(rows, part.T, precision="highest")
  wanted = (part_ids >= 0)[None, :] & (part_ids[None, :] != left_out[:, None])
  values = jnp.concatenate([best_cosines, jnp.where(wanted, cosines, 0.0)], axis=1)
  ids = jnp.concatenate([best_ids, jnp.broadcast_to(part_ids[None, :], cosines.shape)], axis=1)
  # The first of equals is kept.
  values, columns = jax.lax.top_k(values, best_cosines.shape[1])
  return jnp.take_along_axis(ids, columns, axis=1), values
