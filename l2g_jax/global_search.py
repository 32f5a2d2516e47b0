"""Search by global features alone, the parent that L2G is compared with."""

import functools

import jax
import numpy as np

from l2g_jax.pipeline import GlobalFeatures
from l2g_jax.rerank import superglobal_rerank

_QUERIES_AT_A_TIME = 16


def rank_by_global(features: GlobalFeatures) -> np.ndarray:
  """Returns rankings `[Q, N]` int32 by inner product of global features, ties by the smaller id."""
  similarities = np.asarray(features.queries) @ np.asarray(features.database).T
  return np.argsort(-similarities, axis=1, kind="stable").astype(np.int32)


def rerank_by_global(
  features: GlobalFeatures,
  rankings: np.ndarray,
  *,
  num_reranked: int = 400,
  num_neighbors: int = 9,
  beta: float = 0.15,
) -> np.ndarray:
  """Re-ranks the head of rankings by SuperGlobal's method; the defaults are the published ones.

  Args:
    features: of Q queries and N images, of unit norm.
    rankings: `[Q, N]` ids, best first.
    num_reranked: M, how long the head is.
    num_neighbors: K, see `superglobal_rerank`.
    beta: see `superglobal_rerank`.

  Returns:
    `[Q, N]` int32.
  """
  shortlists = rankings[:, :num_reranked]
  scores = _score(
    np.asarray(features.queries, np.float32),
    np.asarray(features.database, np.float32),
    shortlists,
    num_neighbors=num_neighbors,
    beta=beta,
  )
  order = np.argsort(-np.asarray(scores), axis=1, kind="stable")
  head = np.take_along_axis(shortlists, order, axis=1)
  return np.concatenate([head, rankings[:, num_reranked:]], axis=1)


@functools.partial(jax.jit, static_argnames=("num_neighbors", "beta"))
def _score(queries, database, shortlists, *, num_neighbors: int, beta: float):
  def score(arrays):
    query, shortlist = arrays
    return superglobal_rerank(query, database[shortlist], num_neighbors=num_neighbors, beta=beta)

  return jax.lax.map(score, (queries, shortlists), batch_size=_QUERIES_AT_A_TIME)
