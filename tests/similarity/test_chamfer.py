import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.similarity import kernels
from l2g_jax.similarity.chamfer import chamfer_similarity
from tests.variants import VariantTestCase, jit_variants

KERNELS = (kernels.Chamfer(), kernels.Power(), kernels.Power(3.0, 0.2), kernels.Cann())
JITTED = jax.jit(chamfer_similarity, static_argnames=("kernel", "block_size"))


def unit_rows(rng, *shape):
  rows = rng.standard_normal(shape).astype(np.float32)
  return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def ragged(rng, num_images=7, count=5, width=8):
  """Images of 0 to `count` descriptors, padded by values that would win if they counted."""
  database = unit_rows(rng, num_images, count, width)
  lengths = rng.integers(0, count + 1, num_images)
  lengths[:2] = 0, count
  mask = np.arange(count)[None] < lengths[:, None]
  return np.where(mask[..., None], database, 9.0).astype(np.float32), mask


def chamfer_by_hand(query, database, query_mask, database_mask, kernel):
  """A double loop over images and descriptors, in double precision."""
  scores = np.zeros(len(database))
  query = query[query_mask].astype(np.float64)
  for row, (image, mask) in enumerate(zip(database, database_mask, strict=True)):
    if len(query) and mask.any():
      best = [max(descriptor @ other for other in image[mask]) for descriptor in query]
      scores[row] = np.mean(kernel(np.array(best)))
  return scores


def test_weights_make_a_weighted_mean():
  rng = np.random.default_rng(3)
  query, (database, mask) = unit_rows(rng, 4, 8), ragged(rng)
  query_mask, weights = np.array([True, True, True, False]), np.array([1, 0, 3, 9])
  scores = chamfer_similarity(
    query, database, query_mask=query_mask, database_mask=mask, query_weights=weights
  )
  each = [
    chamfer_by_hand(query, database, np.arange(4) == row, mask, kernels.Chamfer()) for row in (0, 2)
  ]
  np.testing.assert_allclose(scores, (each[0] + 3.0 * each[1]) / 4.0, atol=2e-6)


class ChamferVariantsTest(VariantTestCase):
  @jit_variants
  @parameterized.parameters(*KERNELS)
  def test_equals_a_double_loop(self, kernel):
    rng = np.random.default_rng(0)
    query, (database, mask) = unit_rows(rng, 6, 8), ragged(rng)
    query[4:] = 9.0
    query_mask = np.arange(6) < 4
    scores = self.variant(functools.partial(chamfer_similarity, kernel=kernel))(
      query, database, query_mask=query_mask, database_mask=mask
    )
    expected = chamfer_by_hand(query, database, query_mask, mask, kernel)
    np.testing.assert_allclose(scores, expected, atol=2e-6)
    assert expected[0] == 0.0
    assert np.ptp(expected[1:]) > 0.01


def test_by_hand():
  query = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
  database = np.array([[[0.6, 0.8], [-1.0, 0.0]], [[0.0, -1.0], [-1.0, 0.0]]], np.float32)
  np.testing.assert_allclose(JITTED(query, database), [0.7, 0.0], atol=1e-6)
  scores = JITTED(query, database, kernel=kernels.Power(alpha=2.0))
  np.testing.assert_allclose(scores, [0.5, 0.0], atol=1e-6)


def test_an_image_without_descriptors_has_similarity_0_to_everything():
  rng = np.random.default_rng(1)
  query, database = unit_rows(rng, 3, 4), unit_rows(rng, 2, 5, 4)
  for kernel in KERNELS:
    for query_mask, database_mask in (
      (np.zeros(3, bool), np.ones((2, 5), bool)),
      (np.ones(3, bool), np.zeros((2, 5), bool)),
      (np.zeros(3, bool), np.zeros((2, 5), bool)),
    ):
      scores = JITTED(
        query, database, query_mask=query_mask, database_mask=database_mask, kernel=kernel
      )
      np.testing.assert_array_equal(scores, [0.0, 0.0])


