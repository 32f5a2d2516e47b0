"""Query expansion and database augmentation, of global features or of similarities alone.

Sources: Radenovic et al., Fine-tuning CNN Image Retrieval with No Human Annotation, TPAMI 2019
(alpha query expansion); Arandjelovic and Zisserman, Three things everyone should know to improve
object retrieval, CVPR 2012 (augmentation of the database).
"""

import jax
import jax.numpy as jnp
import numpy as np

from l2g_jax import settings
from l2g_jax.ranked import Ranked, check_ranked
from l2g_jax.ranking import graph
from l2g_jax.ranking.blocks import blocks
from l2g_jax.ranking.fusion import normalize
from l2g_jax.ranking.global_features import (
  GlobalFeatures,
  check_global_shapes,
  check_rankings,
  unit_rows,
)

# Alpha as published; the number of neighbours, a usual one, depends on the collection.
NUM_NEIGHBORS = 10
ALPHA = 3.0


def expand_queries(
  features: GlobalFeatures,
  rankings: np.ndarray,
  *,
  num_neighbors: int = NUM_NEIGHBORS,
  alpha: float = ALPHA,
) -> np.ndarray:
  """Averages each query and its best images, weighted by cos^alpha; the query's weight is 1.

  Args:
    features: of Q queries and N images; of the database the rows of the best images are read.
    rankings: `[Q, k]` ids, best first.
    num_neighbors: n, how many images, the first, are averaged, at least 0.
    alpha: at least 0; 0 weighs all images of a cosine above 0 alike. Others never count.

  Returns:
    Expanded queries `[Q, D]` float32 of unit norm, for `rank_by_global`; a zero row stays zero.

  Raises:
    InputError: shapes that do not fit, an id out of range, a value that is not finite, or a number
      outside of its range.
  """
  check_global_shapes(features.queries.shape, features.database.shape)
  rankings = np.asarray(rankings)
  check_rankings(rankings, len(features.queries), len(features.database))
  return _average(features.queries, features.database, rankings, num_neighbors, alpha)


def augment_database(
  database: np.ndarray,
  neighbors: Ranked,
  *,
  num_neighbors: int = NUM_NEIGHBORS,
  alpha: float = ALPHA,
) -> np.ndarray:
  """Averages each image and its nearest ones, weighted as by `expand_queries`.

  Args:
    database: `[N, D]` floating; may be memory-mapped.
    neighbors: `[N, L]`, of `neighbors_by_global`. Weights are of the cosines of the database, so
      lists by other features only say whom to average.
    num_neighbors: see `expand_queries`.
    alpha: see `expand_queries`.

  Returns:
    The augmented database `[N, D]` float32 of unit norm; a zero row stays zero.

  Raises:
    InputError: see `expand_queries`.
  """
  check_global_shapes(database.shape, database.shape)
  check_ranked("neighbour lists", neighbors, len(database), len(database))
  return _average(database, database, neighbors.ids, num_neighbors, alpha)


