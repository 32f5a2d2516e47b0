"""Multidimensional scaling by SMACOF, for one problem or a batch, under one `jit`.

The stress of an embedding X is sum_{i<j} w_ij (d_ij(X) - delta_ij)^2. Weights of 0 stand for pairs
that are unknown, and for points that only pad the problem; a padded point stays at the origin.
"""

import functools
from typing import Any, get_args

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from l2g_jax import settings
from l2g_jax.embedding import powers
from l2g_jax.embedding.classical import classical_start
from l2g_jax.embedding.minimizers import Method, Minimum, minimise
from l2g_jax.embedding.reason import Reason
from l2g_jax.embedding.smacof_input import read_init, read_problem
from l2g_jax.embedding.start import Given, part, start_from
from l2g_jax.embedding.stress import Problem, Unit, centre, distances_of, measure, stress_of
from l2g_jax.errors import InputError

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
    stress: `[]`, sum over i < j of w (d - delta)^2 of this embedding; infinite, or 0, where that is
      beyond the range of the type.
    normalized_stress: `[]`, stress-1, sqrt(sum w (d - delta)^2 / sum w d^2), 0 where all is 0.
    num_iterations: `[]` int32, how often the embedding was updated.
    converged: `[]` bool, whether the stress had stopped to fall, to `rtol`.
    reason: `[]` int32, a `Reason`: why the iteration stopped. `explain` says it in a sentence.
  """

  embedding: jax.Array
  stress: jax.Array
  normalized_stress: jax.Array
  num_iterations: jax.Array
  converged: jax.Array
  reason: jax.Array

  def explain(self) -> str | list[str]:
    """Returns why the iteration stopped, as a sentence; of a batch one for each problem.

    On the host: not under `jit`, where `reason` itself can be returned.
    """
    sentences = [Reason(code).sentence for code in np.ravel(self.reason)]
    return sentences if np.ndim(self.reason) else sentences[0]


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
  stress never rises; weights that differ take some products with V more, by conjugate gradients
  (about ten where weights are dense). The other methods take the same
  step with V bounded by a multiple of its diagonal, which needs no inverse and is the same
  transform where all weights are equal. `quasi_newton`, the default, corrects it by the curvature
  that the last step met (memoryless BFGS); where the stress would rise, the plain step is taken.
  `momentum` takes it from a point ahead of the last one (Nesterov), and starts anew when the stress
  rises. `lbfgs` minimises the same stress by `optax.lbfgs`, without majorization.

  A batch runs in lock step on an accelerator and one after another on a CPU, where that is faster;
  a problem's result does not depend on the others.

  The result scales with the dissimilarities, over the whole range of the type: they are measured in
  a power of 2 of their own, and so are the weights. float16, bfloat16, bool and counts are computed
  and answered in float32 (counts and NumPy's doubles in float64 where JAX has that enabled).

  JAX derives it forwards only (`jax.jvp`): it iterates until the stress has settled.

  Args:
    dissimilarities: `[n, n]` or `[B, n, n]`, symmetric, at least 0; the diagonal is taken as 0.
    weights: like `dissimilarities`, at least 0; None = all 1. 0 = pair unknown or padded, whatever
      stands there, NaN too.
    init: `[n, m]` or `[B, n, m]` to start from; None = classical scaling, clipped to its positive
      eigenvalues and scaled to the least stress. One that is 2^16 times larger or smaller than the
      dissimilarities is first brought to their size; points in one place that must part are moved
      apart by a hundredth of its extent.
    num_dimensions: m, ignored when `init` is given.
    max_iterations: updates at most; 0 returns the start.
    rtol: stop once the stress fell by less than this fraction of itself over 5 updates; at least 0.
    method: `quasi_newton`, `momentum`, `guttman` or `lbfgs`.
    seed: of the random subspace in which the classical start is looked for, from 0 to 2^32 - 1; may
      be traced, as `rtol` and `max_iterations` may be.

  Returns:
    A `SmacofResult`.

  Raises:
    InputError: an array that is not traced holds a value of positive weight that is not finite in
      its type, or is below 0, or is not symmetric; or a shape or a setting makes no sense.

  Source: de Leeuw (1977); Borg and Groenen, Modern Multidimensional Scaling, chapter 8; memoryless
  BFGS is Shanno's (1978), the restart that of O'Donoghue and Candes (2015).
  """
  num_dimensions = settings.integer("num_dimensions", num_dimensions, least=1)
  max_iterations = settings.integer("max_iterations", max_iterations, least=0)
  rtol = settings.real("rtol", rtol, least=0.0)
  seed = settings.integer("seed", seed, least=0, most=settings.LARGEST_SEED)
  method = settings.choice("method", method, get_args(Method))
  delta, weights = read_problem(dissimilarities, weights)
  init = None if init is None else read_init(init, delta)
  return _solve(
    delta,
    weights,
    init,
    _scalar(rtol, delta.dtype),
    _scalar(max_iterations, jnp.int32),
    _scalar(seed, jnp.uint32),
    num_dimensions=num_dimensions,
    method=method,
  )


