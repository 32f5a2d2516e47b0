"""Dissimilarities of a query and its shortlist, from similarities that are already known.

A problem has n = k + 1 points: the query is point 0, candidate c is point c + 1. No images are
matched here: every similarity comes from the search or from neighbour lists made offline
(arXiv 2509.04351, sparse dissimilarities).
"""

from typing import Literal, get_args

import chex
import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from l2g_jax import settings

QueryPairs = Literal["own", "all"]
Completion = Literal["one", "mean", "masked"]

# Defaults of the method: COMPLETION as in arXiv 2509.04351; the others were chosen on development
# data, since the paper leaves them open.
NUM_KNOWN = 15
MOST_KNOWN = 50
NUM_QUERY_KNOWN = 3
QUERY_PAIRS: QueryPairs = "own"
POWER = 0.3
COMPLETION: Completion = "one"

# A list has not fallen off yet where a similarity is so many times that of an image which has
# nothing to do with the list: the one in this place, or a quarter down a shorter list.
_FALL = 2.5
_UNRELATED = 100


@flax.struct.dataclass
class KnownPairs:
  """The pairs of one problem whose similarity is known.

  Attributes:
    similarities: `[n, n]` float, symmetric, at least 0; 0 where unknown.
    known: `[n, n]` bool, symmetric, False on the diagonal.
    valid: `[n]` bool, False for points that only pad the problem.
  """

  similarities: jax.Array
  known: jax.Array
  valid: jax.Array


def known_pairs(
  candidates: ArrayLike,
  similarities: ArrayLike,
  neighbor_ids: ArrayLike,
  neighbor_similarities: ArrayLike,
  *,
  num_images: int,
  num_known: ArrayLike = NUM_KNOWN,
  most_known: ArrayLike = MOST_KNOWN,
  num_query_known: ArrayLike = NUM_QUERY_KNOWN,
  query_pairs: QueryPairs = QUERY_PAIRS,
) -> KnownPairs:
  """Collects the known pairs of a query and its candidates.

  A pair of candidates is known if either is among the other's `num_known` nearest in the shortlist,
  by the stored lists, or among its `most_known` nearest and far more similar than images that have
  nothing to do with it; its similarity is the mean of the stored directions. The query's pairs are
  known for its `num_query_known` best candidates (`own`) or for all (`all`), but never at
  similarity 0, which marks images that the search did not reach.

  Args:
    candidates: `[k]` int32, database images, best first, no image twice; -1 pads.
    similarities: `[k]` of the query to the candidates, at least 0.
    neighbor_ids: `[k, L]` int32, the stored list of every candidate, best first; -1 pads.
    neighbor_similarities: `[k, L]` of every candidate to the images of its list, at least 0.
    num_images: N, the size of the collection that the ids belong to.
    num_known: t, how many nearest neighbours of each candidate are known, at least 0; may be
      traced.
    most_known: how many may be known, at least 0: those beyond t whose similarity is 2.5 times that
      of the image in place 100 of the list, or a quarter down a shorter one; may be traced.
    num_query_known: how many of the query, at least 0; may be traced.
    query_pairs: `own` or `all`.

  Returns:
    The `KnownPairs` of the n = k + 1 points.

  Raises:
    SettingError: `query_pairs` is neither, or a number is below 0.
  """
  query_pairs = settings.choice("query_pairs", query_pairs, get_args(QueryPairs))
  num_known = settings.integer("num_known", num_known, least=0)
  most_known = settings.integer("most_known", most_known, least=0)
  num_query_known = settings.integer("num_query_known", num_query_known, least=0)
  num_images = settings.integer("num_images", num_images, least=0)
  candidates, neighbor_ids = jnp.asarray(candidates), jnp.asarray(neighbor_ids)
  similarities = jnp.asarray(similarities)
  neighbor_similarities = jnp.asarray(neighbor_similarities)
  chex.assert_rank([candidates, neighbor_ids], [1, 2])
  chex.assert_equal_shape([candidates, similarities])
  chex.assert_equal_shape([neighbor_ids, neighbor_similarities])
  size = len(candidates)
  # Padding is read and written one row past the images; that row maps to no candidate.
  table = jnp.full((num_images + 1,), size, jnp.int32)
  table = table.at[jnp.where(candidates >= 0, candidates, num_images)].set(jnp.arange(size))
  table = table.at[num_images].set(size)
  positions = table[jnp.where(neighbor_ids >= 0, neighbor_ids, num_images)]
  present = (positions < size) & (neighbor_similarities > 0.0) & (candidates >= 0)[:, None]
  order = jnp.cumsum(present, axis=1)
  stands_out = neighbor_similarities >= _FALL * _unrelated(neighbor_similarities)
  near = present & ((order <= num_known) | ((order <= most_known) & stands_out))

  rows = jnp.arange(size)[:, None]
  columns = jnp.where(present, positions, size)
  blank = jnp.zeros((size, size), neighbor_similarities.dtype)
  directed = blank.at[rows, columns].set(neighbor_similarities, mode="drop")
  is_near = blank.at[rows, jnp.where(near, columns, size)].set(1.0, mode="drop") > 0.0
  stored = (directed > 0.0).astype(directed.dtype)
  mean = (directed + directed.T) / jnp.maximum(stored + stored.T, 1.0)
  known = (is_near | is_near.T) & ~jnp.eye(size, dtype=bool)

  reached = (candidates >= 0) & (similarities > 0.0)
  own = reached & (jnp.cumsum(reached) <= num_query_known) if query_pairs == "own" else reached
  known = _border(known, own)
  border = _border(mean, similarities.astype(mean.dtype))
  return KnownPairs(
    similarities=jnp.where(known, border, 0.0),
    known=known,
    valid=jnp.append(True, candidates >= 0),
  )


