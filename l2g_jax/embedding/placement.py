"""Places single points among anchors that stay where they are: out-of-sample scaling of a batch."""

import functools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from l2g_jax import settings
from l2g_jax.embedding import powers
from l2g_jax.errors import InputError

# The stress of one point settles within some ten updates; more change no order of neighbours.
MAX_ITERATIONS = 30
RTOL = 1e-3
# Directions of the anchors shorter than this share of the longest one carry nothing but rounding.
_FLAT = 1e-6


@flax.struct.dataclass
class Placement:
  """Points that were placed, and how well each fits.

  Attributes:
    points: `[B, m]`, in the frame of the anchors.
    stress: `[B]`, the sum over anchors of w (d - delta)^2.
    normalized_stress: `[B]`, stress-1, sqrt(sum w (d - delta)^2 / sum w d^2); 0 for a stress of 0.
    num_iterations: `[B]` int32, the number of updates.
    converged: `[B]` bool, whether the stress settled before `max_iterations` were done.
  """

  points: jax.Array
  stress: jax.Array
  normalized_stress: jax.Array
  num_iterations: jax.Array
  converged: jax.Array


def triangulate(
  anchors: ArrayLike, dissimilarities: ArrayLike, *, weights: ArrayLike | None = None
) -> jax.Array:
  """Places points by linear least squares of squared distances to anchors.

  The difference of two squared distances is linear in the point. m + 1 anchors in general position
  and exact distances give back the point; anchors that span fewer dimensions give the point of
  their span.

  Args:
    anchors: `[L, m]`.
    dissimilarities: `[B, L]`, at least 0.
    weights: `[B, L]`, at least 0; None = all 1. 0 marks an unknown one, even NaN.

  Returns:
    `[B, m]`; the mean of all anchors where no dissimilarity is known.

  Raises:
    InputError: shapes do not fit, or a value that counts is not finite or below 0.

  Source: de Silva and Tenenbaum, Sparse multidimensional scaling using landmark points, 2004.
  """
  anchors, delta, weights = _checked(anchors, dissimilarities, weights)
  if anchors.ndim != 2:
    raise InputError(f"Triangulation takes anchors [L, m] for all points, not {anchors.shape}.")
  return _triangulate(anchors, delta, weights)


def place(
  anchors: ArrayLike,
  dissimilarities: ArrayLike,
  *,
  weights: ArrayLike | None = None,
  init: ArrayLike | None = None,
  max_iterations: ArrayLike = MAX_ITERATIONS,
  rtol: ArrayLike = RTOL,
) -> Placement:
  """Places each point where its stress to fixed anchors is least, by majorization.

  A point moves to the weighted mean of what its anchors ask for, each at its dissimilarity in the
  present direction: x <- sum w (y + delta (x - y) / d) / sum w. The stress never rises. A point
  does not depend on the others of its batch.

  Args:
    anchors: `[L, m]` for all points, or `[B, L, m]`.
    dissimilarities: `[B, L]`, at least 0.
    weights: `[B, L]`, at least 0; None = all 1. 0 marks an unknown one, even NaN.
    init: `[B, m]`; None = `triangulate`, which needs anchors of all points. Updates never leave the
      span of the anchors and the start.
    max_iterations: the most updates; 0 returns the start.
    rtol: a point stops once an update lessens its stress by less than this share; at least 0.

  Returns:
    A `Placement`. A point without any weight stays at its start, with a stress of 0.

  Raises:
    InputError: shapes do not fit, a value that counts is not finite or below 0, or a setting is out
      of range.

  Source: de Leeuw (1977), with all points but one fixed.
  """
  max_iterations = settings.integer("max_iterations", max_iterations, least=0)
  rtol = settings.real("rtol", rtol, least=0.0)
  anchors, delta, weights = _checked(anchors, dissimilarities, weights)
  if init is None and anchors.ndim == 3:
    raise InputError("Anchors of each point, [B, L, m], need an init.")
  if init is not None:
    init = jnp.asarray(init, delta.dtype)
    if init.shape != (len(delta), anchors.shape[-1]):
      raise InputError(f"The init must be [{len(delta)}, {anchors.shape[-1]}], not {init.shape}.")
  return _place(anchors, delta, weights, init, max_iterations, rtol)


@jax.jit
def _triangulate(anchors: jax.Array, delta: jax.Array, weights: jax.Array | None) -> jax.Array:
  exponent = powers.exponent_of(anchors)
  anchors = powers.into_unit(anchors, exponent)
  delta = powers.into_unit(delta, exponent)
  if weights is None:
    mean = jnp.mean(anchors, axis=0)
    centred = anchors - mean[None]
    targets = 0.5 * (jnp.sum(centred**2, axis=1)[None] - delta**2)
    targets -= jnp.mean(targets, axis=1, keepdims=True)
    inverse = jnp.linalg.pinv(centred, rtol=_FLAT)
    points = jnp.matmul(targets, inverse.T, precision="highest") + mean[None]
  else:
    points = jax.vmap(functools.partial(_triangulate_one, anchors))(delta, weights)
  return powers.multiply(points, exponent)


def _triangulate_one(anchors: jax.Array, delta: jax.Array, weights: jax.Array) -> jax.Array:
  total = jnp.sum(weights)
  shares = weights / jnp.where(total > 0.0, total, 1.0)
  mean = jnp.where(total > 0.0, shares @ anchors, jnp.mean(anchors, axis=0))
  centred = anchors - mean[None]
  targets = 0.5 * (jnp.sum(centred**2, axis=1) - delta**2)
  roots = jnp.sqrt(shares)
  targets = roots * (targets - shares @ targets)
  return jnp.linalg.pinv(roots[:, None] * centred, rtol=_FLAT) @ targets + mean


