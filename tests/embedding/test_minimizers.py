import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.embedding import mds, minimizers, stress
from tests.problems import (
  SIZE,
  clustered,
  decomposed_sizes,
  guttman_by_hand,
  some_start,
  some_weights,
  stress_of,
)


def bipartite_weights():
  """Only pairs of different parity: deg^-1 V has the eigenvalue 2, the largest there is."""
  parity = np.arange(SIZE) % 2
  return (parity[:, None] != parity[None]).astype(np.float32)


def test_one_iteration_of_every_majorization_is_the_guttman_transform():
  delta, start = clustered(0), some_start(0)
  expected = guttman_by_hand(delta, np.ones_like(delta), start, 1)
  for method in ("quasi_newton", "momentum", "guttman"):
    result = mds.smacof(delta, init=start, max_iterations=1, method=method)
    np.testing.assert_allclose(result.embedding, expected, atol=1e-4)


def test_a_secant_is_worth_several_transforms():
  delta, start = clustered(1) ** 3, some_start(1, num_dimensions=SIZE)
  solve = functools.partial(mds.smacof, delta, init=start, rtol=0.0)
  plain = solve(method="guttman", max_iterations=200)
  assert solve(method="quasi_newton", max_iterations=50).stress < plain.stress


def in_tf32(values):
  """Rounds to the ten bits that an NVIDIA GPU keeps where the precision is `high`."""
  bits = jax.lax.bitcast_convert_type(values, jnp.int32)
  return jax.lax.bitcast_convert_type((bits + 0x1000) & ~0x1FFF, jnp.float32)


def residual_in_tf32(problem, points, distances, *, precision):
  assert precision == "high"
  apart = distances > 0.0
  factors = jnp.where(apart, problem.delta / jnp.where(apart, distances, 1.0), 0.0)
  factors = problem.weights * (1.0 - factors)
  pulled = jnp.matmul(in_tf32(factors), in_tf32(points), precision="highest")
  return jnp.sum(factors, axis=1, keepdims=True) * points - pulled


def settled_stresses(seeds):
  # Traced anew at each call, and with it what is patched.
  @jax.jit
  def settle(delta, start):
    problem = stress.make_problem(delta, None)
    limits = {"max_iterations": jnp.asarray(500), "rtol": jnp.asarray(1e-5)}
    return minimizers.minimise(problem, start, "quasi_newton", uniform=True, **limits)

  stresses = []
  for seed in seeds:
    delta, start = clustered(seed) ** 3, some_start(seed, num_dimensions=SIZE)
    stresses.append(stress_of(settle(delta, start).embedding, delta))
  return np.array(stresses)


def test_steps_of_ten_bits_lead_as_low(monkeypatch):
  expected = settled_stresses(range(8))
  monkeypatch.setattr(minimizers, "residual", residual_in_tf32)
  rough = settled_stresses(range(8))
  assert np.any(rough != expected)
  np.testing.assert_allclose(rough, expected, rtol=2e-3)


def test_a_step_that_raises_the_stress_is_not_taken():
  delta, start = clustered(2) ** 3, 5.0 * some_start(2)
  solve = functools.partial(mds.smacof, delta, init=start, rtol=0.0)
  embeddings = [np.asarray(solve(max_iterations=count).embedding) for count in range(1, 41)]
  assert np.all(np.diff([stress_of(points, delta) for points in embeddings]) <= 0.0)
  # Some steps were refused, or this shows little.
  refused = [np.array_equal(*pair) for pair in itertools.pairwise(embeddings)]
  assert 0 < sum(refused) < 20


@given(st.integers(0, 10_000))
def test_the_least_bound_never_raises_the_stress(seed):
  delta, weights, points = clustered(seed) ** 3, bipartite_weights(), jnp.asarray(some_start(seed))
  problem = stress.make_problem(jnp.asarray(delta), jnp.asarray(weights))
  for _ in range(6):
    before = stress_of(points, delta, weights)
    gradient = stress.residual(problem, points, stress.distances_of(points))
    points = points - gradient / problem.degrees
    assert stress_of(points, delta, weights) <= before * (1.0 + 1e-5)


def test_the_program_of_plain_smacof_decomposes_no_matrix_of_all_points():
  """A pseudo-inverse costs n^3 for every problem of a batch; the check of saddles has 8 steps."""
  deltas = np.stack([clustered(0), clustered(1)])
  weights = np.stack([some_weights(0), np.ones_like(deltas[0])])
  starts = np.stack([some_start(0), some_start(1)])

  def solve(delta, weights, start):
    return mds.smacof(delta, weights=weights, init=start, method="guttman").embedding

  for many in (jax.vmap(solve), solve):
    sizes = decomposed_sizes(jax.make_jaxpr(many)(deltas, weights, starts).jaxpr)
    assert all(size <= 8 for _, size in sizes)


def test_equal_weights_of_a_batch_take_no_linear_system(monkeypatch):
  products = []

  def counted(a, b):
    jax.debug.callback(lambda: products.append(1))
    return stress.product(a, b)

  monkeypatch.setattr(minimizers, "product", counted)
  padded = np.ones((SIZE, SIZE), np.float32)
  padded[20:] = padded[:, 20:] = 0.0

  def step(weights, gradient):
    problem = stress.make_problem(jnp.zeros_like(weights), weights)
    return minimizers.exact_majorizer(problem)(gradient)

  def steps(*weights):
    gradients = np.stack([some_start(row) for row in range(len(weights))])
    gradients -= gradients.mean(axis=1, keepdims=True)
    result = jax.vmap(step)(jnp.asarray(weights), gradients)
    jax.effects_barrier()
    return gradients, result

  gradients, result = steps(np.ones_like(padded), 0.5 * np.ones_like(padded))
  assert not products
  np.testing.assert_allclose(result[0], gradients[0] / SIZE, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(result[1], gradients[1] / (0.5 * SIZE), rtol=1e-4, atol=1e-6)
  steps(padded, np.ones_like(padded))
  assert not products
  gradients, result = steps(np.ones_like(padded), some_weights(5))
  assert products
  weights = some_weights(5) * (1.0 - np.eye(SIZE))
  inverse = np.linalg.pinv(np.diag(weights.sum(axis=1)) - weights)
  steps_apart = np.asarray(result[1]) - inverse @ gradients[1]
  np.testing.assert_allclose(steps_apart - steps_apart.mean(axis=0), 0.0, atol=1e-5)


def test_the_estimated_bound_is_near_the_largest_eigenvalue():
  for weights in (some_weights(4), np.ones((SIZE, SIZE), np.float32), bipartite_weights()):
    problem = stress.make_problem(jnp.zeros_like(weights), jnp.asarray(weights))
    degrees = np.asarray(problem.degrees)[:, 0]
    off_diagonal = np.asarray(problem.weights)
    scaled = off_diagonal / np.sqrt(degrees[:, None] * degrees[None])
    largest = np.linalg.eigvalsh(np.eye(SIZE) - scaled)[-1]
    unit = minimizers.diagonal_majorizer(problem)(jnp.ones((SIZE, 1)))
    bound = 1.0 / (np.asarray(unit)[:, 0] * degrees)
    np.testing.assert_allclose(bound, bound[0], rtol=1e-5)
    assert 0.85 * largest <= bound[0] <= min(2.0, 1.03 * largest) + 1e-5
