"""The kernel runs as ordinary operations here; for a GPU it is lowered, which needs none."""

import functools
import re
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh

from l2g_jax.runtime import sharding
from l2g_jax.similarity import chamfer_scan, fused_maximum, kernels
from l2g_jax.similarity.chamfer_scan import pack_images, place_images, search_images
from tests.problems import some_sets

HOPPER: Any = types.SimpleNamespace(compute_capability="9.0")
interpreted = functools.partial(fused_maximum.best_products, interpret=True)
best_products = jax.jit(interpreted, static_argnames="num_images")


def some_codes(seed, *shape, dtype=np.int8):
  codes = np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)
  return jnp.asarray(codes if dtype == np.int8 else codes / 100.0, dtype)


def some_scales(seed, *shape):
  return np.random.default_rng(seed).uniform(1e-3, 2e-3, shape).astype(np.float32)


def best_by_hand(values, scales, queries):
  """Loops over images; of integers a product is exact, rounded once, and scaled in float32."""
  values, queries = np.asarray(values), np.asarray(queries)
  exact = np.int64 if values.dtype == np.int8 else np.float64
  best = [
    np.max((queries.astype(exact) @ image.astype(exact).T).astype(np.float32) * scale, axis=1)
    for image, scale in zip(values, scales, strict=True)
  ]
  return np.array(best)


@pytest.mark.parametrize("dtype", [np.int8, jnp.bfloat16])
@pytest.mark.parametrize(
  ("num_places", "dimension", "num_queries", "first", "num_images"),
  [
    (600, 128, 70, 0, 2),
    (16, 128, 64, 3, 9),
    (37, 96, 1, 1, 10),
    (131, 40, 129, 0, 3),
    (255, 256, 200, 2, 1),
    (20, 5, 3, 0, 17),
    (64, 512, 65, 1, 2),
  ],
)
def test_equals_a_loop_over_images(num_places, dimension, num_queries, first, num_images, dtype):
  values = some_codes(0, first + num_images + 1, num_places, dimension, dtype=dtype)
  scales = some_scales(1, *values.shape[:2])
  queries = some_codes(2, num_queries, dimension, dtype=dtype)
  assert fused_maximum.fits(values, HOPPER)
  best = best_products(values, scales, queries, np.int32(first), num_images=num_images)
  part = slice(first, first + num_images)
  expected = best_by_hand(values[part], scales[part], queries)
  if dtype == np.int8:
    np.testing.assert_array_equal(best, expected)
  else:
    np.testing.assert_allclose(best, expected, rtol=1e-5, atol=1e-6)


def test_equals_the_products_it_replaces():
  values, queries = some_codes(3, 5, 75, 128), some_codes(4, 100, 128)
  scales = some_scales(5, 5, 75)
  best = best_products(values, scales, queries, np.int32(0), num_images=5)
  # Private: a search on a CPU takes the second alone, and one without the kernel the first.
  for products in (chamfer_scan._products, chamfer_scan._products_in_float32):
    for image, scale, row in zip(values, scales, best, strict=True):
      expected = jnp.max(products(image, queries) * scale[:, None], axis=0)
      np.testing.assert_array_equal(row, expected)


def test_no_place_beyond_an_image_wins():
  """All products are negative, so that a zero from outside would be seen."""
  queries = jnp.maximum(jnp.abs(some_codes(6, 30, 40)), 1)
  values = -jnp.maximum(jnp.abs(some_codes(7, 11, 37, 40)), 1)
  scales = some_scales(8, 11, 37)
  best = best_products(values, scales, queries, np.int32(0), num_images=11)
  assert np.max(best) < 0.0
  np.testing.assert_array_equal(best, best_by_hand(values, scales, queries))


def test_an_empty_image_is_worth_zero():
  values, scales = jnp.zeros((3, 16, 32), jnp.int8), np.zeros((3, 16), np.float32)
  best = best_products(values, scales, some_codes(9, 8, 32), np.int32(0), num_images=3)
  np.testing.assert_array_equal(best, 0.0)


