"""Multidimensional scaling by SMACOF (de Leeuw, 1977), for one problem or a batch, under one `jit`.

The stress of an embedding X is sum_{i<j} w_ij (d_ij(X) - delta_ij)^2. A weight of 0 marks a pair as
unknown; a point without any positive weight only pads the problem and stays at the origin.
"""

import dataclasses
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
from l2g_jax.embedding.saddle import on_saddle
from l2g_jax.embedding.smacof_input import read_init, read_problem
from l2g_jax.embedding.start import Given, part, start_from
from l2g_jax.embedding.stress import (
  Problem,
  Unit,
  centre,
  distances_of,
  measure,
  resolves,
  stress_of,
)
from l2g_jax.errors import InputError

# Defaults here and in `L2GConfig`. At 1e-4 a re-ranking takes up to twice the updates, and mAP
# differs by 0.2 at most (docs/benchmarks.md). Few problems need that many updates.
NUM_DIMENSIONS = 128
METHOD: Method = "quasi_newton"
MAX_ITERATIONS = 200
RTOL = 1e-3


@flax.struct.dataclass
class SmacofResult:
  """An embedding and how it was reached; a batch adds a leading axis `[B]` to every field.

  Attributes:
    embedding: `[n, m]`, centred on its points of positive weight.
    stress: `[]`, sum over i < j of w (d - delta)^2 of this embedding; infinite, or 0, where that is
      beyond the range of the type.
    normalized_stress: `[]`, stress-1, sqrt(sum w (d - delta)^2 / sum w d^2); 0 for a stress of 0.
    num_iterations: `[]` int32, the number of updates.
    converged: `[]` bool, whether the reason is `SETTLED`, `NEGLIGIBLE` or `EMPTY`.
    reason: `[]` int32, the `Reason` to stop; `explain` puts it in a sentence. `LIMIT`:
      `max_iterations` were done before the stress settled; `SETTLED`: the stress fell by less than
      `rtol` of itself over 5 iterations; `NEGLIGIBLE`: it is no more than rounding error; `EMPTY`:
      no pair has a positive weight; `NOT_FINITE`: a number left the range of its type, or the input
      held one; `SADDLE`: it settled, but `init` spans too few dimensions, which SMACOF can't leave;
      `UNRESOLVED`: the weights are too far apart for the stress to show the light pairs.
  """

  embedding: jax.Array
  stress: jax.Array
  normalized_stress: jax.Array
  num_iterations: jax.Array
  converged: jax.Array
  reason: jax.Array

  def explain(self) -> str | list[str]:
    """Returns the reason to stop as a sentence; for a batch, one sentence for each problem.

    It works on the host alone. Under `jit`, return `reason` and explain it outside.
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
  stress never rises. Unequal weights cost further products with V, by conjugate gradients (about
  ten where weights are dense). The other methods bound V by a multiple of its diagonal: that needs
  no inverse, and gives the same transform where all weights are equal. `quasi_newton`, the default,
  corrects the step by the curvature along the previous one (memoryless BFGS), and falls back on the
  plain step where the stress would rise. `momentum` steps from a point ahead of the last one
  (Nesterov), and restarts when the stress rises. `lbfgs` minimises the same stress by
  `optax.lbfgs`, without majorization.

  The problems of a batch run in lock step on an accelerator, and one after another on a CPU, where
  that is faster. A problem's result does not depend on the others.

  The result scales with the dissimilarities over the whole range of the type, since they and the
  weights are measured in powers of 2 of their own. float16, bfloat16, bool and integers are
  computed and returned in float32 (integers and NumPy's float64 in float64 where JAX has it
  enabled).

  SMACOF iterates until the stress settles, so that JAX differentiates it in forward mode only
  (`jax.jvp`).

  Args:
    dissimilarities: `[n, n]` or `[B, n, n]`, symmetric, at least 0; the diagonal is taken as 0.
    weights: like `dissimilarities`, at least 0; None = all 1. 0 marks a pair as unknown or padded;
      its dissimilarity is ignored, even NaN. Keep the ratio of the greatest to the least weight
      above 0 below 2^23 in float32 (2^52 in float64): beyond it the light pairs are lost in the
      rounding error of the heavy ones, and the result is `UNRESOLVED`.
    init: `[n, m]` or `[B, n, m]` to start from; None = classical scaling, clipped to its positive
      eigenvalues and scaled to the least stress. It should span all m dimensions: steps never leave
      the subspace that the start spans, so that points on a line stay on it, and the result is then
      a `SADDLE`. A start 2^16 times larger or smaller than the dissimilarities is first brought to
      their size; coincident points of positive dissimilarity are moved apart by a hundredth of the
      start's extent.
    num_dimensions: m, ignored when `init` is given.
    max_iterations: the most updates; 0 returns the start.
    rtol: stop once the stress fell by less than this fraction of itself over 5 updates; at least 0.
    method: `quasi_newton`, `momentum`, `guttman` or `lbfgs`.
    seed: of the random subspace in which the classical start is sought, from 0 to 2^32 - 1. `seed`,
      `rtol` and `max_iterations` may be traced.

  Returns:
    A `SmacofResult`.

  Raises:
    InputError: an array that is not traced holds a value of positive weight that is not finite in
      its type, is below 0, or is not symmetric, or a positive weight that is 0 in its type; or a
      shape or a setting is invalid.

  Source: de Leeuw (1977); Borg and Groenen, Modern Multidimensional Scaling, chapter 8. Memoryless
  BFGS is Shanno's (1978), the restart is O'Donoghue and Candes' (2015).
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

  The leading eigenvectors of the doubly centred matrix are sought in a random subspace, which
  products with the matrix refine; the embedding is exact where `num_dimensions` or 32 reaches n. Up
  to 32 dimensions are sorted by their extent; more have arbitrary axes. Directions of negative
  eigenvalues are left out. Pairs of weight 0 get the mean dissimilarity of the others.

  Args:
    dissimilarities: `[n, n]`, symmetric, at least 0.
    weights: `[n, n]`, symmetric, at least 0; None = all 1.
    num_dimensions: m.
    seed: of the random subspace.

  Returns:
    `[n, m]`.

  Raises:
    InputError: as for `smacof`, or the arrays hold a batch.
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
  """Returns a number in a type; on the host, which compiles no program, unless it is traced."""
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
      # n points span at most n dimensions; `_result` pads the embedding to m.
      start = classical_start(problem, max(1, min(num_dimensions, len(delta))), seed)
      distances = start.distances
    else:
      start = start_from(problem, init, unit.length)
      distances = distances_of(start.points)
    # Without iterations the start is returned as it is.
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
    result = _result(problem, unit, minimum, exponent, weights, is_given=init is not None)
    missing = 0 if init is not None else num_dimensions - points.shape[1]
    padded = jnp.pad(result.embedding, ((0, 0), (0, missing)))
    return dataclasses.replace(result, embedding=padded)

  arrays = (delta, weights, init)
  if delta.ndim == 2:
    return solve_one(arrays)
  return jax.lax.platform_dependent(
    arrays, cpu=functools.partial(jax.lax.map, solve_one), default=jax.vmap(solve_one)
  )


def _result(
  problem: Problem,
  unit: Unit,
  minimum: Minimum,
  exponent: jax.Array,
  weights: jax.Array | None,
  *,
  is_given: bool,
) -> SmacofResult:
  """Makes the result in the units of the input.

  Args:
    problem: in its own unit.
    unit: that unit.
    minimum: its embedding, times 2^exponent, is the result's.
    exponent: `[]` int32; the unit's, unless a start of another size is returned as it is. Such a
      start is compared with the dissimilarities in the larger of both units.
    weights: `[n, n]`, as they came.
    is_given: whether the start was given, and so may span too few dimensions.
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
  reason = minimum.reason
  if is_given:
    flat = (reason == Reason.SETTLED) & on_saddle(problem, embedding, distances)
    reason = jnp.where(flat, Reason.SADDLE, reason)
  if weights is not None:
    fitted = (reason == Reason.SETTLED) | (reason == Reason.NEGLIGIBLE)
    reason = jnp.where(fitted & ~resolves(weights), Reason.UNRESOLVED, reason)
  embedding = powers.out_of_unit(embedding, exponent)
  finite = jnp.all(jnp.isfinite(embedding)) & jnp.isfinite(stress)
  reason = jnp.where(finite, reason, Reason.NOT_FINITE).astype(jnp.int32)
  return SmacofResult(
    embedding=embedding,
    stress=powers.out_of_unit(stress, 2 * larger + unit.weight),
    normalized_stress=jnp.where(stress > 0.0, normalized, stress),
    num_iterations=minimum.num_iterations,
    converged=functools.reduce(
      jnp.logical_or, (reason == known for known in Reason if known.converged)
    ),
    reason=reason,
  )
