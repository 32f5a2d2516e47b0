"""Fusion of an embedding made for one query with global features (arXiv 2509.04351)."""

from typing import Literal, get_args

import chex
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from l2g_jax import settings
from l2g_jax.errors import InputError

Fusion = Literal["concat", "sum"]

# The default of the method: it needs no equal dimensions.
FUSION: Fusion = "concat"


def fuse(
  embedding: ArrayLike,
  global_features: ArrayLike,
  *,
  weight: ArrayLike,
  fusion: Fusion = FUSION,
) -> jax.Array:
  """Fuses two vectors of each point by a weighted average.

  `concat` gives [sqrt(w) x/|x|, sqrt(1-w) g/|g|], whose inner products are the weighted average of
  the two cosines; a zero vector has cosine 0 to all others. `sum` gives w x/|x| + (1-w) g/|g|,
  which is not of unit norm; compare it by cosines. Since an embedding is defined only up to
  rotation, `sum` first rotates it onto the global features (orthogonal Procrustes), so that the
  result does not depend on its axes.

  Args:
    embedding: `[n, m]`.
    global_features: `[n, D]`; `sum` needs D = m.
    weight: w in [0, 1]; 1 uses the embedding alone. May be traced.
    fusion: `concat` or `sum`.

  Returns:
    `[n, m + D]`, or `[n, m]` for `sum`; a zero vector stays zero in its block.

  Raises:
    InputError: the fusion is unknown, the weight is outside [0, 1], or D and m differ in a `sum`.

  Source: arXiv 2509.04351, weighted average of MDS embedding and global feature.
  """
  fusion = settings.choice("fusion", fusion, get_args(Fusion))
  weight = settings.real("weight", weight, least=0.0, most=1.0)
  embedding = jnp.asarray(embedding)
  global_features = jnp.asarray(global_features, embedding.dtype)
  chex.assert_rank([embedding, global_features], 2)
  chex.assert_equal_shape_prefix([embedding, global_features], 1)
  check_dimensions(fusion, embedding.shape[1], global_features.shape[1])
  left, right = normalize(embedding), normalize(global_features)
  weight = jnp.asarray(weight, left.dtype)
  if fusion == "concat":
    return jnp.concatenate([jnp.sqrt(weight) * left, jnp.sqrt(1.0 - weight) * right], axis=1)
  u, _, vt = jnp.linalg.svd(jnp.matmul(left.T, right, precision="highest"))
  turned = jnp.matmul(left, jnp.matmul(u, vt, precision="highest"), precision="highest")
  return weight * turned + (1.0 - weight) * right


def check_dimensions(fusion: Fusion, num_dimensions: int, dimension: int) -> None:
  """Raises an InputError if a `sum` would add vectors of different dimensions."""
  if fusion == "sum" and num_dimensions != dimension:
    raise InputError(
      "Fusion `sum` needs an embedding of as many dimensions as the global features: choose"
      f" `concat`, or num_dimensions = {dimension} as they have, not {num_dimensions}."
    )


def normalize(features: ArrayLike) -> jax.Array:
  """Divides vectors `[..., D]` of any size by their Euclidean norm; zero vectors stay zero."""
  features = jnp.asarray(features)
  # Squares of very large or small numbers leave the range of the type. A power of two brings them
  # into it without rounding.
  largest = jnp.max(jnp.abs(features), axis=-1, keepdims=True, initial=0.0)
  exponent = jnp.finfo(features.dtype).maxexp * 5 // 16
  limit, scale = 2.0**exponent, 2.0 ** (2 * exponent)
  factor = jnp.where(largest > limit, 1.0 / scale, jnp.where(largest < 1.0 / limit, scale, 1.0))
  features = features * factor.astype(features.dtype)
  norms = jnp.linalg.norm(features, axis=-1, keepdims=True)
  return features / jnp.where(norms > 0.0, norms, 1.0)
