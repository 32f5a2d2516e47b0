"""The stress of an embedding and its gradient (Borg and Groenen, chapter 8), in suitable units."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from l2g_jax.embedding import powers

# Weights are raised by at most 2^60 to keep the stress from vanishing; that leaves half the range
# of float32 to products with squared distances.
_MOST_LIFT = -60


class Problem(NamedTuple):
  """Dissimilarities and weights to which an embedding is fitted.

  Attributes:
    delta: `[n, n]` dissimilarities, zero on the diagonal.
    weights: `[n, n]`, zero on the diagonal.
    degrees: `[n, 1]`, sums of weights.
  """

  delta: jax.Array
  weights: jax.Array
  degrees: jax.Array


def make_problem(delta: jax.Array, weights: jax.Array | None) -> Problem:
  """Clears the diagonals and all dissimilarities of weight 0; None = all weights are 1."""
  weights = _clear_diagonal(jnp.ones_like(delta) if weights is None else weights)
  return Problem(
    # An unknown dissimilarity may be NaN, which a weight of 0 alone would not clear.
    delta=jnp.where(weights > 0.0, delta, 0.0),
    weights=weights,
    degrees=jnp.sum(weights, axis=1, keepdims=True),
  )


class Unit(NamedTuple):
  """The units of length and weight of a problem, as exponents of 2, `[]` int32 each."""

  length: jax.Array
  weight: jax.Array


def measure(delta: jax.Array, weights: jax.Array | None) -> tuple[Problem, Unit]:
  """Makes a problem in units in which its numbers are near 1.

  The greatest dissimilarity that has a weight is then in [1, 2), and so is the greatest weight. If
  the pairs of large dissimilarity have small weights, weights are larger, so that the stress does
  not vanish.

  Args:
    delta: `[n, n]`, of any size.
    weights: `[n, n]`, of any size; None = all 1.

  Returns:
    The problem and its units: the stress in the original units is 2^(2 length + weight) times the
    problem's.
  """
  weight = jnp.zeros((), jnp.int32)
  if weights is not None:
    weight = powers.exponent_of(_clear_diagonal(weights))
    weights = powers.into_unit(weights, weight)
  problem = make_problem(delta, weights)
  length = powers.exponent_of(problem.delta)
  problem = problem._replace(delta=powers.into_unit(problem.delta, length))
  if weights is not None:
    greatest = powers.exponent_of(problem.weights * problem.delta**2)
    lift = jnp.maximum(greatest, _MOST_LIFT)
    problem = make_problem(problem.delta, powers.multiply(problem.weights, -lift))
    weight = weight + lift
  return problem, Unit(length, weight)


def resolves(weights: jax.Array) -> jax.Array:
  """Returns whether a sum of weights `[n, n]` still shows the least of those above 0, `[]` bool."""
  span = powers.span_of(_clear_diagonal(weights))
  return span <= jnp.finfo(weights.dtype).nmant


def _clear_diagonal(matrix: jax.Array) -> jax.Array:
  return jnp.where(jnp.eye(len(matrix), dtype=bool), 0.0, matrix)


def product(a: jax.Array, b: jax.Array) -> jax.Array:
  """Returns a matrix product at the precision that distances need."""
  return jnp.matmul(a, b, precision="highest")


def distances_of(points: jax.Array) -> jax.Array:
  """Returns the Euclidean distances `[n, n]` of `[n, m]`, with a diagonal of exact zeros."""
  squares = jnp.sum(points**2, axis=1)
  gram = product(points, points.T)
  squared = squares[:, None] + squares[None, :] - 2.0 * gram
  # A root has no derivative at 0; that of a distance is set to 0 there. NaN stays NaN.
  apart = ~(squared <= 0.0) & ~jnp.eye(len(points), dtype=bool)
  return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)


def stress_of(problem: Problem, distances: jax.Array) -> jax.Array:
  """Returns the raw stress, the sum over i < j of w (d - delta)^2."""
  return 0.5 * jnp.sum(problem.weights * (distances - problem.delta) ** 2)


def centre(problem: Problem, points: jax.Array) -> jax.Array:
  """Moves the mean of the points of positive weight to the origin, and all other points there."""
  valid = problem.degrees > 0.0
  count = jnp.maximum(jnp.sum(valid, dtype=points.dtype), 1.0)
  mean = jnp.sum(jnp.where(valid, points, 0.0), axis=0, keepdims=True) / count
  return jnp.where(valid, points - mean, 0.0)


def coefficients(problem: Problem, distances: jax.Array) -> jax.Array:
  """Returns w (1 - delta / d) `[n, n]`, minus the entries of V - B(X) off the diagonal.

  For points in one place, d = 0, delta / d is taken as 0, by majorization's convention.
  """
  apart = distances > 0.0
  ratios = jnp.where(apart, problem.delta / jnp.where(apart, distances, 1.0), 0.0)
  return problem.weights * (1.0 - ratios)


def residual(
  problem: Problem, points: jax.Array, distances: jax.Array, *, precision: str = "highest"
) -> jax.Array:
  """Returns (V - B(X)) X `[n, m]`, half the gradient of the stress.

  Args:
    problem: of n points.
    points: `[n, m]`.
    distances: `[n, n]` of the points.
    precision: of the product with the points; `high` is TF32 on NVIDIA's GPUs.
  """
  factors = coefficients(problem, distances)
  pulled = jnp.matmul(factors, points, precision=precision)
  return jnp.sum(factors, axis=1, keepdims=True) * points - pulled


def stress_function(problem: Problem) -> Callable[[jax.Array], jax.Array]:
  """Returns the raw stress as a function of points `[n, m]`, with a gradient finite everywhere.

  The derivative of a distance has no limit at 0; by majorization's convention it is 0 there.
  """

  @jax.custom_jvp
  def stress(points: jax.Array) -> jax.Array:
    return stress_of(problem, distances_of(points))

  @stress.defjvp
  def _(primals, tangents):
    (points,), (tangent,) = primals, tangents
    distances = distances_of(points)
    gradient = 2.0 * residual(problem, points, distances)
    return stress_of(problem, distances), jnp.sum(gradient * tangent)

  return stress
