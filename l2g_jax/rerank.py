"""SuperGlobal's re-ranking of a shortlist (Shao et al., ICCV 2023)."""

from typing import Literal

import chex
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

Expansion = Literal["max", "mean"]
Blocks = tuple[tuple[Expansion, int], ...]


def superglobal_rerank(
  query: ArrayLike,
  features: ArrayLike,
  *,
  mask: ArrayLike | None = None,
  num_neighbors: int = 9,
  beta: float = 0.15,
  expansion: Expansion | Blocks = "max",
) -> jax.Array:
  """Scores a shortlist by refined features and an expanded query.

  Every feature is averaged with its `num_neighbors` nearest of the shortlist, weighted by `beta`
  times their similarity where that is above 0; the query is expanded by the best refined features;
  the score is the mean of the similarities of a refined feature to the query and to the expanded
  query. A feature of norm zero scores 0.

  Args:
    query: `[D]`, of unit norm.
    features: `[M, D]`, of unit norm, in shortlist order.
    mask: `[M]` bool, False for places that only pad; None = all are valid.
    num_neighbors: K; K + 1 features enter an average and the expansion, all if there are fewer.
    beta: weight of the neighbours.
    expansion: `max`, `mean`, or blocks of dimensions with their own, as (("mean", 128), ("max",
      2048)). A block whose axes are arbitrary, as those of an embedding, needs `mean`.

  Returns:
    Scores `[M]` in the order of the input, -inf where masked.
  """
  query, features = jnp.asarray(query), jnp.asarray(features)
  chex.assert_rank([query, features], [1, 2])
  blocks: Blocks = expansion if isinstance(expansion, tuple) else ((expansion, features.shape[1]),)
  if sum(size for _, size in blocks) != features.shape[1]:
    raise ValueError(f"Blocks {blocks} do not add up to {features.shape[1]} dimensions.")
  count = min(num_neighbors + 1, len(features))
  valid = jnp.ones(len(features), bool) if mask is None else jnp.asarray(mask)
  similarities = jnp.matmul(features, features.T, precision="highest")
  values, neighbors = jax.lax.top_k(jnp.where(valid[None, :], similarities, -jnp.inf), count)
  # A neighbour on the far side has no say: weights that cancel would make an average of nothing.
  weights = (beta * jnp.maximum(values, 0.0)).at[:, 0].set(1.0)
  # A feature of norm zero is like no other; its nearest is not itself.
  weights = jnp.where(jnp.any(features != 0.0, axis=1, keepdims=True), weights, 0.0)
  total = jnp.sum(weights, axis=1, keepdims=True)
  weights = weights / jnp.where(total > 0.0, total, 1.0)

  def refined_products(vector: jax.Array) -> jax.Array:
    """Multiplies the refined features, which are averages, with a vector: averages of products."""
    return jnp.sum(weights * jnp.matmul(features, vector, precision="highest")[neighbors], axis=1)

  first = refined_products(query)
  best_scores, best = jax.lax.top_k(jnp.where(valid, first, -jnp.inf), count)
  refined = jnp.einsum("bk,bkd->bd", weights[best], features[neighbors[best]], precision="highest")
  expanded = _expand(refined, jnp.isfinite(best_scores), blocks)
  second = refined_products(expanded)
  return jnp.where(valid, 0.5 * (first + second), -jnp.inf)


def _expand(refined: jax.Array, valid: jax.Array, blocks: Blocks) -> jax.Array:
  """Reduces `[K + 1, D]` to `[D]`, each block of dimensions in its own way."""
  parts, start = [], 0
  count = jnp.maximum(jnp.sum(valid, dtype=refined.dtype), 1.0)
  for how, size in blocks:
    block = refined[:, start : start + size]
    start += size
    if how == "max":
      largest = jnp.max(jnp.where(valid[:, None], block, -jnp.inf), axis=0)
      parts.append(jnp.where(jnp.isfinite(largest), largest, 0.0))
    else:
      parts.append(jnp.sum(jnp.where(valid[:, None], block, 0.0), axis=0) / count)
  return jnp.concatenate(parts)
