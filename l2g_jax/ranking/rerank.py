"""SuperGlobal's re-ranking of a shortlist.

Source: Shao et al., Global Features are All You Need for Image Retrieval and Reranking, ICCV 2023.
"""

from typing import Literal, get_args

import chex
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from l2g_jax import settings
from l2g_jax.errors import InputError
from l2g_jax.ranking.fusion import normalize

Expansion = Literal["max", "mean"]
Blocks = tuple[tuple[Expansion, int], ...]

# As published, for global features. Fused vectors have values of their own, in `L2GConfig`.
NUM_RERANKED = 400
NUM_NEIGHBORS = 9
BETA = 0.15


def superglobal_rerank(
  query: ArrayLike,
  features: ArrayLike,
  *,
  mask: ArrayLike | None = None,
  num_neighbors: int = NUM_NEIGHBORS,
  beta: ArrayLike = BETA,
  expansion: Expansion | Blocks = "max",
) -> jax.Array:
  """Scores a shortlist by refined features and an expanded query.

  All vectors are normalised first. A refined feature is the average of a feature, of weight 1, and
  its `num_neighbors` nearest in the shortlist, of weight `beta` times their similarity, or 0 where
  that is negative. The best refined features expand the query. The score is the mean of a refined
  feature's similarities to the query and to the expanded query. A feature of norm zero scores 0.

  Args:
    query: `[D]`, of any norm.
    features: `[M, D]`, of any norm, in shortlist order.
    mask: `[M]` bool, False = padding; None = all are valid.
    num_neighbors: K, at least 0; an average and the expansion use K + 1 features, or all if there
      are fewer.
    beta: weight of the neighbours, at least 0; may be traced.
    expansion: `max`, `mean`, or one of them for each block of dimensions, such as (("mean", 128),
      ("max", 2048)). A block with arbitrary axes, such as an embedding, needs `mean`.

  Returns:
    Scores `[M]` in the order of the input, -inf where masked.

  Raises:
    InputError: a number is outside its range, an expansion is unknown, or the blocks do not add up
      to D.
  """
  query, features = jnp.asarray(query), jnp.asarray(features)
  return score_vectors(
    normalize(query),
    normalize(features),
    mask=mask,
    num_neighbors=num_neighbors,
    beta=beta,
    expansion=expansion,
  )


def score_vectors(
  query: ArrayLike,
  features: ArrayLike,
  *,
  mask: ArrayLike | None,
  num_neighbors: int,
  beta: ArrayLike,
  expansion: Expansion | Blocks,
) -> jax.Array:
  """Scores like `superglobal_rerank`, by the inner products of vectors as they are.

  Args:
    query: `[D]`, of norm 1 at most.
    features: `[M, D]`, of norm 1 at most.
    mask: `[M]`; this and the arguments below are as for `superglobal_rerank`.
    num_neighbors: K.
    beta: weight of the neighbours.
    expansion: of the query.

  Returns:
    Scores `[M]`.
  """
  query, features = jnp.asarray(query), jnp.asarray(features)
  num_neighbors = settings.integer("num_neighbors", num_neighbors, least=0)
  beta = jnp.asarray(settings.real("beta", beta, least=0.0), features.dtype)
  chex.assert_rank([query, features], [1, 2])
  chex.assert_equal_shape_suffix([query, features], 1)
  blocks = _blocks(expansion, features.shape[1])
  count = min(num_neighbors + 1, len(features))
  valid = jnp.ones(len(features), bool) if mask is None else jnp.asarray(mask)
  similarities = jnp.matmul(features, features.T, precision="highest")
  # 2 exceeds all cosines: the first neighbour of a feature is itself, even among equals.
  similarities = jnp.where(jnp.eye(len(features), dtype=bool), 2.0, similarities)
  values, neighbors = jax.lax.top_k(jnp.where(valid[None, :], similarities, -jnp.inf), count)
  # Neighbours of negative similarity get no weight: weights of both signs could cancel.
  weights = (beta * jnp.maximum(values, 0.0)).at[:, 0].set(1.0)
  # A feature of norm zero has no neighbours.
  weights = jnp.where(jnp.any(features != 0.0, axis=1, keepdims=True), weights, 0.0)
  total = jnp.sum(weights, axis=1, keepdims=True)
  weights = weights / jnp.where(total > 0.0, total, 1.0)

  def refined_products(vector: jax.Array) -> jax.Array:
    """Returns the products of all refined features and a vector, as averages of products."""
    return jnp.sum(weights * jnp.matmul(features, vector, precision="highest")[neighbors], axis=1)

  first = refined_products(query)
  best_scores, best = jax.lax.top_k(jnp.where(valid, first, -jnp.inf), count)
  refined = jnp.einsum("bk,bkd->bd", weights[best], features[neighbors[best]], precision="highest")
  expanded = _expand(refined, jnp.isfinite(best_scores), blocks)
  second = refined_products(expanded)
  return jnp.where(valid, 0.5 * (first + second), -jnp.inf)


def _blocks(expansion: Expansion | Blocks, dimension: int) -> Blocks:
  """Checks an expansion, and returns its blocks."""
  blocks: Blocks = expansion if isinstance(expansion, tuple) else ((expansion, dimension),)
  for reduction, size in blocks:
    settings.choice("expansion", reduction, get_args(Expansion))
    settings.integer("the size of a block", size, least=0)
  if sum(size for _, size in blocks) != dimension:
    raise InputError(f"Blocks {blocks} do not add up to {dimension} dimensions.")
  return blocks


def _expand(refined: jax.Array, valid: jax.Array, blocks: Blocks) -> jax.Array:
  """Reduces `[K + 1, D]` to `[D]`, each block of dimensions by its maximum or mean."""
  parts, start = [], 0
  count = jnp.maximum(jnp.sum(valid, dtype=refined.dtype), 1.0)
  for reduction, size in blocks:
    block = refined[:, start : start + size]
    start += size
    if reduction == "max":
      largest = jnp.max(jnp.where(valid[:, None], block, -jnp.inf), axis=0)
      parts.append(jnp.where(jnp.isfinite(largest), largest, 0.0))
    else:
      parts.append(jnp.sum(jnp.where(valid[:, None], block, 0.0), axis=0) / count)
  return jnp.concatenate(parts)
