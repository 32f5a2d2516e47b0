"""Multidimensional scaling by SMACOF, for one problem or a batch, under one `jit`.

The stress of an embedding X is sum_{i<j} w_ij (d_ij(X) - delta_ij)^2. Weights of 0 stand for pairs
that are unknown, and for points that only pad the problem; a padded point stays at the origin.
"""

import functools
from typing import get_args

import chex
import flax.struct
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.typing import ArrayLike

from l2g_jax import settings
from l2g_jax.classical import classical_start
from l2g_jax.errors import InputError
from l2g_jax.minimizers import Method, Minimum, minimise
from l2g_jax.stress import Problem, centre, distances_of, make_problem, stress_of

# Defaults here and in the whole method. At the tolerance the order of a re-ranking is as good as
# that of the plain method at convergence; few problems need as many iterations.
NUM_DIMENSIONS = 128
METHOD: Method = "quasi_newton"
MAX_ITERATIONS = 200
RTOL = 1e-4


@flax.struct.dataclass
class SmacofResult:
  """An embedding and how it came about; a batch adds a leading axis `[B]` to every field.

  Attributes:
    embedding: `[n, m]`, centred on its points of positive weight.
    stress: `[]`, sum over i < j of w (d - delta)^2 of this embedding.
    normalized_stress: `[]`, stress-1, sqrt(sum w (d - delta)^2 / sum w d^2), 0 where all is 0.
    num_iterations: `[]` int32, how often the embedding was updated.
    converged: `[]` bool, whether the stress had stopped to fall, to `rtol`.
  """

  embedding: jax.Array
  stress: jax.Array
  normalized_stress: jax.Array
  num_iterations: jax.Array
  converged: jax.Array


def smacof(
  dissimilarities: ArrayLike,
  *,
  weights: ArrayLike | None = None,
  init: ArrayLike | None = None,
  num_dimensions: int = NUM_DIMENSIONS,
  max_iterations: ArrayLike = MAX_ITERATIONS,
  rtol: ArrayLike = RTOL,
  method: Method = METHOD,
  seed: ArrayLike = 0,
) -> SmacofResult:
  """Minimises the stress of an embedding by majorization.

  `guttman` is the plain method: every update is the Guttman transform X <- V^+ B(X) X, and the
  stress never rises; with weights it costs one n^3 pseudo-inverse. The other methods take the same
  step with V bounded by a multiple of its diagonal, which needs no inverse and is the same
  transform where all weights are equal. `quasi_newton`, the default, corrects it by the curvature
  that the last step met (memoryless BFGS); where the stress would rise, the plain step is taken.
  `momentum` takes it from a point ahead of the last one (Nesterov), and starts anew when the stress
  rises. `lbfgs` minimises the same stress by `optax.lbfgs`, without majorization.

  A batch runs in lock step on an accelerator and one after another on a CPU, where that is faster;
  a problem's result does not depend on the others.

  Args:
    dissimilarities: `[n, n]` or `[B, n, n]`, symmetric, at least 0; the diagonal is taken as 0.
    weights: like `dissimilarities`, at least 0; 0 = pair unknown or padded; None = all 1.
    init: `[n, m]` or `[B, n, m]` to start from; None = classical scaling, clipped to its positive
      eigenvalues and scaled to the least stress.
    num_dimensions: m, ignored when `init` is given.
    max_iterations: updates at most; 0 returns the start.
    rtol: stop once the stress fell by less than this fraction of itself over 5 updates.
    method: `quasi_newton`, `momentum`, `guttman` or `lbfgs`.
    seed: of the random subspace in which the classical start is looked for, from 0 to 2^32 - 1; may
      be traced, as `rtol` and `max_iterations` may be.

  Returns:
    A `SmacofResult`.

  Raises:
    InputError: an array that is not traced holds a value that is not finite, or is below 0, or is
      not symmetric; or the method is unknown, or a number outside of its range.

  Source: de Leeuw (1977); Borg and Groenen, Modern Multidimensional Scaling, chapter 8; memoryless
  BFGS is Shanno's (1978), the restart that of O'Donoghue and Candes (2015).
  """
  chex.assert_rank(dissimilarities, {2, 3})
  num_dimensions = settings.integer("num_dimensions", num_dimensions, least=1)
  max_iterations = settings.integer("max_iterations", max_iterations, least=0)
  rtol = settings.real("rtol", rtol, least=0.0)
  seed = settings.integer("seed", seed, least=0, most=settings.LARGEST_SEED)
  if method not in get_args(Method):
    raise InputError(f"SMACOF knows the methods {', '.join(get_args(Method))}, not {method!r}.")
  delta = _floating(dissimilarities)
  _check_values(delta, "dissimilarities")
  if weights is not None:
    weights = jnp.asarray(weights, delta.dtype)
    chex.assert_equal_shape([delta, weights])
    _check_values(weights, "weights")
  if init is not None:
    init = jnp.asarray(init, delta.dtype)
    if not isinstance(init, Tracer) and not jnp.all(jnp.isfinite(init)):
      raise InputError("SMACOF needs a finite init.")
    chex.assert_rank(init, delta.ndim)
    chex.assert_equal_shape_prefix([delta, init], delta.ndim - 1)
  return _solve(
    delta,
    weights,
    init,
    jnp.asarray(rtol, delta.dtype),
    jnp.asarray(max_iterations, jnp.int32),
    jnp.asarray(seed, jnp.uint32),
    num_dimensions=num_dimensions,
    method=method,
  )


