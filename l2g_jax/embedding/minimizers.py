"""Ways to minimise the stress of one problem from a start, each until the stress has settled."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2g_jax.embedding.reason import Reason
from l2g_jax.embedding.stress import (
  Problem,
  centre,
  distances_of,
  product,
  residual,
  stress_function,
  stress_of,
)

Method = Literal["quasi_newton", "momentum", "guttman", "lbfgs"]

# The stress is compared with that of this many iterations before.
_WINDOW = 5
_POWER_PASSES = 8
# Of conjugate gradients at most; dense weights take about ten.
_LINEAR_STEPS = 100

# Turns half a gradient of the stress into the step that majorization takes against it.
_Majorizer = Callable[[jax.Array], jax.Array]


class Minimum(NamedTuple):
  """An embedding `[n, m]`, the iterations that it took, and the `Reason` to stop, int32."""

  embedding: jax.Array
  num_iterations: jax.Array
  reason: jax.Array


class _Progress(NamedTuple):
  history: jax.Array  # [window], the last stresses, newest last
  num_iterations: jax.Array
  reason: jax.Array  # to stop; LIMIT while there is none


def minimise(
  problem: Problem,
  start: jax.Array,
  method: Method,
  *,
  uniform: bool,
  max_iterations: jax.Array,
  rtol: jax.Array,
) -> Minimum:
  """Minimises the stress; see `mds.smacof` for the methods.

  Args:
    problem: of n points.
    start: `[n, m]`.
    method: how.
    uniform: whether all weights are 1.
    max_iterations: at most.
    rtol: stop once the stress fell by less than this fraction of itself over 5 iterations.

  Returns:
    The `Minimum`; after no iteration the centred start.
  """
  start = centre(problem, start)
  loop = functools.partial(_until_settled, problem, max_iterations=max_iterations, rtol=rtol)
  if uniform:
    majorizer = _uniform_majorizer(problem)
  elif method == "guttman":
    majorizer = _exact_majorizer(problem)
  else:
    majorizer = _diagonal_majorizer(problem)
  if method == "lbfgs":
    return _lbfgs(problem, start, majorizer, loop)
  if method == "quasi_newton":
    return _quasi_newton(problem, start, majorizer, loop)
  return _majorize(problem, start, majorizer, loop, ahead=method == "momentum")


def _until_settled(problem: Problem, update, state, *, max_iterations, rtol):
  """Repeats an update until the stress has settled: the last state, and the progress.

  An update returns its state, the stress, and how much of it the next majorization is sure to gain:
  a stress that stands although there is something to gain has not settled.
  """
  scale = 0.5 * jnp.sum(problem.weights * problem.delta**2)
  rounding = jnp.finfo(scale.dtype).eps

  def body(carry: tuple[Any, _Progress]) -> tuple[Any, _Progress]:
    state, progress = carry
    state, stress, gain = update(state)
    history = jnp.append(progress.history[1:], stress)
    settled = jnp.abs(history[0] - stress) <= rtol * stress
    settled &= gain <= jnp.maximum(rtol, rounding) * stress
    # What is left may be rounding error alone.
    negligible = stress <= rounding * scale
    reason = jnp.select(
      [~jnp.isfinite(stress), negligible, settled],
      [Reason.NOT_FINITE, Reason.NEGLIGIBLE, Reason.SETTLED],
      Reason.LIMIT,
    ).astype(jnp.int32)
    return state, _Progress(history, progress.num_iterations + 1, reason)

  empty = jnp.all(problem.degrees <= 0.0)
  return jax.lax.while_loop(
    lambda carry: (carry[1].num_iterations < max_iterations) & (carry[1].reason == Reason.LIMIT),
    body,
    (
      state,
      _Progress(
        history=jnp.full((_WINDOW + 1,), jnp.inf, scale.dtype),
        num_iterations=jnp.zeros((), jnp.int32),
        reason=jnp.where(empty, Reason.EMPTY, Reason.LIMIT).astype(jnp.int32),
      ),
    ),
  )


def _uniform_majorizer(problem: Problem) -> _Majorizer:
  """Returns that of the Guttman transform where all weights are 1, V^+ = 1/n for centred X."""
  return lambda gradient: gradient / len(problem.delta)


def _exact_majorizer(problem: Problem) -> _Majorizer:
  """Returns that of the Guttman transform X - V^+ (V - B(X)) X, up to a shift of all points.

  Where all pairs of the points that are not padding weigh the same, V^+ is a multiple of 1 on what
  is centred. Other weights take conjugate gradients, preconditioned by the diagonal of V: products
  alone, in a loop that does not run for the former, not even in a batch. Each of its steps lowers
  the majorizing function, so that the stress does not rise wherever it ends.
  """
  size = len(problem.degrees)
  valid = problem.degrees > 0.0
  degrees = jnp.where(valid, problem.degrees, 1.0)
  heaviest = jnp.max(problem.weights, initial=0.0)
  others = valid & valid.T & ~jnp.eye(size, dtype=bool)
  equal = jnp.all(problem.weights == jnp.where(others, heaviest, 0.0))
  total = heaviest * jnp.sum(valid, dtype=degrees.dtype)
  rounding = jnp.finfo(degrees.dtype).eps

  def majorizer(gradient: jax.Array) -> jax.Array:
    def improve(state: _Solution) -> _Solution:
      image = problem.degrees * state.direction - product(problem.weights, state.direction)
      curvature = jnp.sum(state.direction * image)
      # Along what moves parts of the problem that no weight connects there is rounding alone.
      curved = curvature > 10.0 * rounding * jnp.sum(degrees * state.direction**2)
      length = jnp.where(curved, _quotient(state.error, curvature), 0.0)
      rest = state.rest - length * image
      error = jnp.where(curved, jnp.sum(rest**2 / degrees), 0.0)
      return _Solution(
        step=state.step + length * state.direction,
        rest=rest,
        direction=rest / degrees + _quotient(error, state.error) * state.direction,
        error=error,
        count=state.count + 1,
      )

    gradient = centre(problem, gradient)
    first = jnp.sum(gradient**2 / degrees)
    solution = jax.lax.while_loop(
      lambda state: ~equal & (state.count < _LINEAR_STEPS) & (state.error > rounding**1.5 * first),
      improve,
      _Solution(
        step=jnp.where(equal, _quotient(gradient, total), 0.0),
        rest=gradient,
        direction=gradient / degrees,
        error=first,
        count=jnp.zeros((), jnp.int32),
      ),
    )
    return solution.step

  return majorizer


class _Solution(NamedTuple):
  """Conjugate gradients at work on V step = gradient."""

  step: jax.Array  # [n, m]
  rest: jax.Array  # [n, m], gradient - V step
  direction: jax.Array  # [n, m], of the next change
  error: jax.Array  # [], of the rest, in the norm of the inverse diagonal, squared
  count: jax.Array  # []


def _quotient(dividend: jax.Array, divisor: jax.Array) -> jax.Array:
  """Divides by a number `[]`; 0 by 0 is 0."""
  return jnp.where(divisor > 0.0, dividend / jnp.where(divisor > 0.0, divisor, 1.0), 0.0)


def _diagonal_majorizer(problem: Problem) -> _Majorizer:
  """Returns (mu deg)^-1, with mu about the largest eigenvalue of deg^-1 V.

  mu is at most 2, and n / (n - 1) where all weights are equal: then this is the Guttman transform.
  """
  degrees = jnp.where(problem.degrees > 0.0, problem.degrees, 1.0)
  scaled = problem.weights / jnp.sqrt(degrees) / jnp.sqrt(degrees.T)
  diagonal = (problem.degrees > 0.0).astype(scaled.dtype)

  def pass_once(_, vector):
    image = diagonal * vector - product(scaled, vector)
    return image / jnp.maximum(jnp.linalg.norm(image), jnp.finfo(image.dtype).tiny)

  # A fixed irregular start: every eigenvector has a part in it.
  vector = jnp.sin(1.0 + jnp.arange(len(degrees), dtype=scaled.dtype))[:, None]
  vector = jax.lax.fori_loop(0, _POWER_PASSES, pass_once, vector)
  image = diagonal * vector - product(scaled, vector)
  # The quotient is a lower bound of mu. A step up to twice too long does not raise the stress, and
  # this one is not: mu is at most 2.
  bound = jnp.clip(1.02 * jnp.sum(vector * image), 1.0, 2.0)
  return lambda gradient: gradient / (bound * degrees)


class _Majorized(NamedTuple):
  embedding: jax.Array  # [n, m], the last update's result
  point: jax.Array  # [n, m], where the next update starts: the embedding, or ahead of it
  stress: jax.Array  # [], at the last point
  momentum: jax.Array  # [], Nesterov's t


def _majorize(problem, start, majorizer: _Majorizer, loop, *, ahead: bool) -> Minimum:
  """Repeats the majorizer's step, from a point ahead of the last one or from that itself."""

  def update(state: _Majorized) -> tuple[_Majorized, jax.Array, jax.Array]:
    distances = distances_of(state.point)
    stress = stress_of(problem, distances)
    gradient = residual(problem, state.point, distances)
    plain = majorizer(gradient)
    embedding = state.point - plain
    point, momentum = embedding, state.momentum
    if ahead:
      step = embedding - state.embedding
      uphill = jnp.sum((state.point - embedding) * step) > 0.0
      anew = uphill | (stress > state.stress)
      momentum = jnp.where(anew, 1.0, 0.5 * (1.0 + jnp.sqrt(1.0 + 4.0 * momentum**2)))
      point = embedding + jnp.where(anew, 0.0, (state.momentum - 1.0) / momentum) * step
    return _Majorized(embedding, point, stress, momentum), stress, jnp.sum(gradient * plain)

  infinite = jnp.full((), jnp.inf, start.dtype)
  state, progress = loop(update, _Majorized(start, start, infinite, jnp.ones((), start.dtype)))
  return Minimum(state.embedding, progress.num_iterations, progress.reason)


