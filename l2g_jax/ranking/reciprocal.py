"""Re-ranking by k-reciprocal neighbours.

Source: Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from l2g_jax import settings
from l2g_jax.ranked import Ranked, complete_rankings
from l2g_jax.ranking import graph
from l2g_jax.ranking.blocks import blocks
from l2g_jax.ranking.global_features import (
  GlobalFeatures,
  check_global_shapes,
  check_rankings,
  unit_rows,
)

# As published.
K1 = 20
K2 = 6
WEIGHT = 0.3

_STEP = 32


def reciprocal_scores(
  similarities: ArrayLike,
  *,
  mask: ArrayLike | None = None,
  k1: ArrayLike = K1,
  k2: ArrayLike = K2,
  weight: ArrayLike = WEIGHT,
  num_ordered: int | None = None,
) -> jax.Array:
  """Scores the candidates of one query by the neighbours that they share with it.

  Distances are d = 1 - s. N(p, k) holds point p and the k others nearest to it; ties go to the
  smaller index, and points of similarity 0, which is unknown, are never neighbours. R(p, k) holds
  those g of N(p, k) with p in N(g, k). R(p, k1) is joined by R(g, k1/2) for each g in R(p, k1)
  where at least two thirds of R(g, k1/2) lie in R(p, k1); k1/2 is rounded up. The vector of p has
  exp(-d(p, g)) for g in the joined set and 0 elsewhere. It is averaged over those of p and of the
  k2 - 1 points nearest to it. Candidates are ordered by (1 - weight) d_J + weight d, with d_J the
  Jaccard distance of their vector to the query's, one minus the sum of minima over that of maxima.

  Args:
    similarities: `[n, n]` in [0, 1], of the query, which is point 0, and n - 1 candidates; row p
      orders the neighbours of p. The diagonal does not matter.
    mask: `[n]` bool, False = padding; None = all are valid.
    k1: at least 1; may be traced, as the numbers below.
    k2: at least 1; 1 averages nothing.
    weight: lambda in [0, 1]; 1 leaves the order of the similarities.
    num_ordered: how many neighbours of each point are put in order, more than k1 and at least k2;
      None = all, which takes longer.

  Returns:
    One minus the distances, `[n - 1]` in [0, 1]; -inf where masked.

  Raises:
    SettingError: a number is outside its range.
  """
  similarities = jnp.asarray(similarities)
  chex.assert_rank(similarities, 2)
  chex.assert_shape(similarities, (len(similarities), len(similarities)))
  k1 = jnp.asarray(settings.integer("k1", k1, least=1))
  k2 = jnp.asarray(settings.integer("k2", k2, least=1))
  weight = jnp.asarray(settings.real("weight", weight, least=0.0, most=1.0), similarities.dtype)
  size = len(similarities)
  num_ordered = size if num_ordered is None else min(num_ordered, size)
  valid = jnp.ones(size, bool) if mask is None else jnp.asarray(mask)
  known = jnp.where(valid[:, None] & valid[None, :], similarities, 0.0)
  # 2 exceeds all similarities: a point is its own first neighbour, even among equals.
  known = jnp.where(jnp.eye(size, dtype=bool), 2.0, known)
  _, nearest = jax.lax.top_k(known, num_ordered)
  places = jnp.full((size, size), size, jnp.int32)
  places = places.at[jnp.arange(size)[:, None], nearest].set(
    jnp.arange(num_ordered, dtype=jnp.int32)[None, :]
  )

  def reciprocal(count):
    near = (known > 0.0) & (places <= count)
    return near & near.T

  def as_numbers(sets):
    return sets.astype(known.dtype)

  wide, narrow = reciprocal(k1), reciprocal(k1 - k1 // 2)
  shared = jnp.matmul(as_numbers(wide), as_numbers(narrow).T, precision="highest")
  sizes = jnp.sum(as_numbers(narrow), axis=1)
  joining = wide & (3.0 * shared >= 2.0 * sizes[None, :])
  joined = jnp.matmul(as_numbers(joining), as_numbers(narrow), precision="highest") > 0.0
  vectors = jnp.where(wide | joined, jnp.exp(jnp.minimum(known, 1.0) - 1.0), 0.0)
  averaged = as_numbers((known > 0.0) & (places < k2))
  vectors = jnp.matmul(averaged, vectors, precision="highest")
  vectors = vectors / jnp.sum(averaged, axis=1, keepdims=True)
  smaller = jnp.sum(jnp.minimum(vectors[:1], vectors[1:]), axis=1)
  larger = jnp.sum(jnp.maximum(vectors[:1], vectors[1:]), axis=1)
  scores = (1.0 - weight) * smaller / larger + weight * known[0, 1:]
  return jnp.where(valid[1:], scores, -jnp.inf)


def rank_by_reciprocal(
  candidates: Ranked,
  lists: Ranked,
  *,
  num_reranked: int | None = None,
  k1: int = K1,
  k2: int = K2,
  weight: float = WEIGHT,
  scale: float | None = None,
) -> np.ndarray:
  """Re-ranks candidates by `reciprocal_scores`, from similarities that are already known.

  The similarity of two candidates is the mean of the directions that their lists hold, 0 if none.

  Args:
    candidates: `[Q, k]`, what the search found, best first; no image twice, -1 pads.
    lists: `[N, L]`, the nearest images of every image, itself left out.
    num_reranked: how many candidates, the first, are re-ranked, at least 1; None = all.
    k1: see `reciprocal_scores`.
    k2: see `reciprocal_scores`.
    weight: see `reciprocal_scores`.
    scale: the similarity that counts as 1; None = `unit_scale`.

  Returns:
    Rankings `[Q, N]` int32, permutations: the re-ranked ones, ties in the order of the search; then
    the other candidates in that order; then the rest by id.

  Raises:
    InputError: see `check_graph`; or a number is outside of its range.
  """
  graph.check_graph(candidates, lists)
  scale = graph.chosen_scale(scale, lists)
  (num_queries, k), (num_images, length) = candidates.ids.shape, lists.ids.shape
  head = _head(k, num_reranked)
  numbers, num_ordered = _checked(k1, k2, weight)
  order = np.tile(np.arange(k), (num_queries, 1))
  for rows, padded in blocks(num_queries, graph.block_size(head * (length + head))):
    found = graph.in_units(candidates, padded, head, scale)
    near = graph.in_units(lists, found.ids, length, scale)
    scores = _score_lists(
      tuple(found), tuple(near), numbers, num_images=num_images, num_ordered=num_ordered
    )
    order[rows, :head] = np.argsort(-np.asarray(scores), axis=1, kind="stable")[: len(rows)]
  return complete_rankings(candidates.ids, order, num_images)


def rerank_global_by_reciprocal(
  features: GlobalFeatures,
  rankings: np.ndarray,
  *,
  num_reranked: int | None = None,
  k1: int = K1,
  k2: int = K2,
  weight: float = WEIGHT,
) -> np.ndarray:
  """Re-ranks the head of rankings by `reciprocal_scores` of the cosines of global features.

  Args:
    features: of Q queries and N images; of the database the rows of the heads are read. A cosine
      below 0 counts as 0.
    rankings: `[Q, k]` ids, best first.
    num_reranked: how long the head is, at least 1; None = k.
    k1: see `reciprocal_scores`.
    k2: see `reciprocal_scores`.
    weight: see `reciprocal_scores`.

  Returns:
    `[Q, k]` int32; ties keep their order.

  Raises:
    InputError: shapes that do not fit, an id out of range, a value that is not finite, or a number
      outside of its range.
  """
  check_global_shapes(features.queries.shape, features.database.shape)
  rankings = np.asarray(rankings)
  check_rankings(rankings, len(features.queries), len(features.database))
  head = _head(rankings.shape[1], num_reranked)
  numbers, num_ordered = _checked(k1, k2, weight)
  reranked = rankings.astype(np.int32)
  dimension = features.queries.shape[1]
  for rows, padded in blocks(len(rankings), graph.block_size(head * (dimension + head))):
    heads = reranked[padded, :head]
    scores = _score_features(
      unit_rows(features.queries[padded]),
      unit_rows(features.database[heads.ravel()]).reshape(*heads.shape, -1),
      numbers,
      num_ordered=num_ordered,
    )
    order = np.argsort(-np.asarray(scores), axis=1, kind="stable")
    reranked[rows, :head] = np.take_along_axis(heads, order, axis=1)[: len(rows)]
  return reranked


def _head(k: int, num_reranked: int | None) -> int:
  return (
    k if num_reranked is None else min(k, settings.integer("num_reranked", num_reranked, least=1))
  )


def _checked(k1: int, k2: int, weight: float):
  """Returns the numbers of `reciprocal_scores` for the device, and how many are put in order."""
  k1 = settings.integer("k1", k1, least=1)
  k2 = settings.integer("k2", k2, least=1)
  weight = settings.real("weight", weight, least=0.0, most=1.0)
  # Rounded up, so that few numbers are compiled for.
  num_ordered = -(-max(k1 + 1, k2) // _STEP) * _STEP
  return (np.int32(k1), np.int32(k2), np.float32(weight)), num_ordered


@functools.partial(jax.jit, static_argnames=("num_images", "num_ordered"))
def _score_lists(found, near, numbers, *, num_images: int, num_ordered: int):
  def score(query):
    (ids, similarities), (near_ids, near_similarities) = query
    known = graph.known_similarities(
      ids, similarities, near_ids, near_similarities, num_images=num_images
    )
    return _score(known, jnp.append(True, ids >= 0), numbers, num_ordered)

  # All at once would take the memory of as many matrices.
  return jax.lax.map(score, (found, near))


@functools.partial(jax.jit, static_argnames="num_ordered")
def _score_features(queries, heads, numbers, *, num_ordered: int):
  def score(query):
    points = jnp.concatenate([query[0][None], query[1]])
    cosines = jnp.matmul(points, points.T, precision="highest")
    return _score(jnp.clip(cosines, 0.0, 1.0), None, numbers, num_ordered)

  return jax.lax.map(score, (queries, heads))


def _score(similarities, mask, numbers, num_ordered: int):
  k1, k2, weight = numbers
  return reciprocal_scores(
    similarities, mask=mask, k1=k1, k2=k2, weight=weight, num_ordered=num_ordered
  )
