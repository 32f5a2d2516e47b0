"""Search by global features alone, the parent that L2G is compared with."""

import functools

import jax
import numpy as np

from l2g_jax import settings
from l2g_jax.errors import InputError
from l2g_jax.ranking.global_features import GlobalFeatures, check_global_shapes
from l2g_jax.ranking.rerank import BETA, NUM_NEIGHBORS, NUM_RERANKED, score_vectors
from l2g_jax.runtime.arrays import row_parts

_QUERIES_AT_A_TIME = 16
# Rows of norm 1 to rounding keep their bits.
_ROUNDING = 1e-6


def rank_by_global(features: GlobalFeatures) -> np.ndarray:
  """Ranks a collection by the cosines of global features.

  Args:
    features: of Q queries and N images; the database is read part by part, never copied as a whole.

  Returns:
    Rankings `[Q, N]` int32; ties go to the smaller id, images without a feature have a cosine of 0.

  Raises:
    InputError: shapes that do not fit, or a value that is not finite.
  """
  check_global_shapes(features.queries.shape, features.database.shape)
  queries = _unit_rows(features.queries)
  cosines = np.empty((len(queries), len(features.database)), np.float32)
  for part in row_parts(features.database.shape):
    cosines[:, part] = queries @ _unit_rows(features.database[part]).T
  rankings = np.empty(cosines.shape, np.int32)
  for row, values in enumerate(cosines):
    rankings[row] = np.argsort(-values, kind="stable")
  return rankings


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
  _check_rankings(rankings, len(features.queries), len(features.database))
  reranked = rankings.astype(np.int32)
  batch_size = min(_QUERIES_AT_A_TIME, len(rankings))
  for start in range(0, len(rankings), _QUERIES_AT_A_TIME):
    rows = np.arange(start, min(start + batch_size, len(rankings)))
    # The last batch is filled up, so that no other size is compiled.
    padded = np.resize(rows, batch_size)
    heads = rankings[padded, :num_reranked]
    scores = _score(
      _unit_rows(features.queries[padded]),
      _unit_rows(features.database[heads.ravel()]).reshape(*heads.shape, -1),
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


def _unit_rows(rows: np.ndarray) -> np.ndarray:
  """Returns rows `[n, D]` as float32 of unit norm, zero rows as they are; InputError if not finite.

  The squares of float32 do not leave the range of the sums, which are float64.
  """
  norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
  if not np.all(np.isfinite(norms)):
    raise InputError("Global features hold a value that is not finite.")
  norms[(np.abs(norms - 1.0) <= _ROUNDING) | (norms == 0.0)] = 1.0
  if np.all(norms == 1.0):
    return np.asarray(rows, np.float32)
  return (rows / norms[:, None]).astype(np.float32)


def _check_rankings(rankings: np.ndarray, num_queries: int, num_images: int) -> None:
  if rankings.ndim != 2 or len(rankings) != num_queries or not rankings.size:
    raise InputError(f"Rankings must be [{num_queries}, k] ids, not {list(rankings.shape)}.")
  if not np.issubdtype(rankings.dtype, np.integer):
    raise InputError(f"The ids of rankings must be integers, not {rankings.dtype}.")
  if rankings.min() < 0 or rankings.max() >= num_images:
    raise InputError(f"Rankings hold an id outside 0 .. {num_images - 1}.")
