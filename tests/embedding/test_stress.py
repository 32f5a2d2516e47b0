import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.embedding import stress
from tests.problems import clustered, some_start, some_weights, stress_of
from tests.variants import VariantTestCase, jit_variants


def value(points, delta, weights):
  problem = stress.make_problem(delta, weights)
  return stress.stress_of(problem, stress.distances_of(points))


def twice_the_residual(points, delta, weights):
  problem = stress.make_problem(delta, weights)
  return 2.0 * stress.residual(problem, points, stress.distances_of(points))


class VariantsTest(VariantTestCase):
  @jit_variants
  def test_stress_with_and_without_jit(self):
    points, delta, weights = some_start(0), clustered(0), some_weights(0)
    for given_weights in (None, weights):
      np.testing.assert_allclose(
        self.variant(value)(points, delta, given_weights),
        stress_of(points, delta, given_weights),
        rtol=1e-5,
      )


@given(st.integers(0, 10_000))
def test_residual_is_half_the_gradient(seed):
  points, delta, weights = some_start(seed), clustered(seed), some_weights(seed)
  expected = np.zeros(points.shape)
  for place in np.ndindex(3, points.shape[1]):
    step = np.zeros(points.shape)
    step[place] = 1e-5
    rise = stress_of(points + step, delta, weights) - stress_of(points - step, delta, weights)
    expected[place] = rise / 2e-5
  gradient = jax.jit(twice_the_residual)(points, delta, weights)
  np.testing.assert_allclose(gradient[:3], expected[:3], rtol=1e-3, atol=1e-3)


def test_residual_is_half_of_what_jax_derives_of_distances_apart():
  points, delta, weights = some_start(1), clustered(1), some_weights(1)

  def by_pairs(points):
    rows, columns = np.triu_indices(len(delta), 1)
    distances = jnp.linalg.norm(points[rows] - points[columns], axis=1)
    return jnp.sum(weights[rows, columns] * (distances - delta[rows, columns]) ** 2)

  np.testing.assert_allclose(
    jax.jit(twice_the_residual)(points, delta, weights),
    jax.jit(jax.grad(by_pairs))(points),
    rtol=1e-4,
    atol=1e-4,
  )


def test_points_in_one_place_have_a_finite_gradient():
  points, delta, weights = some_start(2), clustered(2), some_weights(2)
  points[3] = points[7]
  function = stress.stress_function(stress.make_problem(jnp.asarray(delta), jnp.asarray(weights)))
  points = jnp.asarray(points)
  expected = jax.jit(twice_the_residual)(points, delta, weights)
  assert np.all(np.isfinite(expected))
  np.testing.assert_allclose(function(points), stress_of(points, delta, weights), rtol=1e-5)
  for gradient in (jax.grad(function), jax.jit(jax.grad(function)), jax.jacfwd(function)):
    np.testing.assert_allclose(gradient(points), expected, rtol=1e-5, atol=1e-5)


def test_centring_leaves_padding_at_the_origin():
  weights = jnp.asarray(np.pad(some_weights(3, size=6), (0, 2)))
  problem = stress.make_problem(jnp.zeros_like(weights), weights)
  points = np.asarray(stress.centre(problem, jnp.asarray(some_start(3, size=8))))
  np.testing.assert_array_equal(points[6:], 0.0)
  np.testing.assert_allclose(points[:6].mean(axis=0), 0.0, atol=1e-6)