@pytest.mark.parametrize(
  ("shape", "dtype", "device"),
  [
    ((2, 600, 128), np.float32, HOPPER),
    ((2, 15, 128), np.int8, HOPPER),
    ((2, 600, 1025), np.int8, HOPPER),
    ((2, 600, 513), jnp.bfloat16, HOPPER),
    ((2, 600, 128), np.int8, types.SimpleNamespace(compute_capability="7.5")),
    ((2, 600, 128), np.int8, types.SimpleNamespace(compute_capability="gfx942")),
    ((2, 600, 128), np.int8, jax.devices()[0]),
  ],
)
def test_what_it_is_not_made_for(shape, dtype, device):
  assert not fused_maximum.fits(jnp.zeros(shape, dtype), device)


@pytest.mark.parametrize("capability", ["8.0", "9.0", "12.0"])
@pytest.mark.parametrize("dtype", [np.int8, jnp.bfloat16])
def test_what_it_is_made_for(capability, dtype):
  device = types.SimpleNamespace(compute_capability=capability)
  assert fused_maximum.fits(jnp.zeros((2, 600, 128), dtype), device)


@pytest.mark.parametrize("num_devices", [1, 3])
@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_a_search_by_the_kernel_equals_one_by_products(monkeypatch, precision, num_devices):
  """Blocks that overlap, an empty image, one of two alike, and places that no image fills."""
  mesh = sharding.make_mesh(num_devices)
  packed = pack_images(some_sets(0, 21), precision=precision, num_places=20)
  images, queries = place_images(packed, mesh), some_sets(1, 6)
  expected = search_images(images, queries, 25, kernel=kernels.Power())
  monkeypatch.setattr(fused_maximum, "fits", lambda *_: True)
  monkeypatch.setattr(fused_maximum, "best_products", interpreted)
  monkeypatch.setattr(chamfer_scan, "BLOCK_MAXIMA", 4 * 6 * 64)
  result = search_images(images, queries, 25, kernel=kernels.Power())
  np.testing.assert_array_equal(result.ids, expected.ids)
  np.testing.assert_allclose(result.similarities, expected.similarities, atol=1e-6)


def lowered(shape, dtype, num_images):
  """Returns the program that a GPU would get; JAX of 0.11 on asks which GPU."""
  arguments = [
    jax.ShapeDtypeStruct(shape, dtype),
    jax.ShapeDtypeStruct(shape[:2], jnp.float32),
    jax.ShapeDtypeStruct((640, shape[2]), dtype),
    jax.ShapeDtypeStruct((), jnp.int32),
  ]
  device = AbstractDevice(device_kind="NVIDIA H200", num_cores=132, platform="gpu")
  best = jax.jit(functools.partial(fused_maximum.best_products, num_images=num_images))
  with jax.sharding.use_abstract_mesh(AbstractMesh((1,), ("x",), abstract_device=device)):
    return best.trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend:DeprecationWarning")
@pytest.mark.parametrize("dtype", [np.int8, jnp.bfloat16])
@pytest.mark.parametrize("dimension", [40, 128, 256])
def test_is_lowered_for_a_gpu(dtype, dimension):
  assert "xla.gpu.triton" in lowered((1_000_000, 600, dimension), dtype, 100_000)


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend:DeprecationWarning")
@pytest.mark.parametrize("num_rows", [27_000, 29_000, 50_000, 60_000])
def test_the_kernel_gets_no_array_in_which_pallas_miscounts(num_rows):
  text = lowered((num_rows, 600, 128), np.int8, num_rows)
  calls = [line for line in text.splitlines() if "xla.gpu.triton" in line]
  rows = [int(match) for line in calls for match in re.findall(r"tensor<(\d+)x600x128xi8>", line)]
  assert sum(rows) == num_rows
  assert not any((1 << 31) < count * 600 * 128 <= (1 << 32) for count in rows)
