import functools
from typing import Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import manifold

from l2g_jax.embedding import mds
from l2g_jax.errors import InputError
from tests.problems import (
  METHODS,
  SIZE,
  clustered,
  distances_of,
  guttman_by_hand,
  some_start,
  some_weights,
  stress_of,
)
from tests.variants import VariantTestCase, jit_variants

# A chain of single updates is compiled once, whatever its length.
update_once = functools.partial(mds.smacof, max_iterations=1)
settle = functools.partial(mds.smacof, max_iterations=3000, rtol=1e-6)


# In as many dimensions as points the minimum is one; cubes are far from any metric.
@pytest.mark.parametrize("method", METHODS)
def test_reaches_the_stress_of_scikit_learn(method):
  delta, start = clustered(0) ** 3, some_start(0, num_dimensions=SIZE)
  embedding = manifold.smacof(
    delta, init=start.astype(np.float64), n_init=1, max_iter=3000, eps=1e-10
  )[0]
  result = settle(delta, init=start, method=method)
  assert result.converged
  np.testing.assert_allclose(result.stress, stress_of(embedding, delta), rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_reaches_the_stress_of_a_dense_weighted_reference(method):
  delta, weights = clustered(1) ** 3, some_weights(1)
  start = some_start(1, num_dimensions=SIZE)
  expected = stress_of(guttman_by_hand(delta, weights, start, 3000), delta, weights)
  result = settle(delta, weights=weights, init=start, method=method)
  assert result.converged
  np.testing.assert_allclose(result.stress, expected, rtol=1e-3)


def padding_weights(seed):
  """All pairs of some points weigh the same; the others only pad the problem."""
  valid = np.random.default_rng(seed).random(SIZE) < 0.7
  return 0.5 * (valid[:, None] & valid[None]) * (1.0 - np.eye(SIZE, dtype=np.float32))


@pytest.mark.parametrize("weights_of", [some_weights, padding_weights])
@pytest.mark.fast
def test_few_guttman_transforms_equal_those_by_hand(weights_of):
  delta, weights, start = clustered(2), weights_of(2), some_start(2)
  points = start
  for _ in range(5):
    points = update_once(delta, weights=weights, init=points, method="guttman").embedding
  expected = guttman_by_hand(delta, weights, start, 5)
  np.testing.assert_allclose(points, expected, atol=1e-4)


@given(st.integers(0, 10_000), st.booleans())
def test_guttman_never_raises_the_stress(seed, weighted):
  delta, points = clustered(seed), some_start(seed)
  weights = some_weights(seed) if weighted else None
  stress = stress_of(points, delta, weights)
  for _ in range(6):
    result = update_once(delta, weights=weights, init=points, method="guttman")
    points, previous, stress = result.embedding, stress, float(result.stress)
    assert stress <= previous * (1.0 + 1e-5)


@pytest.mark.parametrize("method", ["quasi_newton", "momentum"])
@given(st.integers(0, 10_000), st.sampled_from([0.01, 1.0, 30.0]), st.booleans())
def test_faster_methods_never_end_above_their_start(method, seed, scale, weighted):
  delta, start = clustered(seed), scale * some_start(seed)
  weights = some_weights(seed, known=0.1) if weighted else None
  for iterations in (1, 4, 25):
    result = mds.smacof(
      delta, weights=weights, init=start, max_iterations=iterations, method=method
    )
    assert float(result.stress) <= stress_of(start, delta, weights) * (1.0 + 1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_turning_the_start_turns_the_embedding(method):
  delta, weights, start = clustered(4), some_weights(4), some_start(4)
  rotation = np.linalg.qr(some_start(5, 4))[0]
  solve = functools.partial(mds.smacof, delta, weights=weights, max_iterations=6, method=method)
  embedding = np.asarray(solve(init=start).embedding)
  np.testing.assert_allclose(
    solve(init=start @ rotation).embedding, embedding @ rotation, atol=1e-4
  )


@pytest.mark.parametrize("weighted", [False, True])
def test_embedding_follows_a_permutation_of_the_points(weighted):
  delta, start = clustered(5), some_start(5)
  order = np.random.default_rng(5).permutation(SIZE)
  both = np.ix_(order, order)
  weights, permuted = None, None
  if weighted:
    weights = some_weights(5)
    permuted = weights[both]
  solve = functools.partial(mds.smacof, max_iterations=6, method="guttman")
  embedding = np.asarray(solve(delta, weights=weights, init=start).embedding)
  other = solve(delta[both], weights=permuted, init=start[order])
  np.testing.assert_allclose(other.embedding, embedding[order], atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_stress_does_not_depend_on_the_order_of_the_points(method):
  delta, weights = clustered(6), some_weights(6)
  order = np.random.default_rng(6).permutation(SIZE)
  both = np.ix_(order, order)
  solve = functools.partial(settle, num_dimensions=SIZE, method=method)
  result, other = solve(delta, weights=weights), solve(delta[both], weights=weights[both])
  np.testing.assert_allclose(other.stress, result.stress, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
  ("method", "given_start"),
  [
    ("quasi_newton", True),
    ("quasi_newton", False),
    ("momentum", True),
    ("guttman", True),
    ("lbfgs", True),
  ],
)
def test_padding_changes_nothing(method, given_start):
  delta, weights, start = clustered(7), some_weights(7), some_start(7)
  # What stands at a padded place, in the matrix as in the start, is of no account.
  padded = np.pad(delta, (0, 5), constant_values=0.4)
  masked = np.pad(weights, (0, 5))
  padded_start = np.pad(start, ((0, 5), (0, 0)), constant_values=3.0)
  solve = functools.partial(mds.smacof, num_dimensions=4, max_iterations=6, method=method)
  result = solve(delta, weights=weights, init=start if given_start else None)
  other = solve(padded, weights=masked, init=padded_start if given_start else None)
  np.testing.assert_array_equal(other.embedding[SIZE:], 0.0)
  np.testing.assert_allclose(
    distances_of(np.asarray(other.embedding[:SIZE])),
    distances_of(np.asarray(result.embedding)),
    atol=1e-3,
  )
  np.testing.assert_allclose(other.stress, result.stress, rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_equals_single_problems(method):
  deltas = np.stack([clustered(seed) for seed in (8, 9, 10)])
  weights = np.stack([some_weights(8), some_weights(9, known=0.1), np.zeros_like(deltas[0])])
  solve = functools.partial(mds.smacof, num_dimensions=4, max_iterations=12, method=method)
  singles = [solve(deltas[row], weights=weights[row]) for row in range(len(deltas))]
  batch = solve(deltas, weights=weights)
  mapped = jax.vmap(lambda delta, weights: solve(delta, weights=weights))(deltas, weights)
  for row, single in enumerate(singles):
    for many in (batch, mapped):
      one = jax.tree.map(lambda field, row=row: field[row], many)
      assert one.num_iterations == single.num_iterations
      assert one.converged == single.converged
      np.testing.assert_allclose(one.stress, single.stress, rtol=1e-3, atol=1e-6)
      np.testing.assert_allclose(
        distances_of(np.asarray(one.embedding)),
        distances_of(np.asarray(single.embedding)),
        atol=5e-3,
      )


# The first step of a line search has a length of its own; the majorizer's has the problem's.
@pytest.mark.parametrize("method", ["quasi_newton", "momentum", "guttman"])
@pytest.mark.parametrize("factor", [0.01, 40.0])
def test_scaling_the_problem_scales_the_embedding(method, factor):
  delta, start = clustered(21), some_start(21)
  solve = functools.partial(mds.smacof, weights=some_weights(21), max_iterations=6, method=method)
  embedding = np.asarray(solve(delta, init=start).embedding)
  other = solve(np.float32(factor) * delta, init=np.float32(factor) * start)
  np.testing.assert_allclose(other.embedding / factor, embedding, atol=1e-4)
  relative = mds.smacof(np.float32(factor) * delta, num_dimensions=4).normalized_stress
  np.testing.assert_allclose(
    relative, mds.smacof(delta, num_dimensions=4).normalized_stress, rtol=1e-2
  )


@given(st.integers(0, 10_000), st.integers(0, 2))
def test_a_lane_does_not_depend_on_its_neighbours(seed, lane):
  rng = np.random.default_rng(seed)
  deltas = np.stack([clustered(seed + row) for row in range(3)])
  weights = np.stack([some_weights(seed + row) for row in range(3)])
  others, other_weights = deltas.copy(), weights.copy()
  for row in set(range(3)) - {lane}:
    # A neighbour that is solved at once, and one that takes every iteration.
    others[row], other_weights[row] = 9.0 * clustered(rng.integers(9)), float(row % 2)
  solve = functools.partial(mds.smacof, num_dimensions=4, max_iterations=30, rtol=1e-4)
  first = solve(deltas, weights=weights)
  second = solve(others, weights=other_weights)
  for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
    np.testing.assert_array_equal(one[lane], other[lane])


def test_lanes_in_lock_step_do_not_depend_on_their_neighbours():
  deltas = np.stack([clustered(seed) for seed in (22, 23, 24)])
  others = np.stack([deltas[0], np.zeros_like(deltas[0]), 5.0 * clustered(25)])
  together = jax.jit(jax.vmap(functools.partial(mds.smacof, num_dimensions=4, rtol=1e-4)))
  first, second = together(deltas), together(others)
  assert second.num_iterations[1] < first.num_iterations[0]
  for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
    np.testing.assert_array_equal(one[0], other[0])


@pytest.mark.parametrize("method", METHODS)
def test_stress_is_that_of_the_embedding(method):
  delta, weights = clustered(11), some_weights(11)
  result = mds.smacof(delta, weights=weights, num_dimensions=4, max_iterations=3, method=method)
  embedding = np.asarray(result.embedding)
  expected = stress_of(embedding, delta, weights)
  np.testing.assert_allclose(result.stress, expected, rtol=1e-5)
  energy = stress_of(embedding, np.zeros_like(delta), weights)
  np.testing.assert_allclose(result.normalized_stress, np.sqrt(expected / energy), rtol=1e-5)
  np.testing.assert_allclose(embedding.mean(axis=0), 0.0, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_convergence_is_told_from_running_out_of_iterations(method):
  delta, start = clustered(12), some_start(12)
  short = mds.smacof(delta, init=start, max_iterations=7, rtol=1e-6, method=method)
  assert not short.converged
  assert short.num_iterations == 7
  full = settle(delta, init=start, method=method)
  assert full.converged
  assert 7 < full.num_iterations < 3000
  assert full.stress < short.stress


def test_no_iterations_return_the_centred_start():
  delta, start = clustered(13), some_start(13)
  result = mds.smacof(delta, init=start, max_iterations=0)
  np.testing.assert_allclose(result.embedding, start - start.mean(axis=0), atol=1e-6)
  assert result.num_iterations == 0
  assert not result.converged


def test_the_diagonal_and_unknown_pairs_are_of_no_account():
  delta, weights = clustered(14), some_weights(14)
  other = np.where(weights > 0.0, delta, 0.77).astype(np.float32)
  other_weights = weights + 3.0 * np.eye(SIZE, dtype=np.float32)
  solve = functools.partial(mds.smacof, init=some_start(14), max_iterations=6)
  result = solve(delta, weights=weights)
  chex.assert_trees_all_close(solve(other, weights=other_weights), result, atol=1e-6)


class VariantsTest(VariantTestCase):
  @jit_variants
  def test_smacof_with_and_without_jit(self):
    delta, weights = clustered(15), some_weights(15)

    @self.variant
    def solve(delta, weights):
      return mds.smacof(delta, weights=weights, num_dimensions=4, max_iterations=20)

    result = solve(delta, weights)
    np.testing.assert_allclose(
      result.stress, stress_of(result.embedding, delta, weights), rtol=1e-5
    )

  @jit_variants
  def test_classical_scaling_with_and_without_jit(self):
    points = some_start(16, 12, 3)
    scale = self.variant(functools.partial(mds.classical_scaling, num_dimensions=3))
    delta = distances_of(points)
    np.testing.assert_allclose(distances_of(np.asarray(scale(delta))), delta, atol=1e-4)


@pytest.mark.parametrize("num_dimensions", [3, 40])
def test_classical_scaling_is_exact_on_euclidean_distances(num_dimensions):
  points = some_start(17, 50, 3)
  delta = distances_of(points)
  scale = jax.jit(functools.partial(mds.classical_scaling, num_dimensions=num_dimensions))
  embedding = np.asarray(scale(delta))
  assert embedding.shape == (50, num_dimensions)
  np.testing.assert_allclose(distances_of(embedding), delta, atol=5e-3)


def test_classical_scaling_leaves_out_negative_directions_and_fits_the_scale():
  delta = clustered(18) ** 3
  embedding = np.asarray(mds.classical_scaling(delta, num_dimensions=SIZE), np.float64)
  centring = np.eye(SIZE) - 1.0 / SIZE
  values = np.linalg.eigvalsh(-0.5 * centring @ delta.astype(np.float64) ** 2 @ centring)
  assert values[0] < -0.01
  gram = np.linalg.eigvalsh(embedding @ embedding.T)
  positive = np.maximum(values, 0.0)
  np.testing.assert_allclose(gram / gram[-1], positive / positive[-1], atol=1e-4)
  for factor in (0.99, 1.01):
    assert stress_of(factor * embedding, delta) > stress_of(embedding, delta)


def test_the_start_is_classical_scaling():
  delta, weights = clustered(19), some_weights(19)
  result = mds.smacof(delta, weights=weights, num_dimensions=4, max_iterations=0, seed=3)
  start = mds.classical_scaling(delta, weights=weights, num_dimensions=4, seed=3)
  np.testing.assert_allclose(
    distances_of(np.asarray(result.embedding)), distances_of(np.asarray(start)), atol=1e-4
  )


@pytest.mark.parametrize("num_dimensions", [2, 2048])
def test_few_dimensions_and_more_than_points(num_dimensions):
  delta = clustered(26)
  result = mds.smacof(delta, num_dimensions=num_dimensions, rtol=1e-4)
  assert result.embedding.shape == (SIZE, num_dimensions)
  np.testing.assert_allclose(result.stress, stress_of(result.embedding, delta), rtol=1e-4)
  fewer = mds.smacof(delta, num_dimensions=min(num_dimensions, SIZE), rtol=1e-4)
  np.testing.assert_array_equal(result.stress, fewer.stress)
  np.testing.assert_array_equal(result.embedding[:, SIZE:], 0.0)


@pytest.mark.fast
def test_counts_are_taken_as_floats():
  delta = np.abs(np.arange(5)[:, None] - np.arange(5)[None])
  result = mds.smacof(delta, weights=np.ones_like(delta), num_dimensions=1)
  assert result.embedding.dtype == jnp.float32
  np.testing.assert_allclose(distances_of(np.asarray(result.embedding)), delta, atol=1e-3)


Kind = Literal["ones", "zeros", "duplicates"]


def degenerate(kind: Kind, size: int):
  if kind == "duplicates":
    return np.repeat(np.repeat(clustered(20, 2), 3, axis=0), 3, axis=1)[:size, :size]
  return np.full((size, size), 1.0 if kind == "ones" else 0.0, np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1, 6])
def test_degenerate_problems_stay_finite(method, size):
  ones = np.ones((size, size), np.float32)
  cross = np.zeros_like(ones)
  cross[0], cross[:, 0] = 1.0, 1.0
  for kind in ("ones", "zeros", "duplicates"):
    for weights in (ones, np.zeros_like(ones), cross):
      result = mds.smacof(degenerate(kind, size), weights=weights, num_dimensions=4, method=method)
      assert all(np.all(np.isfinite(field)) for field in jax.tree.leaves(result))
      if kind == "zeros" or not np.any(weights):
        np.testing.assert_array_equal(result.stress, 0.0)
        assert result.converged


@pytest.mark.parametrize("method", METHODS)
def test_duplicates_fall_on_one_place(method):
  weights = np.ones((6, 6), np.float32)
  result = settle(degenerate("duplicates", 6), weights=weights, num_dimensions=4, method=method)
  np.testing.assert_allclose(result.stress, 0.0, atol=1e-5)


def test_equal_dissimilarities_are_exact_in_enough_dimensions():
  result = mds.smacof(degenerate("ones", 6), num_dimensions=6)
  np.testing.assert_allclose(result.normalized_stress, 0.0, atol=1e-4)


def bad(place, value):
  matrix = np.ones((3, 3), np.float32)
  matrix[place] = value
  return matrix


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"dissimilarities": bad((0, 1), np.nan)}, "finite dissimilarities"),
    ({"dissimilarities": bad((0, 1), np.inf)}, "finite dissimilarities"),
    ({"dissimilarities": bad(..., -1.0)}, "at least 0"),
    ({"dissimilarities": bad((0, 1), 0.5)}, "symmetric dissimilarities"),
    ({"dissimilarities": bad(..., 1.0)[:2]}, "square"),
    ({"dissimilarities": bad(..., 1.0), "weights": bad((0, 1), np.nan)}, "finite weights"),
    ({"dissimilarities": bad(..., 1.0), "weights": bad((2, 1), 0.0)}, "symmetric weights"),
    ({"dissimilarities": bad(..., 1.0), "init": bad((0, 1), np.nan)}, "finite init"),
    (
      {"dissimilarities": bad(..., 1.0), "method": "newton"},
      "quasi_newton, momentum, guttman or lbfgs",
    ),
  ],
)
@pytest.mark.fast
def test_bad_values_are_refused(arguments, message):
  with pytest.raises(InputError, match=message):
    mds.smacof(**arguments)


@pytest.mark.parametrize(
  "arguments",
  [
    {"dissimilarities": np.ones(3, np.float32)},
    {"dissimilarities": bad(..., 1.0), "weights": np.ones((2, 2), np.float32)},
    {"dissimilarities": bad(..., 1.0), "init": np.ones((2, 2), np.float32)},
    {"dissimilarities": bad(..., 1.0)[None], "init": np.ones((3, 2), np.float32)},
  ],
)
def test_wrong_shapes_are_refused(arguments):
  with pytest.raises(InputError, match=r"shape|squareform"):
    mds.smacof(**arguments)
