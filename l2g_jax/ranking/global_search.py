"""Search by global features alone, the parent that L2G is compared with."""

import functools

import jax
import numpy as np

from l2g_jax import settings
from l2g_jax.ranking.blocks import blocks
from l2g_jax.ranking.global_features import (
  GlobalFeatures,
  check_global_shapes,
  check_rankings,
  unit_rows,
)
from l2g_jax.ranking.rerank import BETA, NUM_NEIGHBORS, NUM_RERANKED, score_vectors
from l2g_jax.runtime.arrays import row_parts

_QUERIES_AT_A_TIME = 16


def rank_by_global(features: GlobalFeatures) -> np.ndarray:
  """Ranks a collection by the cosines of global features.

  Args:
    features: of Q queries and N images; the database is read part by part, never copied as a whole.

  Returns:
    Rankings `[Q, N]` int32; ties go to the smaller id, images without a feature have a cosine of 0.

  Raises:
    InputError: shapes that do not fit, or a value that is not finite.
  """
  cosines = global_cosines(features)
  rankings = np.empty(cosines.shape, np.int32)
  for row, values in enumerate(cosines):
    rankings[row] = np.argsort(-values, kind="stable")
  return rankings


def global_cosines(features: GlobalFeatures) -> np.ndarray:
  """Returns the cosines of Q queries with N images, `[Q, N]` float32; see `rank_by_global`."""
  check_global_shapes(features.queries.shape, features.database.shape)
  queries = unit_rows(features.queries)
  cosines = np.empty((len(queries), len(features.database)), np.float32)
  for part in row_parts(features.database.shape):
    cosines[:, part] = queries @ unit_rows(features.database[part]).T
  return cosines


def rerank_by_global(
  features: GlobalFeatures,
  rankings: np.ndarray,
  *,
  num_reranked: int = NUM_RERANKED,
  num_neighbors: int = NUM_NEIGHBORS,
  beta: float = BETA,
) -> np.ndarray:
  """Re-ranks the head of rankings by SuperGlobal's method; the defaults are the published ones.

  Args:
    features: of Q queries and N images; of the database the rows of the heads are read.
    rankings: `[Q, k]` ids, best first, k up to N.
    num_reranked: M, how long the head is, at least 1.
    num_neighbors: K, see `superglobal_rerank`.
    beta: see `superglobal_rerank`.

  Returns:
    `[Q, k]` int32.

  Raises:
    InputError: shapes that do not fit, an id out of range, a value that is not finite, or a number
      outside of its range.
  """
  num_reranked = settings.integer("num_reranked", num_reranked, least=1)
  num_neighbors = settings.integer("num_neighbors", num_neighbors, least=0)
  beta = settings.real("beta", beta, least=0.0)
  check_global_shapes(features.queries.shape, features.database.shape)
  rankings = np.asarray(rankings)
  check_rankings(rankings, len(features.queries), len(features.database))
  reranked = rankings.astype(np.int32)
  for rows, padded in blocks(len(rankings), _QUERIES_AT_A_TIME):
    heads = rankings[padded, :num_reranked]
    scores = _score(
      unit_rows(features.queries[padded]),
      unit_rows(features.database[heads.ravel()]).reshape(*heads.shape, -1),
      np.float32(beta),
      num_neighbors=num_neighbors,
    )
    order = np.argsort(-np.asarray(scores), axis=1, kind="stable")
    heads = np.take_along_axis(heads, order, axis=1)
    reranked[rows, : heads.shape[1]] = heads[: len(rows)]
  return reranked


@functools.partial(jax.jit, static_argnames="num_neighbors")
def _score(queries, shortlists, beta, *, num_neighbors: int):
  score = functools.partial(
    score_vectors, mask=None, num_neighbors=num_neighbors, beta=beta, expansion="max"
  )
  return jax.vmap(score)(queries, shortlists)