def _unrelated(similarities: jax.Array) -> jax.Array:
  """Returns the similarity `[k, 1]` of an image that has nothing to do with a list `[k, L]`."""
  lengths = jnp.sum(similarities > 0.0, axis=1, keepdims=True)
  places = jnp.minimum(_UNRELATED, lengths // 4)
  return jnp.take_along_axis(similarities, places, axis=1)


def _border(matrix: jax.Array, vector: jax.Array) -> jax.Array:
  """Puts a symmetric first row and column around `[k, k]`, with 0 or False in the corner."""
  matrix = jnp.pad(matrix, ((1, 0), (1, 0)))
  return matrix.at[0, 1:].set(vector).at[1:, 0].set(vector)


def dissimilarities(
  pairs: KnownPairs, *, power: ArrayLike = POWER, completion: Completion = COMPLETION
) -> tuple[jax.Array, jax.Array]:
  """Turns known similarities into dissimilarities and weights for SMACOF.

  Similarities s are divided by the largest known one and clipped to [0, 1]; then D = 1 - s^power.
  Unknown pairs get D = 1 (`one`, arXiv 2509.04351), the mean D of the known pairs (`mean`), or
  weight 0 (`masked`).

  Args:
    pairs: the known pairs of n points.
    power: p, above 0; may be traced.
    completion: `one`, `mean` or `masked`.

  Returns:
    Dissimilarities `[n, n]` in [0, 1] with a zero diagonal, and weights `[n, n]`, 0 or 1.

  Raises:
    SettingError: the completion is unknown, or the power is not above 0.
  """
  completion = settings.choice("completion", completion, get_args(Completion))
  power = settings.real("power", power, above=0.0)
  known = pairs.known
  largest = jnp.max(pairs.similarities)
  unit = jnp.clip(pairs.similarities / jnp.where(largest > 0.0, largest, 1.0), 0.0, 1.0)
  values = 1.0 - unit ** jnp.asarray(power, unit.dtype)
  missing = 1.0
  if completion == "mean":
    count = jnp.sum(known, dtype=values.dtype)
    mean = jnp.sum(jnp.where(known, values, 0.0)) / jnp.maximum(count, 1.0)
    missing = jnp.where(count > 0.0, mean, 1.0)
  off_diagonal = ~jnp.eye(len(values), dtype=bool)
  real = pairs.valid[:, None] & pairs.valid[None, :] & off_diagonal
  weights = real & known if completion == "masked" else real
  filled = jnp.where(known, values, missing)
  return jnp.where(off_diagonal, filled, 0.0), weights.astype(values.dtype)
