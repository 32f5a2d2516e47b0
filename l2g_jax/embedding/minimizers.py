"""Methods that minimise the stress of one problem from a start, until the stress settles.

Sources: de Leeuw (1977) for majorization, Shanno (1978) for memoryless BFGS, O'Donoghue and Candes
(2015) for the restart of momentum.
"""

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

# The stress is compared with the one this many iterations earlier.
_WINDOW = 5
# Passes of the power method that bound the largest eigenvalue of deg^-1 V.
_POWER_PASSES = 8
# The most steps of conjugate gradients; dense weights take about ten.
_LINEAR_STEPS = 100

# Turns half the gradient of the stress into a step, which majorization subtracts from the points.
_Majorizer = Callable[[jax.Array], jax.Array]


class Minimum(NamedTuple):
  """An embedding `[n, m]`, the number of iterations `[]`, and the `Reason` to stop `[]` int32."""

  embedding: jax.Array
  num_iterations: jax.Array
  reason: jax.Array


class _Progress(NamedTuple):
  history: jax.Array  # [window], the last stresses, newest last
  num_iterations: jax.Array
  reason: jax.Array  # to stop; LIMIT while there is no other


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
    method: one of `Method`.
    uniform: whether all weights are 1.
    max_iterations: the most iterations.
    rtol: stop once the stress fell by less than this fraction of itself over 5 iterations.

  Returns:
    The `Minimum`; the centred start where `max_iterations` is 0.
  """
  start = centre(problem, start)
  loop = functools.partial(_until_settled, problem, max_iterations=max_iterations, rtol=rtol)
  if uniform:
    majorizer = _uniform_majorizer(problem)
  elif method == "guttman":
    majorizer = exact_majorizer(problem)
  else:
    majorizer = diagonal_majorizer(problem)
  if method == "lbfgs":
    return _lbfgs(problem, start, majorizer, loop)
  if method == "quasi_newton":
    return _quasi_newton(problem, start, majorizer, loop)
  return _majorize(problem, start, majorizer, loop, ahead=method == "momentum")


def _until_settled(problem: Problem, update, state, *, max_iterations, rtol):
  """Repeats an update until the stress settles; returns the last state and the progress.

  An update returns its state, the stress, and a lower bound of the gain of the next majorization. A
  stress that stands still while there is more to gain has not settled.
  """
  scale = 0.5 * jnp.sum(problem.weights * problem.delta**2)
  rounding = jnp.finfo(scale.dtype).eps

  def body(carry: tuple[Any, _Progress]) -> tuple[Any, _Progress]:
    state, progress = carry
    state, stress, gain = update(state)
    history = jnp.append(progress.history[1:], stress)
    settled = jnp.abs(history[0] - stress) <= rtol * stress
    settled &= gain <= jnp.maximum(rtol, rounding) * stress
    # Below this, the stress may be rounding error alone.
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
  """Returns the step of the Guttman transform for weights of 1: V^+ is 1/n on centred points."""
  return lambda gradient: gradient / len(problem.delta)


def exact_majorizer(problem: Problem) -> _Majorizer:
  """Returns the step of the Guttman transform X - V^+ (V - B(X)) X, up to a shift of all points.

  If all pairs of valid points have equal weights, V^+ is a multiple of the identity on centred
  points, and the loop below does not run, even in a batch. Other weights take conjugate gradients,
  preconditioned by the diagonal of V, which need products alone. Each step lowers the majorizing
  function, so that the stress does not rise wherever the loop ends.
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
      # Where a direction moves parts of the problem that no weight connects, its curvature is only
      # rounding error.
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
  """The state of conjugate gradients for V step = gradient."""

  step: jax.Array  # [n, m]
  rest: jax.Array  # [n, m], gradient - V step
  direction: jax.Array  # [n, m], of the next change
  error: jax.Array  # [], squared norm of the rest, weighted by the inverse diagonal
  count: jax.Array  # [], of steps