def classical_scaling(
  dissimilarities: ArrayLike,
  *,
  weights: ArrayLike | None = None,
  num_dimensions: int = NUM_DIMENSIONS,
  seed: int = 0,
) -> jax.Array:
  """Returns the classical (Torgerson) embedding, clipped and scaled to the least stress.

  The leading eigenvectors of the doubly centred matrix are looked for in a random subspace, refined
  by products with the matrix; exact where `num_dimensions` or 32 reaches n. Up to 32 dimensions are
  sorted by their extent; more have arbitrary axes. Directions of negative eigenvalues are left out,
  and pairs of weight 0 stand at the mean of the others.

  Args:
    dissimilarities: `[n, n]`, symmetric, at least 0.
    weights: `[n, n]`, symmetric, at least 0; None = all 1.
    num_dimensions: m.
    seed: of the random subspace.

  Returns:
    `[n, m]`.
  """
  delta = _floating(dissimilarities)
  chex.assert_rank(delta, 2)
  weights = None if weights is None else jnp.asarray(weights, delta.dtype)
  return classical_start(make_problem(delta, weights), num_dimensions, seed)


def _floating(array: ArrayLike) -> jax.Array:
  """Turns counts into floats, and leaves floats as they are."""
  array = jnp.asarray(array)
  return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def _check_values(array: jax.Array, name: str) -> None:
  """Refuses values that no embedding can answer; traced arrays have no values yet."""
  if isinstance(array, Tracer):
    return
  if array.shape[-1] != array.shape[-2]:
    raise InputError(f"SMACOF needs square {name}, not {array.shape}.")
  finite, positive, symmetric = jax.device_get(_properties(array))
  if not finite:
    raise InputError(f"SMACOF needs finite {name}; mask unknown pairs by a weight of 0.")
  if not positive:
    raise InputError(f"SMACOF needs {name} of at least 0.")
  if not symmetric:
    raise InputError(f"SMACOF needs symmetric {name}; average both directions first.")


@jax.jit
def _properties(array: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns whether a matrix is finite, at least 0 and symmetric; only that leaves the device."""
  differences = jnp.abs(array - jnp.swapaxes(array, -1, -2))
  symmetric = jnp.all(differences <= 1e-6 + 1e-4 * jnp.abs(array))
  return jnp.all(jnp.isfinite(array)), jnp.all(array >= 0.0), symmetric


@functools.partial(jax.jit, static_argnames=("num_dimensions", "method"))
def _solve(delta, weights, init, rtol, max_iterations, seed, *, num_dimensions, method):
  """Solves one problem or a batch."""

  def solve_one(arrays) -> SmacofResult:
    delta, weights, init = arrays
    problem = make_problem(delta, weights)
    if init is None:
      # More dimensions than points hold nothing.
      start = classical_start(problem, min(num_dimensions, len(delta)), seed)
    else:
      start = init
    minimum = minimise(
      problem,
      start,
      method,
      uniform=weights is None,
      max_iterations=max_iterations,
      rtol=rtol,
    )
    missing = 0 if init is not None else num_dimensions - start.shape[1]
    return _result(problem, minimum, missing)

  arrays = (delta, weights, init)
  if delta.ndim == 2:
    return solve_one(arrays)
  return jax.lax.platform_dependent(
    arrays, cpu=functools.partial(jax.lax.map, solve_one), default=jax.vmap(solve_one)
  )


def _result(problem: Problem, minimum: Minimum, missing: int) -> SmacofResult:
  """Makes the result, with columns of 0 for dimensions that are missing."""
  embedding = centre(problem, minimum.embedding)
  distances = distances_of(embedding)
  stress = stress_of(problem, distances)
  energy = 0.5 * jnp.sum(problem.weights * distances**2)
  return SmacofResult(
    embedding=jnp.pad(embedding, ((0, 0), (0, missing))),
    stress=stress,
    normalized_stress=jnp.sqrt(stress / jnp.where(energy > 0.0, energy, 1.0)),
    num_iterations=minimum.num_iterations,
    converged=minimum.converged,
  )
