"""The start of a minimisation: in the problem's unit, with coincident points moved apart."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from l2g_jax.embedding import powers
from l2g_jax.embedding.stress import Problem, centre

# A start whose extent is within 2^16 times the dissimilarities, either way, is taken as it is: its
# squares, and the squares of those in the stress, stay well within the range of float32.
_ORDINARY = 16
# Coincident points are moved by this share of the start's extent: far above rounding error, and too
# little to spoil a good start.
_NUDGE = 0.01


class Given(NamedTuple):
  """A given start: points times a power of 2.

  Attributes:
    points: `[n, m]`, centred.
    exponent: `[]` int32: the start is 2^exponent times the points.
  """

  points: jax.Array
  exponent: jax.Array


def start_from(problem: Problem, init: jax.Array, exponent: jax.Array) -> Given:
  """Centres a given start, and measures it in the unit of the problem.

  If it is of quite another size than the dissimilarities, its squares would leave the range of the
  type; then only its shape is kept.

  Args:
    problem: of n points.
    init: `[n, m]`, of any size.
    exponent: `[]` int32, the unit of the problem is 2^exponent.

  Returns:
    The start. Its exponent differs from the problem's if its size does.
  """
  first = powers.exponent_of(init)
  points = centre(problem, powers.into_unit(init, first))
  extent = powers.exponent_of(points)
  ordinary = jnp.abs(first + extent - exponent) <= _ORDINARY
  return Given(
    points=powers.multiply(points, jnp.where(ordinary, first - exponent, -extent)),
    exponent=jnp.where(ordinary, exponent, first + extent),
  )


def part(problem: Problem, points: jax.Array, distances: jax.Array) -> jax.Array:
  """Moves points slightly apart that coincide, but for rounding, and have a dissimilarity above 0.

  Majorization moves coincident points alike, so that they would stay together: the gradient is 0
  there, but the stress is not at a minimum (de Leeuw, 1984).

  Args:
    problem: of n points.
    points: `[n, m]`.
    distances: `[n, n]` of the points.

  Returns:
    `[n, m]`.
  """
  extent = jnp.sqrt(jnp.max(jnp.sum(points**2, axis=1), initial=0.0))
  resolution = 2.0 * jnp.finfo(points.dtype).eps ** 0.5 * extent
  together = (problem.weights > 0.0) & (distances <= resolution)
  together &= problem.delta > 10.0 * resolution
  # Fixed irregular directions: the fractional parts of a sine times a large number, as shaders make
  # noise. They span the space, which sines of evenly spaced angles alone would not.
  digits = 43758.5453 * jnp.sin(1.0 + jnp.arange(points.size, dtype=points.dtype))
  directions = (digits - jnp.floor(digits) - 0.5).reshape(points.shape)
  length = _NUDGE * jnp.where(extent > 0.0, extent, 1.0) / max(1, points.shape[1]) ** 0.5
  return points + jnp.where(jnp.any(together, axis=1, keepdims=True), length * directions, 0.0)
