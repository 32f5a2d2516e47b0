import numpy as np
import pytest

from l2g_jax.similarity import bursts
from l2g_jax.similarity.codec import encode


def weights(descriptors, power):
  return bursts.weights(encode(descriptors, where="a test"), power)


def test_a_descriptor_like_no_other_weighs_one_and_equal_ones_share_it():
  found = weights(np.eye(5)[[0, 1, 1, 1, 4]], 3.0) / bursts.UNIT
  np.testing.assert_allclose(found, [1.0, 1 / 3, 1 / 3, 1 / 3, 1.0], atol=1e-4)


@pytest.mark.parametrize("power", [0.5, 3.0])
def test_weights_equal_a_loop(monkeypatch, power):
  monkeypatch.setattr(bursts, "_BLOCK", 100)
  rows = np.random.default_rng(0).standard_normal((40, 12)).astype(np.float32)
  units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
  expected = [1.0 / sum(max(row @ other, 0.0) ** power for other in units) for row in units]
  np.testing.assert_allclose(weights(rows, power) / bursts.UNIT, expected, rtol=0.05)
  np.testing.assert_array_equal(weights(2.0 * rows, power), weights(rows, power))


def test_a_power_of_zero_weighs_all_the_same():
  np.testing.assert_array_equal(weights(np.eye(4)[[0, 0, 1]], 0.0), [1, 1, 1])
  assert weights(np.zeros((0, 4)), 3.0).shape == (0,)


def test_more_like_descriptors_than_units_weigh_something():
  assert np.all(weights(np.ones((3000, 2)), 1.0) >= 1)


def test_wide_descriptors_have_exact_products():
  rows = np.full((2, 2000), 1.0)
  np.testing.assert_array_equal(weights(rows, 2.0), [bursts.UNIT // 2] * 2)