def _quotient(dividend: jax.Array, divisor: jax.Array) -> jax.Array:
  """Divides by a number `[]`; a divisor of 0 gives 0."""
  return jnp.where(divisor > 0.0, dividend / jnp.where(divisor > 0.0, divisor, 1.0), 0.0)


def diagonal_majorizer(problem: Problem) -> _Majorizer:
  """Returns the step (mu deg)^-1 gradient, with mu about the largest eigenvalue of deg^-1 V.

  mu is at most 2. It is n / (n - 1) where all weights are equal; the step is then the Guttman
  transform's.
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
  # The Rayleigh quotient is a lower bound of mu, raised here by 2 %. A step up to twice too long
  # does not raise the stress, and since 1 <= mu <= 2 this one is no longer than that.
  bound = jnp.clip(1.02 * jnp.sum(vector * image), 1.0, 2.0)
  return lambda gradient: gradient / (bound * degrees)


class _Majorized(NamedTuple):
  embedding: jax.Array  # [n, m], the result of the last update
  point: jax.Array  # [n, m], the start of the next update: the embedding, or a point ahead of it
  stress: jax.Array  # [], at the last point
  momentum: jax.Array  # [], Nesterov's t


def _majorize(problem, start, majorizer: _Majorizer, loop, *, ahead: bool) -> Minimum:
  """Repeats the majorizer's step, from the last point or, for momentum, from one ahead of it."""

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
  """A step and the change of half the gradient along it; one of curvature 0 is not used."""

  step: jax.Array  # [n, m]
  change: jax.Array  # [n, m]
  curvature: jax.Array  # [], <step, change>


class _QuasiNewton(NamedTuple):
  best: jax.Array  # [n, m], the point of least stress so far
  stress: jax.Array  # [], there
  gradient: jax.Array  # [n, m], half the gradient there
  secant: _Secant  # of the step to the best point
  point: jax.Array  # [n, m], the next to evaluate


def _quasi_newton(problem, start, majorizer: _Majorizer, loop) -> Minimum:
  """Takes steps of memoryless BFGS over the majorizer, and keeps the best point.

  A step that would raise the stress is refused, and the majorizer's own step follows. More than one
  secant would save few iterations, and cost more time than those take.
  """
  no_secant = _Secant(jnp.zeros_like(start), jnp.zeros_like(start), jnp.zeros((), start.dtype))

  def update(state: _QuasiNewton) -> tuple[_QuasiNewton, jax.Array, jax.Array]:
    distances = distances_of(state.point)
    stress = stress_of(problem, distances)
    # A step needs no more digits: the stress, which decides about it, is of exact distances.
    gradient = residual(problem, state.point, distances, precision="high")
    fell = stress <= state.stress
    step, change = state.point - state.best, gradient - state.gradient
    # A step leaves no secant where the stress rises, or does not curve upwards along it.
    curvature = jnp.where(fell, jnp.maximum(jnp.sum(step * change), 0.0), 0.0)
    secant = _Secant(step, change, curvature)
    best, stress, gradient = jax.tree.map(
      functools.partial(jnp.where, fell),
      (state.point, stress, gradient),
      (state.best, state.stress, state.gradient),
    )
    point = best - _secant_step(secant, gradient, majorizer)
    # After a refused step the majorizer's own follows, so that a stress that stands has settled.
    return _QuasiNewton(best, stress, gradient, secant, point), stress, jnp.zeros_like(stress)

  state, progress = loop(
    update,
    _QuasiNewton(
      best=start,
      stress=jnp.full((), jnp.inf, start.dtype),
      gradient=jnp.zeros_like(start),
      secant=no_secant,
      point=start,
    ),
  )
  # The gradient at the best point is known, so that one more majorizer's step is almost free.
  embedding = state.best - majorizer(state.gradient)
  return Minimum(embedding, progress.num_iterations, progress.reason)


def _secant_step(secant: _Secant, gradient: jax.Array, majorizer: _Majorizer) -> jax.Array:
  """Returns the step to subtract, from half the gradient; without a secant the majorizer's own."""
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
