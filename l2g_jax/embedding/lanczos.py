"""The least eigenvalue of a matrix by a few products with a vector (Lanczos, 1950)."""

import jax
import jax.numpy as jnp

from l2g_jax.embedding.stress import product

# They come within a quarter of the least eigenvalue that the classical start shifts by, for
# `benchmarks.common.clustered_dissimilarities` of 100 to 701 points. A shift needs no more.
_STEPS = 8


def least_eigenvalue(matrix: jax.Array, vector: jax.Array) -> jax.Array:
  """Estimates the least eigenvalue of a symmetric matrix, from above.

  Args:
    matrix: `[n, n]`.
    vector: `[n]` to start from, not zero; it needs a part in the eigenvector that is looked for.

  Returns:
    `[]`, at least the least eigenvalue but for rounding error.
  """
  vector = vector / jnp.linalg.norm(vector)
  before, norm = jnp.zeros_like(vector), jnp.zeros((), matrix.dtype)
  diagonal, beside = [], []
  for _ in range(_STEPS):
    image = product(matrix, vector) - norm * before
    diagonal.append(jnp.vdot(image, vector))
    image = image - diagonal[-1] * vector
    norm = jnp.linalg.norm(image)
    beside.append(norm)
    # Once the Krylov space is exhausted the image is 0, and all later vectors are too.
    before, vector = vector, image / jnp.maximum(norm, jnp.finfo(matrix.dtype).tiny)
  off = jnp.diag(jnp.stack(beside[:-1]), 1)
  return jnp.linalg.eigvalsh(jnp.diag(jnp.stack(diagonal)) + off + off.T)[0]