@jax.jit
def _place(anchors, delta, weights, init, max_iterations, rtol) -> Placement:
  if init is None:
    init = _triangulate(anchors, delta, weights)
  exponent = powers.exponent_of(anchors)
  anchors, delta, init = (powers.into_unit(array, exponent) for array in (anchors, delta, init))
  if weights is None:
    weights = jnp.ones_like(delta)
  total = jnp.sum(weights, axis=1)
  # Of the anchors' mean, so that squares lose no digits to a far origin.
  origin = jnp.mean(anchors, axis=-2)
  anchors = anchors - jnp.expand_dims(origin, -2)
  if anchors.ndim == 2:
    origin = origin[None]
    squares = jnp.sum(anchors**2, axis=1)[None]
    along = lambda points: jnp.matmul(points, anchors.T, precision="highest")
    back = lambda factors: jnp.matmul(factors, anchors, precision="highest")
  else:
    squares = jnp.sum(anchors**2, axis=2)
    along = lambda points: jnp.einsum("bm,blm->bl", points, anchors, precision="highest")
    back = lambda factors: jnp.einsum("bl,blm->bm", factors, anchors, precision="highest")

  def distances_of(points: jax.Array) -> jax.Array:
    squared = jnp.sum(points**2, axis=1, keepdims=True) + squares - 2.0 * along(points)
    return jnp.sqrt(jnp.maximum(squared, 0.0))

  def stress_of(distances: jax.Array) -> jax.Array:
    return jnp.sum(weights * (distances - delta) ** 2, axis=1)

  def improve(carry):
    points, distances, stress, done, counts, step = carry
    apart = distances > 0.0
    ratios = jnp.where(apart, weights * delta / jnp.where(apart, distances, 1.0), 0.0)
    pulled = back(weights - ratios) + jnp.sum(ratios, axis=1, keepdims=True) * points
    moved = pulled / jnp.where(total > 0.0, total, 1.0)[:, None]
    new_distances = distances_of(moved)
    new_stress = stress_of(new_distances)
    # At the least stress an update is rounding error, which may raise it.
    better = ~done & (new_stress < stress)
    settled = ~better | (stress - new_stress <= rtol * stress)
    points = jnp.where(better[:, None], moved, points)
    distances = jnp.where(better[:, None], new_distances, distances)
    counts = counts + jnp.where(better, 1, 0).astype(jnp.int32)
    return (
      points,
      distances,
      jnp.where(better, new_stress, stress),
      done | settled,
      counts,
      step + 1,
    )

  points = init - origin
  distances = distances_of(points)
  start = (points, distances, stress_of(distances), total <= 0.0, jnp.zeros(len(delta), jnp.int32))
  points, distances, stress, done, counts, _ = jax.lax.while_loop(
    lambda carry: ~jnp.all(carry[3]) & (carry[5] < max_iterations),
    improve,
    (*start, jnp.zeros((), jnp.int32)),
  )
  energy = jnp.sum(weights * distances**2, axis=1)
  relative = jnp.sqrt(stress / jnp.where(energy > 0.0, energy, 1.0))
  return Placement(
    points=powers.multiply(points + origin, exponent),
    stress=powers.multiply(stress, 2 * exponent),
    normalized_stress=jnp.where(stress > 0.0, relative, 0.0),
    num_iterations=counts,
    converged=done,
  )


def _checked(
  anchors: ArrayLike, dissimilarities: ArrayLike, weights: ArrayLike | None
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
  """Returns arrays of one type; dissimilarities of weight 0 are 0.

  Raises:
    InputError: shapes do not fit, or a value that counts is not finite or below 0.
  """
  given = [anchors, dissimilarities] + ([] if weights is None else [weights])
  traced = any(isinstance(array, Tracer) for array in given)
  dtype = jnp.promote_types(jnp.float32, jnp.result_type(jnp.asarray(anchors)))
  points, delta = jnp.asarray(anchors, dtype), jnp.asarray(dissimilarities, dtype)
  fits = delta.ndim == 2 and (
    (points.ndim == 2 and len(points) == delta.shape[1])
    or (points.ndim == 3 and points.shape[:2] == delta.shape)
  )
  if not fits or not points.size:
    raise InputError(
      "Placement needs anchors [L, m] or [B, L, m] and dissimilarities [B, L], not"
      f" {points.shape} and {delta.shape}."
    )
  known = None
  if weights is not None:
    known = jnp.asarray(weights, dtype)
    if known.shape != delta.shape:
      raise InputError(f"The weights must be {delta.shape}, not {known.shape}.")
    delta = jnp.where(known > 0.0, delta, 0.0)
  if not traced:
    if not np.all(np.isfinite(points)):
      raise InputError("Placement needs finite anchors.")
    if known is not None and not (np.all(np.isfinite(known)) and np.all(np.asarray(known) >= 0.0)):
      raise InputError("Placement needs finite weights of at least 0.")
    values = np.asarray(delta)
    if not (np.all(np.isfinite(values)) and np.all(values >= 0.0)):
      raise InputError(
        "Placement needs finite dissimilarities of at least 0; mask unknown ones by a weight of 0."
      )
  return points, delta, known
