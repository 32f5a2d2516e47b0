import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from l2g_jax.cann import products


@numba.njit
def multiply(block, query, num_8, num_4, num_2, out):
  products.lane_products(block.ctypes.data, query.ctypes.data, num_8, num_4, num_2, out.ctypes.data)


@numba.njit
def keep_above(values, images, threshold, kept):
  return products.keep_above(
    values.ctypes.data,
    images.ctypes.data,
    np.int32(threshold),
    kept[0].ctypes.data,
    kept[1].ctypes.data,
  )


@numba.njit
def raise_maxima(queries, rows, offsets, scales, best):
  products.raise_maxima(
    queries.ctypes.data,
    queries.shape[1],
    rows.ctypes.data,
    rows.shape[1],
    offsets.ctypes.data,
    scales.ctypes.data,
    4,
    best.ctypes.data,
  )


@pytest.mark.parametrize("counts", [(1, 0, 0), (0, 3, 0), (0, 0, 2), (2, 3, 1), (0, 0, 0)])
def test_products_with_packed_codes(counts):
  rng = np.random.default_rng(0)
  block = rng.integers(0, 256, (sum(counts), 16, 4), np.uint8)
  query = rng.integers(-128, 128, 4 * counts[0] + 8 * counts[1] + 16 * counts[2]).astype(np.int8)
  bits = np.repeat([8, 4, 2], counts)
  dimensions = [
    (word >> shift) & (2**width - 1)
    for word, width in zip(block, bits, strict=True)
    for shift in range(0, 8, width)
  ]
  codes = np.concatenate([np.zeros((16, 0), np.uint8), *dimensions], axis=1).astype(int)
  out = np.ones(16, np.int32)
  multiply(block, query, counts[0], counts[1], counts[2], out)
  np.testing.assert_array_equal(out, codes @ query.astype(int))


@pytest.mark.parametrize("threshold", [4, 7, -4])
def test_products_above_a_threshold_are_kept_with_their_images(threshold):
  values, images = np.array([5, -3, 7, 0] * 4, np.int32), np.arange(100, 116, dtype=np.int32)
  kept = np.full((2, 17), -9, np.int32)
  above = values > threshold
  count = keep_above(values, images, threshold, kept)
  assert count == above.sum()
  np.testing.assert_array_equal(kept[:, :count], [values[above], images[above]])
  assert np.all(kept[:, count:] == -9)


def test_maxima_of_extreme_values():
  rng = np.random.default_rng(1)
  queries = rng.choice([-128, -127, 0, 127], (64, 20)).astype(np.int8)
  rows = rng.choice([-128, 0, 127], (4, 20)).astype(np.int8)
  scales = rng.uniform(0.5, 2.0, 4).astype(np.float32)
  blocks = (queries.view(np.uint8) ^ 128).reshape(4, 16, 5, 4).transpose(0, 2, 1, 3)
  offsets = 128 * rows.sum(axis=1, dtype=np.int32)
  best = np.where(np.arange(64) % 2, np.float32(1e9), np.float32(-1e9))
  raise_maxima(np.ascontiguousarray(blocks), rows, offsets, scales, best)
  exact = (queries.astype(np.float32) @ rows.T.astype(np.float32)) * scales
  np.testing.assert_array_equal(best[::2], exact.max(axis=1)[::2])
  assert np.all(best[1::2] == 1e9)


@pytest.mark.skipif(not products.has_vnni(), reason="products are portable here anyway")
def test_without_special_instructions_the_same(tmp_path):
  environment = {"L2G_JAX_PORTABLE": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
  subprocess.run(
    [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", __file__],
    env=os.environ | environment,
    check=True,
    capture_output=True,
  )
