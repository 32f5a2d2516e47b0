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
Measure = Literal["contrast", "similarity"]
Completion = Literal["one", "mean", "masked"]

# Defaults of the method: COMPLETION as in arXiv 2509.04351; the others were chosen on development
# data, since the paper leaves them open.
NUM_KNOWN = 50
NUM_QUERY_KNOWN = 3
QUERY_PAIRS: QueryPairs = "own"
MEASURE: Measure = "contrast"
POWER = 0.6
COMPLETION: Completion = "one"

# See `log_floor`: where in a list an image is unrelated, and what a similarity must exceed.
_UNRELATED, _FEWEST = 100, 8
_MARGIN, _MARGIN_BY_SPREAD = 1.75, 2.0


@flax.struct.dataclass
class KnownPairs:
  """The pairs of one problem whose similarity is known.

  Attributes:
    similarities: `[n, n]` float, symmetric, at least 0, or their contrasts; 0 where unknown.
    known: `[n, n]` bool, symmetric, False on the diagonal.
    valid: `[n]` bool, False for points that only pad the problem.
  """

  similarities: jax.Array
  known: jax.Array
  valid: jax.Array


def log_floor(similarities: ArrayLike) -> jax.Array:
  """Returns the logarithm of what similarities of a list must exceed to say something.

  The image in place 100 of a list, or a quarter down a shorter one (but in place 8 at least, or the
  last), is taken to be unrelated. With u its similarity and u' that in twice its place, it is

    log u + min(log 1.75, 2 log(u / u')).

  The second margin is the less where a kernel is so flat that even true matches are no multiple of
  u.

  Args:
    similarities: `[..., L]`, best first, at least 0, of any range; 0 pads.

  Returns:
    `[...]`; 0 of a list without similarities.
  """
  similarities = jnp.asarray(similarities)
  present = similarities > 0.0
  lengths = jnp.sum(present, axis=-1, keepdims=True)
  last = jnp.maximum(lengths - 1, 0)
  place = jnp.minimum(jnp.maximum(jnp.minimum(_UNRELATED, lengths // 4), _FEWEST), last)
  logs = jnp.log(jnp.where(present, similarities, 1.0))
  unrelated = jnp.take_along_axis(logs, place, axis=-1)
  spread = unrelated - jnp.take_along_axis(logs, jnp.minimum(2 * place, last), axis=-1)
  margin = jnp.minimum(jnp.log(jnp.asarray(_MARGIN, logs.dtype)), _MARGIN_BY_SPREAD * spread)
  return (unrelated + margin)[..., 0]


def contrast(similarities: ArrayLike, floor: ArrayLike) -> jax.Array:
  """Returns how far similarities stand above those of unrelated images: max(0, log s - floor).

  It compares lists of images that resemble everything with those of images that resemble nothing,
  and noise has none, so it does not matter how many pairs of noise are known.

  Args:
    similarities: `[..., L]`, at least 0, of any range.
    floor: `[...]`, see `log_floor`.

  Returns:
    `[..., L]`, at least 0; 0 where the similarity is.
  """
  similarities = jnp.asarray(similarities)
  present = similarities > 0.0
  logs = jnp.log(jnp.where(present, similarities, 1.0))
  return jnp.where(present, jnp.maximum(logs - jnp.asarray(floor)[..., None], 0.0), 0.0)


def known_pairs(
  candidates: ArrayLike,
  similarities: ArrayLike,
  neighbor_ids: ArrayLike,
  neighbor_similarities: ArrayLike,
  *,
  num_images: int,
  num_known: ArrayLike = NUM_KNOWN,
  num_query_known: ArrayLike = NUM_QUERY_KNOWN,
  query_pairs: QueryPairs = QUERY_PAIRS,
  measure: Measure = MEASURE,
) -> KnownPairs:
  """Collects the known pairs of a query and its candidates.

  A pair of candidates is known if either is among the other's `num_known` nearest in the shortlist,
  by the stored lists; its similarity is the mean of the stored directions. The query's pairs are
  known for its `num_query_known` best candidates (`own`) or for all (`all`), but never at
  similarity 0, which marks images that the search did not reach.

  Args:
    candidates: `[k]` int32, database images, best first, no image twice; -1 pads.
    similarities: `[k]` of the query to the candidates, best first, at least 0.
    neighbor_ids: `[k, L]` int32, the stored list of every candidate, best first; -1 pads.
    neighbor_similarities: `[k, L]` of every candidate to the images of its list, at least 0.
    num_images: N, the size of the collection that the ids belong to.
    num_known: t, how many nearest neighbours of each candidate are known, at least 0; may be
      traced.
    num_query_known: how many of the query, at least 0; may be traced.
    query_pairs: `own` or `all`.
    measure: `contrast`, every similarity is replaced by its `contrast` in its own list; or
      `similarity`, as they are. A shortlist may hold nothing unrelated, so the floor of the query
      is at most the mean of its candidates'.

  Returns:
    The `KnownPairs` of the n = k + 1 points.

  Raises:
    SettingError: `query_pairs` or `measure` is neither, or a number is below 0.
  """
  query_pairs = settings.choice("query_pairs", query_pairs, get_args(QueryPairs))
  measure = settings.choice("measure", measure, get_args(Measure))
  num_known = settings.integer("num_known", num_known, least=0)
  num_query_known = settings.integer("num_query_known", num_query_known, least=0)
  num_images = settings.integer("num_images", num_images, least=0)
  candidates, neighbor_ids = jnp.asarray(candidates), jnp.asarray(neighbor_ids)
  similarities = jnp.asarray(similarities)
  neighbor_similarities = jnp.asarray(neighbor_similarities)
  chex.assert_rank([candidates, neighbor_ids], [1, 2])
  chex.assert_equal_shape([candidates, similarities])
  chex.assert_equal_shape_prefix([candidates, neighbor_ids], 1)
  chex.assert_equal_shape([neighbor_ids, neighbor_similarities])
  size = len(candidates)
  # Padding is read and written one row past the images; that row maps to no candidate.
  table = jnp.full((num_images + 1,), size, jnp.int32)
  table = table.at[jnp.where(candidates >= 0, candidates, num_images)].set(jnp.arange(size))
  table = table.at[num_images].set(size)
  positions = table[jnp.where(neighbor_ids >= 0, neighbor_ids, num_images)]
  present = (positions < size) & (neighbor_similarities > 0.0) & (candidates >= 0)[:, None]
  near = present & (jnp.cumsum(present, axis=1) <= num_known)
  reached = (candidates >= 0) & (similarities > 0.0)
  own = reached & (jnp.cumsum(reached) <= num_query_known) if query_pairs == "own" else reached
  if measure == "contrast":
    floors = log_floor(neighbor_similarities)
    listed = (candidates >= 0) & jnp.any(neighbor_similarities > 0.0, axis=1)
    own_floor = log_floor(jnp.where(reached, similarities, 0.0))
    mean_floor = jnp.mean(floors, where=listed)
    own_floor = jnp.where(jnp.any(listed), jnp.minimum(own_floor, mean_floor), own_floor)
    similarities = contrast(similarities, own_floor)
    neighbor_similarities = contrast(neighbor_similarities, floors)

  rows = jnp.arange(size)[:, None]
  columns = jnp.where(present, positions, size)
  blank = jnp.zeros((size, size), neighbor_similarities.dtype)
  directed = blank.at[rows, columns].set(neighbor_similarities, mode="drop")
  stored = blank.at[rows, columns].set(1.0, mode="drop")
  mean = (directed + directed.T) / jnp.maximum(stored + stored.T, 1.0)
  is_near = blank.at[rows, jnp.where(near, columns, size)].set(1.0, mode="drop") > 0.0
  known = (is_near | is_near.T) & ~jnp.eye(size, dtype=bool)

  known = _border(known, own)
  border = _border(mean, similarities.astype(mean.dtype))
  return KnownPairs(
    similarities=jnp.where(known, border, 0.0),
    known=known,
    valid=jnp.append(True, candidates >= 0),
  )


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
