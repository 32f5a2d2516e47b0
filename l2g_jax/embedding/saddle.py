"""Saddles of the stress: points that span too few dimensions and can't leave them."""

import jax
import jax.numpy as jnp

from l2g_jax.embedding.lanczos import least_eigenvalue
from l2g_jax.embedding.stress import Problem, coefficients, product

# An unused direction counts where one step of majorization would lengthen it by this share: far
# above rounding error, far below the shares near 1 that points on a line meet.
_GROWTH = 0.01


def on_saddle(problem: Problem, points: jax.Array, distances: jax.Array) -> jax.Array:
  """Returns whether settled points could lower the stress by a dimension that they do not use.

  The Guttman transform multiplies the points by a matrix from the left, so that it never leaves the
  subspace that they span. With a spare dimension, settled points are a local minimum only if
  V - B(X) has no negative eigenvalue (de Leeuw, 1993, full-dimensional scaling); the eigenvalue is
  measured relative to V's diagonal.

  Args:
    problem: of n points.
    points: `[n, m]`, centred, where the stress has settled.
    distances: `[n, n]` of the points.

  Returns:
    `[]` bool.
  """
  size, num_dimensions = points.shape
  spare = jnp.asarray(True)
  if num_dimensions < size:
    gram = product(points.T, points)
    rounding = 10.0 * jnp.finfo(gram.dtype).eps * jnp.trace(gram)
    spare = jnp.linalg.eigvalsh(gram)[0] < rounding
  factors = coefficients(problem, distances)
  degrees = jnp.where(problem.degrees > 0.0, problem.degrees, 1.0)
  curvature = jnp.diag(jnp.sum(factors, axis=1)) - factors
  curvature = curvature / jnp.sqrt(degrees) / jnp.sqrt(degrees.T)
  # A fixed irregular start: every eigenvector has a part in it.
  irregular = jnp.sin(1.0 + jnp.arange(size, dtype=points.dtype))
  return spare & (least_eigenvalue(curvature, irregular) < -_GROWTH)
