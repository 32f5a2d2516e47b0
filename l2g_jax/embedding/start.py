"""Where a minimisation starts: at the problem's size, with points apart that must part."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from l2g_jax.embedding import powers
from l2g_jax.embedding.stress import Problem, centre

# Starts whose extent is within this many powers of 2 of the dissimilarities are taken as they are.
_ORDINARY = 16
# Of the extent: how far points are moved that must part.
_NUDGE = 0.01


class Given(NamedTuple):
  """A start that was given: points times a power of 2.

  Attributes:
    points: `[n, m]`, centred.
    exponent: `[]` int32: the start is 2^exponent times the points.
  """

  points: jax.Array
  exponent: jax.Array


def start_from(problem: Problem, init: jax.Array, exponent: jax.Array) -> Given:
  """Centres a given start, and measures it in the unit of the problem.

  Squares of what is of quite another size than the dissimilarities would leave the range of the
  type: then only the shape of the start is kept.

  Args:
    problem: of n points.
    init: `[n, m]`, of any size.
    exponent: `[]` int32, the unit of the problem is 2^exponent.

  Returns:
    The start. Its exponent differs from that of the problem where its size does.
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
  """Moves points a little that are in one place, rounding apart, although they must not be.

  Majorization moves points in one place alike, and would leave them there: a place where the
  gradient is 0, but not one of least stress (de Leeuw, 1984).

  Args:
    problem: of n points.
    points: `[n, m]`.
    distances: `[n, n]`, of the points.

  Returns:
    `[n, m]`.
  """
  extent = jnp.sqrt(jnp.max(jnp.sum(points**2, axis=1), initial=0.0))
  resolution = 2.0 * jnp.finfo(points.dtype).eps ** 0.5 * extent
  together = (problem.weights > 0.0) & (distances <= resolution)
  together &= problem.delta > 10.0 * resolution
  # Fixed irregular directions, by digits of a sine far behind the point: they span the space, as
  # sines of even steps would not.
  digits = 43758.5453 * jnp.sin(1.0 + jnp.arange(points.size, dtype=points.dtype))
  directions = (digits - jnp.floor(digits) - 0.5).reshape(points.shape)
  length = _NUDGE * jnp.where(extent > 0.0, extent, 1.0) / max(1, points.shape[1]) ** 0.5
  return points + jnp.where(jnp.any(together, axis=1, keepdims=True), length * directions, 0.0)