@pytest.mark.parametrize(
  ("query", "database"), [((0, 4), (2, 5, 4)), ((3, 4), (2, 0, 4)), ((3, 4), (0, 5, 4))]
)
def test_empty_arrays_give_zeros(query, database):
  scores = chamfer_similarity(np.ones(query, np.float32), np.ones(database, np.float32))
  np.testing.assert_array_equal(scores, np.zeros(database[0]))


def test_leading_axes_are_kept():
  rng = np.random.default_rng(2)
  query, database = unit_rows(rng, 3, 4), unit_rows(rng, 2, 3, 5, 4)
  flat = np.asarray(JITTED(query, database.reshape(6, 5, 4)))
  np.testing.assert_allclose(JITTED(query, database), flat.reshape(2, 3), atol=1e-6)
  np.testing.assert_allclose(JITTED(query, database[0, 0]), flat[0], atol=1e-6)


@pytest.mark.parametrize("block_size", [1, 3, 64])
def test_blocks_change_nothing(block_size):
  rng = np.random.default_rng(3)
  query, (database, mask) = unit_rows(rng, 6, 8), ragged(rng)
  expected = JITTED(query, database, database_mask=mask)
  scores = JITTED(query, database, database_mask=mask, block_size=block_size)
  np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_a_batch_of_queries_equals_single_queries():
  rng = np.random.default_rng(4)
  queries, (database, mask) = unit_rows(rng, 3, 6, 8), ragged(rng)
  query_masks = np.arange(6)[None] < np.array([0, 2, 6])[:, None]
  batch = jax.jit(jax.vmap(chamfer_similarity, in_axes=(0, None)))(queries, database)
  np.testing.assert_allclose(batch, [JITTED(query, database) for query in queries], atol=1e-6)

  def masked(query, query_mask):
    return chamfer_similarity(query, database, query_mask=query_mask, database_mask=mask)

  batch = jax.jit(jax.vmap(masked))(queries, query_masks)
  for row in range(3):
    single = JITTED(queries[row], database, query_mask=query_masks[row], database_mask=mask)
    np.testing.assert_allclose(batch[row], single, atol=1e-6)


def test_similarity_of_an_image_to_itself_is_1():
  query = unit_rows(np.random.default_rng(5), 6, 8)
  for kernel in KERNELS:
    # The superellipse is steep at distance 0: rounding of the cosine shows.
    atol = 2e-3 if isinstance(kernel, kernels.Cann) else 1e-6
    np.testing.assert_allclose(JITTED(query, query[None], kernel=kernel), [1.0], atol=atol)


@given(st.integers(0, 10_000), st.sampled_from(KERNELS))
def test_values_lie_in_the_unit_interval_and_follow_permutations(seed, kernel):
  rng = np.random.default_rng(seed)
  query, (database, mask) = unit_rows(rng, 6, 8), ragged(rng)
  scores = np.asarray(JITTED(query, database, database_mask=mask, kernel=kernel))
  assert np.all((scores >= 0.0) & (scores <= 1.0))
  images, descriptors = rng.permutation(7), rng.permutation(5)
  permuted = JITTED(
    query[rng.permutation(6)],
    database[images][:, descriptors],
    database_mask=mask[images][:, descriptors],
    kernel=kernel,
  )
  np.testing.assert_allclose(permuted, scores[images], atol=1e-6)


@given(st.integers(0, 10_000))
def test_padding_changes_nothing(seed):
  rng = np.random.default_rng(seed)
  query, (database, mask) = unit_rows(rng, 6, 8), ragged(rng)
  padded_query = np.pad(query, ((0, 2), (0, 0)), constant_values=9.0)
  padded = np.pad(database, ((0, 0), (0, 3), (0, 0)), constant_values=9.0)
  scores = JITTED(
    padded_query,
    padded,
    query_mask=np.arange(8) < 6,
    database_mask=np.pad(mask, ((0, 0), (0, 3))),
  )
  np.testing.assert_allclose(scores, JITTED(query, database, database_mask=mask), atol=1e-6)


def test_wrong_shapes_are_refused():
  with pytest.raises(AssertionError):
    chamfer_similarity(jnp.ones(4), jnp.ones((2, 5, 4)))
  with pytest.raises(AssertionError):
    chamfer_similarity(jnp.ones((3, 4)), jnp.ones((2, 5, 3)))
