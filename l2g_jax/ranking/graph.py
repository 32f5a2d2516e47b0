"""Stored neighbour lists as a graph of images, for methods that rank by neighbours of neighbours.

Such methods weigh a similarity against that of an image to itself, which is 1. Similarities of
local features have no such unit: their largest may be 0.3, or many multiples of a background. The
rule for all methods is `unit_scale`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from l2g_jax import settings
from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked, check_ranked
from l2g_jax.runtime.arrays import row_parts

# Values of a block of queries on the device, a few megabytes.
_VALUES_AT_A_TIME = 1 << 22
_MOST_QUERIES = 64


def check_graph(candidates: Ranked, lists: Ranked) -> None:
  """Refuses candidates and neighbour lists that can't be used together.

  Args:
    candidates: `[Q, k]`, what a search found for the queries.
    lists: `[N, L]`, of the N images.

  Raises:
    InputError: one of them is empty, shapes do not fit, ids are not integers or out of range, a
      similarity is below 0 or not finite, or a query has a candidate twice.
  """
  check_lists(lists)
  check_ranked("candidates", candidates, len(candidates.ids), len(lists.ids))
  if not candidates.ids.size:
    raise InputError("There are no candidates: a graph needs at least one, of one query.")
  ordered = np.sort(candidates.ids, axis=1)
  if np.any((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)):
    raise InputError("The candidates of a query hold an image twice.")


def check_lists(lists: Ranked) -> None:
  """Refuses neighbour lists that are not `[N, L]` of N images, or empty; raises InputError."""
  check_ranked("neighbour lists", lists, len(lists.ids), len(lists.ids))
  if not lists.ids.size:
    raise InputError("There are no neighbour lists: a graph needs one image and one neighbour.")


def unit_scale(lists: Ranked) -> float:
  """Returns the similarity that counts as 1: the largest of all neighbour lists.

  It depends on the collection alone, so that a query's result does not depend on other queries.
  Cosines have a unit of their own: give a scale of 1 for them.

  Args:
    lists: `[N, L]`, similarities at least 0.

  Returns:
    The scale, above 0; 1 if all similarities are 0.
  """
  similarities = lists.similarities
  parts = (similarities[part] for part in row_parts(similarities.shape))
  return max((float(np.max(part, initial=0.0)) for part in parts), default=0.0) or 1.0


def chosen_scale(scale: float | None, lists: Ranked) -> float:
  """Returns a scale that was given, or that of the lists on None; SettingError if not above 0."""
  return unit_scale(lists) if scale is None else settings.real("scale", scale, above=0.0)


def in_units(ranked: Ranked, rows: slice | np.ndarray, count: int, scale: float) -> Ranked:
  """Takes the heads of some lists, with similarities in units of a scale.

  Args:
    ranked: `[N, L]`; may be memory-mapped.
    rows: of the lists, a slice or `[...]` integer; a negative one stands for an empty list.
    count: how many of each list, the first.
    scale: the similarity that counts as 1, above 0; larger ones count as 1 too.

  Returns:
    `[..., min(count, L)]`: ids int32; similarities float32 in [0, 1], 0 where the id is -1.
  """
  ids, similarities = (np.asarray(array[rows, :count]) for array in ranked)
  if not isinstance(rows, slice):
    ids = np.where(rows[..., None] >= 0, ids, -1)
  units = np.minimum(similarities.astype(np.float32), scale) / scale
  return Ranked(ids.astype(np.int32), np.where(ids >= 0, units, np.float32(0.0)))


def block_size(values_per_query: int) -> int:
  """Returns how many queries fit a block, from 1 to 64."""
  return min(_MOST_QUERIES, max(1, _VALUES_AT_A_TIME // max(1, values_per_query)))


def power(similarities: jax.Array, exponent: jax.Array) -> jax.Array:
  """Returns similarities to a power of at least 0; 0 stays 0 under the power 0 too."""
  positive = similarities > 0.0
  return jnp.where(positive, jnp.where(positive, similarities, 1.0) ** exponent, 0.0)


def add_lists(scores: jax.Array, ids: jax.Array, values: jax.Array, weights: jax.Array):
  """Adds weighted lists to the scores of all images.

  The lists are added one after another, since a device may add in any order what is added at once.

  Args:
    scores: `[N]`.
    ids: `[w, L]` int32, no image twice in a list; -1 pads.
    values: `[w, L]` of the images of each list.
    weights: `[w]` of the lists.

  Returns:
    `[N]`.
  """

  def add(scores, row):
    ids, values, weight = row
    columns = jnp.where(ids >= 0, ids, len(scores))
    return scores.at[columns].add(weight * values, mode="drop"), None

  return jax.lax.scan(add, scores, (ids, values, weights))[0]


def known_similarities(
  ids: jax.Array,
  similarities: jax.Array,
  near_ids: jax.Array,
  near_similarities: jax.Array,
  *,
  num_images: int,
) -> jax.Array:
  """Collects what is known of the pairs of a query, which is point 0, and its candidates.

  The similarity of two candidates is the mean of the directions that their lists hold.

  Args:
    ids: `[k]` int32 of the candidates, no image twice; -1 pads.
    similarities: `[k]` of the query to them, 0 pads.
    near_ids: `[k, L]`, the neighbour list of each candidate.
    near_similarities: `[k, L]` likewise.
    num_images: N, the size of the collection.

  Returns:
    `[k + 1, k + 1]`, symmetric, 0 where nothing is known and on the diagonal.
  """
  size = len(ids)
  # What lies past the end, padding and images that are no candidates, is dropped.
  table = jnp.full(num_images, size, jnp.int32)
  table = table.at[jnp.where(ids >= 0, ids, num_images)].set(
    jnp.arange(size, dtype=jnp.int32), mode="drop"
  )
  columns = jnp.where(near_ids >= 0, table[near_ids], size)
  rows = jnp.arange(size)[:, None]
  directed = jnp.zeros((size, size), similarities.dtype)
  directed = directed.at[rows, columns].set(near_similarities, mode="drop")
  twice = (directed > 0.0) & (directed.T > 0.0)
  mean = (directed + directed.T) / jnp.where(twice, 2.0, 1.0)
  matrix = jnp.pad(mean, ((1, 0), (1, 0)))
  return matrix.at[0, 1:].set(similarities).at[1:, 0].set(similarities)


def rank_by_scores(candidates: Ranked, scores: np.ndarray) -> np.ndarray:
  """Ranks a collection by the scores of all images.

  Args:
    candidates: `[Q, k]`, what the search found, best first; -1 pads.
    scores: `[Q, N]`, of `expand_similarities`, `diffuse` or `diffuse_by_columns`.

  Returns:
    Rankings `[Q, N]` int32, permutations: images of a score above 0 by score, ties by the smaller
    id; then the other candidates in the order of the search; then the rest by id.

  Raises:
    InputError: shapes that do not fit, an id out of range, or a score that is not finite.
  """
  scores = np.asarray(scores)
  if scores.ndim != 2 or not np.all(np.isfinite(scores)):
    raise InputError(f"Scores must be [Q, N] finite numbers, not of shape {list(scores.shape)}.")
  num_queries, num_images = scores.shape
  check_ranked("candidates", candidates, num_queries, num_images)
  rankings = np.empty(scores.shape, np.int32)
  for row, values in enumerate(scores):
    found = candidates.ids[row][candidates.ids[row] >= 0]
    places = np.full(num_images, len(found))
    places[found] = np.arange(len(found))
    scored = values > 0.0
    keys = np.where(scored, -values, 0.0)
    rankings[row] = np.lexsort((np.where(scored, 0, places), keys))
  return rankings
