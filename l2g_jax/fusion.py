"""Fusion of embeddings made for one query with global features made beforehand."""

from typing import Literal, get_args

import chex
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from l2g_jax.errors import InputError

Fusion = Literal["concat", "sum"]


def fuse(
  embedding: ArrayLike,
  global_features: ArrayLike,
  *,
  weight: ArrayLike,
  fusion: Fusion = "concat",
) -> jax.Array:
  """Fuses two descriptions of the same points by a weighted average.

  `concat` gives [sqrt(w) x/|x|, sqrt(1-w) g/|g|], whose inner products are the weighted average of
  the two cosines. `sum` gives w x/|x| + (1-w) g/|g|; since an embedding is defined only up to
  rotation, it is first turned onto the global features (orthogonal Procrustes), so that the
  result does not depend on its axes.

  Args:
    embedding: `[n, m]`.
    global_features: `[n, D]`; `sum` needs D = m.
    weight: w in [0, 1]; 1 is the embedding alone.
    fusion: `concat` or `sum`.

  Returns:
    `[n, m + D]`, or `[n, m]` for `sum`; a zero vector stays zero in its block.

  Raises:
    InputError: the fusion is unknown.

  Source: arXiv 2509.04351, weighted average of MDS embedding and global feature.
  """
  if fusion not in get_args(Fusion):
    raise InputError(f"Fusions are {' and '.join(get_args(Fusion))}, not {fusion!r}.")
  embedding = jnp.asarray(embedding)
  global_features = jnp.asarray(global_features, embedding.dtype)
  chex.assert_rank([embedding, global_features], 2)
  chex.assert_equal_shape_prefix([embedding, global_features], 1)
  left, right = normalize(embedding), normalize(global_features)
  weight = jnp.asarray(weight, left.dtype)
  if fusion == "concat":
    return jnp.concatenate([jnp.sqrt(weight) * left, jnp.sqrt(1.0 - weight) * right], axis=1)
  chex.assert_equal_shape([left, right])
  u, _, vt = jnp.linalg.svd(jnp.matmul(left.T, right, precision="highest"))
  turned = jnp.matmul(left, jnp.matmul(u, vt, precision="highest"), precision="highest")
  return weight * turned + (1.0 - weight) * right


def normalize(features: ArrayLike) -> jax.Array:
  """Divides rows `[n, D]` by their Euclidean norm; zero rows stay zero."""
  features = jnp.asarray(features)
  norms = jnp.linalg.norm(features, axis=-1, keepdims=True)
  return features / jnp.where(norms > 0.0, norms, 1.0)
