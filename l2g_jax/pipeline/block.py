"""A block of queries on the devices: from known similarities to the order, in one compiled call."""

import functools
from typing import Generic, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from l2g_jax.pipeline.collection import Array, Tables
from l2g_jax.pipeline.config import Choices, Numbers
from l2g_jax.pipeline.embedded import embed_shortlist
from l2g_jax.ranking import rerank
from l2g_jax.ranking.certainty import match_certainty
from l2g_jax.ranking.fusion import fuse, normalize
from l2g_jax.runtime import sharding


class Queries(NamedTuple, Generic[Array]):
  """A block of queries with their C candidates; one query has no leading axis.

  Attributes:
    ids: `[block, C]` int32, best first; -1 pads.
    similarities: `[block, C]` float32, of the search.
    features: `[block, D]` float32.
  """

  ids: Array
  similarities: Array
  features: Array


@functools.partial(jax.jit, static_argnames=("mesh", "id_bound", "choices"))
def rerank_block(
  weights,
  numbers: Numbers[jax.Array],
  queries: Queries[jax.Array],
  near: Tables[jax.Array],
  *,
  mesh: Mesh,
  id_bound: int,
  choices: Choices,
):
  """Scores a block of queries: each device its share, a CPU one after another.

  Args:
    weights: `[W]`, the weights w in [0, 1].
    numbers: of the method's configuration; on every device, as the weights are.
    queries: `[block]`, split over the devices.
    near: the lists and features of their candidates, see `Collection.tables_of`.
    mesh: the devices.
    id_bound: above all ids; sizes a table of a query's own.
    choices: of the configuration.

  Returns:
    Scores `[block, W, C]`, the columns of the candidates in their new order `[block, W, C]`, and
    the diagnostics `[block]`.
  """

  def rerank_share(whole, share):
    weights, numbers = whole

    def rerank_one(query_and_near):
      query, near = query_and_near
      return _rerank_query(weights, numbers, query, near, id_bound=id_bound, choices=choices)

    return jax.lax.platform_dependent(
      share, cpu=functools.partial(jax.lax.map, rerank_one), default=jax.vmap(rerank_one)
    )

  return sharding.map_shares(rerank_share, mesh)((weights, numbers), (queries, near))


def _rerank_query(
  weights,
  numbers: Numbers[jax.Array],
  query: Queries[jax.Array],
  near: Tables[jax.Array],
  *,
  id_bound: int,
  choices: Choices,
):
  """Scores and orders one query's candidates for every weight `[W]`: `[W, C]`; diagnostics."""
  size, head = choices.num_embedded, choices.num_reranked
  candidates, similarities = query.ids, query.similarities
  pairs, embedded = embed_shortlist(
    numbers,
    candidates[:size],
    similarities[:size],
    (jnp.where(candidates[:size, None] >= 0, near.list_ids, -1), near.list_similarities),
    num_dimensions=choices.num_dimensions,
    id_bound=id_bound,
    choices=choices,
  )
  # A candidate that is not embedded has a zero block.
  embedding = jnp.pad(embedded.embedding, ((0, len(candidates) - size), (0, 0)))
  global_features = jnp.concatenate([query.features[None], near.features])
  blocks: rerank.Blocks = (("max", choices.num_dimensions),)
  if choices.fusion == "concat":
    blocks = (("mean", choices.num_dimensions), ("max", global_features.shape[1]))

  certainty = match_certainty(similarities, ratio=numbers.certainty_ratio, background_size=size)[
    :head
  ]
  valid = candidates[:head] >= 0

  def score(weight):
    fused = fuse(embedding, global_features, weight=weight, fusion=choices.fusion)
    if choices.fusion == "sum":
      fused = normalize(fused)
    shortlist = fused[1 : head + 1]
    # Of one that has no global feature either, or one of no weight, nothing is known.
    described = (jnp.arange(head) < size) | jnp.any(shortlist != 0.0, axis=1)
    # A point that lacks one of its vectors has a norm below 1, and its similarities are meant so.
    return certainty + rerank.score_vectors(
      fused[0],
      shortlist,
      mask=valid & described,
      num_neighbors=choices.num_neighbors,
      beta=numbers.beta,
      expansion=blocks,
    )

  num_known = jnp.sum(pairs.similarities > 0.0) // 2
  # Where no pair is similar an embedding tells no images apart: the order of the search stands.
  scores = jnp.where(num_known > 0, jax.lax.map(score, weights), similarities[:head])
  # The tail has no scores, and what is masked -inf. A stable sort keeps the order of ties, and
  # with it that of the search among these, whose keys are equal.
  scores = jnp.pad(scores, ((0, 0), (0, len(candidates) - head)), constant_values=-jnp.inf)
  keys = -scores
  return (
    jnp.where(jnp.isfinite(scores), scores, similarities),
    jnp.argsort(keys, axis=1, stable=True).astype(jnp.int32),
    num_known,
    embedded.normalized_stress,
    embedded.num_iterations,
    embedded.converged,
  )