def classical_scaling(
  dissimilarities: ArrayLike,
  *,
  weights: ArrayLike | None = None,
  num_dimensions: int = NUM_DIMENSIONS,
  seed: ArrayLike = 0,
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

  Raises:
    InputError: as `smacof`.
  """
  delta, weights = read_problem(dissimilarities, weights)
  if delta.ndim != 2:
    raise InputError(
      f"Classical scaling takes one problem [n, n], not {delta.shape}; use jax.vmap."
    )
  num_dimensions = settings.integer("num_dimensions", num_dimensions, least=1)
  seed = settings.integer("seed", seed, least=0, most=settings.LARGEST_SEED)
  return _scale_classically(
    delta, weights, _scalar(seed, jnp.uint32), num_dimensions=num_dimensions
  )


def _scalar(value: ArrayLike, dtype: Any) -> ArrayLike:
  """Returns a number in a type; one that is not traced on the host, where nothing is compiled."""
  return value.astype(dtype) if isinstance(value, Tracer) else np.asarray(value, dtype)


@functools.partial(jax.jit, static_argnames="num_dimensions")
def _scale_classically(delta, weights, seed, *, num_dimensions):
  problem, unit = measure(delta, weights)
  return powers.out_of_unit(classical_start(problem, num_dimensions, seed).points, unit.length)


@functools.partial(jax.jit, static_argnames=("num_dimensions", "method"))
def _solve(
  delta, weights, init, rtol, max_iterations, seed, *, num_dimensions, method
) -> SmacofResult:
  """Solves one problem or a batch."""

  def solve_one(arrays) -> SmacofResult:
    delta, weights, init = arrays
    problem, unit = measure(delta, weights)
    if init is None:
      # More dimensions than points hold nothing.
      start = classical_start(problem, max(1, min(num_dimensions, len(delta))), seed)
      distances = start.distances
    else:
      start = start_from(problem, init, unit.length)
      distances = distances_of(start.points)
    # A start that is answered as it is stays as it is.
    parted = part(problem, start.points, distances)
    points = jnp.where(max_iterations > 0, parted, start.points)
    minimum = minimise(
      problem,
      points,
      method,
      uniform=weights is None,
      max_iterations=max_iterations,
      rtol=rtol,
    )
    exponent = unit.length
    if isinstance(start, Given):
      exponent = jnp.where(minimum.num_iterations > 0, unit.length, start.exponent)
    missing = 0 if init is not None else num_dimensions - points.shape[1]
    return _result(problem, unit, minimum, exponent, missing)

  arrays = (delta, weights, init)
  if delta.ndim == 2:
    return solve_one(arrays)
  return jax.lax.platform_dependent(
    arrays, cpu=functools.partial(jax.lax.map, solve_one), default=jax.vmap(solve_one)
  )


def _result(
  problem: Problem, unit: Unit, minimum: Minimum, exponent: jax.Array, missing: int
) -> SmacofResult:
  """Makes the result, with columns of 0 for dimensions that are missing.

  The embedding is 2^exponent times the minimum's: that is the problem's unit but for a start of
  another size, which is compared in the larger of both units.
  """
  embedding = centre(problem, minimum.embedding)
  distances = distances_of(embedding)
  energy = 0.5 * jnp.sum(problem.weights * distances**2)
  larger = unit.length
  if exponent is larger:
    stress = stress_of(problem, distances)
    normalized = jnp.sqrt(stress / energy)
  else:
    larger = jnp.maximum(exponent, unit.length)
    compared = problem._replace(delta=powers.multiply(problem.delta, unit.length - larger))
    stress = stress_of(compared, powers.multiply(distances, exponent - larger))
    normalized = powers.multiply(jnp.sqrt(stress / energy), larger - exponent)
  embedding = powers.out_of_unit(embedding, exponent)
  finite = jnp.all(jnp.isfinite(embedding)) & jnp.isfinite(stress)
  reason = jnp.where(finite, minimum.reason, Reason.NOT_FINITE).astype(jnp.int32)
  return SmacofResult(
    embedding=jnp.pad(embedding, ((0, 0), (0, missing))),
    stress=powers.out_of_unit(stress, 2 * larger + unit.weight),
    normalized_stress=jnp.where(stress > 0.0, normalized, stress),
    num_iterations=minimum.num_iterations,
    converged=functools.reduce(
      jnp.logical_or, (reason == known for known in Reason if known.converged)
    ),
    reason=reason,
  )
