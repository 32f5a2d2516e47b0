import numpy as np
import pytest

from l2g_jax.cann import packing

pytestmark = pytest.mark.fast


def residuals(variances, count=4000, seed=0):
  rng = np.random.default_rng(seed)
  values = rng.standard_normal((count, len(variances))) * np.sqrt(variances)
  rotation, _ = np.linalg.qr(rng.standard_normal((len(variances), len(variances))))
  return (values @ rotation).astype(np.float32)


def levels(fitted, packed):
  parts = ((packed[:, : fitted.num_4], 4), (packed[:, fitted.num_4 :], 2))
  return np.concatenate(
    [
      ((words[:, i] >> shift) & (2**bits - 1)).astype(int)
      for words, bits in parts
      for i in range(words.shape[1])
      for shift in range(0, 8, bits)
    ],
    axis=1,
  )


def unpack(fitted, packed):
  centers = np.repeat([7.5, 1.5], [8 * fitted.num_4, 16 * fitted.num_2])
  return ((levels(fitted, packed) - centers) * fitted.spacing) @ fitted.rotation.T


@pytest.mark.parametrize(
  ("variances", "words"),
  [
    (np.ones(128), (0, 8)),
    (np.exp(-np.arange(128) / 4.0), (7, 1)),
    (np.exp(-np.arange(128) / 16.0), (6, 2)),
    (np.ones(16), (2, 0)),
    (np.ones(5), (1, 0)),
  ],
  ids=["flat", "steep", "between", "16", "5"],
)
def test_bits_go_where_the_variance_is(variances, words):
  fitted = packing.fit_packing(residuals(variances), 8)
  assert (fitted.num_4, fitted.num_2) == words
  assert fitted.num_words <= 8


@pytest.mark.parametrize("dimension", [3, 16, 40, 128, 300])
def test_products_of_levels_are_those_of_what_they_stand_for(dimension):
  variances = np.exp(-np.arange(dimension) / 20.0)
  values = residuals(variances)
  queries = residuals(variances, count=7, seed=1) / dimension**0.5
  fitted = packing.fit_packing(values, 8)
  packed = packing.pack(fitted, values[:50])
  decoded = unpack(fitted, packed)
  weights, factors, offsets = packing.pack_queries(fitted, queries)
  codes = levels(fitted, packed)
  inner = factors[:, None] * (weights.astype(int) @ codes.T) + offsets[:, None]
  # What a weight is rounded by, times the levels.
  np.testing.assert_allclose(inner, queries @ decoded.T, atol=0.02 * np.abs(inner).max())


def test_rounding_loses_what_its_bits_say():
  for variances, most in ((np.ones(64), 0.012), (np.ones(128), 0.125)):
    values = residuals(variances)
    fitted = packing.fit_packing(values, 8)
    decoded = unpack(fitted, packing.pack(fitted, values))
    lost = np.sum((values - decoded) ** 2) / np.sum(values**2)
    assert 0.5 * most < lost < most


def test_residuals_of_zero_are_packed():
  fitted = packing.fit_packing(np.zeros((10, 20), np.float32), 8)
  assert np.all(unpack(fitted, packing.pack(fitted, np.zeros((3, 20), np.float32))) == 0.0)
  _, factors, offsets = packing.pack_queries(fitted, np.ones((2, 20), np.float32))
  assert np.all(np.isfinite(factors))
  assert np.all(offsets == 0.0)
