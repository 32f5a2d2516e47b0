"""The start of SMACOF against eigenvectors in double precision, where `eigh` has no part in it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2g_jax.embedding.classical import classical_start
from l2g_jax.embedding.stress import make_problem
from tests.problems import clustered, decomposed_sizes, distances_of, stress_of

start_by_jit = jax.jit(classical_start, static_argnums=(1, 2))


def start_of(delta, num_dimensions, weights=None, seed=0):
  weights = None if weights is None else jnp.asarray(weights)
  problem = make_problem(jnp.asarray(delta), weights)
  return np.asarray(start_by_jit(problem, num_dimensions, seed).points, np.float64)


def spectrum(delta):
  centring = np.eye(len(delta)) - 1.0 / len(delta)
  return np.linalg.eigh(-0.5 * centring @ delta.astype(np.float64) ** 2 @ centring)


def wide_points(seed, size, num_dimensions, decades):
  """Points whose extent falls by so many decades from the first axis to the last."""
  points = np.random.default_rng(seed).standard_normal((size, num_dimensions))
  return (points * 10.0 ** np.linspace(0.0, -decades, num_dimensions)).astype(np.float32)


@pytest.mark.parametrize("size", [33, 60])
def test_all_dimensions_give_the_positive_part(size):
  delta = clustered(0, size) ** 3
  values, vectors = spectrum(delta)
  assert np.sum(values < -0.01) > 5
  positive = (vectors * np.maximum(values, 0.0)) @ vectors.T
  start = start_of(delta, size)
  gram = start @ start.T
  scale = np.sum(gram * positive) / np.sum(positive**2)
  np.testing.assert_allclose(gram, scale * positive, atol=1e-4 * scale * values[-1])


@pytest.mark.parametrize("num_dimensions", [8, 40])
@pytest.mark.parametrize("decades", [0.0, 2.0])
def test_euclidean_distances_are_met_though_axes_differ_by_decades(num_dimensions, decades):
  delta = distances_of(wide_points(1, 90, 8, decades)).astype(np.float32)
  start = start_of(delta, num_dimensions)
  assert stress_of(start, delta) <= 1e-6 * np.sum(delta.astype(np.float64) ** 2)


@pytest.mark.parametrize("num_dimensions", [2, 20])
def test_few_dimensions_are_the_leading_ones(num_dimensions):
  delta = clustered(2, 120) ** 2
  values, vectors = spectrum(delta)
  leading = vectors[:, -num_dimensions:] * np.sqrt(values[-num_dimensions:])
  best = distances_of(leading)
  leading *= np.sum(best * delta) / np.sum(best**2)
  assert stress_of(start_of(delta, num_dimensions), delta) <= 1.02 * stress_of(leading, delta)


def test_eigenvalues_far_below_zero_take_no_dimension():
  """The largest by magnitude are the negative ones: they would take all dimensions."""
  size, num_dimensions = 240, 40
  rng = np.random.default_rng(3)
  basis = np.linalg.qr(np.hstack([np.ones((size, 1)), rng.standard_normal((size, size - 1))]))[0]
  values = np.concatenate([[0.0], np.linspace(1.0, 1.2, 190), np.linspace(-1.3, -1.1, 49)])
  gram = (basis * values) @ basis.T
  squared = np.diag(gram)[:, None] + np.diag(gram)[None] - 2.0 * gram
  assert squared.min() > -1e-9
  start = start_of(np.sqrt(np.maximum(squared, 0.0)).astype(np.float32), num_dimensions)
  kept = np.linalg.svd(start, compute_uv=False) ** 2
  assert kept[-1] > 0.5 * kept[0]


def test_a_problem_of_nothing_and_one_of_equal_points_stay_at_the_origin():
  for weights in (None, np.zeros((50, 50), np.float32)):
    start = start_of(np.zeros((50, 50), np.float32), 40, weights)
    np.testing.assert_allclose(start, 0.0, atol=1e-6)


@pytest.mark.parametrize("num_dimensions", [2, 40])
def test_nothing_is_decomposed_that_a_gpu_would_take_one_after_another(num_dimensions):
  problems = jax.vmap(functools.partial(make_problem, weights=None))(jnp.zeros((3, 90, 90)))
  start = functools.partial(classical_start, num_dimensions=num_dimensions, seed=0)
  sizes = dict(decomposed_sizes(jax.make_jaxpr(jax.vmap(start))(problems).jaxpr))
  assert set(sizes) == {"eigh"}
  assert max(sizes.values()) <= 32
