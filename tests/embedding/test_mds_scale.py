"""SMACOF over the whole range of numbers, and why it stops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2g_jax.embedding import mds
from l2g_jax.embedding.reason import Reason
from l2g_jax.errors import InputError
from tests.problems import (
  METHODS,
  SIZE,
  clustered,
  distances_of,
  some_start,
  some_weights,
  stress_of,
)

# The number of dimensions of `some_start` and of other tests: a program for all of them.
solve = functools.partial(mds.smacof, num_dimensions=4, max_iterations=12)
# In single precision: the last two are subnormal, or nearly beyond the range.
EXPONENTS = (30, -70, -126, -140, 126)


def shifted(values, exponent):
  return np.ldexp(np.asarray(values), exponent)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("given_start", [False, True])
def test_smacof_scales_with_its_input(method, given_start):
  # Few bits, which subnormal numbers have too.
  delta = np.round(clustered(0) * 64.0) / 64.0
  start = np.round(some_start(0) * 64.0) / 64.0
  result = solve(delta, init=start if given_start else None, method=method)
  with np.errstate(over="ignore", under="ignore"):
    for exponent in EXPONENTS:
      init = shifted(start, exponent) if given_start and exponent < 126 else None
      if given_start and init is None:
        continue
      other = solve(shifted(delta, exponent), init=init, method=method)
      np.testing.assert_array_equal(other.embedding, shifted(result.embedding, exponent))
      np.testing.assert_array_equal(other.stress, shifted(result.stress, 2 * exponent))
      for field in ("normalized_stress", "num_iterations", "converged", "reason"):
        assert getattr(other, field) == getattr(result, field)


@pytest.mark.parametrize("method", METHODS)
def test_the_size_of_the_weights_scales_the_stress_alone(method):
  delta, weights = clustered(1), some_weights(1)
  result = solve(delta, weights=weights, method=method)
  for exponent in (-100, 100):
    other = solve(delta, weights=shifted(weights, exponent), method=method)
    np.testing.assert_array_equal(other.embedding, result.embedding)
    np.testing.assert_array_equal(other.stress, shifted(result.stress, exponent))
    assert other.reason == result.reason


def test_problems_of_all_sizes_share_a_batch():
  delta = clustered(2)
  deltas = np.stack([shifted(delta, exponent) for exponent in (0, -120, 120)])
  mapped = jax.jit(jax.vmap(solve))
  for result in (solve(deltas), mapped(deltas)):
    for row, exponent in enumerate((0, -120, 120)):
      np.testing.assert_array_equal(result.embedding[row], shifted(result.embedding[0], exponent))
    assert len(set(result.normalized_stress.tolist())) == 1
  assert np.isinf(result.stress[2])
  assert result.stress[1] == 0.0


@pytest.mark.parametrize("factor", [1e8, 1e-20])
def test_the_stress_is_that_of_the_embedding_at_any_size(factor):
  delta = (clustered(3) * factor).astype(np.float32)
  result = mds.smacof(delta, num_dimensions=4, max_iterations=1000)
  assert result.converged
  expected = stress_of(result.embedding, delta)
  energy = stress_of(result.embedding, np.zeros_like(delta))
  np.testing.assert_allclose(float(result.normalized_stress) ** 2, expected / energy, rtol=1e-4)
  assert 0.01 < result.normalized_stress < 0.5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [1e-30, 1e10, 1e36])
def test_a_start_of_another_size_is_brought_to_that_of_the_problem(method, factor):
  delta, start = clustered(4), some_start(4)
  settle = functools.partial(mds.smacof, delta, max_iterations=1000, rtol=1e-4, method=method)
  expected = settle(init=start)
  result = settle(init=(start * factor).astype(np.float32))
  assert result.converged
  np.testing.assert_allclose(result.normalized_stress, expected.normalized_stress, rtol=0.2)


@pytest.mark.parametrize("factor", [1e-30, 1.0, 1e30])
def test_a_start_that_is_answered_keeps_its_size(factor):
  delta, start = clustered(5), (some_start(5) * factor).astype(np.float32)
  result = mds.smacof(delta, init=start, max_iterations=0)
  np.testing.assert_allclose(
    result.embedding, start - start.mean(axis=0), rtol=1e-4, atol=1e-6 * factor
  )
  points = np.asarray(result.embedding, np.float64)
  ratio = stress_of(points, delta) / stress_of(points, np.zeros_like(delta))
  np.testing.assert_allclose(result.normalized_stress, np.sqrt(ratio), rtol=1e-4)
  assert not result.converged


@pytest.mark.parametrize("method", METHODS)
def test_points_that_coincide_in_the_start_part_where_they_must(method):
  delta = np.ones((4, 4), np.float32) - np.eye(4, dtype=np.float32)
  starts = [np.full((4, 3), value, np.float32) for value in (0.0, 1.0, 1e20)]
  # All but one.
  starts.append(np.pad(np.ones((1, 1), np.float32), ((0, 3), (0, 2))))
  for start in starts:
    result = mds.smacof(delta, init=start, max_iterations=300, method=method)
    assert result.converged
    np.testing.assert_allclose(distances_of(np.asarray(result.embedding)), delta, atol=0.05)


def test_weights_of_far_sizes_stay_finite():
  delta, weights = clustered(6), np.ones((24, 24), np.float32)
  for size in (1e-30, 1e30, 1e38):
    weights[0, 1:4] = weights[1:4, 0] = size
    for method in METHODS:
      result = solve(delta, weights=weights, method=method)
      assert np.all(np.isfinite(result.embedding))
      assert result.reason != Reason.NOT_FINITE
  weights[:] = 1e-35
  delta[0, 1] = delta[1, 0] = 1e20
  delta[2, 3] = delta[3, 2] = 1e-20
  result = solve(delta, weights=weights)
  distance = np.linalg.norm(np.asarray(result.embedding[0] - result.embedding[1], np.float64))
  # The 22 others want to be near both: 4 (2a - 1) + 88 a = 0 for a distance of 2a.
  np.testing.assert_allclose(distance, 1e20 / 12.0, rtol=1e-3)


def test_what_stands_at_an_unknown_pair_is_of_no_account():
  delta, weights = clustered(7), some_weights(7)
  expected = solve(delta, weights=weights)
  for value in (np.nan, np.inf, -1.0, 1e38):
    marked = np.where(weights > 0.0, delta, value).astype(np.float32)
    for result in (solve(marked, weights=weights), jax.jit(solve)(marked, weights=weights)):
      np.testing.assert_array_equal(result.embedding, expected.embedding)
      assert result.reason == expected.reason


@pytest.mark.parametrize(
  ("size", "method"), [(0, "quasi_newton"), (1, "quasi_newton"), *((2, name) for name in METHODS)]
)
def test_few_points_are_embedded(size, method):
  delta = 3.0 * (1.0 - np.eye(size, dtype=np.float32))
  result = solve(delta, method=method)
  assert result.embedding.shape == (size, 4)
  np.testing.assert_allclose(distances_of(np.asarray(result.embedding)), delta, atol=1e-3)
  assert result.converged
  assert mds.classical_scaling(delta, num_dimensions=4).shape == (size, 4)


def test_half_precision_is_computed_in_float32():
  delta = clustered(8)
  for dtype in (jnp.float16, jnp.bfloat16):
    short = jnp.asarray(delta).astype(dtype)
    result = solve(short)
    assert result.embedding.dtype == jnp.float32
    np.testing.assert_array_equal(result.embedding, solve(np.asarray(short, np.float32)).embedding)


def test_counts_of_more_than_32_bits_keep_their_value():
  delta = 3_000_000_000 * (1 - np.eye(3, dtype=np.int64))
  result = solve(delta, max_iterations=50)
  np.testing.assert_allclose(distances_of(np.asarray(result.embedding)), delta, rtol=1e-2)


def reasons():
  delta, start = clustered(9), some_start(9)
  exact = distances_of(start).astype(np.float32)
  settle = functools.partial(mds.smacof, init=start, max_iterations=2000)
  return {
    Reason.LIMIT: lambda: mds.smacof(delta, init=start, max_iterations=2),
    Reason.SETTLED: lambda: settle(delta),
    Reason.NEGLIGIBLE: lambda: settle(exact),
    Reason.EMPTY: lambda: settle(delta, weights=np.zeros_like(delta)),
    Reason.NOT_FINITE: lambda: jax.jit(settle)(np.full_like(delta, np.nan)),
    Reason.SADDLE: lambda: mds.smacof(delta, init=start * [1.0, 0.0, 0.0, 0.0]),
    Reason.UNRESOLVED: lambda: settle(delta, weights=pinned(1e30)),
  }


def pinned(weight):
  """Weights of 1 but for a few pairs."""
  weights = np.ones((SIZE, SIZE), np.float32)
  weights[0, 1:4] = weights[1:4, 0] = weight
  return weights


@pytest.mark.parametrize("reason", Reason)
def test_a_result_says_why_it_stopped(reason):
  result = reasons()[reason]()
  assert result.reason == reason
  assert result.explain() == reason.sentence
  assert bool(result.converged) == reason.converged
  assert result.num_iterations < 2000


@pytest.mark.parametrize("method", METHODS)
def test_a_start_that_spans_too_few_dimensions_ends_on_a_saddle(method):
  delta, start = clustered(14), some_start(14)
  settle = functools.partial(mds.smacof, delta, max_iterations=1000, rtol=1e-3, method=method)
  whole = settle(init=start)
  assert whole.reason == Reason.SETTLED
  for rank in (1, 2):
    flat = settle(init=np.where(np.arange(4) < rank, start, 0.0))
    assert flat.reason == Reason.SADDLE
    assert not flat.converged
    assert whole.stress < 0.9 * flat.stress


@pytest.mark.parametrize(("ratio", "reason"), [(2**22, Reason.SETTLED), (2**25, Reason.UNRESOLVED)])
def test_weights_too_far_apart_for_their_type_are_named(ratio, reason):
  settle = functools.partial(mds.smacof, clustered(6), init=some_start(6), max_iterations=5000)
  for solve_one in (settle, jax.jit(settle)):
    for size in (1e-37, 1.0, 1e30):
      result = solve_one(weights=pinned(ratio) * np.float32(size))
      assert result.reason == reason
      assert result.converged == reason.converged


def test_each_problem_of_a_batch_says_why_it_stopped():
  delta = clustered(10)
  result = solve(np.stack([delta, np.zeros_like(delta)]), max_iterations=1)
  assert result.explain() == [Reason.LIMIT.sentence, Reason.NEGLIGIBLE.sentence]


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"dissimilarities": np.full((3, 3), 1e300)}, "within the range of float32"),
    ({"dissimilarities": np.full((3, 3), 1e-300)}, "within the range of float32"),
    ({"dissimilarities": np.full((3, 3), "a")}, "numbers"),
    ({"dissimilarities": np.full((3, 3), 1j)}, "numbers"),
    ({"dissimilarities": np.ma.masked_equal(np.ones((3, 3)), 1)}, "masked"),
    ({"dissimilarities": np.ones(3)}, "squareform"),
    ({"dissimilarities": [[0.0, 1.0], [1.0]]}, "rows are of one length"),
    ({"dissimilarities": np.full((3, 3), -1e-40, np.float32)}, "at least 0"),
    ({"dissimilarities": np.full((2, 3, 3), np.inf)}, "finite dissimilarities"),
    ({"weights": np.ones((2, 2))}, "weights of the shape"),
    ({"weights": -np.ones((3, 3))}, "weights of at least 0"),
    ({"weights": np.where(np.eye(3)[::-1], 1.0, 1e-50)}, "least above 0 is 0 there"),
    ({"weights": 1e-20 * np.triu(np.ones((3, 3)))}, "symmetric weights"),
    ({"dissimilarities": 1e-20 * np.triu(np.ones((3, 3)))}, "symmetric dissimilarities"),
    ({"num_dimensions": 0}, "num_dimensions must be at least 1"),
    ({"num_dimensions": 2.0}, "num_dimensions must be an integer"),
    ({"seed": 1.5}, "seed must be an integer"),
    ({"seed": 2**40}, "seed must be from 0 to 4294967295"),
  ],
)
def test_what_no_embedding_can_answer_is_refused(arguments, message):
  arguments = {"dissimilarities": np.ones((3, 3)), "num_dimensions": 2, **arguments}
  for function in (mds.smacof, mds.classical_scaling):
    with pytest.raises(InputError, match=message):
      function(**arguments)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"max_iterations": -1}, "max_iterations must be at least 0"),
    ({"max_iterations": 2.5}, "max_iterations must be an integer"),
    ({"max_iterations": 2**31}, "max_iterations must be at least 0"),
    ({"rtol": np.nan}, "rtol must be at least 0"),
    ({"rtol": -1e-3}, "rtol must be at least 0"),
    ({"rtol": np.inf}, "rtol must be at least 0"),
    ({"rtol": "small"}, "rtol must be at least 0"),
    ({"init": np.ones((2, 2))}, "init of shape"),
    ({"init": np.ones((3, 0))}, "init of shape"),
    ({"init": np.full((3, 2), 1e300)}, "finite init within the range of float32"),
  ],
)
def test_settings_that_make_no_sense_are_refused(arguments, message):
  with pytest.raises(InputError, match=message):
    mds.smacof(np.ones((3, 3)), **arguments)


def test_seeds_and_tolerances_may_be_traced():
  delta = clustered(11)
  traced = jax.jit(lambda seed, rtol: solve(delta, seed=seed, rtol=rtol))
  for seed in (0, 5, 2**32 - 1):
    np.testing.assert_allclose(
      traced(jnp.uint32(seed), 1e-3).embedding,
      solve(delta, seed=seed, rtol=1e-3).embedding,
      atol=1e-3,
    )


def test_the_stress_has_the_derivative_of_a_difference():
  delta, start, change = clustered(12), some_start(12), clustered(13)
  update = functools.partial(mds.smacof, init=start, max_iterations=3, method="guttman")
  slope = jax.jvp(lambda delta: update(delta).stress, (delta,), (change,))[1]
  rise = update(delta + 1e-2 * change).stress - update(delta - 1e-2 * change).stress
  np.testing.assert_allclose(slope, rise / 2e-2, rtol=1e-2)
