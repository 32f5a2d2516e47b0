import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.errors import InputError
from l2g_jax.ranking.fusion import fuse, normalize
from tests.variants import VariantTestCase, jit_variants

JITTED = jax.jit(fuse, static_argnames="fusion")


def points(seed, rows=9, columns=6):
  return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def cosines(vectors):
  vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  return vectors @ vectors.T


class FusionVariantsTest(VariantTestCase):
  @jit_variants
  @parameterized.parameters(0.0, 0.19, 0.5, 1.0)
  def test_concat_averages_the_cosines(self, weight):
    embedding, features = points(0), points(1, columns=11)
    fused = np.asarray(self.variant(functools.partial(fuse, weight=weight))(embedding, features))
    assert fused.shape == (9, 17)
    expected = weight * cosines(embedding) + (1.0 - weight) * cosines(features)
    np.testing.assert_allclose(fused @ fused.T, expected, atol=1e-6)

  @jit_variants
  @parameterized.parameters(0.0, 0.19, 1.0)
  def test_sum_is_a_weighted_average_once_the_axes_agree(self, weight):
    features = points(2)
    rotation = np.linalg.qr(points(3, 6, 6))[0]
    fuse_sum = self.variant(functools.partial(fuse, weight=weight, fusion="sum"))
    # The same points up to rotation and length: all of the sum is the feature itself.
    np.testing.assert_allclose(
      fuse_sum(3.0 * features @ rotation, features), normalize(features), atol=1e-5
    )


def test_ends_of_the_weight():
  embedding, features = points(4), points(5)
  concat = np.asarray(JITTED(embedding, features, weight=1.0))
  np.testing.assert_allclose(concat[:, :6], normalize(embedding), atol=1e-6)
  np.testing.assert_array_equal(concat[:, 6:], 0.0)
  concat = np.asarray(JITTED(embedding, features, weight=0.0))
  np.testing.assert_array_equal(concat[:, :6], 0.0)
  np.testing.assert_allclose(concat[:, 6:], normalize(features), atol=1e-6)
  only_embedding = np.asarray(JITTED(embedding, features, weight=1.0, fusion="sum"))
  np.testing.assert_allclose(only_embedding @ only_embedding.T, cosines(embedding), atol=1e-5)
  only_features = JITTED(embedding, features, weight=0.0, fusion="sum")
  np.testing.assert_allclose(only_features, normalize(features), atol=1e-6)


@given(st.integers(0, 10_000))
def test_sum_does_not_depend_on_the_axes_of_the_embedding(seed):
  embedding, features = points(seed), points(seed + 1)
  rotation = np.linalg.qr(points(seed + 2, 6, 6))[0]
  fused = JITTED(embedding, features, weight=0.4, fusion="sum")
  turned = JITTED(embedding @ rotation, features, weight=0.4, fusion="sum")
  np.testing.assert_allclose(turned, fused, atol=1e-3)


def test_sum_turns_by_the_best_rotation():
  embedding, features = np.asarray(normalize(points(6))), np.asarray(normalize(points(7)))
  turned = np.asarray(JITTED(embedding, features, weight=1.0, fusion="sum"))
  agreement = np.sum(turned * features)
  for seed in range(20):
    rotation = np.linalg.qr(points(seed, 6, 6))[0]
    assert np.sum((embedding @ rotation) * features) < agreement


def test_weights_may_be_traced_and_mapped():
  embedding, features = points(8), points(9)
  weights = jnp.array([0.0, 0.3, 1.0])
  mapped = jax.jit(jax.vmap(lambda weight: fuse(embedding, features, weight=weight)))(weights)
  singles = [JITTED(embedding, features, weight=weight) for weight in weights]
  np.testing.assert_allclose(mapped, singles, atol=1e-6)


def test_lengths_are_of_no_account():
  embedding, features = points(10), points(11)
  fused = JITTED(embedding, features, weight=0.19)
  scaled = JITTED(1e-3 * embedding, 1e3 * features, weight=0.19)
  np.testing.assert_allclose(scaled, fused, atol=1e-6)


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_zero_vectors_stay_zero_in_their_block(fusion):
  embedding, features = points(12), points(13)
  embedding[2], features[5] = 0.0, 0.0
  fused = np.asarray(JITTED(embedding, features, weight=0.25, fusion=fusion))
  assert np.all(np.isfinite(fused))
  if fusion == "concat":
    np.testing.assert_array_equal(fused[2, :6], 0.0)
    np.testing.assert_array_equal(fused[5, 6:], 0.0)
  lengths = np.linalg.norm(fused[[2, 5]], axis=1)
  expected = np.sqrt([0.75, 0.25]) if fusion == "concat" else [0.75, 0.25]
  np.testing.assert_allclose(lengths, expected, atol=1e-5)
  zeros = np.zeros_like(embedding)
  np.testing.assert_array_equal(JITTED(zeros, zeros, weight=0.5, fusion=fusion).any(), False)


def test_normalize_keeps_directions_and_zeros():
  rows = np.array([[3.0, 4.0], [0.0, 0.0], [-2.0, 0.0]], np.float32)
  np.testing.assert_allclose(normalize(rows), [[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]], atol=1e-7)


def test_an_unknown_fusion_is_refused():
  arguments: dict[str, Any] = {"weight": 0.5, "fusion": "product"}
  with pytest.raises(InputError, match="concat or sum, not 'product'"):
    fuse(points(14), points(15), **arguments)


def test_wrong_shapes_are_refused():
  with pytest.raises(AssertionError):
    fuse(points(14), points(15, rows=8), weight=0.5)


@pytest.mark.parametrize("function", [fuse, JITTED])
def test_a_sum_of_other_dimensions_is_refused_with_the_way_out(function):
  with pytest.raises(InputError, match=r"choose `concat`, or num_dimensions = 7 .*, not 6\."):
    function(points(14), points(15, columns=7), weight=0.5, fusion="sum")


@pytest.mark.parametrize("weight", [-0.1, 2, np.nan, True])
def test_a_weight_outside_the_unit_interval_is_refused(weight):
  with pytest.raises(InputError, match="weight must be between 0 and 1"):
    fuse(points(14), points(15), weight=weight)


@pytest.mark.parametrize("unit", [1e-36, 1e-20, 1.0, 1e20, 1e35])
def test_no_norm_is_too_large_or_small_to_divide_by(unit):
  rows = points(16, rows=5)
  np.testing.assert_allclose(normalize(np.float32(unit) * rows), normalize(rows), rtol=2e-6)


def test_rows_of_ordinary_norm_are_divided_to_the_last_bit():
  rows = points(17, rows=50, columns=33)
  expected = rows / jnp.linalg.norm(rows, axis=1, keepdims=True)
  np.testing.assert_array_equal(normalize(rows), expected)
