"""How strongly the images of a shortlist are known to be alike, before they are embedded."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from l2g_jax.embedding import dissimilarity
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.ranked import Ranked


def known_strengths(
  ids: np.ndarray, similarities: np.ndarray, lists: Ranked, config: L2GConfig
) -> np.ndarray:
  """Returns what the embedding of a query is told: s of every known pair, see `known_pairs`.

  Args:
    ids: `[C]` of the candidates, best first; -1 pads.
    similarities: `[C]` of the query to them.
    lists: `[N, L]`, the neighbours of every image.
    config: settings of the method; its k candidates are embedded.

  Returns:
    `[k + 1, k + 1]` float32, symmetric, in [0, 1]: shares of the largest; the query is the first. 0
    where a pair is unknown, or known and not alike.
  """
  size = config.choices(len(ids)).num_embedded
  ids = np.asarray(ids[:size], np.int32)
  rows = np.maximum(ids, 0)
  near = np.where(ids[:, None] >= 0, np.asarray(lists.ids[rows], np.int32), -1)
  return np.asarray(
    _strengths(
      ids,
      np.asarray(similarities[:size], np.float32),
      near,
      np.asarray(lists.similarities[rows], np.float32),
      np.int32(config.num_known),
      np.int32(config.num_query_known),
      num_images=len(lists.ids),
      query_pairs=config.query_pairs,
      measure=config.measure,
    )
  )


@functools.partial(jax.jit, static_argnames=("num_images", "query_pairs", "measure"))
def _strengths(
  ids: jax.Array,
  similarities: jax.Array,
  near: jax.Array,
  near_similarities: jax.Array,
  num_known: jax.Array,
  num_query_known: jax.Array,
  *,
  num_images: int,
  query_pairs: dissimilarity.QueryPairs,
  measure: dissimilarity.Measure,
) -> jax.Array:
  pairs = dissimilarity.known_pairs(
    ids,
    similarities,
    near,
    near_similarities,
    num_images=num_images,
    num_known=num_known,
    num_query_known=num_query_known,
    query_pairs=query_pairs,
    measure=measure,
  )
  largest = jnp.max(pairs.similarities)
  return pairs.similarities / jnp.where(largest > 0.0, largest, 1.0)