class _Secant(NamedTuple):
  """A step, and how half the gradient changed along it; of curvature 0 it says nothing."""

  step: jax.Array  # [n, m]
  change: jax.Array  # [n, m]
  curvature: jax.Array  # [], <step, change>


class _QuasiNewton(NamedTuple):
  best: jax.Array  # [n, m], the point of least stress so far
  stress: jax.Array  # [], there
  gradient: jax.Array  # [n, m], half of it, there
  secant: _Secant  # of the step to the best
  point: jax.Array  # [n, m], where to look next


def _quasi_newton(problem, start, majorizer: _Majorizer, loop) -> Minimum:
  """Takes steps of memoryless BFGS over the majorizer, and keeps the best point.

  Where a step would raise the stress it is not taken, and the majorizer's own step follows. More
  secants than one save few iterations, and cost more than those.
  """
  nothing = _Secant(jnp.zeros_like(start), jnp.zeros_like(start), jnp.zeros((), start.dtype))

  def update(state: _QuasiNewton) -> tuple[_QuasiNewton, jax.Array, jax.Array]:
    distances = distances_of(state.point)
    stress = stress_of(problem, distances)
    # A step needs no more digits: the stress, of exact distances, decides what is kept.
    gradient = residual(problem, state.point, distances, precision="high")
    fell = stress <= state.stress
    step, change = state.point - state.best, gradient - state.gradient
    # A rise leaves no secant, as a step does along which the stress does not curve upwards.
    curvature = jnp.where(fell, jnp.maximum(jnp.sum(step * change), 0.0), 0.0)
    secant = _Secant(step, change, curvature)
    best, stress, gradient = jax.tree.map(
      functools.partial(jnp.where, fell),
      (state.point, stress, gradient),
      (state.best, state.stress, state.gradient),
    )
    point = best - _secant_step(secant, gradient, majorizer)
    # The majorizer's own step follows one that is refused: a stress that stands has settled.
    return _QuasiNewton(best, stress, gradient, secant, point), stress, jnp.zeros_like(stress)

  state, progress = loop(
    update,
    _QuasiNewton(
      best=start,
      stress=jnp.full((), jnp.inf, start.dtype),
      gradient=jnp.zeros_like(start),
      secant=nothing,
      point=start,
    ),
  )
  # The gradient at the best is known: the majorizer's step is a gain without a cost.
  embedding = state.best - majorizer(state.gradient)
  return Minimum(embedding, progress.num_iterations, progress.reason)