def expand_similarities(
  candidates: Ranked,
  lists: Ranked,
  *,
  num_neighbors: int = NUM_NEIGHBORS,
  num_augmented: int = 0,
  alpha: float = ALPHA,
  scale: float | None = None,
) -> np.ndarray:
  """Expands queries, and augments the database, where only similarities are known.

  They are what inner products with averages would be. With s(q, j) of the search, s(j, i) of the
  list of j, which is 1 for j itself and 0 where unknown, and j the n best candidates of query q,

    e(q, i) = (s(q, i) + sum_j s(q, j)^alpha s(j, i)) / (1 + sum_j s(q, j)^alpha).

  The database is augmented alike, j being the nearest in the list of i:

    (e(q, i) + sum_j s(i, j)^alpha e(q, j)) / (1 + sum_j s(i, j)^alpha).

  Args:
    candidates: `[Q, k]`, what the search found, best first; no image twice, -1 pads.
    lists: `[N, L]`, the nearest images of every image, itself left out.
    num_neighbors: n, at least 0; 0 expands no query.
    num_augmented: how many of each list the database is augmented by, at least 0; 0 = not at all.
    alpha: at least 0, see `expand_queries`.
    scale: the similarity that counts as 1; None = `unit_scale`.

  Returns:
    Scores `[Q, N]` float32 in [0, 1], for `rank_by_scores`.

  Raises:
    InputError: see `check_graph`; or a number is outside of its range.
  """
  num_neighbors = settings.integer("num_neighbors", num_neighbors, least=0)
  num_augmented = settings.integer("num_augmented", num_augmented, least=0)
  alpha = settings.real("alpha", alpha, least=0.0)
  graph.check_graph(candidates, lists)
  scale = graph.chosen_scale(scale, lists)
  (num_queries, k), (num_images, length) = candidates.ids.shape, lists.ids.shape
  augmenting = [jnp.asarray(a) for a in graph.in_units(lists, slice(None), num_augmented, scale)]
  scores = np.empty((num_queries, num_images), np.float32)
  size = graph.block_size(max(num_images, min(k, num_neighbors) * length))
  for rows, padded in blocks(num_queries, size):
    found = graph.in_units(candidates, padded, k, scale)
    near = graph.in_units(lists, found.ids[:, :num_neighbors], length, scale)
    block = _expand(tuple(found), tuple(near), augmenting, np.float32(alpha))
    scores[rows] = np.asarray(block)[: len(rows)]
  return scores


def _average(
  rows: np.ndarray, database: np.ndarray, ids: np.ndarray, num_neighbors: int, alpha: float
) -> np.ndarray:
  num_neighbors = settings.integer("num_neighbors", num_neighbors, least=0)
  alpha = settings.real("alpha", alpha, least=0.0)
  ids = ids[:, :num_neighbors]
  averages = np.empty(rows.shape, np.float32)
  size = graph.block_size((ids.shape[1] + 1) * rows.shape[1])
  for block, padded in blocks(len(rows), size):
    near = np.asarray(ids[padded])
    vectors = unit_rows(database[np.maximum(near, 0).ravel()]).reshape(*near.shape, rows.shape[1])
    average = _weigh(unit_rows(rows[padded]), vectors, near >= 0, np.float32(alpha))
    averages[block] = np.asarray(average)[: len(block)]
  return averages


@jax.jit
def _weigh(rows, vectors, valid, alpha):
  cosines = jnp.einsum("bd,bnd->bn", rows, vectors, precision="highest")
  weights = graph.power(jnp.where(valid, cosines, 0.0), alpha)
  return normalize(rows + jnp.einsum("bn,bnd->bd", weights, vectors, precision="highest"))


@jax.jit
def _expand(found, near, augmenting, alpha):
  """Scores all images for a block of queries, from `[b, k]`, `[b, n, L]` and `[N, m]`."""
  num_images = len(augmenting[0])

  def expand(found, near):
    (ids, similarities), (near_ids, near_similarities) = found, near
    count = len(near_ids)
    weights = graph.power(similarities[:count], alpha)
    # An image stands in its own list, with similarity 1.
    near_ids = jnp.concatenate([ids[:count, None], near_ids], axis=1)
    near_similarities = jnp.pad(near_similarities, ((0, 0), (1, 0)), constant_values=1.0)
    scores = jnp.zeros(num_images, similarities.dtype)
    scores = graph.add_lists(scores, ids[None], similarities[None], jnp.ones(1, weights.dtype))
    scores = graph.add_lists(scores, near_ids, near_similarities, weights)
    return scores / (1.0 + jnp.sum(weights))

  scores = jax.vmap(expand)(found, near)
  list_ids, list_similarities = augmenting
  weights = graph.power(list_similarities, alpha)

  def add(total, column):
    ids, weights = column
    return total + weights[None, :] * scores[:, ids], None

  total, _ = jax.lax.scan(add, scores, (list_ids.T, weights.T))
  return total / (1.0 + jnp.sum(weights, axis=1))[None, :]