def _secant_step(secant: _Secant, gradient: jax.Array, majorizer: _Majorizer) -> jax.Array:
  """Returns the step against half a gradient; the majorizer's own without a secant."""
  known = secant.curvature > 0.0
  inverse = jnp.where(known, 1.0 / jnp.where(known, secant.curvature, 1.0), 0.0)
  plain, along = majorizer(gradient), majorizer(secant.change)
  expected = jnp.sum(secant.change * along)
  scale = jnp.where(known, secant.curvature / jnp.where(expected > 0.0, expected, 1.0), 1.0)
  share = inverse * jnp.sum(secant.step * gradient)
  excess = inverse * scale * jnp.sum(secant.change * plain)
  return scale * (plain - share * along) + (2.0 * share - excess) * secant.step


def _lbfgs(problem, start, majorizer: _Majorizer, loop) -> Minimum:
  """Minimises by limited-memory BFGS with optax's line search.

  An iteration costs about twice that of the others. To come within 1 % of the least stress of a
  hard problem, such as clusters in few dimensions, it takes less than half of their iterations, and
  is then the first (`benchmarks.mds`).
  """
  solver = optax.lbfgs()
  stress_of_points = stress_function(problem)
  value_and_grad: Any = optax.value_and_grad_from_state(stress_of_points)

  def update(state):
    points, solver_state = state
    stress, gradient = value_and_grad(points, state=solver_state)
    updates, solver_state = solver.update(
      gradient, solver_state, points, value=stress, grad=gradient, value_fn=stress_of_points
    )
    gain = 0.25 * jnp.sum(gradient * majorizer(gradient))
    return (optax.apply_updates(points, updates), solver_state), stress, gain

  (embedding, _), progress = loop(update, (start, solver.init(start)))
  return Minimum(embedding, progress.num_iterations, progress.reason)
